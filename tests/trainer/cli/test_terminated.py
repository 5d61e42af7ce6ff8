"""A verb that a scheduler ends leaves nothing half done behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def test_sigterm_is_143_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    words = ["synth", str(tree), "--scenes", "600", "--size", "160x120", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "safetrip_trainer", *words], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.jpg"))) < 3:  # beside the place where the whole tree will stand
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
