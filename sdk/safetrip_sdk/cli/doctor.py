"""`safetrip doctor`: what is installed, which backend would run, and why not the others."""

from __future__ import annotations

import argparse
import importlib.metadata
import textwrap
from dataclasses import asdict
from typing import Any

from safetrip_sdk._version import __version__
from safetrip_sdk.backends import BACKENDS, GPU_BACKENDS, Availability, probe
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.cli.advice import advise
from safetrip_sdk.cli.options import device, write_json
from safetrip_sdk.cli.report import paint
from safetrip_sdk.device import describe_device
from safetrip_sdk.engines import list_engines
from safetrip_sdk.jetson import read_jetpack

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "say what is installed, which backend would run, and why not the others"
EPILOG = """\
On a Jetson it names the JetPack (from /etc/nv_tegra_release) and what to install on it.

exit status: 0 a backend can run here; 1 none can; 2 no such bundle

examples:
  safetrip doctor
  safetrip doctor sidewalk.bundle
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
    parser.add_argument("--device", type=device, default=0, help="index of the GPU (default: 0)")
    parser.add_argument("--json", metavar="OUT", help="the same as JSON; - is standard output")


def run(args: argparse.Namespace) -> int:
    """0 when a backend can run here, 1 when none can."""
    found = [probe(name, args.device) for name in BACKENDS]
    bundle = Bundle.open(args.bundle) if args.bundle else None
    engines = [item.file for item in list_engines(bundle)] if bundle else []
    chosen = _choice(found, bundle is not None, engines)
    jetpack = read_jetpack()
    report: dict[str, Any] = {
        "safetrip": __version__,
        "device": describe_device(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": [asdict(item) for item in found],
        "auto": chosen,
        "jetpack": asdict(jetpack) if jetpack else None,
        "gstreamer": _gstreamer(),
        "advice": advise(found, chosen, jetpack, engines if bundle else None),
    }
    if bundle is not None:
        report["bundle"] = {"precisions": list(bundle.manifest.precisions), "engines": engines}
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


def _choice(found: list[Availability], with_bundle: bool, engines: list[str]) -> str | None:
    """What backend="auto" takes; a GPU backend needs an engine, which only a bundle can show."""
    for item in found:
        if item.available and item.name in GPU_BACKENDS and with_bundle:
            if any(f"/{item.name}-{item.version}-" in engine for engine in engines):
                return item.name
        elif item.available:
            return item.name
    return None


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
        print(f"bundle: precisions {', '.join(report['bundle']['precisions'])}")
        for engine in report["bundle"]["engines"] or ["no engines; `safetrip build` makes them"]:
            print(f"  {engine}")
    print(paint(f"backend='auto' would use: {report['auto'] or 'nothing'}", "bold"))
    for line in report["advice"]:
        print(textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False))
