"""Predictions drawn over their frames, with a legend of what is seen and distances at what is near.

Twenty-four classes are more than any colour-blind viewer can tell apart by colour, and their colours are the
data set's. So colour never stands alone: obstacles have a light outline and bear their name and distance,
caution zones are hatched, bike lanes lined, and the legend lists what is in view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.frame import size_of
from safetrip_sdk.manifest import ClassInfo
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.results.arguments import require
from safetrip_sdk.results.hazards import Hazard, find_hazards
from safetrip_sdk.results.walkable import CAUTION
from safetrip_sdk.sources.opencv import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

__all__ = ["Overlay", "depth_colors", "shrink"]

WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
NOTHING = 255
"""The id of pixels without a class."""

ENOUGH = 256
"""Columns of labels that tell where hazards are."""

SECTORS = 9

LINED = ("bike_lane",)
"""Drawn with light lines: without red or green it looks like the alley or the roadway beside it."""


def depth_colors(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(h, w) metres to a (h, w, 3) uint8 BGR picture; near is warm, 80 m and beyond cold."""
    cv2 = import_cv2()
    # Logarithmic: the metres in front of the robot matter more than those at the horizon.
    far = cv2.log(np.clip(depth, 0, 80) + 1) * np.float32(255 / np.log1p(80))
    colors: NDArray[np.uint8] = cv2.applyColorMap((255 - far).astype(np.uint8), cv2.COLORMAP_TURBO)
    return colors


