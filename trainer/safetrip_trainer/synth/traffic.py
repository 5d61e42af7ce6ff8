"""People and what they ride or drive."""

from __future__ import annotations

import numpy as np

from safetrip_trainer.synth.canvas import Canvas, Color, box, extrusion, plain, upright
from safetrip_trainer.synth.furniture import Rng, make_thing
from safetrip_trainer.synth.scene import Texture, Thing

__all__ = ["TRAFFIC"]

_RUBBER: Color = (32, 32, 34)
_GLASS: Color = (88, 74, 62)
_CLOTHES: tuple[Color, ...] = (
    (45, 45, 50),
    (120, 70, 40),
    (50, 60, 170),
    (215, 215, 220),
    (70, 120, 60),
    (60, 170, 210),
    (150, 130, 160),
    (95, 95, 100),
)
_PAINTS: tuple[Color, ...] = (
    (225, 225, 228),
    (45, 45, 48),
    (140, 140, 145),
    (45, 45, 165),
    (130, 75, 40),
    (185, 190, 195),
    (70, 90, 60),
)


def _pick(rng: Rng, colors: tuple[Color, ...]) -> Color:
    base, shade = colors[rng.integers(len(colors))], rng.uniform(0.85, 1.15)
    return base[0] * shade, base[1] * shade, base[2] * shade


def _darker(color: Color, share: float) -> Color:
    return color[0] * share, color[1] * share, color[2] * share


def person(rng: Rng) -> list[Thing]:
    """Head, torso, arms, two legs apart; from 1.1 m (a child) to 1.85 m."""
    height = rng.uniform(1.1, 1.3) if rng.random() < 0.12 else rng.uniform(1.55, 1.85)
    unit = height / 1.75
    shirt, trousers = _pick(rng, _CLOTHES), _pick(rng, _CLOTHES)
    skin = [(120, 160, 215), (140, 180, 230), (70, 100, 150)][rng.integers(3)]
    hair = [(30, 30, 35), (45, 60, 90), (150, 150, 155)][rng.integers(3)]
    canvas = Canvas(0.8 * unit, height, shirt, 200)

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x * unit, y * unit) for x, y in points]

    stride = rng.uniform(0.04, 0.2)
    for side in (-1, 1):
        foot = 0.4 + side * stride
        shade = _darker(trousers, 1.0 if side > 0 else 0.82)
        canvas.polygon(
            at(
                (0.4 - 0.01, 0.9),
                (0.4 + side * 0.17, 0.9),
                (foot + side * 0.06, 0.06),
                (foot - side * 0.06, 0.06),
            ),
            shade,
        )
        canvas.polygon(
            at((foot - 0.07, 0.0), (foot + 0.1, 0.0), (foot + 0.06, 0.09), (foot - 0.06, 0.09)), (40, 40, 45)
        )
        hand = 0.4 + side * (0.23 + stride * 0.5)
        canvas.line(
            at((0.4 + side * 0.2, 1.38), (0.4 + side * 0.25, 1.12), (hand, 0.86)),
            0.09 * unit,
            _darker(shirt, 0.85),
        )
        canvas.ellipse(hand * unit, 0.83 * unit, 0.045 * unit, 0.05 * unit, skin)
    long = 0.62 if rng.random() < 0.25 else 0.86
    canvas.polygon(at((0.2, 1.42), (0.6, 1.42), (0.57, long), (0.23, long)), shirt)
    canvas.ellipse(0.4 * unit, 1.42 * unit, 0.2 * unit, 0.06 * unit, shirt)
    canvas.rectangle(0.36 * unit, 1.42 * unit, 0.44 * unit, 1.54 * unit, _darker(skin, 0.85))
    canvas.ellipse(0.4 * unit, 1.63 * unit, 0.105 * unit, 0.12 * unit, skin)
    back = rng.random() < 0.5
    canvas.ellipse(
        0.4 * unit, (1.66 if back else 1.7) * unit, 0.11 * unit, (0.1 if back else 0.05) * unit, hair
    )
    if rng.random() < 0.35:
        bag = _pick(rng, _CLOTHES)
        canvas.polygon(at((0.27, 1.36), (0.53, 1.36), (0.53, 0.98), (0.27, 0.98)), bag)
    canvas.mottle(rng, 0.07)
    quads = (upright(canvas.texture(), 0.8 * unit, height),)
    return [make_thing("person", quads, (0.5, height, 0.0), billboard=True)]


