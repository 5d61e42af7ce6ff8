"""A model replaced while something is made or measured from it: one clear error, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from safetrip_calibration import budget as budget_module
from safetrip_calibration.budget import run_budget
from safetrip_calibration.calibrate import calibrate
from safetrip_calibration.compare import compare
from safetrip_calibration.confidence import calibrate_confidence
from safetrip_calibration.errors import BundleChangedError
from safetrip_calibration.evidence import save_worst_frames
from safetrip_calibration.measure import Job, Measurement
from safetrip_calibration.mixed import calibrate_mixed
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.thresholds import Thresholds
from safetrip_sdk.bundle import Bundle
from tests.calibration.nets import Scenes, make_manifest, make_model
from tests.calibration.test_budget import LENIENT
from tests.calibration.test_mixed import OPTIONS

LOOSE = Thresholds({})
INT8_REPLACED = r"toy\.bundle: its int8 model was replaced after .* run it again"
FP32_REPLACED = r"toy\.bundle: its fp32 model was replaced after .* run it again"


class Meanwhile:
    """A progress function that does `action` once, at its first call, and keeps the manifest it left."""

    def __init__(self, bundle: Path, action: Callable[[Path], object]) -> None:
        self.bundle = bundle
        self.action = action
        self.left: bytes | None = None

    def __call__(self, *progress: object) -> None:
        if self.left is None:
            self.action(self.bundle)
            self.left = (self.bundle / "manifest.json").read_bytes()

    def is_what_stands(self) -> bool:
        Bundle.open(self.bundle).verify()
        return (self.bundle / "manifest.json").read_bytes() == self.left


def another_net(path: Path) -> None:
    """As `trainer export --overwrite`."""
    with Bundle.create(path, make_manifest(), overwrite=True) as draft:
        draft.write("model.fp32.onnx", make_model(seed=1).SerializeToString())


def int8_again(path: Path) -> None:
    calibrate(path, Scenes(3, seed=5), "int8", method="minmax", count=1)


@pytest.fixture
def quantised(bundle: Path, scenes: Scenes) -> Path:
    calibrate(bundle, scenes, "int8", count=2)
    return bundle


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_verdict_is_of_the_model_that_ran(quantised: Path, backend: str) -> None:
    meanwhile = Meanwhile(quantised, int8_again)
    with pytest.raises(BundleChangedError, match=INT8_REPLACED):
        compare(quantised, Scenes(3), ["int8"], [backend], LOOSE, meanwhile)
    assert meanwhile.is_what_stands()
    assert Bundle.open(quantised).manifest.precisions["int8"].accepted is None


def test_a_comparison_is_against_the_fp32_that_ran(quantised: Path) -> None:
    meanwhile = Meanwhile(quantised, another_net)
    with pytest.raises(
        BundleChangedError, match="its fp32 model was replaced and its int8 model was removed"
    ):
        compare(quantised, Scenes(3), ["int8"], ["onnxruntime"], LOOSE, meanwhile, write=False)
    assert meanwhile.is_what_stands()


def test_a_runtime_opened_later_does_not_run_the_model_that_came_between(quantised: Path) -> None:
    class TwoSizes(Scenes):
        def __getitem__(self, index: int):
            self.size = ((120, 160), (90, 130))[index % 2]
            return super().__getitem__(index)

    steps: list[object] = []
    meanwhile = Meanwhile(quantised, int8_again)

    def progress(*step: object) -> None:
        steps.append(step)
        meanwhile()

    with pytest.raises(BundleChangedError, match=INT8_REPLACED):
        compare(quantised, TwoSizes(2), ["int8"], ["openvino"], LOOSE, progress)
    assert len(steps) == 1, "the second frame ran"


def test_what_another_command_adds_meanwhile_is_no_change(quantised: Path) -> None:
    meanwhile = Meanwhile(quantised, lambda path: calibrate(path, Scenes(2), "fp16", count=1))
    found = compare(quantised, Scenes(2), ["int8"], ["onnxruntime"], LOOSE, meanwhile)
    manifest = Bundle.open(quantised).manifest
    assert manifest.precisions["int8"].accepted is True
    assert "fp16" in manifest.precisions
    ran = {name: manifest.files[f"model.{name}.onnx"].sha256 for name in ("fp32", "int8")}
    assert {name: item["sha256"] for name, item in found.to_dict()["models"].items()} == ran


def test_pictures_are_of_the_models_compared(quantised: Path, tmp_path: Path) -> None:
    frames = Scenes(2)
    found = compare(quantised, frames, ["int8"], ["onnxruntime"], LOOSE)
    int8_again(quantised)
    with pytest.raises(BundleChangedError, match=INT8_REPLACED):
        save_worst_frames(quantised, frames, found, tmp_path / "worst")
    assert not (tmp_path / "worst").exists()


def test_int8_is_of_the_fp32_beside_it(bundle: Path) -> None:
    meanwhile = Meanwhile(bundle, another_net)
    with pytest.raises(BundleChangedError, match=FP32_REPLACED):
        calibrate(bundle, Scenes(3), "int8", progress=meanwhile)
    assert meanwhile.is_what_stands()


def test_a_search_is_of_the_fp32_beside_it(bundle: Path) -> None:
    meanwhile = Meanwhile(bundle, another_net)
    with pytest.raises(BundleChangedError, match=FP32_REPLACED):
        calibrate_mixed(bundle, Scenes(3), Scenes(3), OPTIONS, meanwhile)
    assert meanwhile.is_what_stands()
    assert not (bundle.parent / "toy.bundle.cache" / "mixed.json").exists()


def test_a_temperature_is_of_the_model_that_gets_it(quantised: Path, scenes: Scenes) -> None:
    class Last(Meanwhile):
        """When every model has been read."""

        def __call__(self, *progress: object) -> None:
            if progress[2] == "confidence int8":
                super().__call__()

    meanwhile = Last(quantised, int8_again)
    with pytest.raises(BundleChangedError, match=INT8_REPLACED):
        calibrate_confidence(quantised, scenes, progress=meanwhile)
    assert meanwhile.is_what_stands()


@pytest.mark.parametrize("write", [True, False])
def test_a_latency_is_of_the_model_that_ran(
    quantised: Path, scenes: Scenes, write: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile = Meanwhile(quantised, int8_again)
    measure = budget_module.measure

    def then_replaced(job: Job, images: list) -> Measurement:
        found = measure(job, images)
        meanwhile()
        return found

    monkeypatch.setattr(budget_module, "measure", then_replaced)
    with pytest.raises(BundleChangedError, match=INT8_REPLACED):
        run_budget(quantised, LENIENT, [scenes[0].frame], write=write)
    assert meanwhile.is_what_stands()


def test_models_read_are_those_of_the_manifest_at_opening(quantised: Path) -> None:
    bundle = Bundle.open(quantised)
    read = ModelsRead.of(bundle, ["fp32", "int8"])
    read.check(bundle.manifest)
    assert read.files["int8"] == bundle.manifest.files["model.int8.onnx"]
    without = replace(bundle.manifest, precisions={"fp32": bundle.manifest.precisions["fp32"]})
    with pytest.raises(BundleChangedError, match="int8 model was removed"):
        read.check(without)
