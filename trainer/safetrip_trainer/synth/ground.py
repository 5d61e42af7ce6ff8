"""The ground plane: patches painted one over another, textured by world position, with shadows."""

from __future__ import annotations

import cv2
import numpy as np

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.synth.camera import Camera
from safetrip_trainer.synth.scene import GroundPatch, Scene, Thing
from safetrip_trainer.synth.textures import MATERIALS, TILE

__all__ = ["draw_ground"]

_SHADOWS = 28.0  # metres; further off they are a pixel high
_SHIFT = 4  # sub-pixel bits of cv2's polygon coordinates
_MATERIAL_ROWS = {name: number for number, name in enumerate(MATERIALS)}


def draw_ground(
    scene: Scene,
    camera: Camera,
    image: np.ndarray,
    labels: np.ndarray,
    things: np.ndarray,
    inverse_depth: np.ndarray,
    nearest: float,
) -> None:
    """Fill, in place, the pixels whose ray meets a patch of the ground with 1/depth > `nearest`."""
    # Ray of pixel (u, v) for z = 1: rotation^T K^-1 (u, v, 1); it meets y = 0 at z = -height / ray_y.
    rays = camera.rotation.T @ np.linalg.inv(camera.matrix)
    height = camera.position[1]
    u = np.arange(camera.width, dtype=np.float32)
    v = np.arange(camera.height, dtype=np.float32)[:, None]
    inverse = _affine(-rays[1] / height, u, v)
    first = _first_row(inverse, nearest)
    if first is None:
        return
    patches = _paint_patches(scene.ground, camera)[first:]
    inverse, v = inverse[first:], v[first:]
    covered = (inverse > nearest) & (patches > 0)
    depth = 1.0 / np.maximum(inverse, nearest)
    x = _affine(rays[0], u, v) * depth + np.float32(camera.position[0])
    z = _affine(rays[2], u, v) * depth + np.float32(camera.position[2])
    materials = np.array([0] + [_MATERIAL_ROWS[patch.material] for patch in scene.ground])[patches]
    colors = _texture(scene.materials, materials, x, z, depth, camera)
    light = scene.light
    sun = light.strength * (0.4 + 0.75 * light.direction[1])
    lit = (1 - light.strength) * 0.95 + sun
    shadow = _paint_shadows(scene, camera)[first:]
    factor = lit * (1 - shadow)
    colors = colors * (factor[..., None] * np.asarray(light.tint, np.float32))
    np.copyto(image[first:], colors, where=covered[..., None])
    label_of = np.array([IGNORE] + [patch.label for patch in scene.ground], np.uint8)
    np.copyto(labels[first:], label_of[patches], where=covered)
    np.copyto(things[first:], np.int16(-1), where=covered)
    np.copyto(inverse_depth[first:], inverse, where=covered)


