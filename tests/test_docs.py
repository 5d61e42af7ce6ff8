"""The documentation's code runs, its commands parse, its messages exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from safetrip_sdk.cli.main import make_parser as robot_parser
from safetrip_trainer.cli.main import make_parser as trainer_parser
from safetrip_trainer.data.prepare import prepare
from safetrip_trainer.export import export_bundle
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.synth import SynthOptions, synthesize

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"(?:^<!-- (?P<mark>[^>]*) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
_MARKS = ("needs hardware", "by hand: ")
_LIGHTNING = ("fit", "validate", "test", "predict")


@dataclass(frozen=True)
class Block:
    """A block of code; `mark` says why it is not run here."""

    page: Path
    line: int
    kind: str
    code: str
    mark: str | None


def _blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text[: found.start()].count("\n") + 1, found["kind"], found["code"], found["mark"])
        for found in _FENCE.finditer(text)
    ]


def _to_run(page: Path) -> list[Block]:
    return [block for block in _blocks(page) if block.kind in ("python", "sh") and block.mark is None]


def _commands(page: Path) -> list[str]:
    """Lines that call `trainer` or `safetrip`, in blocks and indented, continuations joined."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    found = re.findall(r"^(?: {4})?((?:trainer|safetrip) [a-z-]+ .*)$", text, re.M)
    lines = [re.split(r" \|\| | > |  +#| {2,}\(", line)[0].strip() for line in found]
    return [line for line in lines if "..." not in line and "[" not in line.split("'")[0] and "|" not in line]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: a bundle, a prepared set, the project's folders."""
    folder = tmp_path_factory.mktemp("docs") / "workplace"
    folder.mkdir()
    for name in ("configs", "benchmarks", "examples"):
        (folder / name).symlink_to(ROOT / name)
    torch.manual_seed(0)
    net = HydraNet(width_mult=0.35, decoder_channels=32)
    torch.nn.init.normal_(net.segmentation.out.weight, std=0.5)
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    export_bundle(net, (96, 160), folder / "sidewalk.bundle", [frame], {"label": "untrained"})
    synthesize(folder / "data" / "scenes", SynthOptions(scenes=24, size=(160, 96), workers=1))
    prepare(folder / "data" / "scenes", folder / "data" / "prepared")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _to_run(page)], ids=lambda page: page.stem)
def test_code_blocks_run(page: Path, workplace: Path, tmp_path: Path) -> None:
    """In order, in one folder, as a reader would; each page starts afresh."""
    folder = tmp_path / "here"
    shutil.copytree(workplace, folder, symlinks=True)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    for block in _to_run(page):
        command = (
            [sys.executable, "-c", block.code] if block.kind == "python" else ["bash", "-ec", block.code]
        )
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        said = f"{page.name}:{block.line}\n{block.code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.returncode == 0, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_says_why(page: Path) -> None:
    for block in _blocks(page):
        assert block.mark is None or block.mark.startswith(_MARKS), f"{page.name}:{block.line}: {block.mark}"


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=lambda page: page.stem)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verbs and options exist: what is renamed must be renamed in the pages."""
    for line in _commands(page):
        program, verb, *words = shlex.split(line)
        if verb in _LIGHTNING:
            configs = [Path(word) for word in words if word.startswith("configs/")]
            assert all((ROOT / config).is_file() for config in configs), line
            continue
        try:
            if program == "safetrip":
                robot_parser()[0].parse_args([verb, *words])
            else:
                trainer_parser(verb)[0].parse_args(words)
        except SystemExit as error:
            raise AssertionError(f"{page.name}: {line}\n{capsys.readouterr().err}") from error


def test_messages_of_troubleshooting_exist() -> None:
    """Each heading quotes what some module says."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    source = "\n".join(
        file.read_text()
        for package in ("sdk", "trainer", "calibration")
        for file in (ROOT / package).rglob("*.py")
    )
    quoted = re.findall(r"^### `(.*)`$", page, re.M)
    assert len(quoted) > 10
    missing = [message for message in quoted if message not in source]
    assert missing == []
