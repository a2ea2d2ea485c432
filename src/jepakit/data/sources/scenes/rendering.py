"""Turns a procedural scene into a picture: the room, and on it the objects in three materials.

Objects are traced with two by two rays per pixel, but shaded only once per pixel.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, UInt8

from jepakit.data.sources.scenes.backdrop import render_backdrop
from jepakit.data.sources.scenes.description import Scene
from jepakit.data.sources.scenes.geometry import ObjectArrays, make_canvas, object_arrays
from jepakit.data.sources.scenes.tracing import Hits, surface_normals, trace

RENDERER_VERSION = 1  # raise it whenever a picture or a label of an existing scene changes

# One number per material: rubber, plastic, metal.
_DIFFUSE = np.array([1.0, 0.92, 0.16], np.float32)
_MIRROR = np.array([0.0, 0.06, 0.85], np.float32)  # reflection seen straight on
_GRAZING = np.array([0.05, 0.55, 0.95], np.float32)  # reflection at a grazing angle
_GLINT = np.array([0.05, 0.9, 2.0], np.float32)  # strength of the lamp's highlight
_SHARPNESS = np.array([5.0, 80.0, 40.0], np.float32)  # of the highlight
_TINT = np.array([0.0, 0.0, 0.85], np.float32)  # how far reflections take the paint's colour


def render(scene: Scene, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of a scene; `size` is (height, width) in pixels."""
    height, width = size
    objects = object_arrays(scene)
    canvas = make_canvas(scene.camera, height, width)
    hits = trace(canvas, objects)
    light = render_backdrop(scene, canvas, objects)

    share = hits.seen.sum(axis=(0, 1), dtype=np.float32) / 4
    colours = _shade(scene, objects, hits) * share
    pixel = hits.samples.row * width + hits.samples.column
    room_share = 1 - np.bincount(pixel, share, minlength=height * width).astype(np.float32)
    picture = np.empty((height * width, 3), np.uint8)
    for channel in range(3):
        linear = np.bincount(pixel, colours[channel], minlength=height * width).astype(np.float32)
        linear += light[channel].ravel() * room_share
        linear = 1.6 * linear / (1 + 0.8 * linear)  # bright places saturate gently, as on film
        # The square root is the display's gamma; the half rounds.
        picture[:, channel] = np.sqrt(np.minimum(linear, 1)) * 255 + 0.5
    return picture.reshape(height, width, 3)


def visible_objects(scene: Scene, size: tuple[int, int]) -> Int[np.ndarray, "rows columns"]:
    """Which object each sample of the picture sees: its index in `scene.objects`, or -1: the room.

    `size` is the picture's (height, width); it has two by two samples per pixel.
    """
    hits = trace(make_canvas(scene.camera, *size), object_arrays(scene))
    seen = np.full((2 * size[0], 2 * size[1]), -1, np.int64)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        of = hits.samples[np.flatnonzero(hits.seen[down, right])]
        seen[2 * of.row + down, 2 * of.column + right] = of.owner
    return seen


def _shade(scene: Scene, objects: ObjectArrays, hits: Hits) -> np.ndarray:
    """Linear light (3, hits) of the visible samples."""
    who, light = hits.samples.owner, scene.light
    material = objects.material.take(who)
    nx, ny, nz = surface_normals(objects, hits)
    dx, dy, dz = hits.ray
    length = 1 / np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * length, dy * length, dz * length
    lx, ly, lz = light.direction

    toward_lamp = np.maximum(nx * lx + ny * ly + nz * lz, 0)
    toward_lamp *= _lamp_share(scene, objects, hits)
    facing = -(nx * dx + ny * dy + nz * dz)
    mirrored = dx * lx + dy * ly + dz * lz + 2 * facing * (nx * lx + ny * ly + nz * lz)
    mirrored_up = dz + 2 * facing * nz

    # Light from the sky above and from the ground below, less of it near the foot.
    above = 0.5 + 0.5 * nz
    foot = (hits.z + (objects.height / 2).take(who)) / (0.5 * objects.height.take(who))
    openness = 0.5 + 0.5 * np.minimum(foot + 0.15, 1)
    grazing = np.square(np.square(1 - np.clip(facing, 0, 1)))
    mirror, most = _MIRROR.take(material), _GRAZING.take(material)
    mirror = mirror + (most - mirror) * grazing
    glint = np.exp((mirrored - 1) * _SHARPNESS.take(material)) * _GLINT.take(material)
    glint *= toward_lamp > 0
    diffuse, tint = _DIFFUSE.take(material), _TINT.take(material)
    # What reflections show: dark ground, a bright band at eye level, and a sky darker upwards.
    sky_seen = np.clip(mirrored_up * 4 + 0.6, 0, 1)
    band = sky_seen * (1.9 - 1.35 * np.maximum(mirrored_up, 0))

    floor = _mean_colour(scene)
    colours = np.empty((3, len(who)), np.float32)
    for channel in range(3):
        sky, lamp = light.sky[channel], light.lamp[channel]
        below = 0.8 * floor[channel] * (sky + lamp * lz)
        paint = objects.paint[channel].take(who)
        even = (below + (sky * 1.15 - below) * above) * openness
        room = 0.45 * below * (1 - sky_seen) + (sky + 0.2) * band
        reflected = mirror * room * openness + glint * lamp
        colours[channel] = paint * diffuse * (even + lamp * toward_lamp)
        colours[channel] += (1 + (paint - 1) * tint) * reflected
    return colours


def _mean_colour(scene: Scene) -> list[float]:
    first, second = scene.background.ground.colours
    return [0.6 * a + 0.4 * b for a, b in zip(first, second, strict=True)]


def _lamp_share(scene: Scene, objects: ObjectArrays, hits: Hits) -> np.ndarray:
    """How much of the lamp each sample sees past the *other* objects, taken as balls."""
    who = hits.samples.owner
    lamp = np.array(scene.light.direction, np.float32)
    centres = np.array([objects.x, objects.y, objects.height / 2])
    between = centres[:, :, None] - centres[:, None, :]  # from the shaded (last) to the shading
    along = between[0] * lamp[0] + between[1] * lamp[1] + between[2] * lamp[2]
    aside = np.square(between).sum(axis=0) - along * along
    reach = objects.half * np.float32(1.3)
    near = (aside < np.square(reach[:, None] + reach)) & (along > 0)
    share = np.ones(len(who), np.float32)
    for shading, shaded in zip(*near.nonzero(), strict=True):
        chosen = np.flatnonzero(who == shaded)
        to_x = between[0, shading, shaded] - hits.x.take(chosen)
        to_y = between[1, shading, shaded] - hits.y.take(chosen)
        to_z = between[2, shading, shaded] - hits.z.take(chosen)
        along_ray = to_x * lamp[0] + to_y * lamp[1] + to_z * lamp[2]
        missed_by = to_x * to_x + to_y * to_y + to_z * to_z - along_ray * along_ray
        lit = np.clip((missed_by / np.square(objects.half[shading]) - 0.65) * 1.6, 0, 1)
        share[chosen] *= np.maximum(lit, along_ray < 0)
    return share
