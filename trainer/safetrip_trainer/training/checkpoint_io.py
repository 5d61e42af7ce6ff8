"""How a run's checkpoints reach the disk, whole or not at all, and come back without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from safetrip_sdk.atomic import open_atomic
from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import refusal

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's, but replaced in one step and synced; read with `weights_only`.

    Lightning stages a local file in the system's temporary folder, so that its last step may be a copy to
    another file system: a kill in the middle of it leaves half a checkpoint. Addresses of object stores are
    left to Lightning.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Writes beside the target, then renames.

        Raises:
            CheckpointError: it cannot be written (disk full, no permission); an earlier one is as it was.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_atomic(target) as file:
                torch.save(checkpoint, file)
        # torch's writer turns some failed writes into a RuntimeError.
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else _cause(error)
            earlier = (
                "the earlier one there is whole: make room and resume" if target.exists() else "make room"
            )
            raise CheckpointError(
                f"{target}: the checkpoint cannot be written ({reason}); {earlier} with --ckpt_path"
            ) from error

    def load_checkpoint(self, path: _PATH, *args: Any, **options: Any) -> dict[str, Any]:
        """Tensors and plain values only: nothing in the file is run.

        Raises:
            CheckpointError: missing, damaged, or holding objects.
        """
        try:
            content: dict[str, Any] = super().load_checkpoint(
                path, *args, **{**options, "weights_only": True}
            )
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: no such checkpoint") from error
        except Exception as error:  # torch raises zip, pickle, runtime and EOF errors for broken files
            raise CheckpointError(f"{path}: cannot be resumed from: {refusal(error)}") from error
        return content


def _cause(error: BaseException) -> str:
    """The first line of the error, or of the system's error under it."""
    under = error.__context__
    if isinstance(under, OSError) and under.strerror:
        return under.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
