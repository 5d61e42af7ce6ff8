"""What Lightning says of itself, and what of it a run's owner need not read."""

from __future__ import annotations

import logging
import os
import warnings

__all__ = ["quiet_lightning"]


def quiet_lightning() -> None:
    """Once each, and no advertisements: Lightning prints through a handler of its own."""
    root = logging.getLogger("lightning.pytorch")
    root.propagate = False
    logging.getLogger("lightning.fabric").propagate = False
    for handler in root.handlers:
        handler.addFilter(lambda record: "litlogger" not in record.getMessage())
    for message in (
        ".*LeafSpec.*",
        ".*logging interval.*",
        ".*does not have many workers.*",
        ".*jsonargparse.*",
        # A resumed run goes on in its own folder, and what stands there is kept (run_folder.py).
        ".*Experiment logs directory.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        # A run that ends before its first validation says itself that it has no best checkpoint.
        ".*could not find the monitored key.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
