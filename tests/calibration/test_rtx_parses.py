"""TensorRT for RTX accepts every precision's graph: strongly typed, built here without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetrip_calibration.calibrate import calibrate
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.engines.tensorrt_library import Library
from tests.calibration.nets import Scenes


@pytest.fixture
def quantised(bundle: Path, scenes: Scenes) -> Bundle:
    calibrate(bundle, scenes, ("fp16", "int8"), count=3)
    return Bundle.open(bundle)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_builds(quantised: Bundle, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    # The library goes on using the first logger of the process: one of this function's would be gone by then.
    library = Library("tensorrt_rtx")
    trt, logger = library.trt, library.logger
    builder = trt.Builder(logger)
    # Strong typing is the only kind that TensorRT for RTX has: precision is what the tensors say.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(quantised.read(f"model.{precision}.onnx"))
    assert parsed, [str(parser.get_error(index)) for index in range(parser.num_errors)]
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("frame", *[(1, 120, 160, 3)] * 3)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    assert plan.nbytes > 1000