def _two_wheeler(name: str, canvas: Canvas, rng: Rng) -> list[Thing]:
    """A flat picture standing along the street or turned a little: seen well from the side and from ahead."""
    turn = rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 1.0)
    quads = (upright(canvas.texture(), canvas.width, canvas.height),)
    return [make_thing(name, quads, (canvas.width, canvas.height, 0.3), yaw=turn)]


def bicycle(rng: Rng) -> list[Thing]:
    """Two large thin wheels, a diamond frame, saddle and handlebar."""
    paint = _pick(
        rng, ((50, 50, 190), (190, 120, 40), (60, 160, 60), (60, 60, 65), (210, 210, 215), (40, 190, 220))
    )
    canvas = Canvas(1.75, 1.08, paint, 224)
    rear, front, radius = (0.36, 0.35), (1.38, 0.35), 0.33
    for x, y in (rear, front):
        canvas.ring(x, y, radius, 0.055, _RUBBER)
        canvas.ellipse(x, y, 0.04, 0.04, (120, 120, 125))
        for angle in np.linspace(0, np.pi, 4, endpoint=False) + rng.uniform(0, 1):
            tip = (radius * np.cos(angle), radius * np.sin(angle))
            canvas.line([(x - tip[0], y - tip[1]), (x + tip[0], y + tip[1])], 0.012, (150, 150, 155))
    crank, seat, head = (0.82, 0.3), (0.66, 0.8), (1.24, 0.82)
    canvas.line([rear, crank, head, seat, rear], 0.05, paint).line([seat, crank], 0.05, paint)
    canvas.line([head, front], 0.05, paint).line([head, (1.22, 1.0), (1.08, 1.02)], 0.045, (50, 50, 52))
    canvas.line([seat, (0.63, 0.9)], 0.04, paint).polygon(
        [(0.46, 0.92), (0.78, 0.9), (0.78, 0.96), (0.46, 0.98)], _RUBBER
    )
    canvas.ellipse(crank[0], crank[1], 0.09, 0.09, (70, 70, 75))
    if rng.random() < 0.4:
        canvas.rectangle(1.3, 0.72, 1.6, 0.96, (85, 100, 110))
    return _two_wheeler("bicycle", canvas, rng)


def motorcycle(rng: Rng) -> list[Thing]:
    """Two fat wheels, tank, long seat, exhaust; a delivery box on some."""
    paint = _pick(rng, ((40, 40, 180), (45, 45, 48), (160, 90, 30), (200, 200, 205), (40, 150, 60)))
    canvas = Canvas(2.0, 1.32, paint, 224)
    for x in (0.36, 1.62):
        canvas.ellipse(x, 0.31, 0.31, 0.31, _RUBBER).ellipse(x, 0.31, 0.17, 0.17, (130, 130, 135))
    canvas.polygon([(0.5, 0.3), (1.25, 0.26), (1.35, 0.55), (0.55, 0.58)], (75, 75, 80))
    canvas.line([(0.2, 0.36), (0.85, 0.3)], 0.1, (165, 165, 170))
    canvas.polygon([(0.15, 0.62), (0.95, 0.55), (1.0, 0.8), (0.25, 0.78)], _darker(paint, 0.8))
    canvas.polygon([(0.2, 0.76), (0.98, 0.72), (1.0, 0.86), (0.2, 0.88)], (38, 38, 40))
    canvas.polygon([(0.92, 0.62), (1.42, 0.62), (1.5, 0.86), (1.2, 0.98), (0.96, 0.88)], paint)
    canvas.line([(1.62, 0.31), (1.42, 0.92), (1.34, 1.1)], 0.08, (110, 110, 115))
    canvas.line([(1.34, 1.1), (1.16, 1.1)], 0.06, (40, 40, 42)).ellipse(1.5, 0.92, 0.09, 0.1, (215, 225, 230))
    canvas.ellipse(1.38, 1.24, 0.05, 0.06, (60, 60, 62))
    if rng.random() < 0.5:
        canvas.rectangle(
            0.02, 0.86, 0.56, 1.3, _pick(rng, ((40, 130, 230), (60, 170, 60), (50, 50, 190), (190, 180, 60)))
        )
    return _two_wheeler("motorcycle", canvas.mottle(rng, 0.04), rng)


