"""`trainer export`: checkpoint to bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetrip_trainer.cli.arguments import output_file, output_folder, require_there, size

if TYPE_CHECKING:
    import numpy as np

    from safetrip_trainer.export.verify import ExportCheck
    from safetrip_trainer.quantize import QuantizedNet

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Export a checkpoint's deploy graph to a bundle, simplified and checked against torch on frames."
EPILOG = """\
examples:
  trainer export runs/hydranet/checkpoints/best.ckpt --out sidewalk.bundle
  trainer export runs/hydranet/checkpoints/best.ckpt --out wide.bundle --input-size 288x512
  trainer export runs/int8/checkpoints/best.ckpt --out sidewalk.bundle    trained in INT8: FP32 and INT8
  trainer export random --out random.bundle --input-size 512x512          untrained, for benchmarks

The graph takes the camera's raw frame (1, H, W, 3) uint8 BGR of any size and gives labels, metres and
confidence. Nothing is written unless labels agree with torch on 99.9 % of the pixels and
depth within 0.1 %."""

_CHECK_FRAMES = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CKPT", help="checkpoint of the student, or `random`"
    )
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="X.bundle", help="folder to write"
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="HEIGHTxWIDTH",
        help="such as 288x512; default: as trained, else 512x512",
    )
    parser.add_argument(
        "--frames",
        type=Path,
        metavar="PREPARED",
        help="check on its validation frames (default: the set it was trained on, else generated scenes)",
    )
    parser.add_argument(
        "--note", help="said of these weights in the manifest, e.g. what they are not fit for"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write how close it is to torch")


def run(args: argparse.Namespace) -> None:
    """Exports and says how close the graph came to torch."""
    from safetrip_trainer.errors import ExportError

    if str(args.checkpoint) != "random":
        require_there(args.checkpoint, "checkpoint")
    if args.out.exists() and not args.overwrite:
        raise ExportError(f"{args.out}: exists already; --overwrite replaces it")
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.export import export_bundle
    from safetrip_trainer.inference.predictor import training_size
    from safetrip_trainer.model.load import load_student
    from safetrip_trainer.quantize import QuantizedNet

    net, record = load_student(args.checkpoint)
    training = {**record, **({"note": args.note} if args.note else {})}
    if isinstance(net, QuantizedNet):
        check = _export_quantized(args, net, record, _plain(training))
    else:
        frames = _check_frames(args.frames, record)
        net_size = args.input_size or training_size(record)
        check = export_bundle(net, net_size, args.out, frames, _plain(training), args.overwrite)
        print(
            f"{args.out}: labels agree with torch on {check.label_agreement:.4%} of the pixels of "
            f"{check.frames} frames, depth within {check.depth_error:.1e}"
        )
    if args.json:
        write_json(args.json, {"bundle": str(args.out), **asdict(check)})


def _export_quantized(
    args: argparse.Namespace, net: QuantizedNet, record: dict[str, Any], training: dict[str, Any]
) -> ExportCheck:
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.frames import PreparedFrames
    from safetrip_trainer.errors import ExportError
    from safetrip_trainer.export.quantized import export_quantized_bundle

    if args.input_size not in (None, net.input_size):
        raise ExportError(
            f"{args.checkpoint}: quantised at {net.input_size[0]}x{net.input_size[1]}, and has no other size"
        )
    prepared = args.frames or _prepared_of(record)
    if prepared is None:
        raise ExportError(f"{args.checkpoint}: the set it was trained on is gone: give another with --frames")
    with bar() as progress:
        check = export_quantized_bundle(
            net,
            args.out,
            PreparedFrames(prepared, "train"),
            training,
            args.overwrite,
            progress=progress,
        )
    print(
        f"{args.out}: FP32 as before quantisation-aware training, INT8 as after; INT8's labels agree with "
        f"torch on {check.label_agreement:.4%} of the pixels of {check.frames} frames"
    )
    return check


def _prepared_of(record: dict[str, Any]) -> Path | None:
    """The prepared set that a checkpoint was trained on, where it is still there."""
    from safetrip_trainer.data.index import HEADER_FILE

    root = record.get("datamodule_hyper_parameters", {}).get("root")
    return Path(root) if root is not None and (Path(root) / HEADER_FILE).is_file() else None


def _check_frames(prepared: Path | None, record: dict[str, Any]) -> Iterator[np.ndarray]:
    from safetrip_trainer.data.frames import PreparedFrames

    prepared = prepared or _prepared_of(record)
    if prepared is None:
        from safetrip_trainer.synth import render_sequence

        for scene in render_sequence(0, _CHECK_FRAMES, size=(960, 540)):
            yield scene.image
        return
    frames = PreparedFrames(prepared, "val")
    if len(frames) == 0:  # the check is of the graph, not of the training: any frame will do
        frames = PreparedFrames(prepared, "all")
    step = max(len(frames) // _CHECK_FRAMES, 1)
    for position in range(0, len(frames), step):
        yield frames[position].frame


def _plain(value: Any) -> Any:
    """JSON's types only: hyper-parameters hold tuples and paths."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
