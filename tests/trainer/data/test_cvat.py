from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.data.cvat import parse_cvat, parse_fixed_points, parse_points
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import annotations, image_element, polygon


def parse(tmp_path: Path, text: str):
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-8")
    return parse_cvat(path)


def test_reads_labels_points_and_z_order(tmp_path: Path) -> None:
    content = polygon("sidewalk", "1.50,2;3,4;5,-6.25", z_order=3, occluded=0) + polygon("bus", z_order=-1)
    image = parse(tmp_path, annotations(image_element("sub/folder/x.jpg", content))).images["x.jpg"]
    assert (image.width, image.height) == (48, 32)
    assert [(item.label, item.z_order) for item in image.polygons] == [(0, 3), (CLASS_NAMES.index("bus"), -1)]
    np.testing.assert_array_equal(image.polygons[0].points, [[1.5, 2], [3, 4], [5, -6.25]])


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ("1,1;2,2", "2 point"),
        ("", "0 point"),
        ("1,1;nan,2;3,3", "not finite"),
        ("1,1;inf,2;3,3", "not finite"),
        ("1,1;a,2;3,3", "not 'x,y'"),
        ("1,1;2;3,3", "not 'x,y'"),
        ("1,1;1,2,3;3,3", "not 'x,y'"),
        ("1,1;1e30,2;3,3", "far outside"),
    ],
)
def test_a_bad_polygon_is_named_and_left_out(tmp_path: Path, points: str, complaint: str) -> None:
    content = polygon("sidewalk", points) + polygon("roadway")
    result = parse(tmp_path, annotations(image_element("x.jpg", content)))
    assert [item.label for item in result.images["x.jpg"].polygons] == [CLASS_NAMES.index("roadway")]
    (reason,) = result.problems["x.jpg"]
    assert complaint in reason
    assert "a.xml" in reason
    assert "sidewalk" in reason


def test_unknown_labels_and_other_shapes_are_dropped_and_counted(tmp_path: Path) -> None:
    skeleton = '<skeleton label="person"><points label="head" points="1,1"/></skeleton>'
    content = polygon("cat") + polygon("cat") + '<box label="car" xtl="1"/>' + skeleton + polygon("car")
    result = parse(tmp_path, annotations(image_element("x.jpg", content)))
    # A skeleton's points are parts of it, no shapes.
    assert dict(result.dropped["x.jpg"]) == {"label cat": 2, "shape box": 1, "shape skeleton": 1}
    assert len(result.images["x.jpg"].polygons) == 1
    assert result.problems["x.jpg"] == []


@pytest.mark.parametrize("size", [{"width": "0"}, {"height": "-3"}, {"width": "wide"}])
def test_an_image_without_a_size_is_a_problem(tmp_path: Path, size: dict[str, str]) -> None:
    result = parse(tmp_path, annotations(image_element("x.jpg", polygon("car"), **size)))
    assert result.images == {}
    assert "no positive whole number" in result.problems["x.jpg"][0]


def test_a_z_order_that_is_no_number_is_a_problem(tmp_path: Path) -> None:
    result = parse(tmp_path, annotations(image_element("x.jpg", polygon("car", z_order="top"))))
    assert "z_order='top'" in result.problems["x.jpg"][0]


def test_an_image_annotated_twice_keeps_the_first(tmp_path: Path) -> None:
    twice = annotations(image_element("x.jpg", polygon("car")), image_element("x.jpg", polygon("bus")))
    result = parse(tmp_path, twice)
    assert result.images["x.jpg"].polygons[0].label == CLASS_NAMES.index("car")
    assert "annotated twice" in result.problems["x.jpg"][0]


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<annotations><image name="&b;" width="1" height="1"/></annotations>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_entities_are_refused_before_they_expand(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match=r"a\.xml: declares a DTD or entities"):
        parse(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["", "<annotations>", "<annotations><image></annotations>", "not xml at all"]
)
def test_malformed_xml_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match=r"a\.xml: malformed XML"):
        parse(tmp_path, text)