def scooter(rng: Rng) -> list[Thing]:
    """A rental kick scooter: small wheels, a low deck, a tall stem with a handlebar."""
    accent = _pick(rng, ((60, 210, 60), (40, 170, 240), (200, 90, 150), (210, 200, 60), (60, 60, 210)))
    canvas = Canvas(1.2, 1.2, accent, 208)
    for x in (0.16, 1.0):
        canvas.ellipse(x, 0.12, 0.12, 0.12, _RUBBER).ellipse(x, 0.12, 0.05, 0.05, (140, 140, 145))
    canvas.polygon([(0.12, 0.16), (0.9, 0.16), (0.98, 0.25), (0.1, 0.25)], (58, 58, 60))
    canvas.line([(0.14, 0.25), (0.88, 0.25)], 0.03, accent)
    canvas.line([(1.0, 0.14), (0.84, 1.08)], 0.08, accent).line(
        [(0.72, 1.1), (0.96, 1.15)], 0.06, (40, 40, 42)
    )
    canvas.polygon([(0.02, 0.2), (0.2, 0.25), (0.12, 0.34), (0.0, 0.3)], accent)
    canvas.rectangle(0.8, 0.86, 0.96, 0.98, (60, 60, 62))
    return _two_wheeler("scooter", canvas, rng)


def stroller(rng: Rng) -> list[Thing]:
    """A hooded seat on a frame with three small wheels, and a push bar."""
    cloth = _pick(rng, ((60, 60, 65), (150, 90, 50), (60, 60, 170), (150, 190, 215), (120, 140, 110)))
    canvas = Canvas(1.05, 1.12, cloth, 192)
    frame: Color = (160, 160, 165)
    canvas.line([(0.12, 1.02), (0.42, 0.5), (0.86, 0.14)], 0.045, frame).line(
        [(0.7, 0.62), (0.24, 0.14)], 0.045, frame
    )
    canvas.line([(0.04, 1.04), (0.18, 1.0)], 0.06, (45, 45, 48))
    for x in (0.22, 0.84):
        canvas.ellipse(x, 0.12, 0.12, 0.12, _RUBBER).ellipse(x, 0.12, 0.05, 0.05, (170, 170, 175))
    canvas.polygon([(0.3, 0.72), (0.78, 0.56), (0.9, 0.6), (0.84, 0.36), (0.46, 0.34)], cloth)
    angle = np.linspace(0.15 * np.pi, 0.95 * np.pi, 14)
    hood = [(0.5, 0.66), *((float(0.5 + 0.32 * np.cos(a)), float(0.66 + 0.34 * np.sin(a))) for a in angle)]
    canvas.polygon(hood, _darker(cloth, 0.78))
    canvas.line([(0.5, 0.66), (0.62, 0.97)], 0.015, _darker(cloth, 0.5))
    canvas.rectangle(0.32, 0.18, 0.66, 0.32, _darker(cloth, 0.6)).ellipse(
        0.66, 0.7, 0.07, 0.07, (140, 180, 230)
    )
    return _two_wheeler("stroller", canvas.mottle(rng, 0.06), rng)


def _wheels(canvas: Canvas, centers: tuple[float, ...], radius: float) -> None:
    for x in centers:
        canvas.ellipse(x, radius, radius, radius, _RUBBER)
        canvas.ellipse(x, radius, radius * 0.58, radius * 0.58, (165, 165, 170))
        canvas.ellipse(x, radius, radius * 0.2, radius * 0.2, (80, 80, 85))


