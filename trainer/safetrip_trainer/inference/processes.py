"""Work that several processes share: devices and nodes as Lightning's strategies know them."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from safetrip_trainer.errors import TrainerError

if TYPE_CHECKING:
    from lightning import Fabric

__all__ = ["add_process_arguments", "launch"]


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --accelerator, --devices, --num-nodes and --strategy, as Lightning names them."""
    group = parser.add_argument_group("processes", "each does its share; torchrun and SLURM are recognised")
    group.add_argument("--accelerator", default="auto", help="auto, cpu or cuda (auto)")
    group.add_argument("--devices", default="1", metavar="N", help="processes of a node, or auto (1)")
    group.add_argument("--num-nodes", type=int, default=1, metavar="N", help="nodes (1)")
    group.add_argument("--strategy", default="auto", help="auto or ddp (auto: ddp where there are several)")


def launch(args: argparse.Namespace) -> Fabric:
    """Starts the other processes, each of which comes here with the same words, and waits for them all.

    Returns:
        Rank, number of processes, device, and sums over all.

    Raises:
        TrainerError: Lightning knows no such accelerator, devices or strategy, or this machine has none.
    """
    from lightning import Fabric
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    # Lightning prints through a handler of its own: once is enough.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).propagate = False
    devices = int(args.devices) if args.devices.lstrip("-").isdigit() else args.devices
    try:
        fabric = Fabric(
            accelerator=args.accelerator, devices=devices, num_nodes=args.num_nodes, strategy=args.strategy
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        reason = str(error).splitlines()[0]
        raise TrainerError(
            f"--accelerator {args.accelerator} --devices {args.devices} --num-nodes {args.num_nodes} "
            f"--strategy {args.strategy}: {reason}"
        ) from error
    fabric.launch()
    return fabric
