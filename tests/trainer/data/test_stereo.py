from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_trainer.data.stereo import StereoCalibration, disparity_to_depth, parse_conf
from safetrip_trainer.errors import DatasetError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "Depth_001.conf"
    path.write_text(text)
    return path


def test_reads_millimetres_as_metres(tmp_path: Path) -> None:
    path = write(tmp_path, "[LEFT]\n# comment = 3\nBaseLine = 120.5\nfx=700\nfy=701\ncx=1\ncy=2\nother=abc\n")
    assert parse_conf(path) == StereoCalibration(0.1205, 700.0, 701.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fx=700\n", "no BaseLine"),
        ("BaseLine=120\n", "no fx"),
        ("", "no BaseLine"),
        ("BaseLine=0\nfx=700\n", "BaseLine=0 is no positive number"),
        ("BaseLine=-3\nfx=700\n", "BaseLine=-3 is no positive number"),
        ("BaseLine=120\nfx=nan\n", "fx=nan is no positive number"),
        ("BaseLine=wide\nfx=700\n", "BaseLine=wide"),
        ("BaseLine=120\nfx=700\ncx=left\n", "cx=left is no number"),
    ],
)
def test_a_conf_without_scale_names_file_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(DatasetError, match=rf"Depth_001\.conf: {complaint}"):
        parse_conf(write(tmp_path, text))


@given(st.integers(0, 65535), st.floats(0.01, 1.0), st.floats(50, 3000))
def test_depth_is_the_formula_and_zero_is_unknown(value: int, baseline: float, fx: float) -> None:
    depth = float(disparity_to_depth(np.array([[value]], np.uint16), baseline, fx)[0, 0])
    if value == 0:
        assert math.isnan(depth)
    else:
        assert depth == pytest.approx(baseline * fx / (value / 256), rel=1e-5)


def test_zero_disparity_divides_nothing(recwarn: pytest.WarningsRecorder) -> None:
    depth = disparity_to_depth(np.zeros((4, 4), np.uint16), 0.1, 500.0)
    assert np.isnan(depth).all()
    assert not recwarn.list
