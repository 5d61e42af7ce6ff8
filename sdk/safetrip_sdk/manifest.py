"""manifest.json: what a bundle holds, validated completely before anybody relies on it.

The dataclasses check themselves when made, so a manifest in memory is always a valid one, whether it was
parsed from JSON or put together by the exporter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any, TypeVar

from safetrip_sdk.errors import ManifestError

__all__ = [
    "MANIFEST_FILE",
    "PRECISIONS",
    "SCHEMA_VERSION",
    "ClassInfo",
    "FileInfo",
    "InputSpec",
    "Manifest",
    "PrecisionInfo",
    "check_file_name",
]

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
PRECISIONS = ("fp32", "fp16", "int8", "mixed")
KINDS = ("surface", "obstacle")
MAX_SIDE = 16384

T = TypeVar("T")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ManifestError(message)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_line(value: object) -> bool:
    """Text that a terminal shows as it is: nobody's name clears the screen or adds lines to a message."""
    return isinstance(value, str) and value != "" and value.isprintable()


def check_file_name(name: object) -> str:
    """A safe relative POSIX path inside a bundle, or ManifestError (no `..`, no root, no odd characters)."""
    ok = (
        isinstance(name, str)
        and name != ""
        and len(name) <= 255
        and re.fullmatch(r"[A-Za-z0-9._+@=,() -]+(/[A-Za-z0-9._+@=,() -]+)*", name) is not None
        and all(part not in (".", "..") for part in name.split("/"))
    )
    _require(ok, f"file name {name!r}: want a relative path of letters, digits and ._+@=,()- with no '..'")
    assert isinstance(name, str)
    _require(name != MANIFEST_FILE, f"{MANIFEST_FILE} cannot list itself")
    return str(PurePosixPath(name))


