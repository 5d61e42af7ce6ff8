"""Wrong values are refused before any work is done, and what the system refuses is one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import pytest

from safetrip_sdk.cli.argument_types import fraction, whole
from safetrip_trainer.cli import main
from safetrip_trainer.cli.arguments import output_file, output_folder, size, sizes
from safetrip_trainer.cli.main import make_parser


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", ""])
def test_counts_are_whole_and_positive(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number, 1 or more"):
        whole(1)(text)


def test_bounds_are_included() -> None:
    assert [whole(0, 255)(text) for text in ("0", "255")] == [0, 255]
    assert [fraction(text) for text in ("0", "1", "0.7")] == [0, 1, 0.7]
    for parse, text in ((whole(0, 255), "256"), (fraction, "1.01"), (fraction, "nan"), (fraction, "x")):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)


@pytest.mark.parametrize("verb", ["synth", "build", "export", "evaluate", "prepare", "model-size"])
def test_help_says_the_order_of_a_size(verb: str) -> None:
    parser, _ = make_parser(verb)
    (option,) = (
        item for item in parser._actions if item.dest in ("size", "frame", "input_size", "cache_size")
    )
    order = "WIDTHxHEIGHT" if verb == "synth" else "HEIGHTxWIDTH"
    assert str(option.metavar).startswith(order)
    assert re.search(r"1920x1080" if verb == "synth" else r"1080x1920|288x512", str(option.help))


def test_a_size_in_the_other_order_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    assert sizes("288x512,384X384") == [(288, 512), (384, 384)]
    assert not caplog.records
    assert size("1920x1080") == (1920, 1080)
    parser, _ = make_parser("synth")
    assert parser.parse_args(["out", "--size", "1920x1080"]).size == (1920, 1080)
    assert len(caplog.records) == 1
    assert parser.parse_args(["out", "--size", "1080x1920"]).size == (1080, 1920)
    assert caplog.messages == [
        "1920x1080 is read as HEIGHTxWIDTH: higher than wide; did you mean 1080x1920?",
        "1080x1920 is read as WIDTHxHEIGHT: higher than wide; did you mean 1920x1080?",
    ]


def test_a_package_that_is_not_there_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "polygraphy", None)

    def needs_it(_: argparse.Namespace) -> None:
        import polygraphy  # noqa: F401

    monkeypatch.setattr("safetrip_trainer.cli.compare.run", needs_it)
    assert main(["compare", "x.bundle", "prepared"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("trainer compare: error: polygraphy is not installed: ")
    assert "pip install '.[trainer]'" in said
    assert said.count("\n") == 1


def test_where_nothing_can_be_written_is_known_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert output_file(str(tmp_path / "new" / "a.json")) == tmp_path / "new" / "a.json"
    assert output_folder(str(tmp_path / "new")) == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    for parse, path, why in (
        (output_file, tmp_path, "is a folder"),
        (output_file, tmp_path / "file" / "a.json", "is a file"),
        (output_folder, tmp_path / "file", "is a file"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=why):
            parse(str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(argparse.ArgumentTypeError, match="no permission"):
        output_file(str(tmp_path / "closed" / "a.json"))


def test_what_the_system_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 300  # longer than any file system takes
    assert main(["synth", str(tmp_path / name), "--scenes", "3", "--size", "64x64"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "trainer synth: error: " in errors
    assert "File name too long" in errors


@pytest.mark.parametrize(
    "words", [("--devices", "0"), ("--devices", "some"), ("--accelerator", "abacus"), ("--strategy", "none")]
)
def test_processes_that_lightning_cannot_start_are_one_line(
    words: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetrip_trainer.errors import TrainerError
    from safetrip_trainer.inference.processes import add_process_arguments, launch

    parser = argparse.ArgumentParser()
    add_process_arguments(parser)
    with pytest.raises(TrainerError, match=" ".join(words)) as caught:
        launch(parser.parse_args(list(words)))
    assert "\n" not in str(caught.value)
