"""Options that several verbs share."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from safetrip_sdk import atomic
from safetrip_sdk.backends import BACKENDS
from safetrip_sdk.backends.base import CpuOptions
from safetrip_sdk.cli.argument_types import whole
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.manifest import PRECISIONS

__all__ = ["add_runtime_options", "check_output", "runtime_options", "write_json"]


def check_output(target: str | None) -> None:
    """Say before the work what would make writing a file fail after it; `-` and None are always fine.

    Raises:
        SafetripError: the folder is not there, or the name is a folder's.
    """
    if target is None or target == "-":
        return
    path = Path(target).absolute()
    if not path.parent.is_dir():
        raise SafetripError(f"{target}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise SafetripError(f"{target}: is a folder; want the name of a file")


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """How the runtime is opened."""
    group = parser.add_argument_group("runtime")
    group.add_argument("--backend", choices=("auto", *BACKENDS), default="auto", help="default: auto")
    group.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="default: auto")
    group.add_argument("--slots", type=whole(1), default=2, help="frames in flight (default: 2)")
    group.add_argument("--wait", choices=("block", "poll", "spin"), default="block", help="default: block")
    group.add_argument("--device", type=whole(0), default=0, help="index of the GPU (default: 0)")
    group.add_argument("--threads", type=whole(1, 1024), help="of the CPU backends (default: one per core)")
    group.add_argument("--bf16", action="store_true", help="OpenVINO: compute in bfloat16 where the CPU can")
    group.add_argument("--build-if-missing", action="store_true", help="build a missing engine (minutes)")


def runtime_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `Runtime`."""
    return {
        "backend": args.backend,
        "precision": args.precision,
        "slots": args.slots,
        "wait": args.wait,
        "device": args.device,
        "build_if_missing": args.build_if_missing,
        "cpu": CpuOptions(threads=args.threads, bf16=args.bf16),
    }


def write_json(target: str | None, value: Any) -> None:
    """To a file, atomically; `-` is standard output; None nowhere."""
    text = json.dumps(value, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    elif target is not None:
        atomic.write_text(target, text)
