"""Street furniture: what stands still, at its usual size and colour, a little different every time."""

from __future__ import annotations

import numpy as np

from safetrip_trainer.classes import CLASS_NAMES, IGNORE
from safetrip_trainer.synth.canvas import Canvas, Color, box, plain, upright
from safetrip_trainer.synth.scene import Quad, Thing

__all__ = ["FURNITURE", "Rng", "make_thing"]

Rng = np.random.Generator


def make_thing(
    name: str,
    quads: tuple[Quad, ...],
    size: tuple[float, float, float],
    billboard: bool = False,
    yaw: float = 0.0,
    ahead: float = 0.0,
) -> Thing:
    """A thing of class `name` ("": none) at the origin, or `ahead` of it, bounded by `size` (x, y, z) metres.

    A length (z) of 0 means round.
    """
    label = CLASS_NAMES.index(name) if name else IGNORE
    return Thing(label, (0.0, 0.0, ahead), quads, *size, yaw, billboard)


def _gray(rng: Rng, low: float, high: float, spread: float = 8.0) -> Color:
    base = rng.uniform(low, high)
    return tuple(float(base + value) for value in rng.uniform(-spread, spread, 3))  # type: ignore[return-value]


def tree(rng: Rng) -> list[Thing]:
    """A trunk of the class, and a crown that no class names."""
    width, height = rng.uniform(0.22, 0.45), rng.uniform(2.4, 3.4)
    bark = (rng.uniform(35, 60), rng.uniform(55, 80), rng.uniform(75, 110))
    trunk = Canvas(width * 1.5, height, bark)
    middle = width * 0.75
    trunk.polygon(
        [
            (middle - width * 0.68, 0),
            (middle + width * 0.68, 0),
            (middle + width * 0.48, 0.35),
            (middle + width * 0.36, height),
            (middle - width * 0.36, height),
            (middle - width * 0.48, 0.35),
        ],
        bark,
    )
    for _ in range(14):
        x, y = rng.uniform(0, width * 1.5), rng.uniform(0, height)
        _streak(trunk, x, y, (bark[0] * 0.6, bark[1] * 0.6, bark[2] * 0.6))
    trunk.mottle(rng, 0.16, 0.06).rounded(0.6)
    crown_width, crown_height = rng.uniform(2.6, 4.5), rng.uniform(2.2, 3.6)
    leaf = (rng.uniform(25, 60), rng.uniform(80, 130), rng.uniform(45, 95))
    crown = Canvas(crown_width, crown_height, leaf, 192)
    for _ in range(26):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.34)
        shade = rng.uniform(0.6, 1.25)
        crown.ellipse(
            crown_width * (0.5 + radius * np.cos(angle)),
            crown_height * (0.5 + radius * np.sin(angle)),
            crown_width * 0.16,
            crown_height * 0.16,
            (leaf[0] * shade, leaf[1] * shade, leaf[2] * shade),
        )
    crown.mottle(rng, 0.22, 0.12)
    trunk_quad = upright(trunk.texture(), width * 1.5, height)
    crown_quad = upright(crown.texture(), crown_width, crown_height, bottom=height - 0.5)
    # The crown hangs a little behind its trunk's plane, which therefore stays whole.
    behind = Quad(
        crown_quad.corner + [0, 0, 0.15], crown_quad.right, crown_quad.down, crown_quad.texture, True
    )
    return [
        make_thing("tree_trunk", (trunk_quad,), (width, height, 0.0), billboard=True),
        make_thing("", (behind,), (crown_width * 0.7, height, 0.0), billboard=True),
    ]


def _streak(canvas: Canvas, x: float, y: float, color: Color) -> None:
    """A dark line within what is already drawn; never past the outline."""
    row = int((canvas.height - y) * canvas.scale)
    column = int(x * canvas.scale)
    window = canvas.image[max(row - 18, 0) : row, max(column - 1, 0) : column + 1]
    window[window[..., 3] > 0, :3] = np.clip(color, 0, 255)


def pole(rng: Rng) -> list[Thing]:
    """A lamp or utility pole, sometimes with a lamp's arm or a sign on it (which no class names)."""
    width, height = rng.uniform(0.14, 0.32), rng.uniform(4.5, 7.0)
    color = _gray(rng, 90, 180) if rng.random() < 0.7 else (60, 85, 45)
    canvas = Canvas(width, height, color, 320).rectangle(0, 0, width, height, color)
    if rng.random() < 0.4:
        for number in range(4):
            canvas.rectangle(0, 0.9 + 0.3 * number, width, 1.05 + 0.3 * number, (40, 190, 225))
    canvas.mottle(rng, 0.05).rounded(0.7)
    things = [make_thing("pole", (upright(canvas.texture(), width, height),), (width, height, 0.0), True)]
    if rng.random() < 0.5:
        sign = Canvas(0.6, 0.6, (200, 200, 200), 64)
        rim, field = [((40, 40, 200), (235, 235, 235)), ((170, 90, 30), (190, 120, 40))][rng.integers(2)]
        sign.ellipse(0.3, 0.3, 0.3, 0.3, rim).ellipse(0.3, 0.3, 0.22, 0.22, field)
        sign.rectangle(0.27, 0.18, 0.33, 0.42, (60, 60, 60))
        quad = upright(sign.texture(), 0.6, 0.6, bottom=2.3)
        front = Quad(quad.corner - [0, 0, 0.12], quad.right, quad.down, quad.texture, True)
        things.append(make_thing("", (front,), (0.1, 0.1, 0.0), billboard=True))
    return things


def bollard(rng: Rng) -> list[Thing]:
    """A row of two or three short posts."""
    width, height = rng.uniform(0.14, 0.26), rng.uniform(0.7, 1.0)
    body, band = [
        (_gray(rng, 150, 200), (60, 60, 65)),
        ((40, 175, 220), (50, 50, 55)),
        ((35, 95, 215), (225, 225, 225)),
        (_gray(rng, 60, 90), (40, 185, 225)),
    ][rng.integers(4)]
    canvas = Canvas(width, height, body, 160)
    canvas.rectangle(0, 0, width, height - width * 0.3, body)
    canvas.ellipse(width / 2, height - width * 0.3, width / 2, width * 0.3, body)
    canvas.rectangle(0, height * 0.62, width, height * 0.78, band)
    canvas.mottle(rng, 0.05).rounded(0.6)
    quads = (upright(canvas.texture(), width, height),)
    count = int(rng.integers(1, 4))
    return [
        make_thing("bollard", quads, (width, height, 0.0), True, ahead=1.1 * number)
        for number in range(count)
    ]


def bench(rng: Rng) -> list[Thing]:
    """Slatted seat and back on two legs, facing -z."""
    length, depth, seat = rng.uniform(1.4, 1.9), 0.45, 0.44
    wood = (rng.uniform(45, 70), rng.uniform(85, 110), rng.uniform(130, 175))
    dark = _gray(rng, 45, 70)
    slats = Canvas(length, 0.45, wood, 160).rectangle(0, 0, length, 0.45, wood)
    for number in range(1, 4):
        y = 0.45 * number / 4
        slats.rectangle(0, y - 0.012, length, y + 0.012, (wood[0] * 0.4, wood[1] * 0.4, wood[2] * 0.4))
    slats.mottle(rng, 0.08)
    edge = plain((wood[0] * 0.8, wood[1] * 0.8, wood[2] * 0.8))
    parts = list(box((length, 0.06, depth), edge, edge, slats.texture(), bottom=seat - 0.06))
    back = Quad(
        np.array([-length / 2, 0.9, depth / 2]),
        np.array([length, 0.0, 0.0]),
        np.array([0.0, -0.4, 0.0]),
        slats.texture(),
        True,
    )
    iron = plain(dark)
    for x in (-length * 0.4, length * 0.4):
        parts += box((0.07, seat - 0.06, depth), iron, iron, iron, center=(x, 0.0))
    return [make_thing("bench", (*parts, back), (length, 0.85, depth))]


def barricade(rng: Rng) -> list[Thing]:
    """A striped board on two feet across the way, or a water-filled plastic block."""
    width, height = rng.uniform(1.1, 1.7), rng.uniform(0.85, 1.1)
    light, strong = [((230, 232, 235), (20, 80, 225)), ((35, 190, 230), (45, 45, 48))][rng.integers(2)]
    canvas = Canvas(width, height, strong, 192)
    solid = rng.random() < 0.4
    if solid:
        canvas.polygon([(0, 0), (width, 0), (width * 0.94, height), (width * 0.06, height)], strong)
        boards = [(0.45 * height, 0.7 * height)]
    else:
        for x in (0.12, width - 0.12):
            canvas.rectangle(x - 0.035, 0, x + 0.035, height, (70, 75, 80))
            canvas.rectangle(x - 0.12, 0, x + 0.12, 0.06, (60, 60, 65))
        boards = [(0.62 * height, 0.98 * height), (0.2 * height, 0.44 * height)]
    for low, high in boards:
        canvas.rectangle(0.02, low, width - 0.02, high, light)
        step = 0.26
        for number in range(int(width / step) + 1):
            x = number * step
            stripe = [(x, low), (x + step / 2, low), (x + step, high), (x + step / 2, high)]
            clipped = [(min(max(a, 0.02), width - 0.02), b) for a, b in stripe]
            canvas.polygon(clipped, strong if not solid else light)
    canvas.mottle(rng, 0.04)
    turn = rng.uniform(-0.5, 0.5)
    quads = (upright(canvas.texture(), width, height),)
    return [make_thing("barricade", quads, (width, height, 0.3), yaw=turn)]


def fire_hydrant(rng: Rng) -> list[Thing]:
    """Red, knee-high, a cap and two side outlets."""
    red = (rng.uniform(25, 50), rng.uniform(25, 50), rng.uniform(175, 225))
    if rng.random() < 0.2:
        red = (40, 180, 225)
    dark = (red[0] * 0.6, red[1] * 0.6, red[2] * 0.6)
    cap = (215, 215, 220) if rng.random() < 0.4 else dark
    canvas = Canvas(0.5, 0.85, red, 160)
    canvas.rectangle(0.1, 0, 0.4, 0.07, dark).rectangle(0.15, 0.05, 0.35, 0.68, red)
    canvas.rectangle(0.02, 0.42, 0.48, 0.56, red).rectangle(0.0, 0.4, 0.06, 0.58, cap)
    canvas.rectangle(0.44, 0.4, 0.5, 0.58, cap).ellipse(0.25, 0.47, 0.085, 0.085, cap)
    canvas.rectangle(0.11, 0.64, 0.39, 0.69, dark).ellipse(0.25, 0.69, 0.12, 0.1, red)
    canvas.rectangle(0.22, 0.76, 0.28, 0.84, cap).mottle(rng, 0.06).rounded(0.5)
    scale = rng.uniform(0.9, 1.15)
    quads = (upright(canvas.texture(), 0.5 * scale, 0.85 * scale),)
    return [make_thing("fire_hydrant", quads, (0.4, 0.8, 0.0), billboard=True)]


def potted_plant(rng: Rng) -> list[Thing]:
    """A pot with leaves or flowers."""
    width, height = rng.uniform(0.7, 1.0), rng.uniform(0.9, 1.4)
    pot = [(55, 85, 160), (140, 145, 150), (60, 60, 62), (165, 190, 205)][rng.integers(4)]
    leaf = (rng.uniform(35, 70), rng.uniform(110, 165), rng.uniform(50, 95))
    canvas = Canvas(width, height, leaf, 160)
    rim = height * 0.4
    for _ in range(24):
        shade = rng.uniform(0.6, 1.3)
        x, y = width * (0.5 + rng.normal(0, 0.15)), rim + (height - rim) * rng.uniform(0.15, 0.85)
        canvas.ellipse(x, y, width * 0.13, 0.09, (leaf[0] * shade, leaf[1] * shade, leaf[2] * shade))
    for _ in range(int(rng.integers(0, 10))):
        blossom = [(60, 60, 220), (200, 120, 230), (60, 210, 240), (240, 240, 240)][rng.integers(4)]
        canvas.ellipse(
            width * (0.5 + rng.normal(0, 0.15)),
            rim + (height - rim) * rng.uniform(0.2, 0.9),
            0.04,
            0.04,
            blossom,
        )
    canvas.polygon([(width * 0.26, 0), (width * 0.74, 0), (width * 0.86, rim), (width * 0.14, rim)], pot)
    canvas.rectangle(width * 0.1, rim * 0.88, width * 0.9, rim, (pot[0] * 0.8, pot[1] * 0.8, pot[2] * 0.8))
    canvas.mottle(rng, 0.1)
    quads = (upright(canvas.texture(), width, height),)
    return [make_thing("potted_plant", quads, (width * 0.7, height, 0.0), billboard=True)]


def kiosk(rng: Rng) -> list[Thing]:
    """A stall: counter, wide window with goods, coloured awning, sign."""
    size = (rng.uniform(1.6, 2.1), rng.uniform(2.3, 2.7), rng.uniform(2.0, 2.8))
    body = [_gray(rng, 150, 210), (150, 120, 60), (70, 130, 70), (70, 90, 190)][rng.integers(4)]
    accent = [(40, 40, 200), (30, 140, 230), (170, 80, 30), (50, 150, 60)][rng.integers(4)]
    front = _kiosk_wall(rng, size[0], size[1], body, accent)
    side = _kiosk_wall(rng, size[2], size[1], body, accent)
    quads = box(
        size, front.texture(), side.texture(), plain((accent[0] * 0.8, accent[1] * 0.8, accent[2] * 0.8))
    )
    return [make_thing("kiosk", quads, size)]


def _kiosk_wall(rng: Rng, width: float, height: float, body: Color, accent: Color) -> Canvas:
    canvas = Canvas(width, height, body).rectangle(0, 0, width, height, body)
    canvas.rectangle(0.12, 0.95, width - 0.12, height * 0.74, (60, 55, 50))
    step = 0.16
    for number in range(int((width - 0.3) / step)):
        for row in range(2):
            goods = tuple(float(value) for value in rng.uniform(60, 235, 3))
            x, y = 0.16 + number * step, 1.0 + row * 0.3
            canvas.rectangle(x, y, x + step * 0.8, y + 0.24, goods)  # type: ignore[arg-type]
    for number in range(int(width / 0.25) + 1):
        color = accent if number % 2 else (228, 230, 232)
        x = number * 0.25
        canvas.rectangle(x, height * 0.72, min(x + 0.25, width), height * 0.84, color)
    canvas.rectangle(0, height * 0.86, width, height, accent)
    canvas.rectangle(width * 0.2, height * 0.9, width * 0.8, height * 0.96, (240, 240, 240))
    return canvas.mottle(rng, 0.03)


def _cabinet_wall(rng: Rng, width: float, height: float, color: Color, doors: int) -> Canvas:
    canvas = Canvas(width, height, color, 160).rectangle(0, 0, width, height, color)
    dark = (color[0] * 0.55, color[1] * 0.55, color[2] * 0.55)
    canvas.rectangle(0, 0, width, height * 0.06, dark)
    for number in range(doors):
        left = width * number / doors
        canvas.line([(left + 0.03, 0.12), (left + 0.03, height - 0.06)], 0.012, dark)
        canvas.rectangle(
            left + width / doors * 0.8, height * 0.48, left + width / doors * 0.88, height * 0.58, dark
        )
        for slot in range(5):
            y = height * (0.14 + 0.035 * slot)
            canvas.rectangle(left + width / doors * 0.2, y, left + width / doors * 0.7, y + 0.015, dark)
    return canvas


def power_controller(rng: Rng) -> list[Thing]:
    """A low, wide, green or beige distribution cabinet with a yellow warning."""
    size = (rng.uniform(0.5, 0.7), rng.uniform(1.15, 1.45), rng.uniform(1.1, 1.6))
    color = [(85, 120, 80), (110, 150, 120), (150, 175, 185)][rng.integers(3)]
    walls = []
    for width, doors in ((size[0], 1), (size[2], 2)):
        wall = _cabinet_wall(rng, width, size[1], color, doors)
        x, y = width * 0.3, size[1] * 0.66
        wall.polygon([(x, y), (x + 0.24, y), (x + 0.12, y + 0.21)], (40, 205, 235))
        wall.line([(x + 0.12, y + 0.15), (x + 0.12, y + 0.06)], 0.03, (40, 40, 40))
        walls.append(wall.mottle(rng, 0.05).texture())
    top = plain((color[0] * 0.9, color[1] * 0.9, color[2] * 0.9))
    return [make_thing("power_controller", box(size, walls[0], walls[1], top), size)]


def traffic_light_controller(rng: Rng) -> list[Thing]:
    """A slim grey box on a pedestal, with a blue plate and a small display."""
    size = (rng.uniform(0.42, 0.55), rng.uniform(1.0, 1.25), rng.uniform(0.4, 0.5))
    color = _gray(rng, 165, 215, 5)
    walls = []
    for width in (size[0], size[2]):
        wall = _cabinet_wall(rng, width, size[1], color, 1)
        wall.rectangle(width * 0.2, size[1] * 0.74, width * 0.8, size[1] * 0.88, (165, 95, 35))
        wall.rectangle(width * 0.3, size[1] * 0.63, width * 0.6, size[1] * 0.69, (50, 60, 50))
        walls.append(wall.mottle(rng, 0.04).texture())
    base = plain(_gray(rng, 95, 120))
    foot = box((size[0] * 0.9, 0.3, size[2] * 0.9), base, base, base)
    body = box(size, walls[0], walls[1], plain(color), bottom=0.3)
    return [make_thing("traffic_light_controller", (*foot, *body), (size[0], size[1] + 0.3, size[2]))]


def signboard(rng: Rng) -> list[Thing]:
    """A shop's board on the pavement: of the labels SafeTrip-Q removed, so no class names it."""
    width, height = rng.uniform(0.5, 0.7), rng.uniform(0.8, 1.2)
    color: Color = tuple(float(value) for value in rng.uniform(60, 230, 3))  # type: ignore[assignment]
    canvas = Canvas(width, height, color, 96).rectangle(0, 0.08, width, height, color)
    for number in range(4):
        y = height * (0.3 + 0.15 * number)
        canvas.rectangle(0.08, y, width * rng.uniform(0.5, 0.9), y + 0.06, (235, 235, 235))
    quad = upright(canvas.texture(), width, height)
    return [make_thing("", (quad,), (width, height, 0.3), billboard=True)]


FURNITURE = {
    "tree_trunk": tree,
    "potted_plant": potted_plant,
    "pole": pole,
    "bench": bench,
    "bollard": bollard,
    "barricade": barricade,
    "fire_hydrant": fire_hydrant,
    "kiosk": kiosk,
    "power_controller": power_controller,
    "traffic_light_controller": traffic_light_controller,
}
"""Class name -> maker of the things that stand there together, at the origin."""
