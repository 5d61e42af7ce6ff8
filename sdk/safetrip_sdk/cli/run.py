"""`safetrip run`: a source's frames through a bundle, to JSON lines and annotated video."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

from safetrip_sdk import atomic
from safetrip_sdk.cli.options import add_runtime_options, positive, runtime_options
from safetrip_sdk.errors import FrameSizeError
from safetrip_sdk.overlay import Overlay
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.runtime import Runtime
from safetrip_sdk.sources import FrameSource, open_source
from safetrip_sdk.stats import RuntimeStats
from safetrip_sdk.summary import summarize
from safetrip_sdk.video import VideoWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EPILOG", "HELP", "configure", "run"]

log = logging.getLogger(__name__)

HELP = "run a bundle on a video, images or a camera"
EPILOG = """\
sources: video file, image, folder or glob of images, camera (0, /dev/video0, camera://0?width=1280&height=720),
rtsp:// or http:// stream, gst:PIPELINE, synthetic://1920x1080?fps=30

each JSON line: frame_id, origin, captured_at (ns), timing (ms), classes (fraction of the view), obstacles
(nearest_m: 5th percentile of the class's depths, median_m)

examples:
  safetrip run sidewalk.bundle --source street.mp4 --json out.jsonl --video out.mp4
  safetrip run sidewalk.bundle --source 'photos/*.jpg' --json -
  safetrip run sidewalk.bundle --source 0 --frames 300 --backend openvino"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", help="path of a bundle")
    parser.add_argument("--source", required=True, metavar="URI", help="where frames come from")
    parser.add_argument("--json", metavar="OUT.jsonl", help="a JSON line per frame; - is standard output")
    parser.add_argument("--video", metavar="OUT.mp4", help="annotated video (.mp4, .avi, .mkv)")
    parser.add_argument("--frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--policy", choices=("auto", "latest", "block", "error"), default="auto")
    parser.add_argument("--fps", type=float, help="of the video (default: the source's, or 10)")
    add_runtime_options(parser)


class _Keeper(FrameSource):
    """A source that remembers each frame's origin, and its picture when asked, until its prediction comes.

    Args:
        inner: the source.
        pictures: keep copies of the frames (for the video).
        limit: frames to give at most; None: all.
    """

    def __init__(self, inner: FrameSource, pictures: bool, limit: int | None) -> None:
        self._inner = inner
        self._pictures = pictures
        self._rest = limit
        self.name, self.live, self.frame_size = inner.name, inner.live, inner.frame_size
        self._captured = 0
        # Frames the runtime dropped are passed over; the deque bounds what can wait.
        self._kept: deque[tuple[int, str, NDArray[np.uint8] | None]] = deque(maxlen=64)

    def grab(self) -> int | None:
        if self._rest == 0 and not self.live:
            return None
        captured = self._inner.grab()
        if captured is not None:
            self._captured = captured
            if self._rest is not None:
                self._rest -= 1
        return captured

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        try:
            self._inner.retrieve(out)
        except FrameSizeError:
            if self._rest is not None:
                self._rest += 1
            raise
        self._kept.append((self._captured, self._inner.origin, out.copy() if self._pictures else None))

    def adopt_size(self) -> None:
        """Go on with the size of the frame that did not fit."""
        self.frame_size = self._inner.frame_size

    def take(self, captured: int) -> tuple[str, NDArray[np.uint8] | None]:
        """Origin and picture of the frame captured then."""
        while self._kept:
            time, origin, picture = self._kept.popleft()
            if time == captured:
                return origin, picture
        return "", None


def run(args: argparse.Namespace) -> int:
    """Run it; returns 0. The statistics come at the end, also after Ctrl-C."""
    with ExitStack() as stack:
        source = stack.enter_context(open_source(args.source))
        runtime = stack.enter_context(
            Runtime(args.bundle, frame_size=source.frame_size, **runtime_options(args))
        )
        assert runtime.bundle is not None
        classes = runtime.bundle.manifest.classes
        keeper = _Keeper(source, pictures=args.video is not None, limit=args.frames)
        consumers: list[Callable[[Prediction, str, Any], None]] = []
        if args.json is not None:
            lines = stack.enter_context(_open_lines(args.json))

            def write_line(prediction: Prediction, origin: str, picture: Any) -> None:
                figures = summarize(prediction, classes)
                lines.write(json.dumps({"origin": origin, **figures}) + "\n")

            consumers.append(write_line)
        if args.video is not None:
            fps = args.fps or getattr(source, "fps", 0.0) or 10.0
            overlay, writer = Overlay(classes), stack.enter_context(VideoWriter(args.video, fps))

            def write_picture(prediction: Prediction, origin: str, picture: Any) -> None:
                if picture is not None:
                    writer.write(overlay.draw(picture, prediction))

            consumers.append(write_picture)
        interrupted = False
        try:
            _consume(_predictions(runtime, keeper, args.policy), keeper, consumers, args.frames)
        except KeyboardInterrupt:
            interrupted = True
        _report(runtime, runtime.stats())
    return 130 if interrupted else 0


def _open_lines(target: str) -> Any:
    return _Stdout() if target == "-" else atomic.open_atomic(target, "w")


class _Stdout:
    """Standard output, left open."""

    def __enter__(self) -> IO[str]:
        return sys.stdout

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


def _predictions(runtime: Runtime, source: _Keeper, policy: str) -> Iterator[Prediction]:
    """The stream; images of another size make the runtime reopen for that size."""
    while True:
        try:
            yield from runtime.stream(source, policy)
            return
        except FrameSizeError as error:
            log.info("%s", error)
            source.adopt_size()
            runtime.reopen(frame_size=source.frame_size)


def _consume(
    predictions: Iterator[Prediction],
    keeper: _Keeper,
    consumers: list[Callable[[Prediction, str, Any], None]],
    limit: int | None,
) -> None:
    for number, prediction in enumerate(predictions, 1):
        origin, picture = keeper.take(prediction.captured_at)
        for consume in consumers:
            consume(prediction, origin, picture)
        if number == limit:
            break


def _report(runtime: Runtime, stats: RuntimeStats) -> None:
    backend = runtime.backend
    where = f"{backend.name} on {backend.device}" if backend else "no frame"
    print(
        f"{stats.frames} frames, {stats.dropped} dropped, {stats.errors} failed; "
        f"{stats.fps:.1f} frames/s on {where}",
        file=sys.stderr,
    )
    for stage, item in stats.stages.items():
        figures = f"p50 {item.p50:8.2f}  p95 {item.p95:8.2f}  p99 {item.p99:8.2f}  max {item.max:8.2f}"
        print(f"  {stage:9s} ms  {figures}", file=sys.stderr)
