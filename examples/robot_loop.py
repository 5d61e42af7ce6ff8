"""Stop when an obstacle in the robot's way is nearer than a distance.

    python examples/robot_loop.py sidewalk.bundle --source 0 --fov 78 --stop 1.5
    python examples/robot_loop.py sidewalk.bundle --source synthetic://640x480 --frames 100

What it shows: the newest frame's hazards, a stop that needs two frames in a row, a release that needs more,
a stop when what it sees is old or when it sees nothing any more, and an orderly end. `Wheels` stands for your
robot's drive.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections.abc import Iterable

from safetrip_sdk import (
    CameraIntrinsics,
    FrameSource,
    Hazard,
    Prediction,
    Runtime,
    SafetripError,
    open_source,
)

HALF_WIDTH = 0.45
"""Metres to either side of the robot's middle that must be free."""

SECTORS = 31

BLIND = 0.5
"""Seconds without anything new to see after which the robot stands still."""


class Wheels:
    """The robot's drive; this one tells what it would do, and counts its `stops`."""

    def __init__(self) -> None:
        self.moving = False
        self.stops = 0

    def stop(self, why: str) -> None:
        """Stand still."""
        if self.moving:
            print(f"stop: {why}", flush=True)
            self.stops += 1
        self.moving = False

    def go(self) -> None:
        """Drive on."""
        if not self.moving:
            print("go", flush=True)
        self.moving = True


class DeadMansSwitch:
    """Stops the wheels when `seen` has not been called for `BLIND` seconds, and at the end of the block.

    The loop below cannot do that by itself: while a camera hangs, it waits.
    """

    def __init__(self, wheels: Wheels) -> None:
        self._wheels = wheels
        self._seen = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._main, name="dead-mans-switch", daemon=True)

    def seen(self) -> None:
        """Something new has been seen."""
        self._seen.set()

    def _main(self) -> None:
        while not self._ending:
            if not self._seen.wait(BLIND):
                self._wheels.stop(f"nothing seen for {BLIND} s")
            self._seen.clear()

    def __enter__(self) -> DeadMansSwitch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending = True
        self._seen.set()
        self._thread.join()
        self._wheels.stop("the end")


class Guard:
    """Decides from frame to frame.

    Args:
        stop_at: metres; anything nearer in the way stops the robot.
        frames_to_stop: that many frames on end must say so: one flickering frame does not brake.
        frames_to_go: that many frames on end must be free before the robot goes on.
    """

    def __init__(self, stop_at: float, frames_to_stop: int = 2, frames_to_go: int = 5) -> None:
        self.stop_at = stop_at
        self.frames_to_stop = frames_to_stop
        self.frames_to_go = frames_to_go
        self._near = 0
        self._free = 0

    def decide(self, prediction: Prediction, camera: CameraIntrinsics) -> tuple[bool | None, str]:
        """True: stop; False: go; None: as before. And why."""
        # Narrow sectors (2 degrees or so): a wide obstacle is told piece by piece, each with its own place.
        near = [item for item in prediction.hazards(camera, SECTORS) if self._in_the_way(item)]
        if near:
            nearest = min(near, key=lambda item: item.distance)
            self._near, self._free = self._near + 1, 0
            if self._near >= self.frames_to_stop:
                return True, f"{nearest.name} at {nearest.distance:.2f} m"
            return None, ""
        self._near, self._free = 0, self._free + 1
        return (False, "") if self._free >= self.frames_to_go else (None, "")

    def _in_the_way(self, item: Hazard) -> bool:
        assert item.bearing is not None  # there are intrinsics
        aside = abs(item.distance * math.tan(item.bearing))
        return bool(item.distance < self.stop_at and aside < HALF_WIDTH)


def intrinsics(source: FrameSource, fov: float) -> CameraIntrinsics:
    """The source's own, else those of a camera with this field of view."""
    assert source.frame_size is not None
    height, width = source.frame_size
    return source.intrinsics or CameraIntrinsics.from_fov(fov, width, height)


def drive(predictions: Iterable[Prediction], guard: Guard, camera: CameraIntrinsics, frames: int = 0) -> int:
    """Drive until there are no more, or for some frames (0: all); the number of times it stopped."""
    wheels = Wheels()
    with DeadMansSwitch(wheels) as switch:
        for number, prediction in enumerate(predictions, 1):
            switch.seen()
            age = (time.monotonic_ns() - prediction.captured_at) / 1e9
            verdict, why = guard.decide(prediction, camera)
            if age > BLIND:
                verdict, why = True, f"what it sees is {age:.1f} s old"
            if verdict:
                wheels.stop(why)
            elif verdict is False:
                wheels.go()
            if number == frames:
                break
        return wheels.stops


def main() -> int:
    """Parse the command line and drive; 0, or 2 with one line that says why not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("--source", default="0", help="default: 0, the first camera")
    parser.add_argument("--fov", type=float, default=70.0, help="horizontal, degrees (default: 70)")
    parser.add_argument("--stop", type=float, default=1.5, metavar="METRES", help="default: 1.5")
    parser.add_argument("--frames", type=int, default=0, help="end after that many (default: never)")
    args = parser.parse_args()
    try:
        with (
            open_source(args.source) as source,
            Runtime(args.bundle, frame_size=source.frame_size) as runtime,
        ):
            newest = runtime.stream(source, "latest")  # what waits while the robot thinks is dropped
            stops = drive(newest, Guard(args.stop), intrinsics(source, args.fov), args.frames)
            print(f"stopped {stops} times; {runtime.stats().frames} frames")
    except SafetripError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
