"""Engines in a bundle: real TensorRT-RTX builds, keys, and what keeps a plan from being loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from safetrip_sdk import Bundle, Runtime, engines
from safetrip_sdk.backends import probe
from safetrip_sdk.backends.tensorrt import TensorRtProgram
from safetrip_sdk.engines import ANY, EngineInfo, EngineKey
from safetrip_sdk.engines.builder import BuiltEngine
from safetrip_sdk.engines.tensorrt_library import Library
from safetrip_sdk.errors import (
    BackendUnavailableError,
    BundleCorruptError,
    EngineBuildError,
    EngineError,
    EngineMismatchError,
    ManifestError,
)
from safetrip_sdk.manifest import check_file_name
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, make_bundle
from tests.sdk.fake_gpu import FakeCuda, install

rtx = pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a real RTX engine for 96x128 frames."""
    models = {"fp32": deploy_graph(), "fp16": deploy_graph(half=True)}
    path = make_bundle(tmp_path_factory.mktemp("engines") / "built.bundle", models)
    lines: list[str] = []
    infos = engines.build(path, "rtx", FRAME_SIZE, progress=lines.append)
    assert [info.key.precision for info in infos] == ["fp32", "fp16"]
    assert any("building" in line for line in lines)
    assert any("%" in line for line in lines)
    return path


def here(**changes: object) -> EngineKey:
    key = EngineKey("tensorrt_rtx", rtx.__version__, "NVIDIA GeForce RTX 4090", "8.9", *FRAME_SIZE, "fp32")
    return replace(key, **changes)  # type: ignore[arg-type]


def test_build_is_in_the_bundle(built: Path) -> None:
    bundle = Bundle.open(built)
    bundle.verify()
    infos = engines.list_engines(bundle)
    assert {info.key.precision for info in infos} == {"fp32", "fp16"}
    for info in infos:
        assert info.key.gpu == ANY
        assert info.file in bundle.manifest.files
        assert f"-{FRAME_SIZE[0]}x{FRAME_SIZE[1]}-" in info.file
        model = bundle.manifest.precisions[info.key.precision].file
        assert info.model_sha256 == bundle.manifest.files[model].sha256


