"""A camera of your own behind the runtime: two methods.

    python examples/custom_camera.py sidewalk.bundle --frames 50

`grab` waits for a frame and says when it was taken; `retrieve` writes it into memory that the runtime gives,
which on a GPU is pinned memory that the device reads: no copy in between. The camera here stands for a driver
with a callback (an industrial camera, a ROS subscription): its frames come in another thread and another
pixel order.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk import FrameSource, Runtime, SafetripError

SIZE = (480, 640)
PERIOD = 1 / 60


class Driver:
    """Stands for a vendor's library: calls back with RGB pictures, 60 a second, until it is stopped."""

    def __init__(self, callback: object) -> None:
        self._callback = callback
        self._running = True
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[:, :, 0] = np.linspace(0, 255, SIZE[1], dtype=np.uint8)
        while self._running:
            time.sleep(PERIOD)
            picture = np.roll(picture, 4, axis=1)
            self._callback(picture)  # type: ignore[operator]

    def stop(self) -> None:
        """No callback comes after this."""
        self._running = False
        self._thread.join()


class CallbackCamera(FrameSource):
    """The newest of the pictures that a driver calls back with."""

    live = True

    def __init__(self) -> None:
        self.name = "callback camera"
        self.frame_size = SIZE
        self._changed = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], int] | None = None
        self._taken: NDArray[np.uint8] | None = None
        self._closed = False
        self._driver = Driver(self._arrived)

    def _arrived(self, picture: NDArray[np.uint8]) -> None:
        """In the driver's thread: keep the picture (here it is ours to keep), forget the one before."""
        with self._changed:
            self._newest = (picture, time.monotonic_ns())
            self._changed.notify()

    def grab(self) -> int | None:
        """Wait for a picture; None when the camera has been closed. Two seconds without one are an error."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest is not None or self._closed, timeout=2.0):
                raise SafetripError(f"{self.name}: no picture for two seconds")
            if self._closed or self._newest is None:
                return None
            (self._taken, captured), self._newest = self._newest, None
            return captured

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """RGB to BGR on the way into the runtime's memory: one pass, no copy besides."""
        assert self._taken is not None
        np.copyto(out, self._taken[..., ::-1])

    def close(self) -> None:
        """Stop the driver; whoever waits is woken."""
        self._driver.stop()
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def main() -> int:
    """Run it for some frames; 0, or 2 with one line that says why not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("--frames", type=int, default=100)
    args = parser.parse_args()
    try:
        with CallbackCamera() as camera, Runtime(args.bundle, frame_size=camera.frame_size) as runtime:
            for number, prediction in enumerate(runtime.stream(camera), 1):
                if number == args.frames:
                    print(prediction)
                    break
            stats = runtime.stats()
            print(f"{stats.frames} frames, {stats.dropped} dropped, {stats.fps:.0f} frames/s")
    except SafetripError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
