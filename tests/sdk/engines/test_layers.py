"""The inspector's JSON, in the words of TensorRT 8.5 and of 10, and `safetrip layers` over a fake engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_sdk.cli import main
from safetrip_sdk.engines.layers import parse_layers
from safetrip_sdk.errors import EngineError
from tests.sdk.fake_gpu import FakeCuda, install
from tests.sdk.test_cuda import bundle  # noqa: F401  (a bundle with an engine for the fake GPU)

INT8 = {
    "Name": "features.1.conv + clip",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Dimensions": [1, 32, 256, 256], "Format/Datatype": "Int8"}],
    "Outputs": [{"Name": "y", "Dimensions": [1, 16, 256, 256], "Format/Datatype": "Int8"}],
    "Weights": {"Type": "Int8", "Count": 512},
    "Bias": {"Type": "Float", "Count": 16},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
    "Metadata": "[ONNX Layer: weight_q_DequantizeLinear]\x1e[ONNX Layer: /features.1/conv/Conv]",
}
FLOATING = {
    "Name": "false int8",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
    "Outputs": [{"Format/Datatype": "Channel major FP16 format where channel % 4 == 0"}],
    "Weights": {"Type": "Half", "Count": 512},
}
RESIZE = {"Name": "resize", "LayerType": "kgen", "Inputs": [{"Format/Datatype": "UInt8"}], "Outputs": []}


def parse(*layers: Any) -> Any:
    return parse_layers(json.dumps({"Layers": list(layers), "Bindings": ["frame"]}))


def test_a_convolution_with_int8_weights_and_input_computes_in_int8() -> None:
    (layer,) = parse(INT8)
    assert (layer.precision, layer.kind, layer.outputs) == ("int8", "CaskConvolution", ("int8",))
    assert layer.onnx_nodes == ("weight_q_DequantizeLinear", "/features.1/conv/Conv")


def test_int8_input_with_half_weights_does_not() -> None:
    assert parse(FLOATING)[0].precision == "fp16"


def test_without_weights_what_is_read_counts_and_uint8_is_not_int8() -> None:
    assert parse(RESIZE)[0].precision == "uint8"


def test_an_engine_without_details_has_names_alone() -> None:
    (layer,) = parse("features.1.conv + clip")
    assert (layer.name, layer.precision) == ("features.1.conv + clip", "unknown")


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_anything_else_is_one_error(value: Any) -> None:
    with pytest.raises(EngineError, match="inspector"):
        parse_layers(json.dumps({"Layers": [value]} if not isinstance(value, str) else value))


def test_layers_of_the_engine_that_fits(
    bundle: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trt = install(monkeypatch, FakeCuda())
    trt.layers = json.dumps({"Layers": [INT8, INT8, FLOATING]})
    assert main(["layers", str(bundle), "--json", str(tmp_path / "layers.json")]) == 0
    assert "2 x CaskConvolution in int8" in capsys.readouterr().out
    (engine,) = json.loads((tmp_path / "layers.json").read_text())
    assert [layer["precision"] for layer in engine["layers"]] == ["int8", "int8", "fp16"]


def test_no_engine_to_list(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["layers", str(bundle), "--precision", "int8"]) == 2
    assert "holds no int8 engine; build one" in capsys.readouterr().err
    cuda = FakeCuda()
    cuda.attributes["minor"] = 9
    install(monkeypatch, cuda)
    assert main(["layers", str(bundle)]) == 2
    assert "compute capability: built for 8.7, here 8.9" in capsys.readouterr().err
