"""What is mistyped is one line that says what it may have meant, and nothing is done before it is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safetrip_trainer.cli import main

FIT = ["fit", "--config", str(Path(__file__).parents[3] / "configs" / "hydranet.yaml")]


def _refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        status: object = main(words)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train"], "fit"),
        (["prepar"], "prepare"),
        (["synth", "x", "--scens", "3"], "--scenes"),
        (["evaluate", __file__, "x", "--backend", "openvin"], "openvino"),
    ],
)
def test_our_own_verbs(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _refused(words, capsys).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.rot", "x"], "unrecognized arguments: --data.rot x; did you mean --data.root?"),
        (["--trainer.max_epoch", "1"], "--trainer.max_epoch 1; did you mean --trainer.max_epochs?"),
        (["--lr", "1"], "--lr 1; did you mean --model.init_args.lr?"),
        (
            ["--data.root", "x", "--model.init_args.warmup_epoch", "3"],
            "Option 'warmup_epoch' is not accepted; did you mean --model.init_args.warmup_epochs?",
        ),
        (["--data.root", "x", "--trainer.max_epochs", "two"], "--trainer.max_epochs: "),
        (["--data.root", "x", "--data.size", "96*160"], "data.size '96*160': want HEIGHTxWIDTH"),
        (["--data.root", "nowhere"], "nowhere: no such folder"),
        (["--data.root", "x", "--seed_everything", "-1"], "--seed_everything -1: want 0 to 4294967295"),
        (["--data.root", "x", "--save-every", "0"], "--save-every 0: want 1 or more"),
        (["--data.root", "x", "--data.jitter", "-0.5"], "data.jitter -0.5: want 0 or more"),
        (["--data.root", "x", "--data.rare_probability", "3"], "data.rare_probability 3.0: want 0 to 1"),
        (["--data.root", "x", "--data.seed", "-1"], "data.seed -1: want 0 or more"),
        (["--data.root", "x", "--data.zoom", "[1, .inf]"], "data.zoom [1.0, inf]: want"),
        (["--data.root", "x", "--model.init_args.lr", "-1"], "model.init_args.lr -1.0: want more than 0"),
        (
            ["--data.root", "x", "--model.init_args.distill.weight", ".nan"],
            "model.init_args.distill.weight nan: want 0 or more",
        ),
        (["--data.root", "x", "--model.init_args.depth.silog_share", "2"], "silog_share 2.0: want 0 to 1"),
        ([], "required: --data.root"),
    ],
)
def test_lightnings_verbs(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = _refused([*FIT, *words], capsys)
    assert line.startswith("trainer fit: error: ")
    assert said in line
    assert "class '" not in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "absent.ckpt", "--out", "x.bundle"], "export: error: absent.ckpt: no such checkpoint"),
        (["evaluate", "absent", "x"], "evaluate: error: absent: no such checkpoint or bundle"),
        (["evaluate", __file__, "absent"], "absent"),
        (["evaluate", __file__, "https://host/cache"], "https://host/cache: is an address"),
        (["infer", __file__, "absent.jpg", "--out", "x"], "absent.jpg"),
        (["pseudo-label", "absent.ckpt", "x"], "pseudo-label: error: absent.ckpt: no such checkpoint"),
        (["pseudo-label", __file__, "absent"], "absent"),
        (["replay", "absent"], "replay: error: absent: no such file"),
        (["fix-checkpoint", "absent", "--out", "x"], "fix-checkpoint: error: absent: no such checkpoint"),
    ],
)
def test_what_is_not_there_is_told_before_torch_is_imported(words: list[str], said: str) -> None:
    script = "import sys; from safetrip_trainer.cli import main; status = main(sys.argv[1:]);"
    script += "sys.exit(f'{status}, imported' if 'torch' in sys.modules else status)"
    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert said in line


def test_no_tree_is_not_called_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = [*FIT, "--data.root", str(tmp_path), "--out", str(tmp_path / "runs")]
    assert "holds none of Surface/" in _refused(words, capsys)
    assert "raw tree" not in caplog.text


@pytest.mark.parametrize("option", [("--val-folders", "Surface_999"), ("--val-fraction", "1")])
def test_a_split_that_cannot_be_is_known_before_the_images_are_read(
    option: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tree" / "Surface" / "Surface_001"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"no image at all")
    (folder / "a.xml").write_text("no XML at all")
    line = _refused(["prepare", str(tmp_path / "tree"), "--out", str(tmp_path / "out"), *option], capsys)
    assert option[0] in line
    assert not (tmp_path / "out").exists()
