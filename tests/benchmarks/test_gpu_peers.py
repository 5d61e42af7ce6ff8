"""The peers of the GPU check: the bundle's very net, this very GPU, and clear words where they cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from safetrip_sdk import Bundle
from safetrip_sdk.backends import Availability
from safetrip_sdk.manifest import ClassInfo, InputSpec, Manifest, PrecisionInfo
from tests.benchmarks.gpu_bench import gpu_environment, gpu_peers, gpu_report

SETTINGS = {"width_mult": 0.25, "decoder_channels": 16, "depth": {"head": "log"}}


def convolutions_only(shapes: list[tuple[int, ...]]) -> bytes:
    """A model whose graph holds convolutions of these weights, and nothing between them."""
    weights = [numpy_helper.from_array(np.zeros(s, np.float32), f"w{n}") for n, s in enumerate(shapes)]
    nodes = [helper.make_node("Conv", ["x", item.name], [f"y{n}"]) for n, item in enumerate(weights)]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    model: onnx.ModelProto = helper.make_model(helper.make_graph(nodes, "net", [value], [], weights))
    return model.SerializeToString()


def bundle_of(path: Path, net: Any, settings: dict[str, Any], classes: int = 5) -> Bundle:
    from torch import nn

    shapes = [tuple(layer.weight.shape) for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    manifest = Manifest(
        name="net",
        classes=tuple(ClassInfo(f"class {n}", (n, n, n), "surface") for n in range(classes)),
        input=InputSpec(height=64, width=64),
        max_depth=80.0,
        precisions={"fp32": PrecisionInfo("model.fp32.onnx")},
        training={"hyper_parameters": settings} if settings else {},
    )
    with Bundle.create(path, manifest) as draft:
        draft.write("model.fp32.onnx", convolutions_only(shapes))
    return Bundle.open(path)


@pytest.fixture(scope="module")
def net() -> Any:
    from safetrip_trainer.model.hydranet import HydraNet

    return HydraNet(num_classes=5, width_mult=0.25, decoder_channels=16, depth_head="log")


def test_the_torch_peer_has_the_net_of_the_bundle(tmp_path: Path, net: Any) -> None:
    peer = gpu_peers.torch_net(bundle_of(tmp_path / "x.bundle", net, SETTINGS))
    assert sum(item.numel() for item in peer.parameters()) == sum(item.numel() for item in net.parameters())
    assert type(peer.depth) is type(net.depth)


@pytest.mark.parametrize("settings", [{}, {**SETTINGS, "decoder_channels": 32}])
def test_another_net_is_no_peer(tmp_path: Path, net: Any, settings: dict[str, Any]) -> None:
    bundle = bundle_of(tmp_path / "x.bundle", net, settings)
    with pytest.raises(gpu_peers.PeerMissingError, match=r"has \d+ weights in 80 conv.*: no peer"):
        gpu_peers.torch_net(bundle)


def test_a_peer_says_everything_that_it_lacks() -> None:
    with pytest.raises(gpu_peers.PeerMissingError, match=r"needs nowhere \(No module.*\), no_where \(No mod"):
        gpu_peers.require_modules("nowhere", "json", "no_where")


def test_a_peer_that_cannot_run_is_skipped_with_its_reasons(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_peers, "probe", lambda name: Availability(name, False, reason=f"{name}: none"))
    answer = gpu_report.Answer()
    gpu_peers.check_peer("polygraphy", str(tiny_bundle), (96, 128), answer)
    answer.end()
    assert answer.figures["status"] == "skipped"
    assert answer.figures["answer"] == "tensorrt: none; tensorrt_rtx: none"


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=gpu_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(("capability", "own"), [("9.0", "True"), ("8.9", "None")])
def test_polygraphy_builds_for_the_gpu_at_hand_where_rtx_does_not_list_it(capability: str, own: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    program = (
        "import gpu_peers; gpu_peers.prepare_polygraphy('tensorrt_rtx'); "
        "config = gpu_peers.polygraphy_config('tensorrt_rtx'); print(config and config.use_gpu)"
    )
    assert python(program, FAKE_GPU_CAPABILITY=capability) == own


def test_polygraphy_finds_the_cuda_runtime_in_the_wheels() -> None:
    pytest.importorskip("polygraphy")
    pathfinder = pytest.importorskip("cuda.pathfinder")
    try:
        folder = Path(pathfinder.load_nvidia_dynamic_lib("cudart").abs_path).resolve().parent
    except pathfinder.DynamicLibNotFoundError as error:
        pytest.skip(str(error))
    program = (
        "import gpu_peers; gpu_peers.prepare_polygraphy('tensorrt'); "
        "from polygraphy.cuda.cuda import _find_cuda_lib_dirs; from polygraphy import util; "
        "print(util.find_in_dirs('libcudart.so*', _find_cuda_lib_dirs()))"
    )
    assert str(folder / "libcudart.so") in python(program, LD_LIBRARY_PATH="")
