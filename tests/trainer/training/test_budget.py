"""A net that its device would be too slow for is told which narrower one would fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetrip_trainer.errors import BudgetError
from safetrip_trainer.training import HydraTask
from safetrip_trainer.training.budget import narrower_shapes, require_budget

# An encoder is nearly all that takes time here: the decoder's convolutions are dense.
SLOW = """
name: slow
device: of depthwise convolutions
sources: {all: made up}
peak_tops: {fp32: 10, fp16: 10, int8: 10}
bandwidth_gb_s: 1000
launch_us: 0
efficiency: {dense: 1, depthwise: 0.0001, traffic: 1, memory: 1}
"""
BUDGET = "name: tight\ndevice: slow\nprofile: slow\nframe_size: 96x160\nlatency_ms: {p50: 4.0}\n"


@pytest.mark.parametrize(
    ("own", "less"),
    [
        ((1.0, 256), [(0.75, 256), (1.0, 128), (0.5, 256), (0.5, 128), (0.35, 128)]),
        ((0.75, 128), [(0.5, 128), (0.35, 128)]),
        ((0.5, 256), [(0.5, 128), (0.35, 128)]),
        ((0.35, 128), []),
    ],
)
def test_shapes_that_are_less(own: tuple[float, int], less: list[tuple[float, int]]) -> None:
    assert narrower_shapes(*own) == less


def test_the_net_that_is_proposed_is_the_widest_and_wider_in_nothing(tmp_path: Path) -> None:
    for name, text in (("devices/slow.yaml", SLOW), ("budgets/tight.yaml", BUDGET)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    task = HydraTask(width_mult=0.75, decoder_channels=128, init_weights="random")
    # Half the encoder with twice the decoder would fit too.
    with pytest.raises(BudgetError, match=r"width_mult 0\.5 --\S+decoder_channels 128 \("):
        require_budget(task, (64, 96), tmp_path / "budgets" / "tight.yaml")
