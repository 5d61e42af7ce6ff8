"""Completion, asked of a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from safetrip_sdk.cli import main
from safetrip_sdk.cli.main import VERBS, make_parser


def completions(script: Path, line: str) -> set[str]:
    """What bash would offer at the end of a line."""
    program = f"""
source {script}
COMP_WORDS=({line})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
[ "${{LAST-}}" = empty ] && {{ COMP_WORDS+=(""); COMP_CWORD=$(( COMP_CWORD + 1 )); }}
compopt() {{ :; }}
_safetrip
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    last = "empty" if line.endswith(" ") else "word"
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"LAST": last, "PATH": "/bin"},
    )
    assert not done.stderr
    return set(done.stdout.split())


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "safetrip.bash"
    path.write_text(capsys.readouterr().out)
    return path


def test_bash_offers_verbs_options_and_values(script: Path) -> None:
    assert completions(script, "safetrip ") == set(VERBS)
    assert completions(script, "safetrip b") == {"bench", "build"}
    assert {"--source", "--record", "--view", "--check"} <= completions(script, "safetrip run x.bundle --")
    assert completions(script, "safetrip run x --pol") == {"--policy"}
    assert completions(script, "safetrip run x --backend ") >= {"openvino", "tensorrt", "auto"}
    assert completions(script, "safetrip bench x --precision f") == {"fp32", "fp16"}
    assert completions(script, "safetrip completion ") == {"bash", "zsh"}
    assert completions(script, "safetrip run ") == set(), "files are the shell's own business"


def test_zsh_takes_the_script_if_it_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef safetrip")
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n"], input=text, text=True, check=True)


def test_every_verb_teaches() -> None:
    """A line, options, examples that its own parser takes, and what its exit status means."""
    parser, modules = make_parser()
    for verb, module in modules.items():
        assert "exit status" in module.EPILOG, verb
        examples = module.EPILOG.split("examples:")[1].strip().splitlines()
        assert len(examples) >= 2
        for example in examples:
            words = example.split("#")[0].replace("'", "").split()
            if words[0] == "safetrip":
                words = words[1:]
                for end in ("|", ">", "(with"):
                    words = words[: words.index(end)] if end in words else words
                assert parser.parse_args(words).verb == verb
