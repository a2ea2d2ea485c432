"""Turns a procedural scene into a picture: exact intersections, soft shadows and three materials.

Objects are traced with two by two rays per pixel and shaded once per pixel, each only within its
rectangle and all in one list, so that numpy works on few long arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from jepakit.data.sources.scene_backdrop import render_backdrop
from jepakit.data.sources.scene_geometry import (
    Canvas,
    ObjectArrays,
    Samples,
    make_canvas,
    object_arrays,
    samples_within,
)
from jepakit.data.sources.scene_layout import SHAPES, Scene

RENDERER_VERSION = 1  # raise it whenever a picture or a label of an existing scene changes

_CORNERS = np.arange(4).reshape(2, 2, 1)  # the four samples of a pixel
_SPHERE, _CUBE, _CYLINDER, _CONE = (
    SHAPES.index(shape) for shape in ("sphere", "cube", "cylinder", "cone")
)

# One number per material: rubber, plastic, metal.
_DIFFUSE = np.array([1.0, 0.92, 0.16], np.float32)
_MIRROR = np.array([0.0, 0.06, 0.85], np.float32)  # reflection seen straight on
_GRAZING = np.array([0.05, 0.55, 0.95], np.float32)  # reflection at a grazing angle
_GLINT = np.array([0.05, 0.9, 2.0], np.float32)  # strength of the lamp's highlight
_SHARPNESS = np.array([5.0, 80.0, 40.0], np.float32)  # of the highlight
_TINT = np.array([0.0, 0.0, 0.85], np.float32)  # how far reflections take the paint's colour


@dataclass(frozen=True)
class _Rays:
    """Two by two rays per pixel of a list: `dx` is (1, 2, pixels), `dy` and `dz` are (2, 1, pixels)."""

    dx: np.ndarray
    dy: np.ndarray
    dz: np.ndarray


@dataclass(frozen=True)
class _Hits:
    """What is visible: one entry for each pixel and object seen in it.

    `seen` (2, 2, hits) tells which of the four samples see the object; the ray and the place,
    in metres from the object's centre, are averages over those.
    """

    samples: Samples
    seen: np.ndarray
    ray: tuple[np.ndarray, np.ndarray, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


def render(scene: Scene, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of a scene; `size` is (height, width) in pixels."""
    height, width = size
    objects = object_arrays(scene)
    canvas = make_canvas(scene.camera, height, width)
    hits = _trace(canvas, objects)
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


def visible_objects(scene: Scene, size: tuple[int, int]) -> Int[np.ndarray, "2*H 2*W"]:
    """Which object each sample of the picture sees: its index in `scene.objects`, or -1: the room.

    `size` is the picture's (height, width); it has two by two samples per pixel.
    """
    hits = _trace(make_canvas(scene.camera, *size), object_arrays(scene))
    seen = np.full((2 * size[0], 2 * size[1]), -1, np.int64)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        of = hits.samples[np.flatnonzero(hits.seen[down, right])]
        seen[2 * of.row + down, 2 * of.column + right] = of.owner
    return seen


def _trace(canvas: Canvas, objects: ObjectArrays) -> _Hits:
    """Intersects every object with the rays in its rectangle and keeps the nearest hits."""
    samples = _samples_near(canvas, objects)
    is_cube = objects.is_cube.take(samples.owner)
    cubes, others = samples[np.flatnonzero(is_cube)], samples[np.flatnonzero(~is_cube)]
    samples = Samples.joined(cubes, others)
    depth = np.concatenate(
        [_meet_cubes(canvas, objects, cubes), _meet_quadrics(canvas, objects, others)], axis=2
    )

    num_pixels = canvas.height * canvas.width
    place = samples.row * canvas.width + samples.column + num_pixels * _CORNERS
    nearest = np.full(4 * num_pixels, np.inf, np.float32)
    np.minimum.at(nearest, place.ravel(), depth.ravel())
    seen = (depth == nearest.take(place)) & (depth < np.inf)
    kept = np.flatnonzero(seen.any(axis=(0, 1)))
    return _average(canvas, objects, samples[kept], depth.take(kept, axis=2), seen.take(kept, axis=2))


def _average(
    canvas: Canvas,
    objects: ObjectArrays,
    samples: Samples,
    depth: np.ndarray,
    seen: np.ndarray,
) -> _Hits:
    """The hits of the samples seen: their places averaged within each pixel."""
    who, rays = samples.owner, _rays(canvas, samples)
    reach = np.where(seen, depth, 0) / seen.sum(axis=(0, 1), dtype=np.float32)
    x, y, z = ((part * reach).sum(axis=(0, 1)) for part in (rays.dx, rays.dy, rays.dz))
    x -= objects.x.take(who)
    y -= (objects.y + canvas.camera.distance).take(who)
    z -= (objects.height / 2 - canvas.camera.height).take(who)
    return _Hits(samples, seen, canvas.rays(samples), x, y, z)


def _rays(canvas: Canvas, samples: Samples) -> _Rays:
    dx, dy, dz = canvas.rays(samples)
    quarter = 0.25 * canvas.sample_width
    right = np.array([-quarter, quarter], np.float32)[None, :, None]
    up = -right.reshape(2, 1, 1)
    tilt = canvas.camera.tilt
    return _Rays(dx + right, dy + up * math.sin(tilt), dz + up * math.cos(tilt))


