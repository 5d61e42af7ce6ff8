"""What is deployed: the unit as systemd sees it, the Dockerfile line by line. Neither was run on a Jetson."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from safetrip_sdk.cli.main import make_parser
from safetrip_sdk.sources.uri import parse_uri

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def settings(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continued lines joined, comments left out."""
    text = "\n".join(
        line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    )
    found = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            found.append((word, rest.strip()))
    return found


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    # Its programs and users are the robot's: a program that is there takes their place.
    text = (
        (DEPLOY / "safetrip.service").read_text().replace("/opt/safetrip/venv/bin/safetrip", sys.executable)
    )
    text = text.replace("/usr/bin/jetson_clocks", sys.executable)
    unit = tmp_path / "safetrip.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if "safetrip.service" in line]
    # The one thing it misses is the camera daemon, which only a Jetson has.
    assert [line for line in told if "nvargus-daemon" not in line] == []


def test_the_unit_calls_what_there_is() -> None:
    unit = (DEPLOY / "safetrip.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command is not None
    values = settings(DEPLOY / "safetrip.default")
    line = command[1].replace("${", "$").replace("}", "")
    for name, value in values.items():
        line = line.replace(f"${name}", value if name == "SAFETRIP_OPTIONS" else shlex.quote(value))
    assert "$" not in line
    args = make_parser()[0].parse_args(shlex.split(line)[1:])
    assert args.verb == "run"
    uri = parse_uri(args.source)
    assert uri.scheme == "csi"
    assert set(uri.options) <= {"width", "height", "fps", "flip", "mode", "stall", "give_up"}
    # A camera that comes up later, and faults however often, leave no robot blind.
    assert uri.options["give_up"] == "0"
    assert "StartLimitIntervalSec=0" in unit
    assert "Restart=on-failure" in unit
    # Ctrl-C is how a run ends in order, and its exit status is then 130.
    assert "KillSignal=SIGINT" in unit
    assert "SuccessExitStatus=130" in unit


def test_the_image_is_made_of_what_there_is() -> None:
    """Files exist, and the context lets them through."""
    let_in = [
        line.lstrip("!/")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = []
    for word, rest in instructions():
        assert word in {
            "FROM", "RUN", "COPY", "USER", "WORKDIR", "STOPSIGNAL", "ENTRYPOINT", "CMD"
        }, word  # fmt: skip
        if word == "COPY":
            *sources, _ = rest.split()
            copied += sources
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in let_in), source
    # All that the robot's wheel is made of, by the script that makes it.
    assert set(copied) == {
        "LICENSE", "README.md", "pyproject.toml", "setup.cfg", "sdk", "deploy/robot_wheel.py"
    }  # fmt: skip


def test_the_image_is_pinned_small_and_no_root() -> None:
    found = instructions()
    words = [word for word, _ in found]
    assert words[0] == "FROM"
    assert words.count("FROM") == 1
    image, _, tag = found[0][1].rpartition(":")
    assert image == "nvcr.io/nvidia/l4t-jetpack"
    assert re.fullmatch(r"r36\.\d+\.\d+", tag), "a release, not `latest`"
    for word, rest in found:
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if word == "RUN" and "pip install" in rest:
            assert "--no-cache-dir" in rest
            assert "cuda-python>=12.9.1,<13" in rest
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list), "no shell in between: signals arrive"
    users = [rest for word, rest in found if word == "USER"]
    assert users == ["10001"]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word == "RUN")
    assert ("STOPSIGNAL", "SIGINT") in found
