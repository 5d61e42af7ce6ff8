"""One walk: a street with things on it, a light, a camera carried along. Everything follows from its seed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from safetrip_trainer.classes import IGNORE, NUM_CLASSES
from safetrip_trainer.synth.camera import Camera
from safetrip_trainer.synth.furniture import FURNITURE, Rng, signboard
from safetrip_trainer.synth.lens import Lens, make_light, make_sky
from safetrip_trainer.synth.render import View, render
from safetrip_trainer.synth.scene import Scene, Thing
from safetrip_trainer.synth.street import Street, make_facades, make_street
from safetrip_trainer.synth.textures import make_materials
from safetrip_trainer.synth.traffic import TRAFFIC

__all__ = ["Frame", "Walk", "render_sequence"]

_BLOCK = 17.0
"""Metres of street in which every obstacle class stands at least once."""
_VIEW = 45.0
_VARIANTS = 2
_TRIES = 6
_LANES = {
    "wall": ("kiosk", "bench", "potted_plant", "power_controller", "scooter"),
    "kerb": ("tree_trunk", "pole", "bollard", "fire_hydrant", "traffic_light_controller", "motorcycle"),
    "middle": ("person", "stroller", "bicycle", "barricade", "person"),
    "near_road": ("car",),
    "far_road": ("bus", "truck", "car"),
}
_LARGE = ("kiosk", "bus", "truck", "power_controller", "barricade")
_MAKERS = FURNITURE | TRAFFIC | {"signboard": signboard}

Models = dict[str, list[list[Thing]]]
"""Name -> variants, each the things that stand together, at the origin."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera image with its truth.

    `image` (H, W, 3) uint8 BGR; `labels` (H, W) uint8, all 24 classes, 255 elsewhere; `depth` (H, W) float32
    metres along the camera's z, NaN in the sky; `camera` holds the intrinsics.
    """

    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    camera: Camera


class Walk:
    """A walk of `frames` images of `size` (width, height), `step` metres apart (None: drawn).

    `wanted` class ids are to be seen in the first image, as far as a few arrangements allow.
    """

    def __init__(
        self,
        seed: int | tuple[int, ...],
        frames: int,
        size: tuple[int, int],
        step: float | None = None,
        wanted: Collection[int] = range(NUM_CLASSES),
    ) -> None:
        self.seed = (seed,) if isinstance(seed, int) else tuple(seed)
        self.size = size
        rng = np.random.default_rng([*self.seed, 0])
        self.step = float(rng.uniform(0.5, 0.9)) if step is None else step
        self.length = self.step * frames
        self.height = float(rng.uniform(0.75, 1.65))
        self.pitch = float(np.radians(rng.uniform(2.0, 14.0)))
        self.lateral = float(rng.uniform(-0.5, 0.5))
        self.heading = float(np.radians(rng.normal(0.0, 6.0)))
        field_of_view = np.radians(rng.uniform(58.0, 76.0))
        self.focal = size[0] / 2 / float(np.tan(field_of_view / 2))
        self.center = tuple(float(side / 2 - 0.5 + side * rng.uniform(-0.01, 0.01)) for side in size)
        self.light, self.haze = make_light(rng)
        self.sky = make_sky(rng, self.light)
        self.lens = Lens.draw(rng)
        # So that a texel of the near ground is about one pixel: sharp, and no more than is seen.
        self.materials = make_materials(rng, 768 if size[0] >= 1280 else 384 if size[0] >= 640 else 192)
        self.street, self.things = self._furnish(wanted)

    def _furnish(self, wanted: Collection[int]) -> tuple[Street, list[Thing]]:
        """The first arrangement (of a few) in which the first image shows all of `wanted`; else the best."""
        best: tuple[int, Street, list[Thing]] | None = None
        rng = np.random.default_rng([*self.seed, 4])
        facades = make_facades(rng)
        alley = bool(rng.random() < 0.3)
        models = {name: [make(rng) for _ in range(_VARIANTS)] for name, make in _MAKERS.items()}
        for attempt in range(_TRIES):
            rng = np.random.default_rng([*self.seed, 1, attempt])
            street = make_street(rng, self.length, alley, facades)
            things = _arrange(rng, street, models, self.length, self.lateral)
            seen = len(self._classes_seen(street, things) & set(wanted)) if wanted else 0
            if best is None or seen > best[0]:
                best = seen, street, things
            if seen == len(wanted):
                break
        assert best is not None
        return best[1], best[2]

    def _classes_seen(self, street: Street, things: list[Thing]) -> set[int]:
        """Classes with more than a few pixels in a quick, small look from the start."""
        self.street, self.things = street, things
        full = self.camera(0)
        scale = 240 / full.width
        small = Camera(
            240,
            max(round(full.height * scale), 8),
            full.fx * scale,
            full.fy * scale,
            full.cx * scale,
            full.cy * scale,
            full.position,
            full.yaw,
            full.pitch,
            full.roll,
        )
        labels = render(self.scene(full), small).labels
        counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
        return set(np.flatnonzero(counts >= 10).tolist())

    def camera(self, number: int) -> Camera:
        """Where the walker's camera is at an image: along the bend, swaying a little."""
        rng = np.random.default_rng([*self.seed, 2, number])
        z = number * self.step
        ahead = (self.street.bend(z + 2.0) - self.street.bend(z)) / 2.0
        sway, nod, roll, drift = rng.normal(0, 1, 4) * min(self.step / 0.5, 1.0)
        bob = 0.02 * float(np.sin(number * self.step * 8.0))
        x = self.street.bend(z) + self.street.side * self.lateral + 0.03 * drift
        return Camera(
            *self.size,
            fx=self.focal,
            fy=self.focal,
            cx=self.center[0],
            cy=self.center[1],
            position=(float(x), self.height + bob, float(z)),
            yaw=float(np.arctan(ahead) + self.heading + np.radians(2.5) * sway),
            pitch=float(self.pitch + np.radians(0.8) * nod),
            roll=float(np.radians(0.7) * roll),
        )

    def scene(self, camera: Camera) -> Scene:
        """What may be seen from the camera: the rest of the street is left out."""
        z = camera.position[2]
        things = [thing for thing in self.things if z - 14.0 < thing.position[2] < z + _VIEW]
        walls = [
            wall
            for wall in self.street.walls
            if wall.position[2] < z + _VIEW and wall.position[2] + wall.length > z - 1.0
        ]
        return Scene((*things, *walls), self.street.patches, self.materials, self.sky, self.light, self.haze)

    def view(self, number: int) -> tuple[Camera, View]:
        """The camera at an image, and what it sees."""
        camera = self.camera(number)
        return camera, render(self.scene(camera), camera)

    def stereo(self, number: int, baseline: float) -> tuple[Camera, View, View]:
        """The left camera, its view, and the view `baseline` metres to its right of the very same scene."""
        camera = self.camera(number)
        scene = self.scene(camera)
        right = render(scene, camera.shifted(baseline), viewer=camera.position)
        return camera, render(scene, camera), right

    def expose(self, view: View, number: int, eye: int = 0) -> np.ndarray:
        """(H, W, 3) uint8: a view through the lens and onto the sensor of this walk."""
        return self.lens.expose(view.image, np.random.default_rng([*self.seed, 3, number, eye]))

    def frame(self, number: int) -> Frame:
        """Image and truth of one position."""
        camera, view = self.view(number)
        return Frame(self.expose(view, number), view.labels, view.depth, camera)