def test_another_kind_of_xml_names_its_root(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds <html>"):
        parse(tmp_path, "<html/>")


def test_tracks_of_a_video_are_said_to_be_such(tmp_path: Path) -> None:
    track = '<track id="0" label="car"><polygon frame="0" points="0,0;4,0;4,4"/></track>'
    with pytest.raises(DatasetError, match=r"CVAT for video.*export it as 'CVAT for images 1\.1'"):
        parse(tmp_path, f"<annotations><meta/>{track}</annotations>")


def test_a_missing_file_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.xml: cannot be read"):
        parse_cvat(tmp_path / "none.xml")


@given(st.lists(st.tuples(st.integers(-9999, 9999), st.integers(-9999, 9999)), min_size=3, max_size=20))
def test_points_written_are_points_read(hundredths: list[tuple[int, int]]) -> None:
    text = ";".join(f"{x / 100:.2f},{y / 100:.2f}" for x, y in hundredths)
    expected = np.array(hundredths, np.float64) / 100
    np.testing.assert_allclose(parse_points(text, 100, 100), expected, atol=1e-4)


@given(st.text(alphabet="0123456789.,;-+enaif ", max_size=40))
def test_any_text_gives_finite_points_or_a_value_error(text: str) -> None:
    try:
        points = parse_points(text, 64, 64)
    except ValueError:
        return
    assert points.shape[1:] == (2,)
    assert len(points) >= 3
    assert np.isfinite(points).all()


COORDINATE = st.integers(0, 20_000).map(lambda hundredths: f"{hundredths // 100}.{hundredths % 100:02d}")
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE).map(",".join), min_size=3, max_size=9).map(";".join)


@given(st.lists(POINTS, min_size=1, max_size=5))
def test_all_at_once_is_one_by_one_to_the_bit(texts: list[str]) -> None:
    together = parse_fixed_points(texts, 100, 100)
    assert together is not None
    for points, text in zip(together, texts):
        alone = parse_points(text, 100, 100)
        assert points.dtype == alone.dtype == np.float32
        np.testing.assert_array_equal(points, alone)


@given(
    st.text("0123456789.,;-e ", max_size=40) | POINTS,
    st.text(",;.0\u00e9\uff11", max_size=3),
    st.integers(0, 40),
)
def test_all_at_once_takes_nothing_that_one_by_one_refuses(text: str, more: str, at: int) -> None:
    text = text[:at] + more + text[at:]
    together = parse_fixed_points([text], 100, 100)
    if together is not None:
        np.testing.assert_array_equal(together[0], parse_points(text, 100, 100))


@pytest.mark.parametrize("point", ["1,2", "1.0,2.00", "-1.00,2.00", "999.00,2.00", "nan,2.00", "1.00", ""])
def test_one_odd_point_sends_the_image_the_long_way(point: str) -> None:
    sound = "1.00,2.00;3.00,4.00;5.00,6.00"
    assert parse_fixed_points([sound, sound], 100, 100) is not None
    assert parse_fixed_points([sound, f"{sound};{point}"], 100, 100) is None
    assert parse_fixed_points([], 100, 100) is None


def test_memory_holds_the_points_and_one_images_elements(tmp_path: Path) -> None:
    points = ";".join(f"{x / 2:.2f},{x / 3:.2f}" for x in range(100))
    polygons = f'<polygon label="roadway" points="{points}" z_order="0"/>' * 10
    images = (f'<image name="{n}.jpg" width="640" height="480">{polygons}</image>' for n in range(150))
    path = tmp_path / "a.xml"
    path.write_text(f"<annotations>{''.join(images)}</annotations>")
    tracemalloc.start()
    parsed = parse_cvat(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(parsed.images) == 150
    assert peak - kept < path.stat().st_size / 4
