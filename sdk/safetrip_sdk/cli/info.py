"""`safetrip info`: what a bundle holds, and whether every byte is what it should be."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from safetrip_sdk.bundle import Bundle
from safetrip_sdk.cli.options import write_json
from safetrip_sdk.engines import list_engines
from safetrip_sdk.errors import BundleCorruptError
from safetrip_sdk.manifest import MANIFEST_FILE, Manifest

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "describe a bundle and check every hash (exit status 1 where one differs)"
EPILOG = """\
exit status: 0 every hash is right; 1 a file differs, is missing or is not listed; 2 no bundle

examples:
  safetrip info sidewalk.bundle
  safetrip info sidewalk.bundle --json - | jq .precisions"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", help="path of a bundle")
    parser.add_argument("--json", metavar="OUT", help="the same as JSON; - is standard output")


def run(args: argparse.Namespace) -> int:
    """0 when every file is what the manifest says, 1 when one is not."""
    bundle = Bundle.open(args.bundle)
    differences: tuple[str, ...] = ()
    try:
        bundle.verify()
    except BundleCorruptError as error:
        differences = error.differences
    manifest = bundle.manifest
    engines: list[dict[str, Any]] = []
    if not differences:
        engines = [{"file": item.file, **asdict(item)} for item in list_engines(bundle)]
    if args.json != "-":
        _print(manifest, engines, differences)
    if args.json is not None:
        value = json.loads(manifest.to_json())
        write_json(args.json, {**value, "engines": engines, "differences": list(differences)})
    return 1 if differences else 0


def _print(manifest: Manifest, engines: list[dict[str, Any]], differences: tuple[str, ...]) -> None:
    size = f"{manifest.input.height}x{manifest.input.width}"
    print(f"{manifest.name}: {len(manifest.classes)} classes, net {size}, made {manifest.created}")
    for key, value in manifest.training.items():
        print(f"  training {key}: {_text(value)}")
    for name, info in manifest.precisions.items():
        verdict = {True: "accepted", False: "REJECTED", None: "not compared"}[info.accepted]
        megabytes = manifest.files[info.file].size / 1e6
        print(f"  {name:6s} {info.file:18s} {megabytes:7.2f} MB  {verdict}")
        for line in (_calibration(manifest.calibration, name), *_comparison(info.metrics)):
            if line:
                print(f"         {line}")
    for engine in engines:
        print(f"  engine {engine['file']} (driver {engine['driver'] or 'any'})")
    for entry in manifest.latency:
        print(f"  latency {_latency(entry)}")
    if differences:
        print(f"{len(differences)} of {len(manifest.files)} files differ from the manifest:")
        for difference in differences:
            print(f"  {difference}")
    else:
        print(f"all {len(manifest.files)} files match their hashes")


def _calibration(entries: Mapping[str, Any], precision: str) -> str:
    """Which frames a precision was calibrated on, and how; empty where it was not."""
    try:
        entry = entries["precisions"][precision]
        method = f" by {entry['method']}" if entry["method"] else ""
        return f"calibrated{method} on {entry['count']} frames (sha256 {entry['frames_sha256'][:12]}...)"
    except (KeyError, TypeError):
        return ""


def _comparison(metrics: Mapping[str, Any]) -> list[str]:
    """What `trainer compare` held a precision to, what crossed a limit and what could not be judged."""
    try:
        found = metrics["compare"]
        held: dict[tuple[str, str], list[str]] = {}
        for backend, item in found["backends"].items():
            own = {**found, **item}  # a backend that was left out last time says what it was held to before
            frames = f"{own['frames']} frames (sha256 {own['frames_sha256'][:12]}...)"
            held.setdefault((frames, _text(own.get("limits", {})) or "none"), []).append(backend)
        lines = [
            f"compared on {frames} on {', '.join(backends)}; limits: {limits}"
            for (frames, limits), backends in held.items()
        ]
        for backend, item in found["backends"].items():
            lines += [f"FAILED on {backend}: {text}" for text in item["violations"]]
            if item.get("unjudged"):
                lines.append(f"not judged on {backend}, no truth: {', '.join(item['unjudged'])}")
        return lines
    except (KeyError, TypeError, AttributeError):
        return []


def _text(value: Any) -> str:
    """One line; of a mapping `name=value` pairs, without those that a library keeps for itself."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items() if not str(key).startswith("_"))
    lines = str(value).splitlines()
    return str(value) if len(lines) < 2 else f"{len(lines)} lines (in {MANIFEST_FILE}, and with --json)"


def _latency(entry: Mapping[str, Any]) -> str:
    """A measurement in one line; entries of other shapes as they are."""
    try:
        height, width = entry["frame_size"]
        stages = ", ".join(f"{name} {entry[f'{name}_ms']['value']:.1f} ms" for name in ("p50", "p95", "p99"))
        where = f"{entry['precision']} on {entry['backend']}, {entry['device']}"
        mode = f", {entry['power_mode']}" if entry.get("power_mode") else ""
    except (KeyError, TypeError, ValueError):
        return json.dumps(entry)
    return f"{where}{mode}, frames of {height}x{width}: {stages}"
