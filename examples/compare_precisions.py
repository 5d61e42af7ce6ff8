"""How much faster is each precision here, and how much do its results differ from FP32's?

    python examples/compare_precisions.py sidewalk.bundle --source street.mp4 --frames 50

The same frames go through every precision of the bundle on one backend. Agreement with FP32 is no accuracy:
for that compare with labels (`trainer compare`, `trainer evaluate`).
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk import Bundle, Prediction, Runtime, SafetripError, open_source


def frames_of(uri: str, count: int) -> list[NDArray[np.uint8]]:
    """The first frames of a source."""
    frames: list[NDArray[np.uint8]] = []
    with open_source(uri) as source:
        assert source.frame_size is not None
        while len(frames) < count:
            frame = np.empty((*source.frame_size, 3), np.uint8)
            if source.read_into(frame) is None:
                break
            frames.append(frame)
    return frames


def predict(
    bundle: Bundle, precisions: list[str], backend: str, frames: list[NDArray[np.uint8]]
) -> tuple[dict[str, list[Prediction]], dict[str, float], str]:
    """Predictions and median milliseconds by precision, and the backend that made them.

    All precisions are open at once and take turns frame by frame: what else the machine does meanwhile slows
    them all.
    """
    with ExitStack() as stack:
        size = frames[0].shape[:2]
        runtimes: dict[str, Runtime] = {}
        for precision in precisions:
            runtime = Runtime(bundle, precision=precision, backend=backend, frame_size=size)
            runtimes[precision] = stack.enter_context(runtime)
            assert runtime.backend is not None
            backend = runtime.backend.name
            for frame in frames[:3]:
                runtime(frame)
            runtime.stats(reset=True)
        predictions: dict[str, list[Prediction]] = {precision: [] for precision in precisions}
        for frame in frames:
            for precision, runtime in runtimes.items():
                predictions[precision].append(runtime(frame))
        times = {precision: item.stats().stages["total"].p50 for precision, item in runtimes.items()}
        return predictions, times, backend


def main() -> int:
    """Print one row for each precision; 0, or 2 with one line that says why not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("--source", default="synthetic://1280x720?fps=0")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--backend", default="auto")
    args = parser.parse_args()
    try:
        bundle = Bundle.open(args.bundle)
        frames = frames_of(args.source, args.frames)
        if "fp32" not in bundle.manifest.precisions or not frames:
            print(f"{args.bundle}: wants a bundle with fp32, and a source with frames", file=sys.stderr)
            return 2
        others = [name for name in bundle.manifest.precisions if name != "fp32"]
        predictions, times, backend = predict(bundle, ["fp32", *others], args.backend, frames)
        print(f"{len(frames)} frames on {backend}")
        print("precision  median ms  times fp32  same labels  depth apart, mean")
        for precision, results in predictions.items():
            pairs = list(zip(results, predictions["fp32"]))
            same = np.mean([(ours.labels == theirs.labels).mean() for ours, theirs in pairs])
            apart = np.mean([np.abs(ours.depth - theirs.depth).mean() for ours, theirs in pairs])
            speed = times["fp32"] / times[precision]
            print(f"{precision:9s} {times[precision]:10.2f} {speed:11.2f} {same:12.2%} {apart:14.3f} m")
    except SafetripError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
