"""A run's page shows the best epoch of the whole run, and the demo's verdict is what its figures say."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetrip_trainer.data.files import write_json
from safetrip_trainer.demo.chain import _verdict
from safetrip_trainer.report.run_page import write_run_report


def test_the_best_epoch_is_that_of_the_highest_score_before_a_resume_too(tmp_path: Path) -> None:
    columns = "epoch,step,train/loss,val/score,val/miou,val/rmse\n"
    (tmp_path / "metrics.before-resume-1.csv").write_text(
        f"{columns}0,9,3.0,0.1,0.11,9.25\n1,19,2.0,0.8,0.77,4.125\n"
    )
    (tmp_path / "metrics.csv").write_text(f"{columns}2,29,1.0,0.5,0.55,5.5\n")
    page = write_run_report(tmp_path, {"global_step": 29}).read_text()
    assert "3 epochs, 29 steps" in page
    assert "best epoch: 1" in page
    assert "77.0" in page
    assert "4.1" in page
    assert "55.0" not in page.split("<h2>Learning</h2>")[0]


@pytest.mark.parametrize(
    ("miou", "delta1", "passed"), [(0.31, 0.6, [True, True]), (0.29, 0.5, [False, False])]
)
def test_the_demo_has_learnt_where_it_beats_constant_answers(
    miou: float, delta1: float, passed: list[bool], tmp_path: Path
) -> None:
    segmentation = {"miou": miou, "majority_miou": 0.1}
    depth = {"delta1": delta1, "mean_depth_delta1": 0.5}
    write_json(tmp_path / "evaluate.json", {"segmentation": segmentation, "depth": depth})
    assert [good for _, good in _verdict(tmp_path)] == passed
