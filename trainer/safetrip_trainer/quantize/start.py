"""From a trained student to a quantised net: exported, calibrated, ready to learn its rounding."""

from __future__ import annotations

from safetrip_calibration.calibrate import DEFAULT_METHOD, ranges_of
from safetrip_calibration.frames import FrameSet
from safetrip_calibration.graph import Graph
from safetrip_calibration.int8 import with_own_biases
from safetrip_calibration.placement import place
from safetrip_calibration.ranges import Progress
from safetrip_calibration.scales import make_scales, parse_method
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.export.onnx_file import to_onnx
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.quantize.net import QuantizedNet

__all__ = ["quantize_student"]


def quantize_student(
    net: HydraNet,
    size: tuple[int, int],
    frames: FrameSet,
    count: int = 200,
    method: str = DEFAULT_METHOD,
    seed: int = 0,
    progress: Progress | None = None,
) -> QuantizedNet:
    """The student as post-training calibration would quantise it: BatchNorm folded, scales, corrected biases.

    Args:
        net: trained in float.
        size: (h, w) at which it goes on training and will run.
        frames: real frames, such as the training split; at most `count` are used.
        count, method, seed, progress: of `trainer calibrate`.

    Raises:
        FramesError: there is no frame.
        CalibrationError: an unknown method, or weights that are not finite.
    """
    plain = Graph(to_onnx(DeployGraph(net.cpu(), size)))
    graph = Graph(with_own_biases(plain, place(plain)))
    measured = ranges_of(graph, frames, count, seed, progress)
    wanted = {name: measured.ranges[name] for name in place(graph).scale_of.values()}
    quantized = QuantizedNet(graph.model, make_scales(wanted, parse_method(method)))
    means = {name: item.means for name, item in measured.ranges.items() if item.means is not None}
    quantized.correct_biases(means)
    return quantized
