"""What a finished run leaves for people and for other programs."""

from __future__ import annotations

from pathlib import Path

from safetrip_trainer.model.checkpoint import net_tensors, read_weights, write_safetensors
from safetrip_trainer.quantize import QuantizedNet
from safetrip_trainer.report.run_page import write_run_report
from safetrip_trainer.training.checkpoints import best_of, last_of
from safetrip_trainer.training.run_folder import restore_metrics

__all__ = ["write_outcome"]


def write_outcome(run: Path) -> None:
    """Writes RUN/weights.safetensors (the best ones) and RUN/report.html, and says so.

    Where no epoch was validated it says what there is instead.

    Raises:
        CheckpointError, DatasetError: a file cannot be written; what stood there still does.
    """
    best = best_of(run)
    if not best.is_file():
        last = last_of(run)
        kept = f"; the training so far is in {last}" if last.is_file() else ""
        print(f"no epoch was validated: there is no best checkpoint, hence no weights and no report{kept}")
        return
    restore_metrics(run)
    file = read_weights(best)
    weights = run / "weights.safetensors"
    # A quantised net is built from its tensors, names included.
    tensors = file.state if QuantizedNet.is_in(file.state) else net_tensors(file.state)
    write_safetensors(weights, tensors, file.record)
    print(f"{weights}: the best weights")
    if (run / "metrics.csv").is_file():
        print(f"{write_run_report(run, file.record)}: the report")
