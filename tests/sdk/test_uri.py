"""Addresses of sources: taken apart without opening anything, and refused in one line."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources import open_source
from safetrip_sdk.sources.csi import csi_pipeline
from safetrip_sdk.sources.uri import NETWORK, WITH_QUERY, parse_uri, whole


@pytest.mark.parametrize(
    ("text", "scheme", "target", "options"),
    [
        ("0", "v4l2", "0", {}),
        ("/dev/video2?fps=30", "v4l2", "/dev/video2", {"fps": "30"}),
        (
            "v4l2:///dev/video0?width=1920&format=MJPG",
            "v4l2",
            "/dev/video0",
            {"width": "1920", "format": "MJPG"},
        ),
        ("camera://0?width=640", "v4l2", "0", {"width": "640"}),
        ("csi://1?flip=2", "csi", "1", {"flip": "2"}),
        ("rtsp://user:pw@cam/stream?channel=1", "rtsp", "rtsp://user:pw@cam/stream?channel=1", {}),
        ("rtsp://cam/s?channel=1#stall=2", "rtsp", "rtsp://cam/s?channel=1", {"stall": "2"}),
        ("file:///data/a%20b.mp4?realtime=1", "file", "/data/a b.mp4", {"realtime": "1"}),
        ("photos/?.png", "path", "photos/?.png", {}),
        ("what?.mp4", "path", "what?.mp4", {}),
        ("mcap://run.mcap", "mcap", "run.mcap", {}),
        ("gst:videotestsrc ! appsink?", "gst", "videotestsrc ! appsink?", {}),
        ("SYNTHETIC://64x48", "synthetic", "64x48", {}),
    ],
)
def test_what_addresses_mean(text: str, scheme: str, target: str, options: dict[str, str]) -> None:
    parsed = parse_uri(text)
    assert (parsed.scheme, parsed.target, dict(parsed.options)) == (scheme, target, options)


@given(st.text())
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        parsed = parse_uri(text)
    except SourceError:
        return
    assert parsed.text == text
    assert parsed.scheme in {*NETWORK, *WITH_QUERY, "gst", "path"}


@given(
    st.sampled_from(("v4l2", "csi", "file", "synthetic", "mcap")),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")),
    st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"))),
)
def test_address_and_options_come_back(scheme: str, target: str, options: dict[str, str]) -> None:
    query = f"?{urlencode(options)}" if options else ""
    parsed = parse_uri(f"{scheme}://{quote(target)}{query}")
    assert parsed.scheme == scheme
    assert parsed.target == target
    assert parsed.options == options


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1))
def test_unknown_options_are_refused_with_those_there_are(name: str) -> None:
    parsed = parse_uri(f"csi://0?{name}=1")
    if name in ("width", "fps"):
        assert parsed.read_options({"width": whole, "fps": whole}) == {name: 1}
    else:
        with pytest.raises(SourceError, match=r"unknown option .*; there are: width, fps"):
            parsed.read_options({"width": whole, "fps": whole})


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "no address"),
        ("ftp://x/y.mp4", "no kind of source is called ftp://; there are: v4l2://"),
        ("v4l2://0?width", "name=value"),
        ("v4l2://0?width=1&width=2", "given twice"),
        ("v4l2://0?width=-1", "want a whole number"),
        ("v4l2://0?zoom=1", "unknown option zoom; there are: width, height, fps, format, stall, give_up"),
        ("v4l2://0?format=MJPEG", "want four letters"),
        ("v4l2://webcam", "want v4l2:///dev/video0"),
        ("csi://left", "want csi://0"),
        ("csi://0?fps=inf", "finite"),
        ("rtsp://127.0.0.1:9/x#speed=1", "unknown option speed; there are: stall, give_up"),
        ("file://x.mp4?realtime=maybe", "want 1 or 0"),
        ("mcap://x.mcap?start=1", "unknown option start"),
    ],
)
def test_refused_in_one_line(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value)


def test_a_csi_pipeline_keeps_to_nvmm_and_drops_what_is_old() -> None:
    text = csi_pipeline(1, 1280, 720, 29.97, flip=2, mode=4)
    elements = [item.strip() for item in text.split("!")]
    assert elements[0] == "nvarguscamerasrc sensor-id=1 sensor-mode=4"
    assert "memory:NVMM" in elements[1]
    assert "framerate=(fraction)2997/100" in elements[1]
    assert elements[2] == "nvvidconv flip-method=2"
    assert elements[-2] == "video/x-raw, format=(string)BGR"
    assert elements[-1] == "appsink drop=true max-buffers=1 sync=false"


def test_csi_without_gstreamer_says_what_to_install() -> None:
    from safetrip_sdk.sources.opencv import has_gstreamer

    if has_gstreamer():
        pytest.skip("this OpenCV has GStreamer")
    for uri in ("csi://0", "gst:videotestsrc ! appsink"):
        with pytest.raises(SourceError, match=r"has no GStreamer.*apt install python3-opencv"):
            open_source(uri)
