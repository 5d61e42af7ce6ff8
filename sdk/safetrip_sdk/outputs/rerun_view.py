"""A live view in Rerun: the one module that imports it."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.errors import BackendUnavailableError, SafetripError
from safetrip_sdk.outputs.base import Shot
from safetrip_sdk.overlay import SECTORS, Overlay, shrink
from safetrip_sdk.prediction import Timing
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.results.hazards import Hazard
from safetrip_sdk.sources.opencv import encode_image, import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_RATE", "RerunView"]

log = logging.getLogger(__name__)

MAX_RATE = 15.0
"""Pictures a second: enough for an eye, and the inference keeps its cores."""

_WIDEST = 640
"""Pixels; wider frames are made smaller for the view, where three pictures stand side by side."""

_FLUSH_SECONDS = 10.0

_QUALITY = 85
"""Of JPEG; 95 takes half as long again, and no eye sees it."""

_DEPTH_WIDEST = 320
"""Pixels: the depth is not compressed."""


def _import() -> Any:
    try:
        import rerun
        import rerun.blueprint
    except ImportError as error:
        raise BackendUnavailableError(
            f"rerun: not installed ({error}); pip install rerun-sdk. It brings numpy 2, for which a Jetson's "
            "own OpenCV was not built: with a CSI camera use --record and look at the recording elsewhere"
        ) from error
    return rerun


def _need_screen() -> None:
    """On Linux Rerun's viewer takes six seconds to find out, and says it in a language of its own."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SafetripError(
            "a window needs a screen, and there is none here (neither DISPLAY nor WAYLAND_DISPLAY is set); "
            "use --view web and look from elsewhere, or --view FILE.rrd and look later"
        )


