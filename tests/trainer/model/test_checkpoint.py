"""Weights are read safely, and foreign key names find their place."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2

from safetrip_trainer.cli import main
from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import (
    load_checkpoint,
    load_weights,
    read_weights,
    translate_keys,
    write_safetensors,
)
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.model.initialize import initialize_net
from safetrip_trainer.model.load import load_student


@pytest.fixture(scope="module")
def net() -> HydraNet:
    return HydraNet(decoder_channels=32)


_STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of `layer2` to `layer8`."""


def _public_encoder() -> dict[str, str]:
    """The public Hydranet's name of every prefix of the encoder's, written out block by block."""
    names = {"features.0": "layer1"}
    blocks = [(stage + 2, block) for stage, count in enumerate(_STAGES) for block in range(count)]
    for number, (layer, block) in enumerate(blocks, start=1):
        ours, theirs = f"features.{number}.conv", f"layer{layer}.{block}.output"
        if number == 1:
            names |= {f"{ours}.0": f"{theirs}.1", f"{ours}.1": f"{theirs}.2.0", f"{ours}.2": f"{theirs}.2.1"}
        else:
            names |= {f"{ours}.{step}": f"{theirs}.{step}" for step in (0, 1)}
            names |= {f"{ours}.2": f"{theirs}.2.0", f"{ours}.3": f"{theirs}.2.1"}
    return names


def _public_names(net: HydraNet) -> dict[str, torch.Tensor]:
    """Our weights under the public Hydranet's names."""
    encoder = _public_encoder()
    levels = {
        "pools": ["crp4", "crp3", "crp2", "crp1"],
        "laterals": ["conv_adapt4", "conv_adapt3", "conv_adapt2"],
    }
    state = {}
    for key, value in net.state_dict().items():
        part, *rest = key.split(".")
        if part == "encoder":
            length = 2 if rest[1] == "0" else 4
            name = ".".join([encoder[".".join(rest[:length])], *rest[length:]])
        elif part == "decoder" and rest[0] == "adapters":
            name = f"conv{int(rest[1]) + 3}.weight"
        elif part == "decoder" and rest[0] == "pools":
            name = f"{levels['pools'][int(rest[1])]}.0.{int(rest[3]) + 1}_outvar_dimred.weight"
        elif part == "decoder":
            name = f"{levels['laterals'][int(rest[1])]}.weight"
        else:
            head = {"segmentation": "segm", "depth": "depth"}[part]
            name = f"{'pre_' if rest[0] == 'pre' else ''}{head}.{rest[1]}"
        state[f"module.{name}"] = value
    return state


def test_public_hydranet_names_cover_the_net(net: HydraNet) -> None:
    found, report = translate_keys(_public_names(net), net)
    assert not report.missing
    assert not report.unexpected
    for key, value in net.state_dict().items():
        assert torch.equal(found[key], value), key


def test_the_public_hydranets_first_expansion_is_said_to_be_left_out(
    net: HydraNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {"module.layer2.0.output.0.0.weight": torch.zeros(32, 32, 1, 1)}
    torch.save({"state_dict": _public_names(net) | extra}, tmp_path / "public.ckpt")
    out = str(tmp_path / "ours.safetensors")
    assert (
        main(["fix-checkpoint", str(tmp_path / "public.ckpt"), "--out", out, "--decoder-channels", "32"]) == 0
    )
    said = capsys.readouterr().out
    assert "0 of ours missing, 1 not ours" in said
    assert "a convolution more in its first block: train on" in said


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "net.", "module.net."])
def test_wrappers_are_taken_off(net: HydraNet, prefix: str) -> None:
    _, report = translate_keys({prefix + key: value for key, value in net.state_dict().items()}, net)
    assert not report.missing
    assert not report.unexpected


def test_torchvision_names_fill_the_encoder_and_say_what_is_left(net: HydraNet) -> None:
    _, report = translate_keys(mobilenet_v2(weights=None).state_dict(), net)
    assert all(key.startswith("encoder.") for key in report.matched)
    assert not [key for key in report.missing if key.startswith("encoder.")]
    assert "classifier.1.weight" in report.unexpected


@pytest.mark.parametrize("inner", ["", "features."])
def test_the_encoder_starts_from_torchvisions_file(tmp_path: Path, inner: str) -> None:
    donor = mobilenet_v2(weights=None)
    state = donor.state_dict() if inner else donor.features.state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    net = HydraNet(decoder_channels=32)
    assert (
        initialize_net(net, str(tmp_path / "weights.safetensors")) == "the encoder from weights.safetensors"
    )
    weight = net.encoder.features[5].conv[0][0].weight
    torch.testing.assert_close(weight, donor.features[5].conv[0][0].weight)


