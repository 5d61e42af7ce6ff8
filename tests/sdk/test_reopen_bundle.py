"""`Runtime.reopen` over a bundle that has changed on disk since it was opened, also by the runtime itself."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from safetrip_sdk import Bundle, Runtime, engines
from safetrip_sdk.engines.builder import BuiltEngine
from tests.sdk import fake_gpu
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, make_bundle
from tests.sdk.fake_gpu import FakeCuda, install
from tests.sdk.test_cuda import assert_right, picture


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backends that engines were built for; building takes no time."""
    made: list[str] = []

    def build_engine(onnx: bytes, backend: str, *_: object, **__: object) -> BuiltEngine:
        made.append(backend)
        return BuiltEngine(b"fake plan")

    monkeypatch.setattr("safetrip_sdk.engines.builder.build_engine", build_engine)
    return made


def test_an_engine_built_at_the_open_is_not_built_again(
    tmp_path: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeCuda())
    path = make_bundle(tmp_path / "b.bundle", {"fp32": deploy_graph()})
    options = {"backend": "tensorrt", "frame_size": FRAME_SIZE, "build_if_missing": True}
    with Runtime(path, **options) as runtime:
        for value in range(3):
            assert_right(runtime(picture(value)), value)
            assert builds == ["tensorrt"]
            runtime.reopen()


def test_compiled_kernels_that_were_replaced_are_used(
    tmp_path: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RTX's cache need not be the same bytes twice."""
    rtx = install(monkeypatch, FakeCuda()).rtx
    number = itertools.count()
    monkeypatch.setattr(fake_gpu.RuntimeConfig, "serialize", lambda self: b"compiled %d" % next(number))
    path = make_bundle(tmp_path / "b.bundle", {"fp32": deploy_graph()})
    engines.build(path, "rtx", FRAME_SIZE, ["fp32"])
    with Runtime(path, backend="tensorrt_rtx", frame_size=FRAME_SIZE) as runtime:
        for value in range(3):
            assert_right(runtime(picture(value)), value)
            assert rtx.counts["warm starts"] == value, "what an earlier open compiled"
            runtime.reopen()
    Bundle.open(path).verify()


def test_another_model_comes_with_its_own_classes(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b.bundle", {"fp32": deploy_graph()})
    with Runtime(path, backend="openvino", frame_size=FRAME_SIZE) as runtime:
        with Bundle.edit(path) as draft:
            classes = (replace(draft.manifest.classes[0], name="pavement"), *draft.manifest.classes[1:])
            draft.manifest = replace(draft.manifest, classes=classes)
            draft.write("model.fp32.onnx", deploy_graph(work=1))
        assert runtime(picture(1)).classes[0] == "sidewalk"
        runtime.reopen()
        assert runtime(picture(1)).classes[0] == runtime.classes[0] == "pavement"