def test_find_reads_the_checked_plan(built: Path) -> None:
    found = engines.find(Bundle.open(built), here(), driver="13000")
    assert found.plan == (built / found.file).read_bytes()
    assert found.runtime_cache == b""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.0.0"}, r"tensorrt_rtx version: built for .*, here 1\.0\.0"),
        ({"height": 720, "width": 1280}, "frame size: built for 128x96, here 1280x720"),
    ],
)
def test_mismatch_names_the_difference(built: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(EngineMismatchError, match=message) as caught:
        engines.find(Bundle.open(built), here(**changes), driver="13000")
    assert len(caught.value.differences) == 1
    assert "safetrip build" in str(caught.value)


def test_no_engine_at_all(tiny_bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"no fp32 engine for tensorrt_rtx; build one: safetrip build"):
        engines.find(Bundle.open(tiny_bundle), here(), driver="13000")


def test_engine_of_an_older_model(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.bundle"
    shutil.copytree(built, path)
    with Bundle.edit(path) as draft:
        draft.write("model.fp32.onnx", deploy_graph(work=1))
    with pytest.raises(EngineMismatchError, match="model has changed"):
        engines.find(Bundle.open(path), here(), driver="13000")


def test_plan_for_one_gpu(built: Path, tmp_path: Path) -> None:
    """TensorRT's plans name GPU, capability and driver: each difference is said."""
    path = tmp_path / "b.bundle"
    shutil.copytree(built, path)
    opened = Bundle.open(path)
    old = engines.list_engines(opened)[0]
    key = EngineKey("tensorrt", "10.3.0", "Orin", "8.7", *FRAME_SIZE, "fp32")
    model = opened.manifest.files["model.fp32.onnx"].sha256
    described = {
        "key": vars(key),
        "driver": "12060",
        "model_sha256": model,
        "seconds": 1.0,
        "created": old.created,
    }
    with Bundle.edit(path) as draft:
        draft.write(f"engines/{key}.plan", b"plan")
        draft.write(f"engines/{key}.json", json.dumps(described).encode())
    bundle = Bundle.open(path)
    assert engines.find(bundle, key, "12060").plan == b"plan"
    other = replace(key, version="10.16.2", gpu="Thor", compute_capability="11.0")
    with pytest.raises(EngineMismatchError) as caught:
        engines.find(bundle, other, "13020")
    text = str(caught.value)
    for part in (
        "tensorrt version: built for 10.3.0",
        "GPU: built for Orin, here Thor",
        "8.7",
        "driver: built for 12060",
    ):
        assert part in text
    with pytest.raises(EngineMismatchError, match="driver"):
        engines.find(bundle, key, "12090")


def test_orins_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA calls an AGX, an NX and a Nano "Orin", each 8.7: a plan and its timings are of one of them."""
    cuda = FakeCuda(integrated=True)
    install(monkeypatch, cuda)
    given: list[bytes] = []

    def build_engine(*_: object, timing_cache: bytes, **__: object) -> BuiltEngine:
        given.append(timing_cache)
        return BuiltEngine(b"fake plan", b"timings %d" % len(given))

    monkeypatch.setattr("safetrip_sdk.engines.builder.build_engine", build_engine)
    path = make_bundle(tmp_path / "b.bundle", {"fp32": deploy_graph()})
    for name, multiprocessors, mebibytes in (("Orin", 16, 28826), ("Orin", 8, 15536), ("Orin", 8, 7620)):
        cuda.properties.name, cuda.properties.totalGlobalMem = name.encode(), mebibytes << 20
        cuda.attributes["multiprocessors"] = multiprocessors
        with pytest.raises(EngineError) as refused:
            Runtime(path, backend="tensorrt", frame_size=FRAME_SIZE)
        engines.build(path, "tensorrt", FRAME_SIZE)
        Runtime(path, backend="tensorrt", frame_size=FRAME_SIZE).close()
    assert "GPU: built for Orin 16 SM 32 GB, here Orin 8 SM 8 GB" in str(refused.value)
    assert given == [b"", b"", b""], "another device's timings are not taken"
    assert len(engines.list_engines(Bundle.open(path))) == 3
    engines.build(path, "tensorrt", FRAME_SIZE)
    assert given[-1] == b"timings 3"


def test_built_for_one_compute_capability(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b.bundle", {"fp32": deploy_graph()})
    (info,) = engines.build(path, "rtx", FRAME_SIZE, compute_capabilities=["SM89"])
    assert "any-sm89" in info.file
    bundle = Bundle.open(path)
    engines.find(bundle, here(), "13000")
    with pytest.raises(EngineMismatchError, match="compute capability: built for SM89, here SM120"):
        engines.find(bundle, here(compute_capability="12.0"), "13000")
    with pytest.raises(BackendUnavailableError, match=r"SM87.*it knows"):
        engines.build(path, "rtx", FRAME_SIZE, compute_capabilities=["SM87"])


def described(info: EngineInfo, **changes: object) -> bytes:
    """An engine's description with other values."""
    return json.dumps({**asdict(info), **changes}).encode()


def test_a_malformed_description_is_passed_over(
    built: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its engine is not loaded, and that is said; the others are as good as they were."""
    path = tmp_path / "b.bundle"
    shutil.copytree(built, path)
    bad, good = engines.list_engines(Bundle.open(path))
    name = bad.file.replace(".plan", ".json")
    for damage in (
        *(b"{", b"[]", b"{}", b'{"key": {}}', b'{"key": 3}'),
        described(bad, driver=12060),
        described(bad, model_sha256=None),
        described(bad, key={**asdict(bad.key), "height": 96.0}),
        described(bad, more=1),
    ):
        with Bundle.edit(path) as draft:
            draft.write(name, damage)
        bundle = Bundle.open(path)
        caplog.clear()
        assert engines.list_engines(bundle) == [good], damage
        assert f"{name}: no description of an engine, passing over it" in caplog.text
        caplog.clear()
        assert engines.find(bundle, here(precision=good.key.precision), "13000").file == good.file
        assert caplog.text == "", "what is of another precision is not even read"
        with pytest.raises(EngineError, match="build one: safetrip build"):
            engines.find(bundle, here(precision=bad.key.precision), "13000")
        assert name in caplog.text
    (path / name).write_bytes(b"{}")
    with pytest.raises(BundleCorruptError, match="differs from its manifest"):
        engines.list_engines(Bundle.open(path))


@pytest.mark.parametrize("change", [{"version": "1.0.0"}, {"width": 640}, {"precision": "int8"}])
def test_a_description_under_another_engines_name_is_passed_over(
    built: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    """A plan is loaded for what its name says only if its description says the same."""
    path = tmp_path / "b.bundle"
    shutil.copytree(built, path)
    info = engines.list_engines(Bundle.open(path))[0]
    other = replace(info.key, **change)  # type: ignore[arg-type]
    with Bundle.edit(path) as draft:
        draft.write(f"engines/{other}.plan", (path / info.file).read_bytes())
        draft.write(f"engines/{other}.json", described(info))
    found = engines.list_engines(Bundle.open(path))
    assert other not in [item.key for item in found]
    assert len(found) == 2
    assert f"engines/{other}.json" in caplog.text
    assert f"it describes another engine ({info.key})" in caplog.text


def test_flipped_bit_in_a_plan(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.bundle"
    shutil.copytree(built, path)
    plan = path / engines.list_engines(Bundle.open(path))[0].file
    data = bytearray(plan.read_bytes())
    data[1000] ^= 1
    plan.write_bytes(data)
    key = here(precision=engines.list_engines(Bundle.open(path))[0].key.precision)
    with pytest.raises(BundleCorruptError, match="sha256"):
        engines.find(Bundle.open(path), key, "13000")


def test_what_cannot_be_built(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="no target 'tpu'"):
        engines.build(tiny_bundle, "tpu")
    with pytest.raises(BackendUnavailableError, match="no precision int8; it has: fp32, fp16"):
        engines.build(tiny_bundle, "rtx", FRAME_SIZE, ["int8"])
    path = make_bundle(tmp_path / "b.bundle", {"fp32": b"no onnx"})
    with pytest.raises(EngineBuildError, match="cannot read the ONNX"):
        engines.build(path, "rtx", FRAME_SIZE)
    Bundle.open(path).verify()


def test_network_that_is_no_deploy_graph(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    path = make_bundle(tmp_path / "b.bundle", {"fp32": model.SerializeToString()})
    with pytest.raises(EngineBuildError, match="is it a deploy graph"):
        engines.build(path, "rtx", FRAME_SIZE)


def test_builder_log_is_in_the_error(tmp_path: Path) -> None:
    """UINT8 may only be cast: a graph that transposes it first is refused, and the reason is told."""
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "H", "W", 3])
    labels = helper.make_tensor_value_info("labels", TensorProto.UINT8, None)
    nodes = [helper.make_node("Transpose", ["frame"], ["labels"], perm=[0, 3, 1, 2])]
    graph = helper.make_graph(nodes, "g", [frame], [labels])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    path = make_bundle(tmp_path / "b.bundle", {"fp32": model.SerializeToString()})
    with pytest.raises(EngineBuildError, match=r"\n  \S+"):
        engines.build(path, "rtx", FRAME_SIZE)


def test_one_refused_precision_is_named_and_the_others_are_built(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b.bundle", {"fp16": b"no network", "fp32": deploy_graph()})
    with pytest.raises(EngineBuildError, match=r"^fp16: "):
        engines.build(path, "rtx", FRAME_SIZE)
    assert [info.key.precision for info in engines.list_engines(Bundle.open(path))] == ["fp32"]


def test_rejected_precisions_are_not_built(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b.bundle", {"fp32": deploy_graph(), "fp16": deploy_graph(half=True)})
    with Bundle.edit(path) as draft:
        precisions = dict(draft.manifest.precisions)
        precisions["fp16"] = replace(precisions["fp16"], accepted=False)
        draft.manifest = replace(draft.manifest, precisions=precisions)
    assert [info.key.precision for info in engines.build(path, "rtx", FRAME_SIZE)] == ["fp32"]


def test_runtime_cache_is_kept_beside_the_plan(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.bundle"
    shutil.copytree(built, path)
    found = engines.find(Bundle.open(path), here(), "13000")
    engines.keep_runtime_cache(found, b"compiled kernels")
    bundle = Bundle.open(path)
    bundle.verify()
    again = engines.find(bundle, here(), "13000")
    assert again.runtime_cache == b"compiled kernels"
    before = (path / "manifest.json").stat().st_ino
    engines.keep_runtime_cache(again, b"compiled kernels")
    assert (path / "manifest.json").stat().st_ino == before, "nothing new, nothing written"
    engines.build(path, "rtx", FRAME_SIZE, ["fp32"])
    assert engines.find(Bundle.open(path), here(), "13000").runtime_cache == b"", (
        "a new plan drops the old cache"
    )


@given(gpu=st.text(max_size=60), capability=st.sampled_from(["8.7", "12.0"]))
def test_keys_are_file_names(gpu: str, capability: str) -> None:
    key = EngineKey("tensorrt", "10.3.0", gpu, capability, 1080, 1920, "int8")
    try:
        name = check_file_name(f"engines/{key}.plan")
    except ManifestError:  # only ever for its length
        assert len(gpu) > 100
        return
    assert name.startswith("engines/tensorrt-10.3.0-")


def test_real_library_refuses_what_it_cannot_run(built: Path) -> None:
    """The real TensorRT-RTX's answer to a damaged plan, and to a good one where there is no GPU."""
    library = Library("tensorrt_rtx")
    with pytest.raises(EngineMismatchError, match="malformed engine"):
        TensorRtProgram(library, b"garbage")
    if not probe("tensorrt_rtx").available:
        plan = engines.find(Bundle.open(built), here(), "13000").plan
        with pytest.raises(EngineMismatchError, match=r"\n  \S+"):
            TensorRtProgram(library, plan)
