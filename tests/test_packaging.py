"""The distribution holds what the disk holds, and the SDK stays light."""

from __future__ import annotations

import base64
import configparser
import csv
import email
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from safetrip_sdk import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_every_package_on_disk_is_listed(setup: configparser.ConfigParser) -> None:
    homes = dict(line.split(" = ") for line in _lines(setup["options"]["package_dir"]))
    on_disk = set()
    for name, folder in homes.items():
        for module in (ROOT / folder).rglob("*.py"):
            inside = module.parent.relative_to(ROOT / folder)
            on_disk.add(".".join((name, *inside.parts)))
    assert set(_lines(setup["options"]["packages"])) == on_disk


def test_every_package_has_its_init(setup: configparser.ConfigParser) -> None:
    homes = dict(line.split(" = ") for line in _lines(setup["options"]["package_dir"]))
    for package in _lines(setup["options"]["packages"]):
        top, *rest = package.split(".")
        assert (ROOT / homes[top] / Path(*rest) / "__init__.py").is_file(), package


def test_data_files_are_listed(setup: configparser.ConfigParser) -> None:
    homes = dict(line.split(" = ") for line in _lines(setup["options"]["package_dir"]))
    listed = setup["options.package_data"]
    for name, folder in homes.items():
        patterns = [item.strip() for item in listed[name].replace("\n", ",").split(",") if item.strip()]
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                inside = file.relative_to(ROOT / folder)
                assert any(inside.match(pattern) for pattern in patterns), f"{name}: {inside}"


def _imported_by(statement: str) -> set[str]:
    code = (
        f"import sys, json\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {
    "torch",
    "torchvision",
    "lightning",
    "transformers",
    "onnx",
    "onnxruntime",
    "openvino",
    "cv2",
    "tensorrt",
}


def test_importing_the_sdk_needs_numpy_alone() -> None:
    known = set(sys.stdlib_module_names) | {"numpy", "safetrip_sdk", "__main__", "sitecustomize"}
    extra = {
        name
        for name in _imported_by("from safetrip_sdk import Runtime")
        # The editable install's own finder is not there in a wheel.
        if name not in known and not name.startswith(("__editable__", "_distutils_hack", "distutils"))
    }
    assert not extra


VERBS = "synth prepare pseudo-label evaluate infer export calibrate build compare budget fix-checkpoint demo"


@pytest.mark.parametrize("verb", ["", *VERBS.split()])
def test_help_is_quick_and_teaches(verb: str) -> None:
    words = [*verb.split(), "--help"]
    loaded = _imported_by(
        "from safetrip_trainer.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert not loaded & HEAVY
    done = subprocess.run(
        [sys.executable, "-m", "safetrip_trainer", *words], capture_output=True, text=True, check=True
    )
    assert "trainer" in done.stdout
    assert "examples:" in done.stdout or "The chain" in done.stdout


def test_imports_run_one_way() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_names_every_requirement_once(
    setup: configparser.ConfigParser, python: str, machine: str
) -> None:
    """What `make demo` installs is pinned on every Python, whatever is newest then."""
    extras = setup["options.extras_require"]
    wanted: set[str] = set()
    pending = ["dev"]
    while pending:
        for line in _lines(extras[pending.pop()]):
            requirement = Requirement(line)
            if requirement.name == "safetrip":
                pending += requirement.extras
            else:
                wanted.add(canonicalize_name(requirement.name))
    place = {"python_version": python, "python_full_version": f"{python}.9", "platform_machine": machine}
    lock = [Requirement(line) for line in (ROOT / "requirements/lock.txt").read_text().splitlines()]
    assert all(re.fullmatch(r"==[\w.]+", str(item.specifier)) for item in lock)
    pinned = [item.name for item in lock if item.marker is None or item.marker.evaluate(place)]
    assert len(pinned) == len(set(pinned))
    assert wanted - set(pinned) == set(), "run `make lock`"


def _tracked(folder: Path) -> Path:
    """A copy of what git tracks: nobody else's build leftovers, nothing that is written into the checkout."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes, of this environment's setuptools."""
    source, out = _tracked(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    robot = [sys.executable, str(source / "deploy/robot_wheel.py"), str(out), "--no-build-isolation"]
    subprocess.run(robot, check=True, capture_output=True)
    return out


@pytest.fixture
def only_numpy(tmp_path: Path) -> Path:
    """A folder of modules in which there is numpy and nothing else."""
    folder = tmp_path / "only numpy"
    folder.mkdir()
    for item in Path(np.__file__).parents[1].glob("numpy*"):
        (folder / item.name).symlink_to(item)
    return folder


@pytest.mark.slow
def test_wheels_and_source_archive_are_fit_for_an_index(dist: Path) -> None:
    """Built from what git tracks; the wheel is pure Python and the SDK in it imports as it is."""
    files = sorted(dist.iterdir())
    assert [file.name for file in files] == [
        f"safetrip-{__version__}+robot-py3-none-any.whl",
        f"safetrip-{__version__}-py3-none-any.whl",
        f"safetrip-{__version__}.tar.gz",
    ]
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], check=True)
    wheel = files[1]
    names = zipfile.ZipFile(wheel).namelist()
    packages = ("safetrip_sdk", "safetrip_trainer", "safetrip_calibration")
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert not any(name.startswith(("tests", "benchmarks", "docs")) for name in names)
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import safetrip_sdk; print(safetrip_sdk.__file__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(wheel))


