"""manifest.json: round trip, and one clear error for each kind of damage."""

from __future__ import annotations

import dataclasses
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_sdk.errors import ManifestError
from safetrip_sdk.manifest import (
    SCHEMA_VERSION,
    ClassInfo,
    FileInfo,
    InputSpec,
    Manifest,
    PrecisionInfo,
    check_file_name,
)


def make_manifest(**changes: Any) -> Manifest:
    base: dict[str, Any] = {
        "name": "tiny",
        "classes": (
            ClassInfo("sidewalk", (86, 180, 233), "surface"),
            ClassInfo("car", (0, 50, 200), "obstacle"),
        ),
        "input": InputSpec(height=64, width=96),
        "max_depth": 80.0,
        "precisions": {"fp32": PrecisionInfo("model.fp32.onnx", {"miou": 0.5}, True)},
        "files": {"model.fp32.onnx": FileInfo("0" * 64, 3)},
        "latency": ({"device": "cpu", "p50_ms": 1.5},),
        "tools": {"torch": "2.15"},
    }
    return Manifest(**{**base, **changes})


def test_round_trip() -> None:
    manifest = make_manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_newer_schema_says_update() -> None:
    raw = json.loads(make_manifest().to_json())
    raw["schema_version"] = SCHEMA_VERSION + 1
    raw["something_new"] = {}
    with pytest.raises(ManifestError, match=r"schema version is 2.*update safetrip: install the wheel"):
        Manifest.from_json(json.dumps(raw))


CLASSES_256 = [{"name": str(number), "color": [0, 0, 0], "kind": "surface"} for number in range(256)]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("classes", 0, "color"), [0, 0, 256], "RGB"),
        (("classes", 0, "kind"), "sky", "kind"),
        (("classes", 1, "name"), "sidewalk", "same name"),
        (("classes", 1, "name"), "a\nb", "line of text"),
        (("name",), "all files match\x1b[2J", "line of text"),
        (("classes",), [], "1 to 255"),
        (
            ("classes",),
            [{"name": str(n), "color": [0, 0, 0], "kind": "surface"} for n in range(256)],
            "not 256",
        ),
        (("classes",), {"a": 1}, "want a list"),
        (("input", "height"), 0, "input.height"),
        (("input", "width"), True, "input.width"),
        (("input", "depth"), 3, "unknown key 'depth'"),
        (("max_depth",), 0, "max_depth"),
        (("max_depth",), -1, "max_depth"),
        (("max_depth",), "80", "max_depth"),
        (("precisions", "fp7"), {"file": "a", "metrics": {}, "accepted": None}, "fp7"),
        (("precisions", "fp32", "accepted"), "yes", "accepted"),
        (("precisions", "fp32", "accepted"), 0, "accepted"),
        (("files", "../etc/passwd"), {"sha256": "0" * 64, "size": 1}, "relative path"),
        (("files", "a" * 256), {"sha256": "0" * 64, "size": 1}, "relative path"),
        (("files", "manifest.json"), {"sha256": "0" * 64, "size": 1}, "cannot list itself"),
        (("files", "model.fp32.onnx", "sha256"), "XYZ", "hex"),
        (("files", "model.fp32.onnx", "size"), -1, "bytes"),
        (("created",), "yesterday", "ISO 8601"),
        (("created",), "2026-01-01T00:00:00", "time zone"),
        (("latency",), {"a": 1}, "list"),
        (("latency",), ["fast"], "object"),
        (("tools",), {"torch": 2}, "tools.torch"),
        (("name",), "", "name"),
        (("schema_version",), 0, "schema_version"),
    ],
)
def test_each_damage_is_named(path: tuple[Any, ...], value: Any, message: str) -> None:
    raw = json.loads(make_manifest().to_json())
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(json.dumps(raw))


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Manifest)])
def test_missing_key_is_named(key: str) -> None:
    raw = json.loads(make_manifest().to_json())
    del raw[key]
    with pytest.raises(ManifestError, match=key):
        Manifest.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, b"\xff\xfe\x00"]
)
def test_no_valid_json(text: str | bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(text)


def test_nan_metric_cannot_be_written() -> None:
    info = PrecisionInfo("model.fp32.onnx", {"miou": float("nan")})
    with pytest.raises(ManifestError, match="JSON"):
        make_manifest(precisions={"fp32": info}).to_json()


def test_precision_without_its_file() -> None:
    with pytest.raises(ManifestError, match=r"model\.fp32\.onnx"):
        make_manifest(files={}).check_files()


@given(st.text(alphabet=string.printable + "ß\x00"))
def test_accepted_names_stay_inside(name: str) -> None:
    try:
        result = check_file_name(name)
    except ManifestError:
        return
    parts = result.split("/")
    assert ".." not in parts
    assert not result.startswith("/")
    assert "\\" not in result


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from([field.name for field in dataclasses.fields(Manifest)]), json_values)
def test_arbitrary_values_never_escape_the_tree(key: str, value: Any) -> None:
    raw = json.loads(make_manifest().to_json())
    raw[key] = value
    try:
        manifest = Manifest.from_json(json.dumps(raw))
    except ManifestError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest
