"""YAML files that people write by hand: read safely, checked key by key, one clear error each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from safetrip_sdk.errors import SafetripError

__all__ = ["Key", "check_mapping", "read_yaml"]

_TYPES = {
    "text": "text",
    "number": "a number",
    "integer": "a whole number",
    "map": "a block of `key: value` lines",
}


@dataclass(frozen=True)
class Key:
    """What one key of a file may hold.

    Attributes:
        kind: `"text"`, `"number"`, `"integer"` or `"map"`.
        required: False allows leaving it out.
        low, high: bounds of a number, inclusive.
        choices: the texts allowed; empty: any.
        keys: for a map: its known keys; None: any key, each with a value as `values` says.
        values: for a map with free keys.
    """

    kind: str
    required: bool = False
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    keys: Mapping[str, Key] | None = None
    values: Key | None = None


def read_yaml(path: Path, keys: Mapping[str, Key], error: type[SafetripError]) -> dict[str, Any]:
    """Parse and check a YAML file.

    Raises:
        error: unreadable, no YAML, a key unknown, twice there or missing, or a value of the wrong type; the
            message names file and key.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from problem
    except yaml.MarkedYAMLError as problem:
        line = f"line {problem.problem_mark.line + 1}: " if problem.problem_mark else ""
        raise error(f"{path}: no valid YAML: {line}{problem.problem or problem.context}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise error(f"{path}: no valid YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(raw, dict):
        raise error(f"{path}: want `key: value` lines at the top, found {_name(raw)}")
    problem_found = check_mapping(raw, keys)
    if problem_found:
        raise error(f"{path}: {problem_found}")
    return raw


def check_mapping(raw: Mapping[Any, Any], keys: Mapping[str, Key], where: str = "") -> str:
    """The first thing wrong with `raw`, in words; empty when it fits `keys`."""
    for name in raw:
        if name not in keys:
            return f"unknown key {where}{name}; known are: {', '.join(keys)}"
    for name, key in keys.items():
        if name not in raw:
            if key.required:
                return f"key {where}{name} is missing"
            continue
        problem = _check_value(raw[name], key, f"{where}{name}")
        if problem:
            return problem
    return ""


def _check_value(value: object, key: Key, where: str) -> str:
    if not _has_type(value, key.kind):
        return f"key {where}: want {_TYPES[key.kind]}, found {_name(value)}"
    if isinstance(value, (int, float)) and not key.low <= value <= key.high:
        return f"key {where}: {value} is outside {key.low:g} to {key.high:g}"
    if key.choices and value not in key.choices:
        return f"key {where}: {value!r} is none of {', '.join(key.choices)}"
    if isinstance(value, dict):
        known = (
            key.keys if key.keys is not None else dict.fromkeys(map(str, value), key.values or Key("text"))
        )
        return check_mapping(value, known, f"{where}.")
    return ""


def _has_type(value: object, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "map":
        return isinstance(value, dict)
    if isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _name(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"[:60]


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, instead of letting the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key} occurs twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
