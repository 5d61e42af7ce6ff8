"""A prediction that is on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from safetrip_sdk.inference.timeouts import no_result, seconds
from safetrip_sdk.prediction import Prediction

__all__ = ["Ticket"]


class Ticket:
    """What `Runtime.submit` returns: `result()` waits for the prediction.

    Attributes:
        frame_id: of the prediction to come.
    """

    __slots__ = ("_error", "_gate", "_prediction", "_stage", "frame_id")

    def __init__(self, frame_id: int, stage: Callable[[], str]) -> None:
        self.frame_id = frame_id
        self._stage: Callable[[], str] | None = stage
        self._prediction: Prediction | None = None
        self._error: BaseException | None = None
        # A bare lock, held until there is a result: an Event would cost a kilobyte a frame.
        self._gate = threading.Lock()
        self._gate.acquire()

    def done(self) -> bool:
        """True when `result` returns (or raises) at once."""
        return self._prediction is not None or self._error is not None

    def result(self, timeout: float | None = None) -> Prediction:
        """The prediction, waited for up to `timeout` seconds (None: until it is there).

        Raises:
            ResultTimeoutError: not there yet; the ticket stays valid and can be asked again.
            SafetripError: what went wrong with this frame.
        """
        timeout = seconds(timeout)
        started = time.monotonic()
        if not self._gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            stage = self._stage() if self._stage else "deliver"
            waited = time.monotonic() - started
            raise no_result(self.frame_id, waited, stage, "ask again, or give more time")
        self._gate.release()
        if self._error is not None:
            raise self._error
        assert self._prediction is not None
        return self._prediction

    def resolve(self, prediction: Prediction | None, error: BaseException | None) -> Callable[[], None]:
        """For the runtime, which does so once: settle the ticket.

        Returns:
            What wakes whoever waits, to be called when nothing else holds the prediction any more.
        """
        self._prediction, self._error, self._stage = prediction, error, None
        return self._gate.release
