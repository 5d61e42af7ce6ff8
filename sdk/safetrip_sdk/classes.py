"""The classes of a model: their names by id, and what kind of thing each of them is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.manifest import ClassInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ClassTable"]


class ClassTable(tuple[str, ...]):
    """Class names by id, as `prediction.classes` always was, with the bundle's kinds and colours beside them.

    >>> table = ClassTable([ClassInfo("sidewalk", (0, 0, 0), "surface"),
    ...                     ClassInfo("person", (9, 9, 9), "obstacle")])
    >>> table[1], table.ids("obstacle")
    ('person', (1,))

    One table is made when a bundle is opened and shared by every prediction of it.

    Attributes:
        infos: name, colour and kind by id.
        is_obstacle: (256,) bool, by label; an id without a class (255) is no obstacle.

    Raises:
        TypeError: something that is no `ClassInfo`.
    """

    infos: tuple[ClassInfo, ...]
    is_obstacle: NDArray[np.bool_]

    def __new__(cls, infos: Iterable[ClassInfo]) -> ClassTable:
        listed = tuple(infos)
        if not all(isinstance(item, ClassInfo) for item in listed):
            raise TypeError("classes: want a ClassInfo(name, color, kind) of each, not names alone")
        self = super().__new__(cls, (item.name for item in listed))
        self.infos = listed
        self.is_obstacle = self.lookup(self.ids("obstacle"))
        return self

    def __reduce__(self) -> tuple[type[ClassTable], tuple[tuple[ClassInfo, ...]]]:
        """For copies and other processes: a tuple's own way would call the class with the names."""
        return ClassTable, (self.infos,)

    def ids(self, kind: str) -> tuple[int, ...]:
        """The ids of one kind, `"surface"` or `"obstacle"`."""
        return tuple(index for index, item in enumerate(self.infos) if item.kind == kind)

    def ids_of(self, names: Iterable[str]) -> tuple[int, ...]:
        """The ids of those names that the model has."""
        wanted = set(names)
        return tuple(index for index, name in enumerate(self) if name in wanted)

    @staticmethod
    def lookup(ids: Iterable[int]) -> NDArray[np.bool_]:
        """(256,) bool, True at `ids`: `lookup(ids)[labels]` is their mask."""
        table = np.zeros(256, np.bool_)
        table[list(ids)] = True
        return table