def _affine(row: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.float32(row[0]) * u + (np.float32(row[1]) * v + np.float32(row[2]))
    return values


def _first_row(inverse: np.ndarray, nearest: float) -> int | None:
    rows = np.flatnonzero((inverse[:, [0, -1]] > nearest).any(axis=1))
    return int(rows[0]) if len(rows) else None


def _paint_patches(patches: tuple[GroundPatch, ...], camera: Camera) -> np.ndarray:
    """(H, W) int: number of the topmost patch + 1, 0 where there is none."""
    canvas = np.zeros((camera.height, camera.width), np.int16)
    for number, patch in enumerate(patches, start=1):
        world = np.insert(patch.outline, 1, 0.0, axis=1)
        _fill(canvas, camera, world, number)
    return canvas.astype(np.intp)


def _fill(canvas: np.ndarray, camera: Camera, world: np.ndarray, value: float) -> None:
    visible = camera.visible_part(camera.to_camera(world))
    if len(visible) >= 3:
        pixels = camera.project(visible)
        cv2.fillPoly(canvas, [np.rint(pixels * (1 << _SHIFT)).astype(np.int32)], value, cv2.LINE_8, _SHIFT)


def _texture(
    levels: list[np.ndarray],
    materials: np.ndarray,
    x: np.ndarray,
    z: np.ndarray,
    depth: np.ndarray,
    camera: Camera,
) -> np.ndarray:
    """(h, w, 3) uint8: each pixel's material at its place, rows in strips of one mip level each."""
    x = x * np.float32(1 / TILE)
    z = z * np.float32(1 / TILE)
    x -= np.floor(x)
    z -= np.floor(z)
    base = levels[0].shape[1] - 2
    # A pixel's footprint on the ground: depth / f across, times depth / height along; the mean of the two.
    middle = depth[:, depth.shape[1] // 2]
    footprint = middle / camera.fx * np.sqrt(np.maximum(middle / camera.position[1], 1.0))
    wanted = np.log2(np.maximum(footprint * base / TILE, 1.0)).round().astype(int)
    wanted = np.minimum(wanted, len(levels) - 1)
    out = np.empty((*depth.shape, 3), np.uint8)
    edges = np.flatnonzero(np.diff(wanted)) + 1
    for rows in np.split(np.arange(len(wanted)), edges):
        strip = slice(rows[0], rows[-1] + 1)
        atlas = levels[wanted[rows[0]]]
        size = np.float32(atlas.shape[1] - 2)
        offset = (materials[strip] * atlas.shape[1]).astype(np.float32)
        # Pad of one texel, minus half a texel: texel i's centre lies at i + 0.5.
        map_x = x[strip] * size + np.float32(0.5)
        map_y = (1 - z[strip]) * size + offset + np.float32(0.5)
        cv2.remap(atlas, map_x, map_y, cv2.INTER_LINEAR, out[strip], cv2.BORDER_REPLICATE)
    return out


def _paint_shadows(scene: Scene, camera: Camera) -> np.ndarray:
    """(H, W) float32 share of light taken away: under each thing, and where it blocks the sun."""
    shadow = np.zeros((camera.height, camera.width), np.uint8)
    contact = np.zeros_like(shadow)
    for thing in scene.things:
        if thing.shadow and abs(thing.position[2] - camera.position[2]) < _SHADOWS:
            _fill(contact, camera, _footprint(thing, 1.15), 80)
            if scene.light.strength > 0.15:
                _fill(shadow, camera, _cast(thing, scene.light.direction), round(150 * scene.light.strength))
    radius = max(camera.width // 320, 1)
    soft = cv2.blur(np.maximum(shadow, contact), (2 * radius + 1, 2 * radius + 1))
    share: np.ndarray = soft * np.float32(1 / 255)
    return share


def _footprint(thing: Thing, scale: float) -> np.ndarray:
    """(n, 3) outline of what the thing stands on: an ellipse, or its box turned by its yaw."""
    half_width, half_length = thing.width / 2 * scale, max(thing.length, thing.width * 0.6) / 2 * scale
    if thing.length > 0:
        local = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    else:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        local = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    local = local * [half_width, half_length]
    sin, cos = np.sin(thing.yaw), np.cos(thing.yaw)
    x = local[:, 0] * cos + local[:, 1] * sin + thing.position[0]
    z = -local[:, 0] * sin + local[:, 1] * cos + thing.position[2]
    return np.stack([x, np.zeros_like(x), z], axis=1)


def _cast(thing: Thing, sun: tuple[float, float, float]) -> np.ndarray:
    """(n, 3) convex outline of the shadow of an upright prism over the footprint."""
    base = _footprint(thing, 0.9)
    reach = np.array([-sun[0], 0.0, -sun[2]]) / max(sun[1], 0.25) * thing.height
    both = np.concatenate([base, base + reach])
    hull = cv2.convexHull(both[:, [0, 2]].astype(np.float32))[:, 0]
    return np.insert(hull.astype(float), 1, 0.0, axis=1)