@dataclass(frozen=True)
class ClassInfo:
    """One class: its name, RGB colour (0 to 255) and kind, `"surface"` or `"obstacle"`."""

    name: str
    color: tuple[int, int, int]
    kind: str

    def __post_init__(self) -> None:
        _require(_is_line(self.name), f"class name {self.name!r}: want a line of text")
        color = self.color
        ok = isinstance(color, (tuple, list)) and len(color) == 3
        ok = ok and all(_is_int(value) and 0 <= value <= 255 for value in color)
        _require(ok, f"class {self.name!r}: color {color!r} is no RGB triple of 0..255")
        object.__setattr__(self, "color", tuple(color))
        _require(self.kind in KINDS, f"class {self.name!r}: kind {self.kind!r} is none of {KINDS}")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The graph's input tensor and the size (pixels) of the net, which labels and depth have too.

    The frame itself is (1, H, W, 3) uint8 BGR with H and W free.
    """

    name: str = "frame"
    height: int
    width: int

    def __post_init__(self) -> None:
        _require(isinstance(self.name, str) and self.name != "", "input.name: want text")
        for side, value in (("height", self.height), ("width", self.width)):
            ok = _is_int(value) and 1 <= value <= MAX_SIDE
            _require(ok, f"input.{side} {value!r}: want an integer from 1 to {MAX_SIDE}")


@dataclass(frozen=True)
class PrecisionInfo:
    """One precision's model file, its metrics, and the comparison's verdict (None: not compared)."""

    file: str
    metrics: dict[str, Any] = field(default_factory=dict)
    accepted: bool | None = None

    def __post_init__(self) -> None:
        check_file_name(self.file)
        _require(isinstance(self.metrics, dict), f"metrics of {self.file}: want an object")
        # Not `in (True, False)`: 0 is in that, and is not False.
        ok = self.accepted is None or isinstance(self.accepted, bool)
        _require(ok, f"accepted of {self.file}: want true, false or null")


@dataclass(frozen=True)
class FileInfo:
    """SHA-256 (hex, lower case) and size (bytes) of one file."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        ok = isinstance(self.sha256, str) and re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None
        _require(ok, f"sha256 {self.sha256!r}: want 64 lower-case hex digits")
        _require(_is_int(self.size) and self.size >= 0, f"size {self.size!r}: want bytes, 0 or more")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything the robot must know of a bundle; one attribute for each key of the JSON.

    Attributes:
        name: what the bundle is called in logs and messages.
        classes: index = class id in `labels`.
        input: the graph's input and net size.
        max_depth: metres; the largest depth the net can say.
        preprocessing: what the graph does to a frame (for readers; nothing is left to Python).
        precisions: `"fp32" | "fp16" | "int8" | "mixed"` -> model file, metrics, verdict.
        calibration: method, frame count, frames_sha256, frame list; empty before calibration.
        latency: measured figures, each with device and power mode.
        tools: versions of what made the bundle.
        training: provenance (config, commit, data hash, an honest label).
        files: relative POSIX path -> hash and size of every file but manifest.json.
        created: ISO 8601, UTC.
    """

    name: str
    classes: tuple[ClassInfo, ...]
    input: InputSpec
    max_depth: float
    preprocessing: dict[str, Any] = field(default_factory=dict)
    precisions: dict[str, PrecisionInfo] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    latency: tuple[dict[str, Any], ...] = ()
    tools: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileInfo] = field(default_factory=dict)
    created: str = field(default_factory=_now)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _require(_is_line(self.name), f"name {self.name!r}: want a line of text")
        version = self.schema_version
        _require(version == SCHEMA_VERSION and _is_int(version), f"schema_version {version!r}: not supported")
        self._check_classes()
        _require(isinstance(self.input, InputSpec), "input: want an InputSpec")
        depth = self.max_depth
        ok = isinstance(depth, (int, float)) and not isinstance(depth, bool) and 0 < depth < float("inf")
        _require(ok, f"max_depth {depth!r}: want metres, above 0")
        object.__setattr__(self, "latency", tuple(self.latency))
        for entry in self.latency:
            _require(isinstance(entry, dict), f"latency entry {entry!r}: want an object")
        for name in ("preprocessing", "calibration", "tools", "training"):
            _require(isinstance(getattr(self, name), dict), f"{name}: want an object")
        for tool, text in self.tools.items():
            _require(isinstance(text, str), f"tools.{tool}: want text, not {text!r}")
        self._check_maps()
        self._check_created()

    def _check_classes(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        _require(1 <= len(self.classes) <= 255, f"classes: want 1 to 255 of them, not {len(self.classes)}")
        _require(all(isinstance(item, ClassInfo) for item in self.classes), "classes: want ClassInfo items")
        names = [item.name for item in self.classes]
        _require(len(set(names)) == len(names), "classes: two have the same name")

    def _check_maps(self) -> None:
        _require(isinstance(self.precisions, dict), "precisions: want an object")
        for name, info in self.precisions.items():
            _require(name in PRECISIONS, f"precision {name!r} is none of {', '.join(PRECISIONS)}")
            _require(isinstance(info, PrecisionInfo), f"precisions.{name}: want a PrecisionInfo")
        _require(isinstance(self.files, dict), "files: want an object")
        for name, entry in self.files.items():
            check_file_name(name)
            _require(isinstance(entry, FileInfo), f"files.{name}: want a FileInfo")

    def _check_created(self) -> None:
        try:
            # Python 3.10's parser does not know the "Z" suffix.
            stamp = datetime.fromisoformat(self.created.replace("Z", "+00:00"))
        except (AttributeError, ValueError, TypeError):
            raise ManifestError(f"created {self.created!r}: want an ISO 8601 time") from None
        _require(stamp.tzinfo is not None, f"created {self.created!r}: has no time zone (want UTC)")

    def check_files(self) -> None:
        """ManifestError unless every precision's model is among `files`."""
        for name, info in self.precisions.items():
            _require(
                info.file in self.files, f"precision {name} names {info.file}, which `files` does not list"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class id."""
        return tuple(item.name for item in self.classes)

    def to_json(self) -> str:
        """JSON text, indented, keys in a fixed order; ManifestError for what JSON cannot hold (NaN too)."""
        try:
            return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ManifestError(f"the manifest cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse and validate; ManifestError names the first thing that is wrong."""
        try:
            raw = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"no valid JSON: {error}") from None
        _require(isinstance(raw, dict), "want a JSON object at the top")
        version = raw.get("schema_version")
        if _is_int(version) and version > SCHEMA_VERSION:
            raise ManifestError(
                f"its schema version is {version}, this SDK reads up to {SCHEMA_VERSION}; "
                "update safetrip: install the wheel of the one that made the bundle, or a newer one"
            )
        _check_keys(cls, raw, "the manifest", all_required=True)
        raw["classes"] = tuple(_make_all(ClassInfo, raw["classes"], "classes"))
        raw["input"] = _make(InputSpec, raw["input"], "input")
        raw["precisions"] = _make_map(PrecisionInfo, raw["precisions"], "precisions")
        raw["files"] = _make_map(FileInfo, raw["files"], "files")
        _require(isinstance(raw["latency"], list), "latency: want a list")
        return cls(**raw)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _check_keys(kind: Callable[..., Any], raw: dict[str, Any], where: str, all_required: bool) -> None:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(raw) - known)
    _require(not unknown, f"{where}: unknown key {', '.join(map(repr, unknown))}")
    missing = sorted(known - set(raw)) if all_required else []
    _require(not missing, f"{where}: missing key {', '.join(map(repr, missing))}")


def _make(kind: Callable[..., T], raw: object, where: str) -> T:
    _require(isinstance(raw, dict), f"{where}: want an object, not {type(raw).__name__}")
    assert isinstance(raw, dict)
    _check_keys(kind, raw, where, all_required=True)
    return kind(**raw)


def _make_all(kind: Callable[..., T], raw: object, where: str) -> list[T]:
    _require(isinstance(raw, list), f"{where}: want a list")
    assert isinstance(raw, list)
    return [_make(kind, item, f"{where}[{index}]") for index, item in enumerate(raw)]


def _make_map(kind: Callable[..., T], raw: object, where: str) -> dict[str, T]:
    _require(isinstance(raw, dict), f"{where}: want an object")
    assert isinstance(raw, dict)
    return {name: _make(kind, item, f"{where}.{name}") for name, item in raw.items()}
