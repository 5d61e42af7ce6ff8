"""`trainer model-size`: what a net costs before it is trained."""

from __future__ import annotations

import argparse
from typing import Any

from safetrip_trainer.cli.arguments import numbers, output_file, sizes

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Multiply-adds and parameters of the student by width, decoder and input size, counted on its graph."
EPILOG = """\
examples:
  trainer model-size
  trainer model-size --width-mult 0.5,1.0 --decoder-channels 128 --input-size 288x512 --json sizes.json

Counted on the exported deploy graph: what TensorRT gets, preprocessing included. `trainer fit --budget` says
what a device makes of it; train the one you choose with
  --model.init_args.width_mult W --model.init_args.decoder_channels C --data.size HxW"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "--width-mult", type=numbers(float), default=[0.5, 0.75, 1.0], metavar="W,..", help="0.5,0.75,1.0"
    )
    parser.add_argument(
        "--decoder-channels", type=numbers(int), default=[128, 256], metavar="C,..", help="128,256"
    )
    parser.add_argument(
        "--input-size",
        type=sizes,
        default=[(512, 512), (288, 512), (384, 384)],
        metavar="HEIGHTxWIDTH,..",
        help="512x512,288x512,384x384",
    )
    parser.add_argument("--depth-head", choices=["sigmoid", "log"], default="sigmoid", help="sigmoid")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the figures there")


def run(args: argparse.Namespace) -> None:
    """Counts and prints a table."""
    from safetrip_trainer.data.files import write_json

    print("| width_mult | decoder_channels | input | parameters | GMAC |\n|---|---|---|---|---|")
    rows = []
    for width in args.width_mult:
        for channels in args.decoder_channels:
            for size in args.input_size:
                row = _count(width, channels, size, args.depth_head)
                rows.append(row)
                print(
                    f"| {width:g} | {channels} | {size[0]}x{size[1]} | {row['parameters'] / 1e6:.2f} M "
                    f"| {row['macs'] / 1e9:.2f} |",
                    flush=True,
                )
    if args.json:
        write_json(args.json, {"models": rows})


def _count(width: float, channels: int, size: tuple[int, int], depth_head: Any) -> dict[str, Any]:
    from safetrip_calibration.workload import kernels
    from safetrip_trainer.export.graph import DeployGraph
    from safetrip_trainer.export.onnx_file import to_onnx
    from safetrip_trainer.model.hydranet import HydraNet

    net = HydraNet(width_mult=width, decoder_channels=channels, depth_head=depth_head)
    # The frame's size only matters to the resize in front, which multiplies nothing by weights.
    macs = sum(kernel.macs for kernel in kernels(to_onnx(DeployGraph(net, size)), size))
    return {
        "width_mult": width,
        "decoder_channels": channels,
        "input": list(size),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "macs": macs,
    }