def test_a_net_starts_from_another_runs(net: HydraNet, tmp_path: Path) -> None:
    save_file({f"net.{key}": value for key, value in net.state_dict().items()}, tmp_path / "run.safetensors")
    torch.manual_seed(1)
    fresh = HydraNet(decoder_channels=32)
    assert initialize_net(fresh, str(tmp_path / "run.safetensors")) == "the whole net from run.safetensors"
    for key, value in net.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_a_net_with_another_decoder_takes_what_fits(
    net: HydraNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(net.state_dict(), tmp_path / "run.safetensors")
    other = HydraNet(decoder_channels=64)
    assert initialize_net(other, str(tmp_path / "run.safetensors")).startswith("a part of the net")
    assert "tensors start anew (first: decoder." in caplog.text
    assert torch.equal(other.encoder.features[0][0].weight, net.encoder.features[0][0].weight)


def test_what_fix_checkpoint_makes_of_an_encoder_starts_one(net: HydraNet, tmp_path: Path) -> None:
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "imagenet.pth")
    out = tmp_path / "encoder.safetensors"
    assert main(["fix-checkpoint", str(tmp_path / "imagenet.pth"), "--out", str(out), "--partial"]) == 0
    assert initialize_net(HydraNet(decoder_channels=32), str(out)) == "the encoder from encoder.safetensors"


def test_an_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    save_file(mobilenet_v2(weights=None, width_mult=0.5).features.state_dict(), tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match=r"half\.safetensors.*width_mult"):
        initialize_net(HydraNet(decoder_channels=32), str(tmp_path / "half.safetensors"))


def test_an_encoder_that_lacks_one_tensor_is_refused_whole(net: HydraNet, tmp_path: Path) -> None:
    state = net.state_dict()
    del state["encoder.features.5.conv.0.0.weight"]
    save_file(state, tmp_path / "hole.safetensors")
    fresh = HydraNet(decoder_channels=32)
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"hole.* 1 of \d+ encoder .*features\.5\.conv\.0\.0\.weight"):
        initialize_net(fresh, str(tmp_path / "hole.safetensors"))
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil"),))


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, tmp_path / "evil.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(_Evil()))
    for name, why in (("evil.ckpt", "holds getattr, an object"), ("plain.ckpt", "no torch checkpoint")):
        with pytest.raises(CheckpointError, match=f"{name}: {why}") as caught:
            load_checkpoint(tmp_path / name)
        # torch's own message tells its reader how to run the code.
        assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "short.safetensors").write_bytes(b"\x10\0\0")
    torch.save({"a": torch.ones(1000)}, tmp_path / "whole.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:500])
    for name in ("short.safetensors", "cut.ckpt", "absent.ckpt"):
        with pytest.raises(CheckpointError, match=name):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    "content", [{"model": "hydranet"}, {"state_dict": [torch.ones(2)]}, {1: torch.ones(2)}, {}]
)
def test_a_checkpoint_of_something_else_is_one_error(tmp_path: Path, content: dict[object, object]) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt: holds no tensors"):
        read_weights(tmp_path / "other.pt")


def test_tensors_beside_a_name_are_found_and_odd_settings_left_out(tmp_path: Path) -> None:
    torch.save({"model": "hydranet", "a": torch.ones(2), "hyper_parameters": [1]}, tmp_path / "a.pt")
    file = read_weights(tmp_path / "a.pt")
    assert set(file.state) == {"a"}
    assert (file.settings, file.record) == ({}, {})
    odd = {"safetrip": json.dumps({"hyper_parameters": [1], "epoch": 3})}
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", odd)
    file = read_weights(tmp_path / "a.safetensors")
    assert (file.settings, file.record) == ({}, {"epoch": 3})


def test_partial_weights_are_refused_whole(tmp_path: Path, net: HydraNet) -> None:
    state = {key: torch.zeros_like(value) for key, value in net.state_dict().items() if "depth" not in key}
    save_file(state, tmp_path / "part.safetensors")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"part\.safetensors.*depth\.pre\.weight.*fix-checkpoint"):
        load_weights(net, read_weights(tmp_path / "part.safetensors"))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_safetensors_carry_what_the_net_needs_to_be_built_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = HydraNet(width_mult=0.35, decoder_channels=32, depth_head="log").eval()
    settings = {"width_mult": 0.35, "decoder_channels": 32, "depth": {"head": "log"}}
    write_safetensors(tmp_path / "net.safetensors", net.state_dict(), {"hyper_parameters": settings})
    again, record = load_student(tmp_path / "net.safetensors")
    assert record["hyper_parameters"] == settings
    image = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(net(image), again(image)):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = HydraNet(width_mult=0.35, decoder_channels=32)
    settings = {"width_mult": 0.35, "decoder_channels": 32}
    torch.save({"state_dict": net.state_dict(), "hyper_parameters": settings}, tmp_path / "net.ckpt")
    calls = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: calls.append(args) or load(*args, **options))
    load_student(tmp_path / "net.ckpt")
    assert len(calls) == 1


def test_fix_checkpoint_turns_a_training_checkpoint_into_weights_that_build_their_net(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = HydraNet(width_mult=0.35, decoder_channels=32, depth_head="log")
    settings = {"width_mult": 0.35, "decoder_channels": 32, "depth": {"head": "log"}}
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": settings}, tmp_path / "run.ckpt")
    out = tmp_path / "weights.safetensors"
    assert main(["fix-checkpoint", str(tmp_path / "run.ckpt"), "--out", str(out)]) == 0
    assert "337 tensors matched, 0 of ours missing, 0 not ours" in capsys.readouterr().out
    again, _ = load_student(out)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in net.state_dict().items())
    # Another width than the file's: said, and nothing written.
    other = ["--width-mult", "0.5", "--out", str(tmp_path / "other.safetensors")]
    assert main(["fix-checkpoint", str(tmp_path / "run.ckpt"), *other]) == 2
    assert not (tmp_path / "other.safetensors").exists()