def _arrange(rng: Rng, street: Street, models: Models, length: float, lateral: float) -> list[Thing]:
    """Every class in every block of the street, each in a lane where it belongs, in a drawn order."""
    things: list[Thing] = []
    starts = {"wall": 3.6, "kerb": 3.0, "middle": 4.2, "near_road": 6.0, "far_road": 8.0}
    density = rng.uniform(0.35, 1.0)
    for block in np.arange(0.0, length + _VIEW, _BLOCK):
        for lane, names in _LANES.items():
            pitch = (_BLOCK - 2.0) / len(names)
            # Large things later: at the front they would hide the rest.
            order = sorted(names, key=lambda name: rng.random() + 0.5 * (name in _LARGE))
            for slot, name in enumerate(order):
                if block > 0 and rng.random() > density:
                    continue
                z = float(block) + starts[lane] + pitch * slot + rng.uniform(-0.4, 0.4)
                model = models[name][rng.integers(_VARIANTS)]
                x, z, yaw = _stand(rng, street, lane, name, z, lateral)
                things += [thing.moved(x, z, yaw) for thing in model]
        if rng.random() < 0.7:
            x, z = street.place(street.lanes.wall + 0.2, float(block) + rng.uniform(4, 14))
            things += [thing.moved(x, z) for thing in models["signboard"][rng.integers(_VARIANTS)]]
    return things


def _stand(
    rng: Rng, street: Street, lane: str, name: str, z: float, lateral: float
) -> tuple[float, float, float]:
    """World x, z and yaw of a thing in its lane: out of the walker's way; on crossings only what moves."""
    if lane.endswith("road") and street.crossings:
        return _cross(rng, street, lane, z)
    for start, end in street.gaps:
        if start < z < end and name not in TRAFFIC:
            z = end + rng.uniform(0.3, 1.2)
    position = float(getattr(street.lanes, lane))
    if lane == "middle":
        away = rng.uniform(0.75, max(street.lanes.half_width - 0.6, 0.9))
        position = lateral + away * float(rng.choice([-1.0, 1.0]))
    elif lane in ("wall", "kerb"):
        position += rng.uniform(-0.15, 0.15) - (0.6 if name == "kiosk" else 0.0)
    x, z = street.place(position, z)
    yaw = rng.uniform(-0.08, 0.08) + math.atan(street.bend(z + 0.5) - street.bend(z - 0.5))
    if name == "bench":  # its front to the path
        yaw -= street.side * math.pi / 2
    return x, z, yaw


def _cross(rng: Rng, street: Street, lane: str, z: float) -> tuple[float, float, float]:
    """A vehicle's place on the nearest road that crosses an alley, driving to the left or to the right."""
    start, end = min(street.crossings, key=lambda crossing: abs(crossing[0] - z))
    share, direction = (0.27, 1.0) if lane == "near_road" else (0.73, -1.0)
    x, z = street.place(rng.uniform(-9.0, 9.0), start + share * (end - start))
    return x, z, direction * math.pi / 2


def render_sequence(
    seed: int, n: int, size: tuple[int, int] = (1920, 1080), step: float | None = None
) -> Iterator[Frame]:
    """The `n` frames of the walk of `seed`, `size` (width, height) pixels, `step` metres apart."""
    walk = Walk(seed, n, size, step)
    return (walk.frame(number) for number in range(n))
