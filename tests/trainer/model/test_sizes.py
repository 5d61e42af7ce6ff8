"""Nets of other sizes than the default: counted, exported, calibrated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.utils.flop_counter

from safetrip_sdk.bundle import Bundle
from safetrip_trainer.cli import main
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.model.checkpoint import write_safetensors
from safetrip_trainer.model.hydranet import HydraNet


def test_another_size_with_a_logarithmic_head_exports_and_calibrates(
    prepared: PreparedIndex, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = HydraNet(width_mult=0.5, decoder_channels=128, depth_head="log")
    settings = {"width_mult": 0.5, "decoder_channels": 128, "depth": {"head": "log"}}
    weights, bundle = tmp_path / "net.safetensors", tmp_path / "net.bundle"
    write_safetensors(weights, net.state_dict(), {"hyper_parameters": settings})
    data = str(prepared.prepared)
    size = ["--input-size", "64x96", "--frames", data]
    figures = tmp_path / "export.json"
    assert main(["export", str(weights), "--out", str(bundle), *size, "--json", str(figures)]) == 0
    said = json.loads(figures.read_text())
    assert said["bundle"] == str(bundle)
    assert said["frames"] > 0
    assert 0.999 <= said["label_agreement"] <= 1
    assert 0 <= said["mean_depth_error"] <= said["depth_error"] <= 1e-3
    assert main(["calibrate", str(bundle), data, "--precision", "fp16,int8", "--count", "8"]) == 0
    assert set(Bundle.open(bundle).manifest.precisions) == {"fp32", "fp16", "int8"}


def test_multiply_adds_are_counted_on_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--width-mult", "0.5", "--decoder-channels", "32", "--input-size", "64x128"]
    assert main(["model-size", *words, "--json", str(tmp_path / "sizes.json")]) == 0
    (found,) = json.loads((tmp_path / "sizes.json").read_text())["models"]
    net = HydraNet(width_mult=0.5, decoder_channels=32).eval()
    assert found["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    # torch counts two operations a multiply-add, on the module instead of the graph.
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 64, 128))
    assert found["macs"] == counter.get_total_flops() // 2
    assert "| 0.5 | 32 | 64x128 |" in capsys.readouterr().out
