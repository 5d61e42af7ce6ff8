"""The street itself: which patch of the ground is what, and the walls along it.

Lateral positions count from the walker's path, positive towards the road (or, in an alley, the pavement), and
are mirrored by `side`; the path bends gently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from safetrip_trainer.classes import CLASS_NAMES, IGNORE
from safetrip_trainer.synth.canvas import Canvas
from safetrip_trainer.synth.furniture import Rng
from safetrip_trainer.synth.scene import GroundPatch, Quad, Texture, Thing

__all__ = ["Lanes", "Street", "make_facades", "make_street"]

_BEHIND, _AHEAD = 8.0, 70.0
_WALL_STEP = 6.0


@dataclass(frozen=True)
class Lanes:
    """Lateral positions (metres) where things stand, and half the width of the walkable strip."""

    wall: float
    middle: float
    kerb: float
    near_road: float
    far_road: float
    half_width: float


@dataclass(frozen=True)
class Street:
    """Ground patches and walls from z = -8 m to `length` + 70 m, and what stands where.

    `gaps`: stretches of z without furniture; `crossings`: where a road crosses an alley.
    `bend` gives the path's x at a z.
    """

    patches: tuple[GroundPatch, ...]
    walls: tuple[Thing, ...]
    lanes: Lanes
    gaps: tuple[tuple[float, float], ...]
    crossings: tuple[tuple[float, float], ...]
    side: float
    bend: Callable[[float], float]

    def place(self, lateral: float, z: float) -> tuple[float, float]:
        """World x and z of a lateral position."""
        return self.bend(z) + self.side * lateral, z


class _Builder:
    """Collects patches, later ones on top, in lateral coordinates."""

    def __init__(self, rng: Rng, length: float, facades: Sequence[Texture]) -> None:
        self.rng = rng
        self.facades = facades
        self.length = length
        self.side = float(rng.choice([-1.0, 1.0]))
        amplitude, wave, phase = rng.uniform(0, 1.6), rng.uniform(45, 90), rng.uniform(0, 2 * np.pi)
        self.patches: list[GroundPatch] = []

        def bend(z: float) -> float:
            return float(amplitude * (np.sin(2 * np.pi * z / wave + phase) - np.sin(phase)))

        self.bend = bend

    def add(self, label: str, material: str, left: float, right: float, start: float, end: float) -> None:
        """A stretch between two lateral positions, following the bend."""
        count = max(int((end - start) / 2.0), 1) + 1
        z = np.linspace(start, end, count)
        center = np.array([self.bend(float(value)) for value in z])
        edge = [np.stack([center + self.side * lateral, z], axis=1) for lateral in (left, right)]
        self._outline(label, material, np.concatenate([edge[0], edge[1][::-1]]))

    def band(self, label: str, material: str, left: float, right: float) -> None:
        """A strip along the whole street."""
        self.add(label, material, left, right, -_BEHIND, self.length + _AHEAD)

    def disc(self, label: str, material: str, lateral: float, z: float, radius: float) -> None:
        """A round cover."""
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        x = self.bend(z) + self.side * lateral + radius * np.cos(angle)
        self._outline(label, material, np.stack([x, z + radius * np.sin(angle)], axis=1))

    def _outline(self, label: str, material: str, outline: np.ndarray) -> None:
        number = CLASS_NAMES.index(label) if label else IGNORE
        self.patches.append(GroundPatch(outline, number, material))


def make_facades(rng: Rng) -> list[Texture]:
    """The pictures a street's walls are made of; the last two are a hedge's."""
    return [*(_facade(rng) for _ in range(5)), *(_hedge(rng) for _ in range(2))]


def make_street(rng: Rng, length: float, alley: bool, facades: Sequence[Texture]) -> Street:
    """A pavement beside a road, crossed by alleys, or an `alley` crossed by roads."""
    builder = _Builder(rng, length, facades)
    builder.band("", "soil", -150.0, 150.0)
    return _alley(builder) if alley else _pavement(builder)


def _pavement(builder: _Builder) -> Street:
    rng = builder.rng
    half = rng.uniform(1.5, 2.5)
    kerb, lane, road = half + 0.2, rng.uniform(1.4, 2.0), rng.uniform(6.2, 7.6)
    road_start = kerb + lane
    road_end = road_start + road
    builder.band("sidewalk", "pavers", -half - 0.1, half)
    builder.band("", "kerb", half, kerb)
    builder.band("bike_lane", "bike_lane", kerb, road_start)
    builder.band("roadway", "asphalt", road_start, road_end)
    builder.band("bike_lane", "white", kerb + 0.04, kerb + 0.14)
    builder.band("roadway", "white", road_start, road_start + 0.12)
    _dashes(builder, road_start + road / 2, "yellow" if rng.random() < 0.6 else "white")
    builder.band("", "kerb", road_end, road_end + 0.2)
    builder.band("sidewalk", "pavers", road_end + 0.2, road_end + 3.2)
    guide = rng.uniform(-0.35, 0.35) * half
    width = rng.choice([0.3, 0.45, 0.6])
    builder.band("braille_guide_blocks", "bars", guide - width / 2, guide + width / 2)
    gaps: list[tuple[float, float]] = []
    start = rng.uniform(7.0, 11.0)
    while start < builder.length + _AHEAD:
        end = start + rng.uniform(3.0, 4.5)
        across = half if rng.random() < 0.6 else -half + 0.6
        builder.add("alley", "alley", -26.0, across, start, end)
        for edge in (start - 0.6, end):
            builder.add("braille_guide_blocks", "dots", guide - 0.6, guide + 0.6, edge, edge + 0.6)
        _zebra(builder, road_start, road_end, end + 0.5)
        _hazards(builder, half, start - rng.uniform(5.0, 6.5))
        gaps.append((start, end))
        start = end + rng.uniform(13.0, 18.0)
    lanes = Lanes(-half + 0.4, 0.0, half - 0.3, road_start + 1.3, road_end - 1.6, half)
    walls = _walls(builder, -half - 0.1, gaps) + _walls(builder, road_end + 3.2, [])
    return Street(tuple(builder.patches), tuple(walls), lanes, tuple(gaps), (), builder.side, builder.bend)


def _alley(builder: _Builder) -> Street:
    rng = builder.rng
    half = rng.uniform(2.2, 3.2)
    path = rng.uniform(1.1, 1.6)
    builder.band("alley", "alley", -half, half)
    builder.band("sidewalk", "pavers", half - path, half)
    builder.band("", "kerb", half - path - 0.12, half - path)
    guide = half - path / 2
    builder.band("braille_guide_blocks", "bars", guide - 0.22, guide + 0.22)
    gaps: list[tuple[float, float]] = []
    crossings: list[tuple[float, float]] = []
    start = rng.uniform(14.0, 17.0)
    while start < builder.length + _AHEAD:
        end = start + rng.uniform(5.5, 7.0)
        builder.add("sidewalk", "pavers", -40.0, 40.0, start - 3.6, end + 2.0)
        builder.add("bike_lane", "bike_lane", -40.0, 40.0, start - 1.6, start)
        builder.add("roadway", "asphalt", -40.0, 40.0, start, end)
        builder.add("roadway", "yellow", -40.0, 40.0, (start + end) / 2 - 0.08, (start + end) / 2 + 0.08)
        builder.add("braille_guide_blocks", "dots", guide - 0.9, guide + 0.5, start - 2.3, start - 1.7)
        for number in range(int(2 * half / 0.9)):
            left = -half + number * 0.9
            builder.add("roadway", "white", left, left + 0.45, start + 0.4, end - 0.4)
        _hazards(builder, half, start - rng.uniform(5.4, 6.0))
        gaps.append((start - 3.6, end + 2.0))
        crossings.append((start, end))
        start = end + rng.uniform(14.0, 20.0)
    lanes = Lanes(-half + 0.5, -0.2 * half, half - 0.35, 0.0, 0.0, half)
    walls = _walls(builder, -half, gaps) + _walls(builder, half, gaps)
    return Street(
        tuple(builder.patches), tuple(walls), lanes, tuple(gaps), tuple(crossings), builder.side, builder.bend
    )


def _dashes(builder: _Builder, lateral: float, material: str) -> None:
    for z in np.arange(-_BEHIND, builder.length + _AHEAD, 6.0):
        builder.add("roadway", material, lateral - 0.07, lateral + 0.07, float(z), float(z) + 3.0)


def _zebra(builder: _Builder, start: float, end: float, z: float) -> None:
    for left in np.arange(start + 0.4, end - 0.5, 0.9):
        builder.add("roadway", "white", float(left), float(left) + 0.45, z, z + 3.0)


def _hazards(builder: _Builder, half: float, z: float) -> None:
    """Two caution zones on the way: steps, a grating, a hatched area, a manhole."""
    rng = builder.rng
    kinds = rng.permutation(["stairs", "grating", "hatched", "iron"])[:3]
    for number, kind in enumerate(kinds):
        z_here = z + 1.7 * number
        lateral = rng.uniform(-0.5, 0.5) * half
        if kind == "iron":
            builder.disc("caution_zone", "iron", lateral, z_here, rng.uniform(0.35, 0.5))
        elif kind == "stairs":
            builder.add("caution_zone", "stairs", -half, -half + 1.5, z_here, z_here + 1.5)
        else:
            wide = rng.uniform(0.4, 0.8)
            builder.add("caution_zone", str(kind), lateral - wide, lateral + wide, z_here, z_here + 1.2)


def _walls(builder: _Builder, lateral: float, gaps: list[tuple[float, float]]) -> list[Thing]:
    """Facades (or a hedge) along one side, seen from the street, open at the gaps."""
    rng = builder.rng
    hedge = rng.random() < 0.25
    pictures = builder.facades[-2:] if hedge else builder.facades[:-2]
    walls = []
    for start in np.arange(-_BEHIND, builder.length + _AHEAD, _WALL_STEP):
        for z0, z1 in _without_gaps(float(start), float(start) + _WALL_STEP, gaps):
            texture = pictures[int(rng.integers(len(pictures)))]
            height = rng.uniform(0.9, 1.4) if hedge else rng.uniform(5.0, 11.0)
            walls.append(_wall(builder, lateral, z0, z1, height, texture))
    return walls


def _without_gaps(start: float, end: float, gaps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    pieces = [(start, end)]
    for low, high in gaps:
        cut = []
        for a, b in pieces:
            cut += [(a, min(b, low)), (max(a, high), b)]
        pieces = [(a, b) for a, b in cut if b - a > 0.3]
    return pieces


def _wall(builder: _Builder, lateral: float, z0: float, z1: float, height: float, texture: Texture) -> Thing:
    start, end = (np.array([builder.bend(z) + builder.side * lateral, 0.0, z]) for z in (z0, z1))
    top = np.array([0.0, height, 0.0])
    quad = Quad(top, end - start, -top, texture, both_sides=True)
    return Thing(IGNORE, (float(start[0]), 0.0, z0), (quad,), 0.1, height, z1 - z0, shadow=False)


def _facade(rng: Rng) -> Texture:
    base = rng.uniform(95, 205)
    tint = rng.uniform(0.82, 1.12, 3)
    wall = (base * tint[0], base * tint[1], base * tint[2])
    canvas = Canvas(6.0, 8.0, wall, 288).rectangle(0, 0, 6.0, 8.0, wall).mottle(rng, 0.06, 0.4)
    if rng.random() < 0.5:
        for y in np.arange(0.0, 8.0, 0.2):
            canvas.line(
                [(0, float(y)), (6.0, float(y))], 0.02, (wall[0] * 0.82, wall[1] * 0.82, wall[2] * 0.82)
            )
    glass = tuple(float(value) for value in rng.uniform(50, 120, 3))
    step = rng.uniform(1.2, 2.0)
    for x in np.arange(0.3, 5.8 - step * 0.6, step):
        for y in (3.3, 5.7):
            canvas.rectangle(
                float(x), y, float(x + step * 0.65), y + 1.4, (wall[0] * 0.6, wall[1] * 0.6, wall[2] * 0.6)
            )
            canvas.rectangle(float(x) + 0.07, y + 0.07, float(x + step * 0.65) - 0.07, y + 1.33, glass)  # type: ignore[arg-type]
    if rng.random() < 0.7:
        sign = tuple(float(value) for value in rng.uniform(40, 230, 3))
        canvas.rectangle(0.3, 0.25, 5.7, 2.4, (75, 68, 62)).rectangle(0.2, 2.4, 5.8, 2.95, sign)  # type: ignore[arg-type]
        door = rng.uniform(0.8, 4.2)
        canvas.rectangle(door, 0.0, door + 1.0, 2.3, (110, 120, 130))
        for x in np.arange(0.9, 5.2, 0.5):
            canvas.rectangle(float(x), 2.52, float(x) + rng.uniform(0.15, 0.35), 2.82, (235, 235, 235))
    return canvas.mottle(rng, 0.04, 0.1).texture()


def _hedge(rng: Rng) -> Texture:
    leaf = (rng.uniform(25, 45), rng.uniform(75, 110), rng.uniform(35, 65))
    canvas = Canvas(6.0, 1.2, leaf, 288).rectangle(0, 0, 6.0, 1.1, leaf)
    for x in np.arange(0.1, 6.0, 0.16):
        canvas.ellipse(float(x), rng.uniform(1.0, 1.1), 0.16, 0.1, leaf)
    return canvas.mottle(rng, 0.3, 0.08).texture()
