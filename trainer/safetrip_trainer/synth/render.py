"""A z-buffer renderer: colour, labels and depth of one view come from the same test, so that they agree.

1/z of a plane is affine in pixel coordinates. For a quad with camera-space corner p and edges a, b, the
matrix K [a b p] maps (s, t, 1) to z (u, v, 1); the rows of its inverse, applied to (u, v, 1), give s/z, t/z
and 1/z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.synth.camera import NEAR, Camera
from safetrip_trainer.synth.ground import draw_ground
from safetrip_trainer.synth.scene import Light, Scene, Texture, Thing

__all__ = ["FAR", "View", "render"]

FAR = 150.0
"""Metres; what lies beyond is sky."""

_ALPHA = 110  # a little under half: thin parts (spokes, handlebars) survive minification longer


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees.

    `image` (H, W, 3) float32 BGR before the camera's own effects; `labels` (H, W) uint8 (255: no class);
    `things` (H, W) int16 (index into the scene's things, -1 ground, -2 sky); `inverse_depth` (H, W) float32
    1/metres, 0 in the sky.
    """

    image: np.ndarray
    labels: np.ndarray
    things: np.ndarray
    inverse_depth: np.ndarray

    @property
    def depth(self) -> np.ndarray:
        """(H, W) float32 metres along the camera's z, NaN in the sky."""
        known = self.inverse_depth > 0
        return np.where(known, 1.0 / np.where(known, self.inverse_depth, 1.0), np.nan).astype(np.float32)


def render(scene: Scene, camera: Camera, viewer: tuple[float, float, float] | None = None) -> View:
    """Draw `scene`; billboards face `viewer` (the camera, unless it is the right one of a pair)."""
    viewer = viewer or camera.position
    shape = (camera.height, camera.width)
    image = _sky(scene.sky, camera)
    labels = np.full(shape, IGNORE, np.uint8)
    things = np.full(shape, -2, np.int16)
    inverse_depth = np.zeros(shape, np.float32)
    draw_ground(scene, camera, image, labels, things, inverse_depth, 1.0 / FAR)
    for face in _visible_faces(scene, camera, viewer):
        window = _draw_face(face, image, inverse_depth)
        if window is not None:
            rows, columns, drawn = window
            labels[rows, columns][drawn] = scene.things[face.thing].label
            things[rows, columns][drawn] = face.thing
    if scene.haze > 0:
        _add_haze(image, inverse_depth, scene)
    return View(image, labels, things, inverse_depth)


@dataclass(frozen=True, eq=False)
class _Face:
    """A quad that the camera may see: its thing, texture, inverse matrix, light and window on screen."""

    thing: int
    texture: Texture
    inverse: np.ndarray
    shade: np.ndarray
    bounds: tuple[int, int, int, int]


def _visible_faces(scene: Scene, camera: Camera, viewer: tuple[float, float, float]) -> list[_Face]:
    """The quads that face the camera and meet its view, nearest first: what they hide is not textured."""
    near = [number for number, thing in enumerate(scene.things) if _in_sight(thing, camera)]
    if not near:
        return []
    quads = [quad for number in near for quad in scene.things[number].quads]
    owner = np.repeat(near, [len(scene.things[number].quads) for number in near])
    corner, right, down = np.concatenate([scene.things[number].placed(viewer) for number in near], axis=1)
    origin = camera.to_camera(corner)
    edges = np.stack([right @ camera.rotation.T, down @ camera.rotation.T], axis=1)  # (n, 2, 3)
    basis = np.concatenate([edges, origin[:, None]], axis=1).transpose(
        0, 2, 1
    )  # columns: right, down, corner
    determinant = np.linalg.det(basis)
    both = np.array([quad.both_sides for quad in quads])
    facing = (np.abs(determinant) > 1e-9) & ((determinant > 0) | both)
    corners = np.stack(
        [origin, origin + edges[:, 0], origin + edges.sum(axis=1), origin + edges[:, 1]], axis=1
    )
    facing &= corners[..., 2].max(axis=1) > NEAR
    shades = _shades(right, down, both, scene.light)
    faces = []
    for number in np.flatnonzero(facing)[np.argsort(origin[facing, 2], kind="stable")]:
        bounds = _bounds(corners[number], camera)
        if bounds is not None:
            inverse = np.linalg.inv(camera.matrix @ basis[number])
            faces.append(_Face(int(owner[number]), quads[number].texture, inverse, shades[number], bounds))
    return faces


