"""The distribution holds what the disk holds, and the SDK stays light."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


def test_the_lock_names_every_requirement(setup: configparser.ConfigParser) -> None:
    """What `make demo` installs is pinned, whatever is newest then; other Pythons take the newest."""
    extras = setup["options.extras_require"]
    wanted: set[str] = set()
    pending = ["dev"]
    while pending:
        for line in _lines(extras[pending.pop()]):
            name, listed = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", line).groups()  # type: ignore[union-attr]
            if name == "safetrip":
                pending += listed.split(",")
            else:
                wanted.add(name.lower().replace("_", "-"))
    for file in (ROOT / "requirements").glob("lock-py*.txt"):
        lines = file.read_text().splitlines()
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
        missing = wanted - {line.split("==")[0].replace("_", "-") for line in lines}
        assert missing == set(), f"{file.name}: {missing}: run `make lock`"


@pytest.mark.slow
def test_wheel_and_source_archive_are_fit_for_an_index(tmp_path: Path) -> None:
    """Built from what git tracks; the wheel is pure Python and the SDK in it imports as it is."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            target = tmp_path / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    out = tmp_path / "dist"
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tmp_path / "source")]
    subprocess.run(build, check=True, capture_output=True)
    files = sorted(out.iterdir())
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], check=True)
    wheel = next(file for file in files if file.suffix == ".whl")
    assert wheel.name.endswith("-py3-none-any.whl")
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
