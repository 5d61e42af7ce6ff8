"""Hand-written YAML: one clear error that names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_calibration.budget_file import load_budget
from safetrip_calibration.errors import BudgetFileError, ThresholdsError
from safetrip_calibration.thresholds import Limits, load_thresholds

BUDGETS = sorted((Path(__file__).parents[2] / "benchmarks" / "budgets").glob("*.yaml"))
GOOD = """\
name: toy
device: this machine
frame_size: 120x160
latency_ms: {p50: 100}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", BUDGETS, ids=lambda path: path.stem)
def test_budgets_of_the_project_are_valid(path: Path) -> None:
    budget = load_budget(path)
    assert budget.name == path.stem
    assert {"p50", "p95"} <= set(budget.latency_ms)


def test_there_are_budgets() -> None:
    wanted = {"demo", "h100", "jetson-orin-nano-15w", "jetson-orin-nano-maxn", "x86-cpu-2core"}
    assert wanted <= {path.stem for path in BUDGETS}


def test_defaults(tmp_path: Path) -> None:
    budget = load_budget(written(tmp_path, GOOD))
    assert (budget.frame_size, budget.frames, budget.backend, budget.accuracy) == (
        (120, 160),
        200,
        "auto",
        {},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("latancy_ms: {p50: 3}", "unknown key latancy_ms"),
        ("frames: many", "key frames: want a whole number"),
        ("frames: 5", "key frames: 5 is outside 20"),
        ("frames: true", "key frames: want a whole number"),
        ("peak_memory_mb: '12'", "key peak_memory_mb: want a number"),
        ("startup_s: .nan", "key startup_s: want a number"),
        ("backend: cuda", "key backend: 'cuda' is none of auto"),
        ("accuracy: {miou_dorp: 1}", "unknown key accuracy.miou_dorp"),
        ("accuracy: 3", "key accuracy: want a block"),
        ("name: again", "key name occurs twice"),
        ("power_mode:", "key power_mode: want text, found nothing"),
        ("a: [", "no valid YAML"),
        ("x: !!python/object/apply:os.system ['true']", "no valid YAML"),
        ("1: 2", "unknown key 1"),
    ],
)
def test_a_typo_or_wrong_type_names_file_and_key(tmp_path: Path, change: str, message: str) -> None:
    path = written(tmp_path, GOOD + change + "\n")
    with pytest.raises(BudgetFileError) as caught:
        load_budget(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "device", "frame_size", "latency_ms"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    text = "".join(line for line in GOOD.splitlines(True) if not line.startswith(key))
    with pytest.raises(BudgetFileError, match=f"key {key} is missing"):
        load_budget(written(tmp_path, text))


@pytest.mark.parametrize("size", ["1080", "1080x", "0x640", "axb", "1080x1920x3"])
def test_bad_frame_sizes(tmp_path: Path, size: str) -> None:
    with pytest.raises(BudgetFileError, match="frame_size: want HxW"):
        load_budget(written(tmp_path, GOOD.replace("120x160", f"'{size}'")))


def test_missing_file_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(BudgetFileError, match="cannot be read"):
        load_budget(tmp_path / "none.yaml")
    with pytest.raises(BudgetFileError, match="found nothing"):
        load_budget(written(tmp_path, ""))


@given(st.text(max_size=200))
def test_any_text_is_a_budget_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BudgetFileError, match=r"fuzz\.yaml"):
        load_budget(path)


def test_default_thresholds_hold_what_they_promise() -> None:
    limits = load_thresholds()
    assert limits.limits("int8").miou_drop == 1.0
    assert limits.limits("int8").class_iou_drop == 3.0
    assert limits.limits("fp16").miou_drop == 0.1


def test_thresholds_with_a_typo(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError, match=r"unknown key precisions\.int4"):
        load_thresholds(written(tmp_path, "precisions: {int4: {miou_drop: 1}}"))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError, match=r"no valid YAML: line 2: \S"):
        load_thresholds(written(tmp_path, "precisions:\n  int8: {miou_drop: 1"))


def test_violations_say_what_and_by_how_much() -> None:
    limits = Limits(miou_drop=1.0, class_iou_drop=3.0, label_agreement=0.99)
    metrics = {"miou_drop": 1.2, "class_iou_drop": 3.5, "worst_class": "curb", "label_agreement": 0.98}
    assert limits.violations(metrics) == [
        "miou_drop 1.2 is above 1",
        "class_iou_drop 3.5 (curb) is above 3",
        "label_agreement 0.98 is below 0.99",
    ]
    partly = {"miou_drop": None, "class_iou_drop": 3.0, "label_agreement": 0.99}
    assert limits.violations(partly) == []
    assert limits.unjudged(partly) == ["miou_drop"]
    assert limits.violations({"miou_drop": None}) == [
        "none of its limits could be judged: the frames have neither labels nor depth"
    ]
    assert Limits().violations({}) == []
