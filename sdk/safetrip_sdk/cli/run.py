"""`safetrip run`: a source's frames through a bundle, to JSON lines, video, a recording and a live view."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from safetrip_sdk.backends import CPU_BACKENDS
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.classes import ClassTable
from safetrip_sdk.cli.argument_types import fraction, number, whole
from safetrip_sdk.cli.options import add_runtime_options, runtime_options, write_json
from safetrip_sdk.cli.report import print_comparison, print_outputs, print_statistics, statistics
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.outputs.base import Shot
from safetrip_sdk.outputs.keeper import FrameKeeper
from safetrip_sdk.outputs.share import DEFAULT_SHARE
from safetrip_sdk.outputs.threaded import ThreadedOutput
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.runtime import Runtime
from safetrip_sdk.sources import FrameSource, open_source

if TYPE_CHECKING:
    from safetrip_sdk.recording.check import Comparison

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "run a bundle on a camera, a video, images or a recording"
EPILOG = """\
sources (options behind ?, unknown ones are refused with a list):
  0, /dev/video0, v4l2:///dev/video0?width=1920&height=1080&fps=30&format=MJPG    camera
  csi://0?width=1920&height=1080&fps=30&flip=2     CSI camera of a Jetson (an OpenCV with GStreamer)
  rtsp://host/stream, http://host/stream.mjpg      network stream (options behind #, such as #stall=5)
  street.mp4, photo.jpg, photos/, 'photos/*.jpg'   files; file://street.mp4?realtime=1
  mcap://run.mcap                                  recording
  synthetic://1920x1080?fps=30                     generated street
Cameras come back after a loss: stall=SECONDS without a frame, give_up=SECONDS until that is an error (0:
never). The first frame is waited for as long.

each JSON line: frame_id, origin, captured_at (ns), timing (ms), classes (fraction of the view), obstacles
(nearest_m, median_m), hazards (the nearest obstacle of each of nine sectors), free_m (way ahead by sector)

--check wants a recording made with --record-frames png: after JPEG the frames are not those that were
predicted. It demands equal bits where model, backend and device are the recording's, else agreeing labels.

exit status: 0 done; 1 --check found differences; 2 bad input or no backend; 130 interrupted