def _car_end(width: float, height: float, paint: Color, lamp: Color) -> Texture:
    canvas = Canvas(width, height, paint, 160).rectangle(0, 0, width, height, paint)
    canvas.rectangle(0, 0, width, height * 0.2, (45, 45, 48))
    for x in (0.04, width - 0.4):
        canvas.rectangle(x, height * 0.55, x + 0.36, height * 0.82, lamp)
    canvas.rectangle(width * 0.34, height * 0.28, width * 0.66, height * 0.48, (230, 232, 232))
    return canvas.texture()


def _glazing(width: float, depth: float, paint: Color) -> Texture:
    canvas = Canvas(width, depth, _GLASS, 96).rectangle(0, 0, width, depth, paint)
    canvas.polygon(
        [(0.1, 0.02), (width - 0.1, 0.02), (width - 0.16, depth * 0.94), (0.16, depth * 0.94)], _GLASS
    )
    return canvas.texture()


def car(rng: Rng) -> list[Thing]:
    """A saloon, hatchback or van: body, cabin with windows, wheels, lamps, plates."""
    paint = _pick(rng, _PAINTS)
    length, width = rng.uniform(3.9, 4.7), rng.uniform(1.7, 1.85)
    roof = rng.uniform(1.42, 1.75)
    tail = rng.uniform(0.02, 0.16)  # share of the length behind the cabin
    hood = rng.uniform(0.68, 0.76)
    profile = [
        (0.0, 0.28),
        (0.0, 0.92),
        (tail * length, 0.98),
        ((tail + 0.1) * length, roof),
        ((hood - 0.16) * length, roof),
        (hood * length, 0.98),
        (length, 0.74),
        (length, 0.28),
    ]
    side = Canvas(length, roof, paint, 256).polygon(profile, paint)
    pillar = 0.06
    windows = [
        (tail * length + 0.1, 1.0),
        ((tail + 0.1) * length + 0.04, roof - 0.09),
        ((hood - 0.16) * length - 0.04, roof - 0.09),
        (hood * length - 0.14, 1.0),
    ]
    side.polygon(windows, _GLASS)
    middle = (tail + hood) / 2 * length
    side.rectangle(middle - pillar, 0.98, middle + pillar, roof - 0.06, paint)
    for x in (middle - 1.0, middle, middle + 1.05):
        side.line([(x, 0.38), (x, 0.98)], 0.02, _darker(paint, 0.5))
    side.rectangle(0, 0.28, length, 0.4, _darker(paint, 0.5))
    _wheels(side, (0.19 * length, 0.81 * length), 0.33)
    rear, front = _car_end(width, 0.64, paint, (40, 40, 200)), _car_end(width, 0.46, paint, (225, 235, 240))
    glass, sheet = _glazing(width, 0.6, paint), plain(paint)
    strips = (rear, sheet, glass, sheet, glass, sheet, front)
    turn = 0.0 if rng.random() < 0.5 else np.pi
    quads = extrusion(profile, width, side.texture(), strips)
    return [make_thing("car", quads, (width, roof, length), yaw=turn)]


def bus(rng: Rng) -> list[Thing]:
    """A city bus: one long box, a band of windows, doors, a bright colour."""
    paint = _pick(rng, ((190, 110, 40), (70, 150, 60), (45, 50, 195), (50, 170, 225)))
    width, height, length = 2.45, rng.uniform(2.95, 3.2), rng.uniform(8.5, 11.0)
    side = Canvas(length, height, paint, 320).rectangle(0, 0.3, length, height, paint)
    side.rectangle(0, 0.3, length, 0.55, (60, 60, 62)).rectangle(0, 1.0, length, 1.12, (235, 235, 235))
    for number in range(int(length / 1.25)):
        x = 0.25 + number * 1.25
        side.rectangle(x, 1.3, x + 1.12, 2.45, _GLASS)
    for x in (length * 0.52, length - 1.35):
        side.rectangle(x, 0.42, x + 1.1, 2.5, (70, 66, 60)).line(
            [(x + 0.55, 0.42), (x + 0.55, 2.5)], 0.06, paint
        )
    _wheels(side, (length * 0.22, length * 0.76), 0.48)
    front = Canvas(width, height, paint, 192).rectangle(0, 0.3, width, height, paint)
    front.rectangle(0.12, 1.05, width - 0.12, 2.45, _GLASS).rectangle(
        0.3, 2.58, width - 0.3, 2.88, (35, 35, 38)
    )
    front.rectangle(0.55, 2.64, 1.5, 2.82, (40, 150, 240)).rectangle(0, 0.3, width, 0.6, (55, 55, 58))
    for x in (0.12, width - 0.5):
        front.rectangle(x, 0.68, x + 0.38, 0.9, (225, 235, 240))
    roof = plain((225, 225, 225))
    quads = box((width, height, length), front.texture(), side.texture(), roof)
    return [make_thing("bus", quads, (width, height, length))]