def shrink(image: NDArray[np.uint8], widest: int) -> NDArray[np.uint8]:
    """(H, W, 3) made smaller by a whole number so that it is at most `widest` pixels wide; 0: any width.

    Averaging whole squares of pixels takes a twentieth of the time that averaging fractions of them takes;
    a remainder of less than that number of pixels is cut off at the right and the bottom.
    """
    height, width = image.shape[:2]
    step = -(-width // widest) if widest else 1
    if step == 1 or height < step:
        return image
    cv2 = import_cv2()
    size = (width // step, height // step)
    whole = image[: size[1] * step, : size[0] * step]
    small: NDArray[np.uint8] = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    return small


class Overlay:
    """Draws labels in the bundle's colours, obstacles outlined and named, a legend, a small depth picture.

    Args:
        classes: of the bundle's manifest: names, colours, kinds.
        alpha: 0 (frame alone) to 1 (labels alone).
        legend: list the classes in view, and write names and distances at the nearest obstacles.
        depth: put a picture of the depth (near is warm) into the lower right corner.
    """

    def __init__(
        self, classes: Sequence[ClassInfo], alpha: float = 0.45, legend: bool = True, depth: bool = True
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha: want 0 to 1, not {alpha}")
        self._cv2 = import_cv2()
        self._classes = ClassTable(classes)
        self._alpha = alpha
        self._legend = legend
        self._depth = depth
        # 256 rows, so that an id without a class (255) is black instead of an index error. The one behind the
        # classes is free, for lines and outlines; where 255 classes leave none, those are black.
        table = np.zeros((256, 1, 3), np.uint8)
        table[: len(self._classes), 0] = [item.color[::-1] for item in self._classes.infos]
        self._light = len(self._classes)
        table[self._light] = 255
        table[NOTHING] = 0
        self._table = table
        self._is_obstacle = self._classes.is_obstacle.astype(np.uint8)
        self._hatched = self._classes.ids_of(CAUTION)
        self._lined = self._classes.ids_of(LINED)
        self._stripes = np.zeros((0, 0), np.bool_)

    def draw(
        self, frame: NDArray[np.uint8], prediction: Prediction, hazards: Sequence[Hazard] | None = None
    ) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR, a new image of the frame's size.

        Args:
            frame: (H, W, 3) uint8 BGR; need not have the size of the frame that was predicted.
            prediction: of that frame.
            hazards: its hazards, where they are known already.

        Raises:
            FrameError: no such frame.
            TypeError: something else than a prediction.
        """
        require(prediction=prediction)
        cv2 = self._cv2
        size = size_of(frame)[::-1]
        colours = cv2.resize(self._colours(prediction.labels), size, interpolation=cv2.INTER_NEAREST)
        image: NDArray[np.uint8] = cv2.addWeighted(frame, 1 - self._alpha, colours, self._alpha, 0.0)
        if self._depth:
            self._draw_depth(image, prediction)
        if self._legend:
            if hazards is None:
                hazards = self.find_hazards(prediction)
            self._draw_hazards(image, hazards)
            self._draw_legend(image, prediction, hazards)
        return image

    def find_hazards(
        self, prediction: Prediction, intrinsics: CameraIntrinsics | None = None
    ) -> tuple[Hazard, ...]:
        """Those of every second (third...) row and column of large labels: enough for a tenth of a metre."""
        step = max(prediction.labels.shape[1] // ENOUGH, 1)
        thin = (slice(None, None, step), slice(None, None, step))
        thinned = replace(
            prediction, labels=prediction.labels[thin], depth=prediction.depth[thin], confidence=None
        )
        return find_hazards(thinned, self._classes, intrinsics, min(SECTORS, thinned.labels.shape[1]))

    def _colours(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR: colours by class, obstacles outlined, some surfaces hatched or lined."""
        ids = labels.copy()
        for index in self._hatched:
            np.putmask(ids, (labels == index) & self._diagonals(labels.shape), NOTHING)
        for index in self._lined:
            np.putmask(ids[::6], labels[::6] == index, self._light)
        if self._alpha > 0:
            np.putmask(ids, self._outlines(np.ascontiguousarray(labels)), self._light)
        colours: NDArray[np.uint8] = self._cv2.applyColorMap(ids, self._table)
        return colours

    def _diagonals(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(h, w) bool: stripes, made anew where the size changes."""
        if self._stripes.shape != shape:
            rows, columns = np.ogrid[: shape[0], : shape[1]]
            self._stripes = (rows + columns) % 8 < 3
        return self._stripes

    def _outlines(self, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(h, w) bool: the pixels of obstacles beside which, above or below, another label stands."""
        edge = np.zeros(labels.shape, np.bool_)
        across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        edge &= self._cv2.LUT(labels, self._is_obstacle).view(np.bool_)
        return edge

    def _draw_depth(self, image: NDArray[np.uint8], prediction: Prediction) -> None:
        cv2 = self._cv2
        height, width = image.shape[0] // 4, image.shape[1] // 4
        if height < 16 or width < 16:
            return
        depth = cv2.resize(prediction.depth, (width, height), interpolation=cv2.INTER_NEAREST)
        image[-height:, -width:] = depth_colors(depth)

    def _draw_hazards(self, image: NDArray[np.uint8], hazards: Sequence[Hazard]) -> None:
        """Name and distance at each obstacle, once: an obstacle reaching over sectors is one box."""
        nearest: dict[tuple[float, ...], Hazard] = {}
        for item in sorted(hazards, key=lambda item: item.distance):
            nearest.setdefault(item.box, item)
        # The nearest one is written last, over the others.
        for item in reversed(nearest.values()):
            left, _, right, bottom = item.box
            place = (int((left + right) / 2 * image.shape[1]), int(bottom * image.shape[0]))
            self._tag(image, f"{item.name} {item.distance:.1f} m", place)

    def _tag(self, image: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
        """White text on black, its middle over `place`, inside the image."""
        cv2 = self._cv2
        step = _step(image)
        scale = step / 26
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        left = min(max(place[0] - width // 2, 0), max(image.shape[1] - width - 4, 0))
        base = min(max(place[1], height + 6), image.shape[0] - 4)
        cv2.rectangle(image, (left, base - height - 4), (left + width + 4, base + 4), BLACK, -1)
        cv2.putText(image, text, (left + 2, base), cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, 1, cv2.LINE_AA)

    def _draw_legend(
        self, image: NDArray[np.uint8], prediction: Prediction, hazards: Sequence[Hazard]
    ) -> None:
        labels = np.ascontiguousarray(prediction.labels)
        counts = self._cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
        shares = counts[: len(self._classes)] / labels.size
        nearest: dict[int, float] = {}
        for item in hazards:
            nearest[item.class_id] = min(item.distance, nearest.get(item.class_id, item.distance))
        lines: list[tuple[str, tuple[int, ...] | None]] = []
        for index in np.argsort(-shares, kind="stable"):
            share = float(shares[index])
            if share < 0.001:
                break
            text = f"{self._classes[index]} {share:.0%}" if share >= 0.01 else f"{self._classes[index]} <1%"
            if index in nearest:
                text += f" {nearest[index]:.1f} m"
            lines.append((text, self._classes.infos[index].color[::-1]))
        lines.append((f"#{prediction.frame_id} {prediction.timing.total:.1f} ms", None))
        self._draw_lines(image, lines)

    def _draw_lines(self, image: NDArray[np.uint8], lines: Sequence[tuple[str, Any]]) -> None:
        """Text lines with colour swatches, on a darkened corner; sized to the image."""
        cv2 = self._cv2
        step = _step(image)
        scale = step / 30
        widest = max(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] for text, _ in lines)
        corner = image[: step * len(lines) + step // 2, : widest + 2 * step]
        corner //= 3
        for index, (text, colour) in enumerate(lines):
            base = step * (index + 1)
            if colour is not None:
                cv2.rectangle(image, (step // 4, base - step // 2), (step, base), colour, -1)
            place = (step + step // 4, base)
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, 1, cv2.LINE_AA)


def _step(image: NDArray[np.uint8]) -> int:
    """Pixels from one line of text to the next."""
    return max(10, int(image.shape[0]) // 36)
