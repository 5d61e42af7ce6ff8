"""`trainer fix-checkpoint`: foreign key names to ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetrip_sdk.cli.argument_types import whole
from safetrip_trainer.cli.arguments import above_zero, output_file, require_there

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Rewrite a checkpoint's key names (model., module., torchvision's, the public Hydranet's) to ours."
EPILOG = """\
examples:
  trainer fix-checkpoint hydranet_public.ckpt --out hydranet.safetensors
  trainer fix-checkpoint mobilenet_v2-7ebf99e0.pth --out encoder.safetensors --partial
  trainer fix-checkpoint runs/hydranet/checkpoints/best.ckpt --out weights.safetensors

Says what matched and what did not; the result is safetensors: tensors only, nothing that runs."""


_PUBLIC_EXPANSION = "layer2.0.output.0.0.weight"
"""torchvision's MobileNet-v2, hence ours, expands from the second block on."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="torch checkpoint or safetensors")
    parser.add_argument(
        "--out", type=output_file, required=True, metavar="FILE.safetensors", help="file to write"
    )
    parser.add_argument(
        "--partial", action="store_true", help="write although some of our tensors are missing"
    )
    parser.add_argument("--width-mult", type=above_zero, help="of the net (as the file says, else 1.0)")
    parser.add_argument("--decoder-channels", type=whole(1), help="of the net (as the file says, else 256)")


def run(args: argparse.Namespace) -> None:
    """Translates, reports, writes."""
    require_there(args.checkpoint, "checkpoint")
    from safetrip_trainer.errors import CheckpointError
    from safetrip_trainer.model.checkpoint import read_weights, translate_keys, write_safetensors
    from safetrip_trainer.model.load import build_student

    if args.out.suffix != ".safetensors":
        raise CheckpointError(f"{args.out}: the result is safetensors; name it FILE.safetensors")
    file = read_weights(args.checkpoint)
    if "variant" in file.settings:
        raise CheckpointError(f"{args.checkpoint}: holds the teacher; only the student's names are known")
    given = {"width_mult": args.width_mult, "decoder_channels": args.decoder_channels}
    settings = {**file.settings, **{name: value for name, value in given.items() if value is not None}}
    found, report = translate_keys(file.state, build_student(settings))
    missing = [key for key in report.missing if not key.endswith("num_batches_tracked")]
    strangers = len(report.unexpected)
    print(f"{len(report.matched)} tensors matched, {len(missing)} of ours missing, {strangers} not ours")
    for title, keys in (("missing", missing), ("not ours, or of another shape", report.unexpected)):
        for key in keys[:10]:
            print(f"  {title}: {key}")
        if len(keys) > 10:
            print(f"  ... and {len(keys) - 10} more")
    if any(key.endswith(_PUBLIC_EXPANSION) for key in report.unexpected):
        print("  the public Hydranet has a convolution more in its first block: train on from these weights")
    if not found or (missing and not args.partial):
        raise CheckpointError(
            f"{args.checkpoint}: does not cover the net, nothing was written; --partial writes what matched"
        )
    # With the settings, so that whoever loads the file builds the same net.
    write_safetensors(args.out, found, {**file.record, "hyper_parameters": settings})
    print(f"{args.out}: written")
