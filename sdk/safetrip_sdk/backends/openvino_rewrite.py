"""Two rewrites of the deploy graph for OpenVINO's CPU plugin, each worth a tenth of a frame's time.

The frame's resize: the plugin converts, transposes and reorders the whole camera frame before it resizes it,
though bilinear resizing without antialias needs two rows and two columns for each that it makes. Gathering
those first leaves the large frame in bytes and untouched.

ArgMax: the importer asks for a stable sort, which the plugin does four times more slowly. Without it the same
maximum is found; where two classes tie exactly, either may be named.

A graph that does not look like a deploy graph is left as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["relax_argmax", "rewrite_resize", "taps"]


def rewrite_resize(model: Any) -> bool:
    """Rewrite the frame's resize in an openvino.Model of static shapes; False when there was none."""
    import openvino.opset13 as ops

    found = any(
        node.get_type_name() == "Interpolate" and _gather_resize(ops, node)
        for node in model.get_ordered_ops()
    )
    if found:
        model.validate_nodes_and_infer_types()
    return found


def taps(size: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Bilinear taps along one side: lower index, upper index, weight of the upper, for each target pixel.

    Half-pixel centres, no antialias, in float32: torch.nn.functional.interpolate(align_corners=False).
    """
    scale = np.float32(size / target)
    place = scale * (np.arange(target, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    place = np.clip(place, 0, size - 1)
    low = np.floor(place).astype(np.int64)
    return low, np.minimum(low + 1, size - 1), (place - low).astype(np.float32)


def relax_argmax(model: Any) -> int:
    """Let every ArgMax (a TopK of one whose values nobody reads) do without a stable sort; how many."""
    import openvino.opset13 as ops

    changed = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "TopK" or _constant(node, 1) != [1] or node.output(0).get_target_inputs():
            continue
        given = node.get_attributes()
        if not given.get("stable"):
            continue
        kind = (given["axis"], given["mode"], given["sort"], given["index_element_type"])
        relaxed = ops.topk(node.input_value(0), node.input_value(1), *kind, False)
        node.output(1).replace(relaxed.output(1))
        changed += 1
    return changed


def _source(node: Any, index: int = 0) -> Any:
    return node.input_value(index).get_node()


def _constant(node: Any, index: int) -> list[int] | None:
    source = _source(node, index)
    return [int(value) for value in source.data.ravel()] if source.get_type_name() == "Constant" else None


def _gather_resize(ops: Any, node: Any) -> bool:
    """Convert, Transpose, Interpolate of the frame -> rows and columns that the resize needs, blended."""
    transpose = _source(node)
    if transpose.get_type_name() != "Transpose" or _constant(transpose, 1) != [0, 3, 1, 2]:
        return False
    convert = _source(transpose)
    if convert.get_type_name() != "Convert" or _source(convert).get_type_name() != "Parameter":
        return False
    attributes = node.get_attributes()
    bilinear = attributes.get("mode") == "linear_onnx" and not attributes.get("antialias")
    if not bilinear or attributes.get("coordinate_transformation_mode") != "half_pixel":
        return False
    _, height, width, _ = (int(side) for side in convert.input_value(0).get_shape())
    batch, channels, new_height, new_width = (int(side) for side in node.output(0).get_shape())
    if batch != 1 or channels != 3 or convert.output(0).get_element_type().get_type_name() != "f32":
        return False
    last, order = _channel_order(node)
    rows = ops.reshape(convert.input_value(0), _shape(ops, 1, height, width * 3), False)
    top, bottom, weight = taps(height, new_height)
    blended = _blend(ops, rows, 1, (top, bottom), weight.reshape(1, -1, 1), convert=True)
    left, right, weight = taps(width, new_width)
    # Columns of one channel after another: the gather transposes and flips channels on its way.
    columns = [np.concatenate([side * 3 + channel for channel in order]) for side in (left, right)]
    weights = np.tile(weight, 3).reshape(1, 1, -1)
    blended = _blend(ops, blended, 2, (columns[0], columns[1]), weights, convert=False)
    split = ops.reshape(blended, _shape(ops, 1, new_height, 3, new_width), False)
    image = ops.transpose(split, ops.constant(np.array([0, 2, 1, 3], np.int64)))
    last.output(0).replace(image.output(0))
    return True


def _channel_order(node: Any) -> tuple[Any, list[int]]:
    """The flip from BGR to RGB where it is all that follows: its node and order; else none."""
    targets = list(node.output(0).get_target_inputs())
    if len(targets) == 1:
        after = targets[0].get_node()
        if after.get_type_name() == "Slice" and after.get_input_size() == 5:
            begin, end, step, axis = (_constant(after, index) for index in range(1, 5))
            if step == [-1] and axis == [1] and begin and end:
                whole = (begin[0] == -1 or begin[0] >= 2) and end[0] < -3
                return (after, [2, 1, 0]) if whole else (node, [0, 1, 2])
    return node, [0, 1, 2]


def _blend(
    ops: Any, value: Any, axis: int, indices: tuple[Any, Any], weight: NDArray[np.float32], convert: bool
) -> Any:
    """low + (high - low) * weight of two gathers along an axis."""
    which = ops.constant(np.array(axis, np.int64))
    low, high = (ops.gather(value, ops.constant(index), which) for index in indices)
    if convert:
        low, high = ops.convert(low, "f32"), ops.convert(high, "f32")
    return ops.add(low, ops.multiply(ops.subtract(high, low), ops.constant(weight)))


def _shape(ops: Any, *sides: int) -> Any:
    return ops.constant(np.array(sides, np.int64))
