"""Options that several verbs share."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from safetrip_sdk import atomic
from safetrip_sdk.backends import BACKENDS
from safetrip_sdk.backends.base import CpuOptions
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.manifest import MAX_SIDE, PRECISIONS

__all__ = [
    "add_runtime_options",
    "check_output",
    "device",
    "frame_size",
    "positive",
    "runtime_options",
    "write_json",
]

log = logging.getLogger(__name__)


def frame_size(text: str) -> tuple[int, int]:
    """`1080x1920` -> (1080, 1920): height first, like an array's shape. A portrait is pointed out.

    Cameras and `trainer synth` say it the other way around, and nothing would fail: an engine would be built
    that no frame fits.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise argparse.ArgumentTypeError(
            f"{text!r}: want HEIGHTxWIDTH, such as 1080x1920, at most {MAX_SIDE} each"
        )
    if height > width:
        log.warning("%s is read as HEIGHTxWIDTH: higher than wide; did you mean %dx%d?", text, width, height)
    return height, width


def positive(text: str) -> int:
    """An integer of 1 or more."""
    return _whole(text, 1)


def device(text: str) -> int:
    """The index of a GPU."""
    return _whole(text, 0)


def _threads(text: str) -> int:
    return _whole(text, 1, 1024)


def _whole(text: str, least: int, most: int = (1 << 31) - 1) -> int:
    """An integer within what every library that is handed it can take."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: want {least} to {most}")
    return value


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
    group.add_argument("--slots", type=positive, default=2, help="frames in flight (default: 2)")
    group.add_argument("--wait", choices=("block", "poll", "spin"), default="block", help="default: block")
    group.add_argument("--device", type=device, default=0, help="index of the GPU (default: 0)")
    group.add_argument("--threads", type=_threads, help="of the CPU backends (default: one per core)")
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