@pytest.mark.slow
def test_the_robots_wheel_is_the_sdk_alone(dist: Path, only_numpy: Path) -> None:
    both = sorted(dist.glob("*.whl"))
    robot, whole = (zipfile.ZipFile(file) for file in both)
    assert both[0].stat().st_size < 300_000
    info = f"safetrip-{__version__}+robot.dist-info/"
    modules = {name for name in robot.namelist() if not name.startswith(info)}
    assert modules == {name for name in whole.namelist() if name.startswith("safetrip_sdk/")}
    assert all(robot.read(name) == whole.read(name) for name in modules)

    metadata = email.message_from_bytes(robot.read(info + "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("safetrip", f"{__version__}+robot")
    assert set(metadata.get_all("Provides-Extra", [])) == {"tensorrt", "rtx", "cpu", "camera", "view"}
    for key in ("Summary", "License", "Requires-Python", "Classifier"):
        original = email.message_from_bytes(whole.read(f"safetrip-{__version__}.dist-info/METADATA"))
        assert metadata.get_all(key) == original.get_all(key)
    commands = configparser.ConfigParser()
    commands.read_string(robot.read(info + "entry_points.txt").decode())
    assert dict(commands["console_scripts"]) == {"safetrip": "safetrip_sdk.cli:main"}
    assert info + "licenses/LICENSE" in robot.namelist()
    # What bundles, caches and recordings are stamped with is the version without its label.
    code = f"import sys; sys.path[:0] = {[str(both[0]), str(only_numpy)]!r}\n" + (
        "import safetrip_sdk; from safetrip_sdk import Runtime; from safetrip_sdk.cli import main\n"
        "print(safetrip_sdk.__version__, sorted({m.split('.')[0] for m in sys.modules if 'site-packages' in"
        " (getattr(sys.modules[m], '__file__', None) or '')}))\n"
        "sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == f"{__version__} []"
    # No backend can run in such an environment, and it says so.
    assert (done.returncode, done.stderr) == (1, "")
    assert "backend='auto' would use: nothing" in done.stdout


@pytest.mark.slow
def test_either_wheel_replaces_the_other(dist: Path, only_numpy: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "numpy.pth").write_text(f"{only_numpy}\n")

    def pip(*words: str) -> str:
        command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for wheel in [*sorted(dist.glob("*.whl")), min(dist.glob("*.whl"))]:
        is_robot = "+robot" in wheel.name
        pip("install", "--no-index", str(wheel))
        there = {item.name for item in site.iterdir() if item.name.startswith("safetrip")}
        version = wheel.name.split("-")[1]
        packages = {"safetrip_sdk"} | (set() if is_robot else {"safetrip_trainer", "safetrip_calibration"})
        assert there == {f"safetrip-{version}.dist-info", *packages}
        assert (tmp_path / "venv/bin/safetrip").exists()
        assert (tmp_path / "venv/bin/trainer").exists() is not is_robot
        assert "No broken requirements found" in pip("check")
        # Every file is the one that RECORD describes, and none is left without a line there.
        assert pip("list", "--format=freeze").count(f"safetrip=={version}\n") == 1
        assert _differences(site, site / f"safetrip-{version}.dist-info/RECORD") == set()


def _differences(site: Path, record: Path) -> set[str]:
    """Files below the packages that RECORD lacks or describes otherwise."""
    described = {row[0]: row[1] for row in csv.reader(record.read_text().splitlines())}
    wrong = set()
    for file in (item for item in site.glob("safetrip*/**/*") if item.is_file()):
        name = str(file.relative_to(site))
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
        if described.get(name) not in ("", f"sha256={digest}"):
            wrong.add(name)
    return wrong
