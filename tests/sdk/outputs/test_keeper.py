"""Each prediction finds its own frame again, however many are under way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk.outputs import FrameKeeper
from safetrip_sdk.sources import IterableSource
from tests.sdk.scripted import ScriptedBackend, eventually, numbered, scripted


def test_many_slots_and_a_slow_consumer_lose_no_picture() -> None:
    slots = 40
    read: list[int] = []

    def frames() -> Iterator[NDArray[np.uint8]]:
        for number in range(200):
            read.append(number)
            yield numbered(number)

    keeper = FrameKeeper(IterableSource(frames()), slots=slots)
    found = []
    with scripted(ScriptedBackend(), slots) as runtime:
        for prediction in runtime.stream(keeper, "block"):
            if not found:
                eventually(lambda: len(read) > 2 * slots)  # as many results as may wait do
            origin, picture, _ = keeper.take(prediction)
            assert picture is not None, f"the picture of frame {len(found)} is lost"
            assert picture[0, 0, 0] == prediction.labels[0, 0]
            found.append(origin)
    assert found == [f"frames[{number}]" for number in range(200)]


def test_a_prediction_without_its_picture_is_no_error() -> None:
    """It was not to be kept, or has been taken."""
    keeper = FrameKeeper(IterableSource([numbered(7), numbered(8)]), lambda: False)
    with scripted(ScriptedBackend()) as runtime:
        for number, prediction in enumerate(runtime.stream(keeper)):
            assert keeper.take(prediction) == (f"frames[{number}]", None, None)
            assert keeper.take(prediction) == ("", None, None)
