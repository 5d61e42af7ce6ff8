"""A quantisation-aware checkpoint becomes a bundle: the float net it came from, and its INT8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetrip_calibration.calibrate import Calibration, model_file, ranges_of, write_precision
from safetrip_calibration.fp16 import cast_graph
from safetrip_calibration.frames import FrameSet
from safetrip_calibration.graph import Graph
from safetrip_calibration.ranges import Progress
from safetrip_sdk.bundle import Bundle
from safetrip_trainer.export.bundle import new_manifest
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.export.verify import ExportCheck, ExportLimits, verify_export
from safetrip_trainer.quantize.net import QuantizedNet

__all__ = ["export_quantized_bundle"]

METHOD = "quantisation-aware training"

# A value within one rounding error of half a step may round either way in onnxruntime, and what follows it
# moves by a step: at single pixels depth then differs by whatever a step is there.
_LIMITS = ExportLimits(label_agreement=0.99, depth_error=float("inf"), mean_depth_error=0.01)
_CHECKED = 8


def export_quantized_bundle(
    net: QuantizedNet,
    out: Path,
    frames: FrameSet,
    training: dict[str, Any],
    overwrite: bool = False,
    count: int = 100,
    progress: Progress | None = None,
) -> ExportCheck:
    """Writes a bundle with the net as it was before quantisation-aware training (FP32), and after it (INT8).

    So `trainer compare` holds the trained INT8 against the very net that a user would run without it.

    Args:
        net: of a checkpoint of `trainer fit --quantize int8`.
        out: the bundle's folder.
        frames: real frames; on `count` of them FP16's range is checked for what stays float.
        training: where the weights come from, for the manifest.
        overwrite: replace a bundle that is there.

    Returns:
        How close the INT8 graph came to the net that was trained.

    Raises:
        ExportError: an exported graph differs from torch.
        FramesError: there is no frame.
    """
    net = net.cpu().eval()
    measured = ranges_of(Graph(net.float_model()), frames, count, 0, progress)
    step = max(len(measured.frames) // _CHECKED, 1)
    checked = [measured.frames[position].frame for position in range(0, len(measured.frames), step)]
    origin = QuantizedNet(net.graph.model, net.scales)
    origin.quantizing = False
    size = net.input_size
    float_check = verify_export(DeployGraph(origin, size), net.graph.model, checked)
    int8 = net.int8_model()
    check = verify_export(DeployGraph(net, size), int8, checked, _LIMITS)
    faults = measured.faults
    made = Calibration(cast_graph(int8, faults), faults, net.plan)
    agreement = {"label_agreement_with_torch": check.label_agreement, "frames": check.frames}
    with Bundle.create(out, new_manifest(out, size, training, float_check), overwrite=overwrite) as draft:
        draft.write(model_file("fp32"), net.graph.model.SerializeToString(deterministic=True))
        write_precision(draft, "int8", made, measured, METHOD, {"export": agreement})
    return check
