"""Whether a net can be fast enough on its device, asked before the first epoch trains it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetrip_calibration.budget_file import Budget, load_budget, load_budget_profile
from safetrip_calibration.device_profile import DeviceProfile
from safetrip_calibration.proposal import Proposal, fastest, largest_input_size
from safetrip_trainer.errors import BudgetError, TrainerError
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.export.onnx_file import to_onnx
from safetrip_trainer.model.load import build_student
from safetrip_trainer.training.student import HydraTask
from safetrip_trainer.training.task import Task

__all__ = ["narrower_shapes", "require_budget"]

logger = logging.getLogger(__name__)

# (width_mult, decoder_channels), the most accurate first (docs/results.md): half the decoder costs less
# accuracy than half the encoder, and there are ImageNet weights for the whole one.
_NARROWER = ((0.75, 256), (1.0, 128), (0.5, 256), (0.5, 128), (0.35, 128))


def require_budget(
    task: Task, size: tuple[int, int], file: Path, refuse: bool = True, trained: bool = False
) -> Proposal:
    """Predicts the latency of a net before it is trained and holds it against a budget's p50.

    Args:
        task: of the student.
        size: (h, w) of the net's input.
        file: a budget file whose profile stands in `../devices` beside it.
        refuse: raise where no precision is predicted to fit; otherwise warn.
        trained: its weights exist already: what could be smaller is its input alone.

    Returns:
        The fastest precision as predicted.

    Raises:
        TrainerError: the task trains a teacher, which no robot runs.
        BudgetError: nothing fits and `refuse` is set; names an input size, and a width, that would.
        BudgetFileError, ProfileError: the files cannot be read.
    """
    if not isinstance(task, HydraTask):
        raise TrainerError("--budget is for the student: no robot runs the teacher")
    budget = load_budget(file)
    profile = load_budget_profile(file, budget)
    model = to_onnx(DeployGraph(build_student(task.hparams), size))
    found = fastest(model, size, budget, profile)
    limit = budget.latency_ms.get("p50")
    says = f"{found.ms:.1f} ms predicted in {found.precision} on {profile.device}, p50 limit {limit} ms"
    if found.fits:
        logger.info("%s: %s", file, says)
        return found
    logger.info("%s; looking for a smaller net that fits", says)
    smaller = largest_input_size(model, size, budget, profile)
    ways = [f"--data.size {smaller.size[0]}x{smaller.size[1]} ({smaller.ms:.1f} ms)"] if smaller else []
    if not trained:
        ways += _narrower(task.hparams, size, budget, profile)
    message = (
        f"{file}: too slow: {says} (a roofline estimate). What would fit: {', or '.join(ways) or 'nothing'}"
    )
    if refuse:
        raise BudgetError(f"{message}. To train it all the same: --over-budget warn")
    logger.warning("%s", message)
    return found


def narrower_shapes(width: float, channels: int) -> list[tuple[float, int]]:
    """Shapes (width_mult, decoder_channels) that are less than this one and more in neither."""
    return [
        shape
        for shape in _NARROWER
        if shape[0] <= width and shape[1] <= channels and shape != (width, channels)
    ]


def _narrower(
    settings: Mapping[str, Any], size: tuple[int, int], budget: Budget, profile: DeviceProfile
) -> Iterator[str]:
    """The best net that fits at this input size, as options of `trainer fit`; nothing where none does."""
    for width, channels in narrower_shapes(settings["width_mult"], settings["decoder_channels"]):
        net = build_student({**settings, "width_mult": width, "decoder_channels": channels})
        found = fastest(to_onnx(DeployGraph(net, size)), size, budget, profile)
        if found.fits:
            yield (
                f"--model.init_args.width_mult {width:g} --model.init_args.decoder_channels {channels} "
                f"({found.ms:.1f} ms)"
            )
            return
