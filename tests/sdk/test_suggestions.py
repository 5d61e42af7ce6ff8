"""A mistyped word gets what it may have meant."""

from __future__ import annotations

import pytest

from safetrip_sdk.cli import main
from safetrip_sdk.cli.suggestions import did_you_mean


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["rnu"], "run"),
        (["run", "x", "--source", "0", "--vidoe", "a.mp4"], "--video"),
        (["run", "x", "--source", "0", "--backend", "openvin"], "openvino"),
    ],
)
def test_a_mistyped_word(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"; did you mean {meant}?\n")


@pytest.mark.parametrize("words", [["zzz"], ["run", "x", "--source", "0", "--qqq"]])
def test_nothing_is_like_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "did you mean" not in capsys.readouterr().err


def test_of_a_dotted_name_the_last_part_counts() -> None:
    known = ["--trainer.max_epochs", "--trainer.min_epochs", "--data.root", "--model.lr", "--data.batch_size"]
    for word, meant in (
        ("--epochs", "--trainer.max_epochs or --trainer.min_epochs"),
        ("--data.rot", "--data.root"),
        ("--lr", "--model.lr"),
        ("--batch", "--data.batch_size"),
        ("--bacth_size", "--data.batch_size"),
    ):
        assert did_you_mean(word, known) == f"; did you mean {meant}?"
    assert did_you_mean("--x", known) == ""