def _in_sight(thing: Thing, camera: Camera) -> bool:
    """Whether a thing's bounding sphere may reach into the view."""
    x, _, z = camera.to_camera(np.asarray(thing.position))
    radius = math.hypot(thing.width, thing.height, 2 * thing.length)
    half = max(camera.cx, camera.width - camera.cx) / camera.fx
    return bool(z > -radius and abs(x) < half * z + radius * math.hypot(1.0, half))


def _shades(right: np.ndarray, down: np.ndarray, both: np.ndarray, light: Light) -> np.ndarray:
    """(n, 3) float32 BGR factors: sky light plus sun by the angle at which it meets each quad."""
    normal = np.cross(right, down)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    angle = normal @ np.asarray(light.direction)
    angle = np.where(both, np.abs(angle), np.maximum(angle, 0.0))
    sky = 0.72 + 0.12 * normal[:, 1]
    brightness = (1 - light.strength) * sky * 1.15 + light.strength * (0.55 * sky + 0.75 * angle)
    shades: np.ndarray = brightness[:, None] * np.asarray(light.tint)
    return shades.astype(np.float32)


def _bounds(corners: np.ndarray, camera: Camera) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom (exclusive) of the pixels a quad with these camera corners may cover."""
    if corners[:, 2].min() < NEAR:
        corners = camera.visible_part(corners)
        if len(corners) < 3:
            return None
    pixels = camera.project(corners)
    left, top = np.ceil(pixels.min(axis=0)).astype(int).tolist()
    right, bottom = (np.floor(pixels.max(axis=0)).astype(int) + 1).tolist()
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, camera.width), min(bottom, camera.height)
    return None if left >= right or top >= bottom else (left, top, right, bottom)


def _draw_face(
    face: _Face, image: np.ndarray, inverse_depth: np.ndarray
) -> tuple[slice, slice, np.ndarray] | None:
    """Draw where the face is nearest; returns its window and (h, w) bool of drawn pixels, None if hidden."""
    left, top, right, bottom = face.bounds
    u = np.arange(left, right, dtype=np.float32)
    v = np.arange(top, bottom, dtype=np.float32)[:, None]
    s, t, w = (np.float32(row[0]) * u + (np.float32(row[1]) * v + np.float32(row[2])) for row in face.inverse)
    rows, columns = slice(top, bottom), slice(left, right)
    window = inverse_depth[rows, columns]
    drawn = (s >= 0) & (s <= w) & (t >= 0) & (t <= w) & (w > window) & (w < 1.0 / NEAR)
    if not drawn.any():
        return None
    colors = _sample(face.texture, face.inverse, face.bounds)
    if not face.texture.opaque:
        drawn &= colors[..., 3] > _ALPHA
    np.copyto(window, w, where=drawn)
    np.copyto(image[rows, columns], colors[..., :3] * face.shade, where=drawn[..., None])
    return rows, columns, drawn


def _sample(texture: Texture, inverse: np.ndarray, bounds: tuple[int, int, int, int]) -> np.ndarray:
    """(h, w, 4) uint8 of the texture, at the mip level that fits the quad's size on screen."""
    left, top, right, bottom = bounds
    size = max(texture.image.shape[1] / (right - left), texture.image.shape[0] / (bottom - top))
    level = int(np.clip(np.floor(np.log2(max(size, 1.0)) + 0.3), 0, len(texture.levels) - 1))
    source = texture.levels[level]
    height, width = source.shape[:2]
    # Texel i covers [i, i + 1) / width: its centre, where interpolation has its value, lies at i + 0.5.
    to_texels = np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1.0]])
    to_image = np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
    mapping = to_texels @ inverse @ to_image
    return cv2.warpPerspective(
        source,
        mapping,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _sky(sky: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W, 3) float32: the sky picture turned with the camera, its lower edge at the horizon."""
    horizon = camera.cy - camera.fy * np.tan(camera.pitch)
    height = max(round(camera.height * 1.1), 8)
    picture = cv2.resize(sky, (camera.width * 2, height), interpolation=cv2.INTER_LINEAR)
    shift = int(camera.width * (0.5 + np.clip(camera.yaw, -0.6, 0.6) * 0.7))
    rows = np.clip(np.arange(camera.height) - round(horizon) + height - 1, 0, height - 1)
    return picture[rows, shift : shift + camera.width].astype(np.float32)


def _add_haze(image: np.ndarray, inverse_depth: np.ndarray, scene: Scene) -> None:
    """Distance fades into the colour of the sky at the horizon; the sky itself stays."""
    near = inverse_depth > 0
    share = 1 - np.exp(-scene.haze / np.maximum(inverse_depth, 1e-3))
    share = np.where(near, share, 0).astype(np.float32)[..., None]
    color = scene.sky[-1].mean(axis=0).astype(np.float32)
    image += share * (color - image)
