"""Predictions drawn over their frames, with a legend of what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.manifest import ClassInfo
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.sources.opencv import import_cv2
from safetrip_sdk.summary import summarize

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Overlay", "depth_colors"]


def depth_colors(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(h, w) metres to a (h, w, 3) uint8 BGR picture; near is warm, 80 m and beyond cold."""
    cv2 = import_cv2()
    # Logarithmic: the metres in front of the robot matter more than those at the horizon.
    near = 1 - np.log1p(np.clip(depth, 0, 80)) / np.log1p(80)
    colors: NDArray[np.uint8] = cv2.applyColorMap((near * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return colors


class Overlay:
    """Draws labels in the bundle's colours, a legend with shares and distances, and a small depth picture.

    Args:
        classes: of the bundle's manifest: names, colours, kinds.
        alpha: 0 (frame alone) to 1 (labels alone).
        legend: list the classes in view, obstacles with their distance.
        depth: put a picture of the depth (near is warm) into the lower right corner.
    """

    def __init__(
        self, classes: Sequence[ClassInfo], alpha: float = 0.45, legend: bool = True, depth: bool = True
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha: want 0 to 1, not {alpha}")
        self._cv2 = import_cv2()
        self._classes = tuple(classes)
        self._alpha = alpha
        self._legend = legend
        self._depth = depth
        # 256 rows, so that an id without a class (255) is black instead of an index error.
        self._table = np.zeros((256, 3), np.uint8)
        self._table[: len(self._classes)] = [item.color[::-1] for item in self._classes]

    def draw(self, frame: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR, a new image of the frame's size."""
        cv2 = self._cv2
        size = (frame.shape[1], frame.shape[0])
        colours = cv2.resize(self._table[prediction.labels], size, interpolation=cv2.INTER_NEAREST)
        image: NDArray[np.uint8] = cv2.addWeighted(frame, 1 - self._alpha, colours, self._alpha, 0.0)
        if self._depth:
            self._draw_depth(image, prediction)
        if self._legend:
            self._draw_legend(image, prediction)
        return image

    def _draw_depth(self, image: NDArray[np.uint8], prediction: Prediction) -> None:
        cv2 = self._cv2
        height, width = image.shape[0] // 4, image.shape[1] // 4
        if height < 16 or width < 16:
            return
        picture = depth_colors(prediction.depth)
        image[-height:, -width:] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)

    def _draw_legend(self, image: NDArray[np.uint8], prediction: Prediction) -> None:
        summary = summarize(prediction, self._classes)
        lines: list[tuple[str, tuple[int, ...] | None]] = []
        shares = sorted(summary["classes"].items(), key=lambda item: -item[1])
        for name, share in shares:
            if share < 0.001:
                continue
            text = f"{name} {share:.0%}" if share >= 0.01 else f"{name} <1%"
            if name in summary["obstacles"]:
                text += f" {summary['obstacles'][name]['nearest_m']:.1f} m"
            lines.append((text, self._colour(name)))
        lines.append((f"#{prediction.frame_id} {prediction.timing.total:.1f} ms", None))
        self._draw_lines(image, lines)

    def _colour(self, name: str) -> tuple[int, ...]:
        return next(item.color[::-1] for item in self._classes if item.name == name)

    def _draw_lines(self, image: NDArray[np.uint8], lines: Sequence[tuple[str, Any]]) -> None:
        """Text lines with colour swatches, on a darkened corner; sized to the image."""
        cv2 = self._cv2
        step = max(10, image.shape[0] // 36)
        scale = step / 30
        widest = max(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] for text, _ in lines)
        corner = image[: step * len(lines) + step // 2, : widest + 2 * step]
        corner //= 3
        for index, (text, colour) in enumerate(lines):
            base = step * (index + 1)
            if colour is not None:
                cv2.rectangle(image, (step // 4, base - step // 2), (step, base), colour, -1)
            place = (step + step // 4, base)
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
