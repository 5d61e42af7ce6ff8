"""`safetrip doctor`: what is installed, which backend and precision would run, and why not the others."""

from __future__ import annotations

import argparse
import importlib.metadata
import textwrap
from dataclasses import asdict
from typing import Any

from safetrip_sdk._version import __version__
from safetrip_sdk.backends import BACKENDS, Availability, probe
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.choice import survey
from safetrip_sdk.cli.advice import advise
from safetrip_sdk.cli.argument_types import frame_size, whole
from safetrip_sdk.cli.options import write_json
from safetrip_sdk.cli.report import paint
from safetrip_sdk.device import describe_device
from safetrip_sdk.engines import EngineInfo, list_engines
from safetrip_sdk.jetson import read_jetpack
from safetrip_sdk.options import RuntimeOptions

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "say what is installed, which backend and precision would run, and why not the others"
EPILOG = """\
On a Jetson it names the JetPack (from /etc/nv_tegra_release) and what to install on it.

With a bundle it goes the runtime's own way: every precision on every backend in the order in which `auto`
tries them, each with the reason why it is passed over, and the first one that is not is opened. An engine is
for one frame size: --frame says which.

exit status: 0 a backend can run here; 1 none can; 2 no such bundle, or a damaged one

examples:
  safetrip doctor
  safetrip doctor sidewalk.bundle
  safetrip doctor sidewalk.bundle --frame 720x1280
  safetrip doctor --json -"""

PACKAGES = (
    "numpy",
    "opencv-python",
    "cuda-python",
    "cuda-bindings",
    "tensorrt",
    "tensorrt_rtx",
    "openvino",
    "onnxruntime",
    "rerun-sdk",
    "mcap",
    "rosbags",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", nargs="?", help="a bundle to look into as well")
    parser.add_argument(
        "--frame",
        type=frame_size,
        metavar="HEIGHTxWIDTH",
        help="of the camera's frames (default: that of the bundle's engines, 1080x1920 where they differ)",
    )
    parser.add_argument("--device", type=whole(0), default=0, help="index of the GPU (default: 0)")
    parser.add_argument("--json", metavar="OUT", help="the same as JSON; - is standard output")


def run(args: argparse.Namespace) -> int:
    """0 when a backend can run here, 1 when none can."""
    found = [probe(name, args.device) for name in BACKENDS]
    bundle = Bundle.open(args.bundle) if args.bundle else None
    choice = _choice(bundle, args) if bundle else None
    chosen = choice["backend"] if choice else next((item.name for item in found if item.available), None)
    jetpack = read_jetpack()
    report: dict[str, Any] = {
        "safetrip": __version__,
        "device": describe_device(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": [asdict(item) for item in found],
        "auto": chosen,
        "jetpack": asdict(jetpack) if jetpack else None,
        "gstreamer": _gstreamer(),
        "advice": advise(found, chosen, jetpack, choice["engines"] if choice else None),
    }
    if choice is not None:
        report["bundle"] = choice
    if args.json != "-":
        _print(report, found)
    write_json(args.json, report)
    return 0 if chosen else 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gstreamer() -> bool | None:
    """Whether OpenCV can open CSI cameras; None without OpenCV."""
    from safetrip_sdk.errors import BackendUnavailableError
    from safetrip_sdk.sources.opencv import has_gstreamer

    try:
        return has_gstreamer()
    except BackendUnavailableError:
        return None


def _choice(bundle: Bundle, args: argparse.Namespace) -> dict[str, Any]:
    """What `auto` takes of a bundle, and why nothing else."""
    engines = list_engines(bundle)
    frame = args.frame or _frame_size(engines)
    candidates = survey(bundle, RuntimeOptions(device=args.device), frame)
    taken = next((item for item in candidates if not item.reason), None)
    return {
        "precisions": list(bundle.manifest.precisions),
        "engines": [item.file for item in engines],
        "frame_size": list(frame),
        "backend": taken.backend if taken else None,
        "precision": taken.precision if taken else None,
        "candidates": [asdict(item) for item in candidates],
    }


def _frame_size(engines: list[EngineInfo]) -> tuple[int, int]:
    sizes = {(item.key.height, item.key.width) for item in engines}
    return sizes.pop() if len(sizes) == 1 else (1080, 1920)


def _print(report: dict[str, Any], found: list[Availability]) -> None:
    device = report["device"]
    system = f"{device['system']} {device['machine']}"
    print(f"safetrip {report['safetrip']}, Python {device['python']}, {system}")
    model, mode = device["model"] or device["processor"], device["power_mode"] or "unknown"
    print(f"{model}, {device['cores']} cores, power mode {mode}")
    for package, version in report["packages"].items():
        print(f"  {package:14s} {version or '-'}")
    state = {True: "yes", False: "no (CSI cameras and gst: need it)", None: "no OpenCV"}[report["gstreamer"]]
    print(f"GStreamer in OpenCV: {state}")
    print("backends, in the order in which auto tries them:")
    for item in found:
        verdict = paint("ready", "green") if item.available else paint("no   ", "yellow")
        state = f"{item.version} on {item.device}" if item.available else item.reason
        print(f"  {item.name:13s} {verdict}  {state}")
    if "bundle" in report:
        _print_choice(report["bundle"])
    taken = report.get("bundle", {}).get("precision")
    precision = f", precision {taken}" if taken else ""
    print(paint(f"backend='auto' would use: {report['auto'] or 'nothing'}{precision}", "bold"))
    for line in report["advice"]:
        print(textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False))


def _print_choice(choice: dict[str, Any]) -> None:
    print(f"bundle: precisions {', '.join(choice['precisions'])}")
    for engine in choice["engines"] or ["no engines; `safetrip build` makes them"]:
        print(f"  {engine}")
    height, width = choice["frame_size"]
    print(f"for frames of {height}x{width} (height x width), in the order in which auto tries them:")
    for item in choice["candidates"]:
        verdict = paint("no  ", "yellow") if item["reason"] else paint("runs", "green")
        reason = item["reason"] if item["precision"] else "cannot run here: see above"
        print(f"  {item['backend']:13s} {item['precision'] or '-':5s}  {verdict}  {reason}".rstrip())
