"""The workstation's errors, all under the SDK's `SafetripError`.

::

    SafetripError
     └─ TrainerError
         ├─ DatasetError      a tree, folder, annotation or image that cannot be used
         ├─ CheckpointError   a checkpoint that cannot be loaded into the model asked for
         ├─ BudgetError       a net that its device would be too slow for
         └─ ExportError       an exported graph that does not compute what torch computes
"""

from __future__ import annotations

from safetrip_sdk.errors import SafetripError

__all__ = ["BudgetError", "CheckpointError", "DatasetError", "ExportError", "TrainerError"]


class TrainerError(SafetripError):
    """A workstation step cannot go on; the message names the file and the fix."""


class DatasetError(TrainerError):
    """Data on disk cannot be used as it is."""


class CheckpointError(TrainerError):
    """A checkpoint does not fit the model it should be loaded into."""


class BudgetError(TrainerError):
    """The net is predicted to miss its latency budget; the message names what would meet it."""


class ExportError(TrainerError):
    """The exported graph differs from the torch model by more than it may."""
