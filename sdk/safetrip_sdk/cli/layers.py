"""`safetrip layers`: what a built engine computes in which type, by the library's own inspector."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

from safetrip_sdk.backends.tensorrt import inspect_engine
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.cli.argument_types import whole
from safetrip_sdk.cli.options import write_json
from safetrip_sdk.engines import EngineInfo, list_engines
from safetrip_sdk.engines.layers import EngineLayer
from safetrip_sdk.errors import EngineError
from safetrip_sdk.manifest import PRECISIONS

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "list what each layer of the built engines computes in (needs the GPU they were built for)"
EPILOG = """\
An INT8 network only asks for INT8; the engine says what became of it. For each engine in the bundle that fits
this device the library's inspector is asked for its layers: kernel, element types, and the ONNX nodes in it.

exit status: 0 listed; 2 no engine that fits this device, or no library or GPU

examples:
  safetrip layers sidewalk.bundle
  safetrip layers sidewalk.bundle --precision int8 --json layers.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", help="path of a bundle with engines")
    parser.add_argument("--precision", choices=PRECISIONS, help="of this one alone (default: all)")
    parser.add_argument("--device", type=whole(0), default=0, help="index of the GPU (default: 0)")
    parser.add_argument("--json", metavar="OUT", help="write the layers; - is standard output")


def run(args: argparse.Namespace) -> int:
    """List the layers of the engines that fit; 0, or an error that says why none does."""
    bundle = Bundle.open(args.bundle)
    wanted = [info for info in list_engines(bundle) if args.precision in (None, info.key.precision)]
    if not wanted:
        what = f"{args.precision} engine" if args.precision else "engine"
        raise EngineError(f"{bundle.path}: holds no {what}; build one: safetrip build {bundle.path}")
    out = sys.stderr if args.json == "-" else sys.stdout
    listed: list[dict[str, Any]] = []
    unfit = []
    for info in wanted:
        try:
            layers = inspect_engine(bundle, info, args.device)
        except EngineError as error:
            unfit.append(f"\n  {error}")
            continue
        print(_table(info, layers), file=out)
        listed.append(
            {"file": info.file, "layers": [{**asdict(item), "precision": item.precision} for item in layers]}
        )
    if not listed:
        raise EngineError(f"{bundle.path}: no engine fits this device:{''.join(unfit)}")
    write_json(args.json, listed)
    return 0


def _table(info: EngineInfo, layers: tuple[EngineLayer, ...]) -> str:
    """A line a layer, then how many there are of each kind and type."""
    rows = [f"{info.file}: {len(layers)} layers"]
    for layer in layers:
        reads = ",".join(layer.inputs) or "-"
        writes = ",".join(layer.outputs) or "-"
        rows.append(f"  {layer.precision:8s} {layer.kind or '?':16s} {reads} -> {writes}  {layer.name[:90]}")
    counts = Counter((layer.kind or "?", layer.precision) for layer in layers)
    rows += [f"  {count:4d} x {kind} in {precision}" for (kind, precision), count in counts.most_common()]
    return "\n".join(rows)
