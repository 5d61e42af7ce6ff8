"""CSI cameras of a Jetson: the GStreamer pipeline that leaves the sensor's frames to the image processor."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["csi_pipeline"]


def csi_pipeline(
    sensor: int,
    width: int = 1920,
    height: int = 1080,
    fps: float = 30.0,
    flip: int = 0,
    mode: int | None = None,
) -> str:
    """The text of an nvarguscamerasrc pipeline that ends in BGR frames, newest first.

    Debayering and exposure are done by the image signal processor, scaling and the change to BGRx by the
    video image compositor, all in NVMM memory; the CPU drops the fourth byte, nothing else.

    Args:
        sensor: index of the camera connector.
        width, height: pixels, of what the sensor gives.
        fps: frames a second.
        flip: nvvidconv's flip-method, 0 to 7; 2 turns the picture by 180 degrees.
        mode: the driver's sensor mode; None: the first that fits.
    """
    per_second = Fraction(fps).limit_denominator(1001)
    source = f"nvarguscamerasrc sensor-id={sensor}" + ("" if mode is None else f" sensor-mode={mode}")
    size = f"width=(int){width}, height=(int){height}"
    speed = f"framerate=(fraction){per_second.numerator}/{per_second.denominator}"
    return (
        f"{source} ! video/x-raw(memory:NVMM), {size}, {speed} "
        f"! nvvidconv flip-method={flip} ! video/x-raw, {size}, format=(string)BGRx "
        "! videoconvert ! video/x-raw, format=(string)BGR "
        # One frame waits at most, and a newer one takes its place.
        "! appsink drop=true max-buffers=1 sync=false"
    )