def _samples_near(canvas: Canvas, objects: ObjectArrays) -> Samples:
    """The samples in the rectangle around each object's bounding box."""
    turned = np.abs(objects.cosine) + np.abs(objects.sine)
    side = (objects.half * np.where(objects.is_cube, turned, 1))[:, None]
    x = objects.x[:, None] + side * np.array([-1, -1, 1, 1] * 2, np.float32)
    y = objects.y[:, None] + side * np.array([-1, 1, -1, 1] * 2, np.float32)
    z = objects.height[:, None] * np.array([0] * 4 + [1] * 4, np.float32)
    return samples_within(canvas, canvas.project(x, y, z))


def _meet_cubes(canvas: Canvas, objects: ObjectArrays, samples: Samples) -> np.ndarray:
    """Depth at which rays meet their cube, by the three slabs it consists of; inf: they miss."""
    camera, who, rays = canvas.camera, samples.owner, _rays(canvas, samples)
    dx, dy, dz = rays.dx, rays.dy, rays.dz
    from_x, from_y = -objects.x, -camera.distance - objects.y
    from_z = camera.height - objects.height / 2
    cosine, sine = objects.cosine.take(who), objects.sine.take(who)
    starts = (
        from_x * objects.cosine + from_y * objects.sine,
        from_y * objects.cosine - from_x * objects.sine,
        from_z,
    )
    enter, leave = np.float32(0), np.float32(np.inf)
    for start, step in zip(starts, (dx * cosine + dy * sine, dy * cosine - dx * sine, dz)):
        inverse = 1 / np.where(np.abs(step) < 1e-6, np.float32(1e-6), step)
        middle = -start.take(who) * inverse
        spread = np.abs(objects.half.take(who) * inverse)
        enter, leave = np.maximum(enter, middle - spread), np.minimum(leave, middle + spread)
    return np.where(enter < leave, enter, np.float32(np.inf))


def _meet_quadrics(canvas: Canvas, objects: ObjectArrays, samples: Samples) -> np.ndarray:
    """Depth at which rays meet their sphere, cylinder or cone; inf: they miss.

    Each is x^2 + y^2 + bend z^2 = constant between two heights. The bend is 1, 0 and minus the
    slope squared; z is measured from the centre, the centre and the tip.
    """
    camera, who, shape = canvas.camera, samples.owner, objects.shape
    rays = _rays(canvas, samples)
    dx, dy, dz = rays.dx, rays.dy, rays.dz
    slope = objects.half / objects.height
    bend = np.where(shape == _SPHERE, 1, np.where(shape == _CONE, -slope * slope, 0))
    origin = objects.height * np.where(shape == _CONE, 1, np.float32(0.5))
    radius = objects.half * (shape != _CONE)
    from_x, from_y = -objects.x, -camera.distance - objects.y
    from_z = camera.height - origin
    beyond = from_x * from_x + from_y * from_y + bend * from_z * from_z - radius * radius

    a = dx * dx + dy * dy + bend.take(who) * dz * dz
    b = from_x.take(who) * dx + from_y.take(who) * dy + (bend * from_z).take(who) * dz
    c = beyond.take(who)
    root = b * b - a * c
    depth = c / np.maximum(np.sqrt(np.maximum(root, 0)) - b, 1e-6)
    height = camera.height + depth * dz
    top = objects.height.take(who)
    meets = (root > 0) & (height >= 0)

    lid = (top - camera.height) / np.minimum(dz, -1e-6)
    lid_x, lid_y = from_x.take(who) + lid * dx, from_y.take(who) + lid * dy
    on_lid = (height > top) & (shape == _CYLINDER).take(who)
    on_lid &= lid_x * lid_x + lid_y * lid_y <= np.square(objects.half).take(who)
    meets &= on_lid | (height <= top)
    return np.where(meets, np.where(on_lid, lid, depth), np.float32(np.inf))


def _normals(objects: ObjectArrays, hits: _Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit normals; the edges of cubes and cylinders look slightly rounded, so that they glint."""
    who = hits.samples.owner
    shape = objects.shape.take(who)
    cosine, sine = objects.cosine.take(who), objects.sine.take(who)
    per_half = (1 / objects.half).take(who)
    u = (hits.x * cosine + hits.y * sine) * per_half
    v = (hits.y * cosine - hits.x * sine) * per_half
    z = hits.z * (2 / objects.height).take(who)
    u2, v2 = u * u, v * v
    round2 = u2 + v2
    is_cube, is_cylinder = shape == _CUBE, shape == _CYLINDER
    has_edges = is_cube | is_cylinder
    # Each part is weighed by the 16th power of how near its face is: 1 on the face, soon 0 off it.
    round_weight = np.where(is_cylinder, round2, 1)
    u *= _eighth_power(np.where(is_cube, u2, round_weight))
    v *= _eighth_power(np.where(is_cube, v2, round_weight))
    leaning = np.sqrt(round2) * (objects.half / objects.height).take(who)
    z = np.where(shape == _CONE, leaning, z * _eighth_power(np.where(has_edges, z * z, 1)))
    scale = 1 / np.sqrt(u * u + v * v + z * z + 1e-12)
    return (u * cosine - v * sine) * scale, (u * sine + v * cosine) * scale, z * scale


def _eighth_power(x: np.ndarray) -> np.ndarray:
    squared = x * x
    fourth = squared * squared
    return fourth * fourth


def _shade(scene: Scene, objects: ObjectArrays, hits: _Hits) -> np.ndarray:
    """Linear light (3, hits) of the visible samples."""
    who, light = hits.samples.owner, scene.light
    material = objects.material.take(who)
    nx, ny, nz = _normals(objects, hits)
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


def _lamp_share(scene: Scene, objects: ObjectArrays, hits: _Hits) -> np.ndarray:
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
