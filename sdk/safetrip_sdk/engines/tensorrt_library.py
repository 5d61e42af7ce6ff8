"""TensorRT and TensorRT for RTX: the one module that imports either, and what they log.

The two share an API; what differs stands in `Flavor`.
"""

from __future__ import annotations

import importlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from safetrip_sdk.errors import BackendUnavailableError, SafetripError
from safetrip_sdk.termination import leave_behind

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["FLAVORS", "Flavor", "Journal", "Library"]

log = logging.getLogger(__name__)

KEPT_LINES = 40


@dataclass(frozen=True)
class Flavor:
    """What differs between the two libraries.

    Attributes:
        module: the Python module.
        install: how to get it.
        builds_without_gpu: engines can be built on a machine without one, for every GPU it supports.
        jit: kernels are compiled when an engine first runs; a runtime cache keeps them.
        timing_cache: tactics are timed at build; a cache keeps the timings.
    """

    module: str
    install: str
    builds_without_gpu: bool
    jit: bool
    timing_cache: bool


FLAVORS = {
    "tensorrt": Flavor(
        "tensorrt",
        "on a Jetson it comes with JetPack (make the virtual environment with --system-site-packages); "
        "elsewhere: pip install tensorrt",
        builds_without_gpu=False,
        jit=False,
        timing_cache=True,
    ),
    "tensorrt_rtx": Flavor(
        "tensorrt_rtx",
        "pip install tensorrt-rtx cuda-python",
        builds_without_gpu=True,
        jit=True,
        timing_cache=False,
    ),
}


class Journal:
    """What a library logs: passed on to Python's logging, and kept for the texts of exceptions.

    Args:
        trt: the library's module.
        name: for the log.
    """

    def __init__(self, trt: Any, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._lines: dict[str, int] = {}  # line -> when it was last said, counted
        self._warned: set[str] = set()
        self._failure: BaseException | None = None
        self.count = 0
        self.logger = _make_logger(trt, self.take)
        # The library keeps a bare pointer to the first logger that it was given, for the process's life.
        leave_behind(self.logger)

    def take(self, number: int, message: str) -> None:
        """One message, of a level of Python's logging. An exception is kept: the library would drop it."""
        try:
            self._take(number, message)
        except BaseException as error:
            self._failure = self._failure or error

    def _take(self, number: int, message: str) -> None:
        text = message.strip()
        # An exception needs the reason even where it was logged before.
        if number >= logging.WARNING:
            self._keep(text)
        if number == logging.WARNING:
            # RTX says some things once per layer: hundreds of the same line.
            if text in self._warned:
                return
            self._warned.add(text)
        # The library's chatter is worth INFO in nobody's log: one step down, errors excepted.
        log.log(number if number >= logging.WARNING else logging.DEBUG, "%s: %s", self._name, message)

    def _keep(self, text: str) -> None:
        with self._lock:
            self.count += 1
            self._lines.pop(text, None)
            self._lines[text] = self.count
            if len(self._lines) > KEPT_LINES:
                del self._lines[next(iter(self._lines))]

    def since(self, mark: int) -> list[str]:
        """Warnings and errors said after `count` was `mark`, the oldest first."""
        with self._lock:
            return [line for line, when in self._lines.items() if when > mark]

    def start(self) -> None:
        """A new piece of work: warnings are given again, an older exception is nobody's any more."""
        self._warned.clear()
        self._failure = None

    @property
    def failed(self) -> bool:
        """True when a message could not be taken since `start`."""
        return self._failure is not None

    def check(self) -> None:
        """Raise the first exception since `start`, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _make_logger(trt: Any, take: Callable[[int, str], None]) -> Any:
    severity, base = trt.ILogger.Severity, trt.ILogger
    levels = {
        severity.INTERNAL_ERROR: logging.CRITICAL,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, level: Any, message: str) -> None:
            take(levels.get(level, logging.INFO), str(message))

    return Logger()


_journals: WeakKeyDictionary[ModuleType, Journal] = WeakKeyDictionary()
"""One for each library, which takes the first logger it is given and goes on using that one's address when
whoever gave it is gone."""
_journals_lock = threading.Lock()


class Library:
    """One of the two libraries, imported.

    Args:
        name: `"tensorrt"` or `"tensorrt_rtx"`.

    Raises:
        BackendUnavailableError: not installed, or older than 10.0.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.flavor = FLAVORS[name]
        try:
            self.trt: Any = importlib.import_module(self.flavor.module)
        except (ImportError, OSError, RuntimeError) as error:
            raise BackendUnavailableError(f"{name}: not usable ({error}); {self.flavor.install}") from error
        self.version = str(self.trt.__version__)
        if name == "tensorrt" and int(self.version.split(".")[0]) < 10:
            raise BackendUnavailableError(
                f"tensorrt: version {self.version} is too old; want 10.3 (JetPack 6) or newer"
            )
        with _journals_lock:
            if self.trt not in _journals:
                _journals[self.trt] = Journal(self.trt, name)
            self.journal = _journals[self.trt]
        self._heard = self.journal.count

    @property
    def logger(self) -> Any:
        """The library's `ILogger`, the same for everyone in the process."""
        return self.journal.logger

    def listen(self) -> None:
        """Begin a piece of work: what was said before has nothing to do with it."""
        self._heard = self.journal.count
        self.journal.start()

    def make(self, kind: Callable[[Any], Any], error: type[SafetripError]) -> Any:
        """The library's `Runtime` or `Builder`; `error` with what it logged where it cannot start."""
        try:
            return kind(self.logger)
        except (TypeError, RuntimeError) as cause:  # "factory function returned nullptr" is a TypeError
            raise error(f"{self.name} {self.version}: cannot start ({cause}):{self.said()}") from cause

    def said(self) -> str:
        """What the library logged (warnings and errors) since the last call, for an exception's text."""
        lines = self.journal.since(self._heard)
        self._heard = self.journal.count
        return "".join(f"\n  {line}" for line in lines) or " (the library logged no reason)"