def truck(rng: Rng) -> list[Thing]:
    """A cab and a tall cargo box on a low frame."""
    paint, cargo = (
        _pick(rng, _PAINTS),
        _pick(rng, ((215, 218, 220), (190, 130, 60), (170, 185, 190), (70, 120, 170))),
    )
    width, long, high = 2.1, rng.uniform(3.4, 4.6), rng.uniform(2.0, 2.3)
    wall = Canvas(long, high + 0.85, cargo, 256).rectangle(0, 0.85, long, high + 0.85, cargo)
    wall.rectangle(0, 0.55, long, 0.85, (55, 55, 58))
    for number in range(1, int(long / 0.55)):
        wall.line([(number * 0.55, 0.9), (number * 0.55, high + 0.8)], 0.02, _darker(cargo, 0.75))
    stripe = _pick(rng, ((60, 60, 190), (180, 100, 40), (70, 150, 60)))
    wall.rectangle(long * 0.2, 1.5, long * 0.8, 1.95, stripe)
    _wheels(wall, (long * 0.3,), 0.44)
    doors = Canvas(width, high + 0.85, cargo, 160).rectangle(0, 0.85, width, high + 0.85, cargo)
    doors.line([(width / 2, 0.9), (width / 2, high + 0.8)], 0.04, _darker(cargo, 0.5))
    doors.rectangle(0, 0.5, width, 0.85, (50, 50, 52)).rectangle(0.1, 0.55, 0.4, 0.75, (40, 40, 210))
    doors.rectangle(width - 0.4, 0.55, width - 0.1, 0.75, (40, 40, 210))
    for x in (0.12, width - 0.44):
        doors.rectangle(x, 0.0, x + 0.32, 0.55, _RUBBER)
    cab = [(0.0, 0.5), (0.0, 2.15), (1.15, 2.15), (1.6, 1.3), (1.65, 0.5)]
    door = Canvas(1.65, 2.15, paint, 160).polygon(cab, paint)
    door.polygon([(0.35, 1.28), (0.35, 1.98), (1.05, 1.98), (1.4, 1.28)], _GLASS)
    _wheels(door, (1.05,), 0.44)
    nose = _car_end(width - 0.1, 0.8, paint, (225, 235, 240))
    strips = (plain(paint), plain(paint), _glazing(width - 0.1, 0.95, paint), nose)
    body = box((width, high + 0.85, long), doors.texture(), wall.texture(), plain(_darker(cargo, 0.95)))
    ahead = np.array([0.0, 0.0, long / 2 + 0.85])
    head = extrusion(cab, width - 0.1, door.texture(), strips)
    moved = tuple(type(q)(q.corner + ahead, q.right, q.down, q.texture, q.both_sides) for q in head)
    turn = 0.0 if rng.random() < 0.5 else np.pi
    return [make_thing("truck", (*body, *moved), (width, high + 0.85, long + 3.3), yaw=turn)]


TRAFFIC = {
    "person": person,
    "car": car,
    "bus": bus,
    "truck": truck,
    "bicycle": bicycle,
    "motorcycle": motorcycle,
    "stroller": stroller,
    "scooter": scooter,
}
"""Class name -> maker of the things, at the origin."""