class RerunView:
    """Camera, overlay, depth, hazards and the latency's course.

    Args:
        target: `"window"` (Rerun's viewer on this machine), `"web"` or `"web:PORT"` (a page to open in a
            browser, from elsewhere as well), or the name of an .rrd file to look at later (`rerun FILE`).
        table: the model's classes.
        intrinsics: of the camera, for hazards' bearings.

    Attributes:
        address: of the page; empty where there is none. Its data come from the port after the page's.

    Raises:
        BackendUnavailableError: rerun-sdk is not installed.
        SafetripError: a target that is none of these, or that cannot be opened.
    """

    pictures = True
    helpers = ("ChunkBatcher::c", "RecordingStream", "file_writer", "message_proxy_s", "re_web_viewer_s")
    address = ""

    def __init__(self, target: str, table: ClassTable, intrinsics: CameraIntrinsics | None = None) -> None:
        self._rr = rr = _import()
        self._cv2 = import_cv2()
        self._table = table
        self._intrinsics = intrinsics
        self._overlay = Overlay(table.infos, depth=False)
        self._stream = rr.RecordingStream("safetrip")
        self._open(target)
        context = [(index, item.name, item.color) for index, item in enumerate(table.infos)]
        self._log("/", rr.AnnotationContext(context), static=True)
        self._log("latency", rr.SeriesLines(names=Timing.__slots__), static=True)
        sectors = [f"sector {number}" for number in range(SECTORS)]
        self._log("hazards", rr.SeriesLines(names=sectors), static=True)

    def _open(self, target: str) -> None:
        stream, blueprint = self._stream, self._blueprint()
        web = re.fullmatch(r"web(?::(\d{1,5}))?", target)
        try:
            if target == "window":
                _need_screen()
                stream.spawn(default_blueprint=blueprint)
            elif web is not None:
                page = int(web[1]) if web[1] else 9090
                if not 0 < page < 65535:  # the next one is taken, too
                    raise SafetripError(f"{target}: want a port from 1 to 65534")
                url = stream.serve_grpc(grpc_port=page + 1, default_blueprint=blueprint)
                self._rr.serve_web_viewer(web_port=page, open_browser=False, connect_to=url)
                host = socket.gethostname()
                data = f"rerun%2Bhttp%3A%2F%2F{host}%3A{page + 1}%2Fproxy"
                self.address = f"http://{host}:{page}/?url={data}"
            elif target.endswith(".rrd"):
                folder = Path(target).absolute().parent
                if not folder.is_dir():
                    raise SafetripError(f"{target}: the folder {folder} does not exist")
                stream.save(target, default_blueprint=blueprint)
            else:
                raise SafetripError(f"{target}: a view is window, web, web:PORT or FILE.rrd")
        except (RuntimeError, OSError, ValueError) as error:
            raise SafetripError(f"the view {target} cannot be opened: {error}") from error

    def _blueprint(self) -> Any:
        layout = self._rr.blueprint
        return layout.Blueprint(
            layout.Vertical(
                layout.Horizontal(
                    layout.Spatial2DView(origin="camera", name="camera"),
                    layout.Spatial2DView(origin="overlay", name="overlay"),
                    layout.Spatial2DView(origin="depth", name="depth"),
                ),
                layout.Horizontal(
                    layout.TimeSeriesView(origin="latency", name="latency, ms"),
                    layout.TimeSeriesView(origin="hazards", name="nearest by sector, m"),
                    layout.TextDocumentView(origin="status", name="hazards"),
                ),
                row_shares=[3, 2],
            ),
            collapse_panels=True,
        )

    def _log(self, path: str, what: Any, static: bool = False) -> None:
        self._rr.log(path, what, static=static, recording=self._stream)

    def write(self, shot: Shot) -> None:
        """Show one shot."""
        assert shot.frame is not None
        rr, prediction = self._rr, shot.prediction
        rr.set_time("frame", sequence=prediction.frame_id, recording=self._stream)
        rr.set_time("captured", duration=prediction.captured_at / 1e9, recording=self._stream)
        small = self._small(shot.frame)
        self._log("camera", self._jpeg(small))
        hazards = self._overlay.find_hazards(prediction, self._intrinsics)
        self._log("overlay", self._jpeg(self._overlay.draw(small, prediction, hazards)))
        step = 1 + prediction.depth.shape[1] // _DEPTH_WIDEST
        centimetres = np.clip(prediction.depth[::step, ::step] * 100, 0, 65535).astype(np.uint16)
        self._log("depth", rr.DepthImage(centimetres, meter=100.0))
        timing = prediction.timing
        self._log("latency", rr.Scalars([getattr(timing, stage) for stage in timing.__slots__]))
        self._log_hazards(hazards)

    def _log_hazards(self, hazards: Sequence[Hazard]) -> None:
        rows, distances = [], np.full(SECTORS, np.nan)
        for item in hazards:
            distances[item.sector] = item.distance
            where = "" if item.bearing is None else f"{np.degrees(item.bearing):+.0f} degrees"
            rows.append(f"| {item.sector} | {item.name} | {item.distance:.1f} m | {where} |")
        self._log("hazards", self._rr.Scalars(distances))
        text = "\n".join(["| sector | nearest | distance | bearing |", "|---|---|---|---|", *rows])
        self._log("status", self._rr.TextDocument(text, media_type="text/markdown"))

    def _small(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # To under twice the width by averaging, and on without: several times as quick as at once.
        half = shrink(frame, 2 * _WIDEST - 1)
        height, width = half.shape[:2]
        if width <= _WIDEST:
            return half
        small: NDArray[np.uint8] = self._cv2.resize(half, (_WIDEST, round(height * _WIDEST / width)))
        return small

    def _jpeg(self, image: NDArray[np.uint8]) -> Any:
        data = encode_image(image, "jpeg", _QUALITY).tobytes()
        return self._rr.EncodedImage(contents=data, media_type="image/jpeg")

    def close(self) -> None:
        """Send what waits, and complete the file; idempotent."""
        try:
            self._stream.flush(timeout_sec=_FLUSH_SECONDS)
        except RuntimeError as error:
            # Somebody has closed the window: no reason for a run to fail.
            log.warning("the view has not got everything: %s", error)
        self._stream.disconnect()

    abandon = close
