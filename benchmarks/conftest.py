"""Options of `pytest benchmarks`, and the pairs of precision and backend that can run here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from safetrip_calibration.images import frames_from
from safetrip_sdk import Runtime
from safetrip_sdk.backends import BACKENDS, probe
from safetrip_sdk.bundle import Bundle

HERE = Path(__file__).parent
DEFAULT_BUNDLES = HERE.parent / "runs" / "demo"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("safetrip")
    group.addoption("--bundle", type=Path, help="bundle to measure (default: runs/demo/*.bundle)")
    group.addoption("--frame", default="1080x1920", help="HxW of the camera's frames (1080x1920)")
    group.addoption("--tree", type=Path, help="SafeTrip-Q tree for the loader (default: generated scenes)")
    group.addoption("--budget", type=Path, help="budget file to hold the bundle against")
    group.addoption(
        "--min-speedup", type=float, default=1.0, help="least speed of int8 in multiples of fp32's (1.0)"
    )


def find_bundle(config: pytest.Config) -> Path | None:
    """The bundle asked for, else the demo's; None when there is none."""
    given: Path | None = config.getoption("--bundle")
    if given is not None:
        return given
    found = sorted(DEFAULT_BUNDLES.glob("*.bundle"))
    return found[0] if found else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"precision", "backend"} <= set(metafunc.fixturenames):
        path = find_bundle(metafunc.config)
        pairs: list[object] = []
        if path is not None:
            there = Bundle.open(path).manifest.precisions
            usable = [name for name in BACKENDS if probe(name).available]
            pairs = [(precision, backend) for precision in there for backend in usable]
        if not pairs:
            reason = "no bundle: give --bundle X.bundle, or run `make demo` first"
            pairs = [pytest.param("none", "none", marks=pytest.mark.skip(reason=reason))]
        metafunc.parametrize(("precision", "backend"), pairs)


@pytest.fixture(scope="session")
def bundle(request: pytest.FixtureRequest) -> Path:
    path = find_bundle(request.config)
    if path is None:
        pytest.skip("no bundle: give --bundle X.bundle, or run `make demo` first")
    return path


@pytest.fixture(scope="session")
def frame(request: pytest.FixtureRequest) -> np.ndarray:
    height, _, width = request.config.getoption("--frame").partition("x")
    return frames_from(None, (int(height), int(width)), 1)[0]


@pytest.fixture
def runtime(bundle: Path, precision: str, backend: str, frame: np.ndarray) -> Iterator[Runtime]:
    """A runtime of one pair, open and warm."""
    size = (frame.shape[0], frame.shape[1])
    with Runtime(bundle, precision=precision, backend=backend, frame_size=size, slots=1) as opened:
        for _ in range(5):
            opened(frame)
        yield opened
