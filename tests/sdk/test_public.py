"""What importing the SDK gives and what it costs: numpy at most, no backend, no GPU."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import safetrip_sdk
from safetrip_sdk import errors

ROOT = Path(safetrip_sdk.__file__).parent
HEAVY = {"cv2", "openvino", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "torch", "onnx"}


@pytest.mark.parametrize(
    "statement", ["import safetrip_sdk", "from safetrip_sdk import *", "import safetrip_sdk.cli.main"]
)
def test_import_needs_numpy_alone(statement: str) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & HEAVY
    if statement == "import safetrip_sdk":
        assert "numpy" not in loaded


def test_every_public_name_is_there() -> None:
    for name in safetrip_sdk.__all__:
        assert getattr(safetrip_sdk, name) is not None
    assert set(safetrip_sdk.__all__) <= set(dir(safetrip_sdk))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = safetrip_sdk.Nonsense


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def test_each_third_party_has_one_door() -> None:
    doors = {
        "cuda": {"cuda.py"},
        "cv2": {"sources/opencv.py"},
        "mcap": {"recording/container.py"},
        "onnxruntime": {"backends/onnxruntime.py"},
        "rerun": {"outputs/rerun_view.py"},
        "rosbags": {"recording/ros2.py"},
        "openvino": {"backends/openvino.py", "backends/openvino_rewrite.py"},
        "tensorrt": set(),
        "tensorrt_rtx": set(),
    }
    for path in ROOT.rglob("*.py"):
        for name in imports(path) & set(doors):
            assert path.relative_to(ROOT).as_posix() in doors[name], f"{path} imports {name}"
    # The two TensorRTs are imported by name, through importlib, in one module.
    users = [path for path in ROOT.rglob("*.py") if "import_module(self.flavor.module)" in path.read_text()]
    assert [path.name for path in users] == ["tensorrt_library.py"]


def test_every_error_is_in_the_tree_that_is_drawn() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.SafetripError)
        assert name in (errors.__doc__ or "")


def test_errors_are_caught_by_their_name_at_the_top() -> None:
    for name in errors.__all__:
        assert getattr(safetrip_sdk, name) is getattr(errors, name)
        assert name in safetrip_sdk.__all__
    code = "import sys, safetrip_sdk as s; s.FrameSizeError; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "safetrip_sdk", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"safetrip {safetrip_sdk.__version__}\n")
    done = subprocess.run([sys.executable, "-m", "safetrip_sdk", "info", "x.bundle"], capture_output=True)
    assert done.returncode == 2


def test_every_module_says_what_it_exports() -> None:
    for path in ROOT.rglob("*.py"):
        assert path.name in ("_version.py", "__main__.py") or "__all__" in path.read_text(), path