examples:
  safetrip run sidewalk.bundle --source street.mp4 --json out.jsonl --video out.mp4
  safetrip run sidewalk.bundle --source 0 --view --fov 78
  safetrip run sidewalk.bundle --source csi://0 --record run.mcap --view web
  safetrip run sidewalk.bundle --source mcap://run.mcap --check
  safetrip run sidewalk.bundle --source synthetic://1280x720 --frames 300 --stats -"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", help="path of a bundle")
    parser.add_argument("--source", required=True, metavar="URI", help="where frames come from")
    parser.add_argument("--frames", type=whole(1), metavar="N", help="stop after N frames")
    parser.add_argument("--realtime", action="store_true", help="play a file at its own pace, like a camera")
    parser.add_argument(
        "--policy",
        choices=("auto", "latest", "block", "error"),
        default="auto",
        help="when the engine is slower than the source (default: latest for cameras, block for files)",
    )
    camera = parser.add_argument_group("camera geometry, for bearings and sizes")
    either = camera.add_mutually_exclusive_group()
    either.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="in pixels of the source's frames")
    either.add_argument("--fov", type=float, metavar="DEGREES", help="horizontal field of view instead")
    group = parser.add_argument_group("outputs")
    group.add_argument("--json", metavar="OUT.jsonl", help="a JSON line per frame; - is standard output")
    group.add_argument("--stats", metavar="OUT.json", help="the statistics as JSON; - is standard output")
    group.add_argument("--video", metavar="OUT.mp4", help="annotated video (.mp4, .avi, .mkv)")
    group.add_argument(
        "--video-width",
        type=whole(0),
        default=1280,
        metavar="PIXELS",
        help="at most; wider frames are halved (or divided by 3, 4...); 0: full size (default: 1280)",
    )
    group.add_argument(
        "--fps",
        type=number(0.1, 1000),
        help="of the video (default: a file's own, or 10; a camera's is measured)",
    )
    group.add_argument("--record", metavar="OUT.mcap", help="frames, results and timing as ROS 2 messages")
    group.add_argument(
        "--record-frames", choices=("jpeg", "png"), default="jpeg", help="png is lossless (default: jpeg)"
    )
    group.add_argument(
        "--view",
        nargs="?",
        const="window",
        metavar="WHERE",
        help="live view in Rerun: window (default), web, web:PORT, or a FILE.rrd to look at later",
    )
    group.add_argument(
        "--output-share",
        type=number(0, 100),
        default=100 * DEFAULT_SHARE,
        metavar="PERCENT",
        help="of a core's time that view and a camera's video may take together where the inference computes "
        "on the processor, too; frames beyond are left out and counted; 0: no limit (default: %(default)g)",
    )
    check = parser.add_argument_group("replay")
    check.add_argument("--check", action="store_true", help="compare with what the recording says")
    check.add_argument(
        "--min-agreement",
        type=fraction,
        metavar="F",
        help="fraction of each frame's labels that must agree (default: equal bits, or 0.99 elsewhere)",
    )
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run it. The statistics come at the end, also after Ctrl-C."""
    if args.json == args.stats == "-":
        raise SafetripError("--json - and --stats -: only one of them can have standard output")
    with ExitStack() as stack:
        bundle = Bundle.open(args.bundle)  # before a camera that may let itself be waited for
        source = stack.enter_context(open_source(args.source, realtime=args.realtime))
        runtime = stack.enter_context(Runtime(bundle, frame_size=source.frame_size, **runtime_options(args)))
        comparison = _comparison(args, source, runtime) if args.check else None
        outputs = _outputs(args, source, runtime, stack)
        slots = runtime.options.slots
        keeper = FrameKeeper(
            source, lambda: any(item.wants_picture() for item in outputs), args.frames, slots
        )
        interrupted = False
        failure: Exception | None = None
        try:
            _loop(args, runtime, keeper, outputs, comparison)
        except KeyboardInterrupt:
            interrupted = True
        except (SafetripError, OSError) as error:
            # A file can be run again; what a camera saw up to the fault is what people will look for.
            if not source.live or not runtime.stats().frames:
                raise
            failure = error
        failure = _close(outputs, failure)
        print_statistics(runtime, source.stats())
        print_outputs(outputs)
        figures = statistics(runtime, source.stats(), outputs)
        if comparison is not None:
            print_comparison(comparison)
            figures["check"] = comparison.to_dict()
        write_json(args.stats, figures)
        if failure is not None:
            raise failure
    if interrupted:
        return 130
    return 0 if comparison is None or comparison.ok else 1


def _loop(
    args: argparse.Namespace,
    runtime: Runtime,
    keeper: FrameKeeper,
    outputs: Sequence[ThreadedOutput],
    comparison: Comparison | None,
) -> None:
    """Predict every frame and hand it to the outputs."""
    for count, prediction in enumerate(runtime.stream(keeper, args.policy, follow_size=True), 1):
        origin, picture, recorded = keeper.take(prediction)
        shot = Shot(picture, prediction, origin)
        for output in outputs:
            output.put(shot)
        if comparison is not None:
            comparison.add(prediction, recorded, origin)
        if count == args.frames:
            return


def _close(outputs: Sequence[ThreadedOutput], failure: Exception | None) -> Exception | None:
    """Complete all outputs; the first error of the run, where there is one."""
    for output in outputs:
        try:
            output.close()
        except (SafetripError, OSError) as error:
            failure = failure or error
    return failure


def _intrinsics(args: argparse.Namespace, source: FrameSource) -> CameraIntrinsics | None:
    """What the command line says, else what the source knows."""
    if args.intrinsics is None and args.fov is None:
        return source.intrinsics
    assert source.frame_size is not None
    height, width = source.frame_size
    if args.fov is not None:
        if not 0 < args.fov < 180:
            raise SafetripError(f"--fov {args.fov:g}: want degrees between 0 and 180")
        return CameraIntrinsics.from_fov(args.fov, width, height)
    try:
        fx, fy, cx, cy = (float(item) for item in args.intrinsics.split(","))
        return CameraIntrinsics(fx, fy, cx, cy, width, height)
    except ValueError:
        raise SafetripError(
            f"--intrinsics {args.intrinsics}: want FX,FY,CX,CY: four numbers in pixels, the first two above 0"
        ) from None


def _outputs(
    args: argparse.Namespace, source: FrameSource, runtime: Runtime, stack: ExitStack
) -> list[ThreadedOutput]:
    """The outputs asked for, each in its thread. Of a camera's frames the slow ones leave some out."""
    assert runtime.bundle is not None
    table = ClassTable(runtime.bundle.manifest.classes)
    intrinsics = _intrinsics(args, source)
    share = _share(args, source, runtime)
    outputs: list[ThreadedOutput] = []

    def add(output: Any, name: str, drop: bool, **options: Any) -> None:
        outputs.append(stack.enter_context(ThreadedOutput(output, drop, name=name, **options)))

    if args.json is not None:
        from safetrip_sdk.outputs.lines import JsonLines

        add(JsonLines(args.json, table, intrinsics), "json", drop=False, capacity=64)
    if args.video is not None:
        from safetrip_sdk.outputs.annotated import AnnotatedVideo
        from safetrip_sdk.overlay import Overlay

        fps = args.fps or (None if source.live else source.fps or 10.0)
        video = AnnotatedVideo(args.video, fps, Overlay(table.infos), args.video_width)
        add(video, "video", drop=source.live, share=share if source.live else None)
    if args.record is not None:
        from safetrip_sdk.outputs.annotated import Recording
        from safetrip_sdk.recording.recorder import Recorder, identity

        recorder = Recorder(args.record, args.record_frames, identity(runtime), intrinsics)
        add(Recording(recorder), "record", drop=source.live, capacity=8)
    if args.view is not None:
        from safetrip_sdk.outputs.rerun_view import MAX_RATE, RerunView

        view = RerunView(args.view, table, intrinsics)
        if view.address:
            print(f"view: {view.address}", file=sys.stderr)
        add(view, "view", drop=True, capacity=2, max_rate=MAX_RATE, share=share)
    return outputs


def _share(args: argparse.Namespace, source: FrameSource, runtime: Runtime) -> float | None:
    """Of a core's time, for each output that keeps to one; None: no limit."""
    backend = runtime.backend
    if not args.output_share or backend is None or backend.name not in CPU_BACKENDS:
        return None
    bound = (args.view is not None) + (args.video is not None and source.live)
    return float(args.output_share) / 100 / max(bound, 1)


def _comparison(args: argparse.Namespace, source: FrameSource, runtime: Runtime) -> Comparison:
    from safetrip_sdk.recording import Comparison, RecordingSource
    from safetrip_sdk.recording.recorder import identity

    if not isinstance(source, RecordingSource):
        raise SafetripError("--check: wants a recording: --source mcap://RUN.mcap (and no --realtime)")
    if not source.lossless and args.min_agreement is None:
        raise SafetripError(
            f"--check: {source}: its frames are JPEG, not those that were predicted; record with "
            "--record-frames png, or say with --min-agreement what is near enough"
        )
    if args.policy in ("latest", "error"):
        raise SafetripError("--check: compares every frame; leave out --policy")
    return Comparison.between(source.identity, identity(runtime), source.lossless, args.min_agreement)
