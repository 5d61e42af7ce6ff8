"""What the doctor says: in plain words, for each machine that a robot team may have."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from safetrip_sdk.backends import Availability, probe
from safetrip_sdk.cli import doctor, main
from safetrip_sdk.cli.advice import advise
from safetrip_sdk.cli.report import paint
from safetrip_sdk.jetson import JetPack, read_jetpack
from tests.sdk.fake_gpu import FakeCuda, install

CPU = [Availability("openvino", True, "2026.0", "CPU"), Availability("onnxruntime", True, "1.32", "CPU")]
NO_RTX = Availability("tensorrt_rtx", False, reason="tensorrt_rtx: not installed")
RELEASES = {
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64": (
        "JetPack 6.1 or 6.2",
        "10.3",
    ),
    "# R36 (release), REVISION: 5.0, GCID: 1": ("JetPack 6.1 or 6.2", "10.3"),
    "# R36 (release), REVISION: 3.0, GCID: 1": ("JetPack 6.0", "8.6"),
    "# R38 (release), REVISION: 2.1, GCID: 1": ("JetPack 7", "10.16 (of JetPack 7.2)"),
    "# R35 (release), REVISION: 4.1, GCID: 1": ("JetPack 5 or older", "8.5 or older"),
}


@pytest.mark.parametrize("line", RELEASES)
def test_the_release_file_names_the_jetpack(line: str, tmp_path: Path) -> None:
    path = tmp_path / "nv_tegra_release"
    path.write_text(line + "\n# KERNEL_VARIANT: oot\n")
    found = read_jetpack(path)
    assert found is not None
    assert (found.name, found.tensorrt) == RELEASES[line]


def test_no_jetson(tmp_path: Path) -> None:
    assert read_jetpack(tmp_path / "none") is None
    (tmp_path / "odd").write_text("hello")
    assert read_jetpack(tmp_path / "odd") is None


def jetpack(release: int, tmp_path: Path) -> JetPack:
    (tmp_path / "release").write_text(f"# R{release} (release), REVISION: 4.3, GCID: 1")
    found = read_jetpack(tmp_path / "release")
    assert found is not None
    return found


def test_a_jetson_without_the_bindings_is_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCuda())
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    missing = probe("tensorrt")
    assert not missing.available
    six = " ".join(advise([missing, NO_RTX, *CPU], "openvino", jetpack(36, tmp_path), None))
    assert "JetPack 6.1 or 6.2" in six
    assert "TensorRT 10.3" in six
    assert "pip install 'cuda-python>=12.9.1,<13'" in six
    assert "openvino on the CPU" in six
    seven = " ".join(advise([missing, NO_RTX, *CPU], "openvino", jetpack(38, tmp_path), None))
    assert "pip install 'cuda-python>=13,<14'" in seven


def test_a_jetson_without_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As it is told where the module is missing, not as this test would have it.
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    missing = probe("tensorrt")
    assert not missing.available
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    (tmp_path / "venv").mkdir()
    settings = tmp_path / "venv" / "pyvenv.cfg"
    settings.write_text("include-system-site-packages = false\n")
    text = " ".join(advise([missing, NO_RTX, *CPU], "openvino", jetpack(36, tmp_path), None))
    assert "sudo apt install python3-libnvinfer" in text
    assert "--system-site-packages" in text
    settings.write_text("include-system-site-packages = true\n")
    text = " ".join(advise([missing, NO_RTX, *CPU], "openvino", jetpack(36, tmp_path), None))
    assert "--system-site-packages" not in text


def test_an_old_jetpack_is_to_be_flashed(tmp_path: Path) -> None:
    missing = Availability("tensorrt", False, reason="x")
    (first, *_) = advise([missing, NO_RTX, *CPU], "openvino", jetpack(35, tmp_path), None)
    assert "Flash JetPack 6.2 or 7.2" in first


def test_a_gpu_without_an_engine_and_with_one(tmp_path: Path) -> None:
    ready = Availability("tensorrt", True, "10.3.0", "Orin")
    found = [ready, NO_RTX, *CPU]
    assert "safetrip build BUNDLE" in advise(found, "openvino", None, [])[0]
    assert "safetrip doctor BUNDLE" in advise(found, "tensorrt", None, None)[0]
    assert advise(found, "tensorrt", None, ["engines/x.plan"])[0].startswith("The GPU is used")


def test_nothing_can_run() -> None:
    found = [Availability(name, False, reason="no") for name in ("tensorrt", "tensorrt_rtx", "openvino")]
    assert advise(found, None, None, None)[-1].startswith("Nothing can run here")


def test_the_doctor_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(doctor, "read_jetpack", lambda: jetpack(36, tmp_path))
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "This is a Jetson with JetPack 6.1 or 6.2 (Jetson Linux 36.4.3)" in text
    assert "\x1b[" not in text, "no colours where there is no terminal"


def test_remedies_name_what_an_index_has() -> None:
    """SafeTrip is handed over as a file: under its name an index offers nothing, or what is not ours."""
    root = Path(__file__).parents[2]
    files = [
        *(root / "README.md", *(root / "docs").rglob("*.md"), *(root / "examples").rglob("*.py")),
        *(file for name in ("sdk", "trainer", "calibration") for file in (root / name).rglob("*.py")),
    ]
    asked = re.compile(r"pip install [^`\n]*?(?<![\w./*-])safetrip(?![\w/*-])")
    found = {file.name: asked.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {name: texts for name, texts in found.items() if texts} == {}
    assert asked.search("pip install 'safetrip[cpu]'")
    assert asked.search("pip install --upgrade safetrip")
    assert not asked.search("pip install 'dist/safetrip-0.1.0+robot-py3-none-any.whl[cpu]'")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    assert paint("x", "red", terminal) == "\x1b[31mx\x1b[0m"  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red", terminal) == "x"  # type: ignore[arg-type]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", "red", terminal) == "x"  # type: ignore[arg-type]
