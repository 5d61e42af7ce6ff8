"""Which JetPack this Jetson runs, and what that JetPack brings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RELEASE_FILE", "JetPack", "read_jetpack"]

RELEASE_FILE = Path("/etc/nv_tegra_release")


@dataclass(frozen=True)
class JetPack:
    """One generation of NVIDIA's software for Jetsons.

    Attributes:
        name: as NVIDIA calls it.
        l4t: release of Jetson Linux, such as 36.4.3.
        tensorrt: its TensorRT.
        python: its Python.
        cuda_python: what to ask pip for; a release of another CUDA generation fails when it is imported.
        supported: whether this SDK runs on it.
    """

    name: str
    l4t: str
    tensorrt: str
    python: str
    cuda_python: str
    supported: bool = True


def read_jetpack(path: Path = RELEASE_FILE) -> JetPack | None:
    """The JetPack that /etc/nv_tegra_release tells of; None on a machine that is no Jetson.

    The file begins with a line such as `# R36 (release), REVISION: 4.3, GCID: ...`.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([0-9.]+)", text)
    if match is None:
        return None
    major, l4t = int(match[1]), f"{match[1]}.{match[2]}"
    if major >= 38:
        return JetPack("JetPack 7", l4t, "10.16 (of JetPack 7.2)", "3.12", "cuda-python>=13,<14")
    if major == 36:
        # 36.4 is JetPack 6.1 to 6.2.x; 36.2 and 36.3 are 6.0, whose TensorRT is 8.6.
        if float(match[2].split(".")[0]) >= 4:
            return JetPack("JetPack 6.1 or 6.2", l4t, "10.3", "3.10", "cuda-python>=12.9.1,<13")
        return JetPack("JetPack 6.0", l4t, "8.6", "3.10", "", supported=False)
    return JetPack("JetPack 5 or older", l4t, "8.5 or older", "3.8", "", supported=False)
