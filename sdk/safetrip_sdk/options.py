"""How a runtime runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any

from safetrip_sdk.backends import check_backend
from safetrip_sdk.backends.base import CpuOptions

__all__ = ["FrameSize", "RuntimeOptions"]

FrameSize = tuple[int, int]


@dataclass(frozen=True)
class RuntimeOptions:
    """How a runtime runs; every field is also a keyword argument of `Runtime`.

    Attributes:
        backend: `"auto"` or one of tensorrt, tensorrt_rtx, openvino, onnxruntime.
        precision: `"auto"` (int8, mixed, fp16, fp32: the first there is that no comparison rejected; mixed
            only where one accepted it) or a name.
        frame_size: (H, W) of the camera's frames; None: that of the first frame.
        slots: frames that may be in flight.
        wait: `"block"` frees the core while the device works, `"spin"` has the least latency, `"poll"` frees
            the core, too, but looks every 50 us, so that the watchdog can end even a call without `timeout`
            when the GPU hangs.
        hang_after: seconds without any frame coming back after which one in flight counts as hung; 0 or
            infinity: never.
        build_if_missing: build an engine for this GPU when the bundle has none (minutes; logged).
        device: index of the GPU.
        cpu: threads and bf16 of the CPU backends.
    """

    backend: str = "auto"
    precision: str = "auto"
    frame_size: FrameSize | None = None
    slots: int = 2
    wait: str = "block"
    hang_after: float = 10.0
    build_if_missing: bool = False
    device: int = 0
    cpu: CpuOptions = field(default_factory=CpuOptions)

    def __new__(cls, *_: Any, **options: Any) -> RuntimeOptions:
        """Refuse unknown names before they are a TypeError about an `__init__` that nobody called."""
        known = [item.name for item in fields(cls)]
        for name, value in options.items():
            if name not in known:
                inner = name in (item.name for item in fields(CpuOptions))
                hint = f"give cpu=CpuOptions({name}={value!r})" if inner else f"there are: {', '.join(known)}"
                raise TypeError(f"a runtime has no option {name!r}; {hint}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if self.backend != "auto":
            check_backend(self.backend)
        if not _is_whole(self.slots, 1):
            raise ValueError(f"slots: want a number, 1 or more, not {self.slots!r}")
        if self.wait not in ("block", "poll", "spin"):
            raise ValueError(f'wait: want "block", "poll" or "spin", not {self.wait!r}')
        if not isinstance(self.hang_after, (int, float)) or not self.hang_after >= 0:
            raise ValueError(f"hang_after: want seconds, 0 or infinity for never, not {self.hang_after!r}")
        if not _is_whole(self.device, 0):
            raise ValueError(
                f"device: want the index of a GPU, not {self.device!r}; "
                "a CPU is chosen by backend='openvino' or 'onnxruntime'"
            )
        if not isinstance(self.cpu, CpuOptions):
            raise ValueError(f"cpu: want CpuOptions(threads=..., bf16=...), not {self.cpu!r}")
        size = self.frame_size
        if size is None:
            return
        if not isinstance(size, Sequence) or len(size) != 2 or not all(_is_whole(side, 1) for side in size):
            raise ValueError(f"frame_size: want (H, W) in pixels, not {size!r}")
        object.__setattr__(self, "frame_size", (int(size[0]), int(size[1])))


def _is_whole(value: object, least: int) -> bool:
    """Whether `value` is an integer (numpy's, too) of `least` or more."""
    return isinstance(value, Integral) and int(value) >= least
