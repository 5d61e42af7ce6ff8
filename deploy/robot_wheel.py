#!/usr/bin/env python3
"""Builds the robot's wheel: the same distribution with the SDK alone, as version X.Y.Z+robot.

    python3 deploy/robot_wheel.py dist

Whichever of the two wheels is installed last takes the other's place. All metadata are setup.cfg's, less
what only the workstation has. pip builds it, and downloads setuptools to do so; words after the folder are
options for it.
"""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "safetrip_sdk"
LABEL = "+robot"
WORKSTATION = ("trainer", "wandb", "docs", "dev")
"""Extras that a robot has no use for."""


def reduce(setup: configparser.ConfigParser) -> None:
    """Leave the SDK's packages, commands and extras, and label the version."""

    def keep(section: str, key: str, having: str) -> None:
        lines = [line for line in setup[section][key].splitlines() if having in line]
        setup[section][key] = "\n" + "\n".join(lines)

    keep("options", "packages", PACKAGE)
    keep("options", "package_dir", PACKAGE)
    keep("options.entry_points", "console_scripts", f"= {PACKAGE}.")
    for name in set(setup["options.package_data"]) - {PACKAGE}:
        del setup["options.package_data"][name]
    for name in WORKSTATION:
        del setup["options.extras_require"][name]
    setup["egg_info"] = {"tag_build": LABEL}


def main() -> None:
    """Build the wheel into the folder that is the first word."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    out, options = Path(sys.argv[1]).absolute(), sys.argv[2:]
    setup = configparser.ConfigParser(interpolation=None)
    with open(ROOT / "setup.cfg", encoding="utf-8") as file:
        setup.read_file(file)
    reduce(setup)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("LICENSE", "README.md", "pyproject.toml"):
            shutil.copyfile(ROOT / name, tree / name)
        shutil.copytree(ROOT / "sdk", tree / "sdk", ignore=shutil.ignore_patterns("__pycache__"))
        with open(tree / "setup.cfg", "w", encoding="utf-8") as file:
            setup.write(file)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), *options]
        subprocess.run([*command, str(tree)], check=True)


if __name__ == "__main__":
    main()
