"""Which ray of a procedural scene's picture meets which object, where, and at which angle.

Two by two rays per pixel, each object only within its rectangle and all in one list, so that numpy
works on few long arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jepakit.data.sources.scenes.description import SHAPES
from jepakit.data.sources.scenes.geometry import Canvas, ObjectArrays, Samples, samples_within

_CORNERS = np.arange(4).reshape(2, 2, 1)  # the four samples of a pixel
_SPHERE, _CUBE, _CYLINDER, _CONE = (
    SHAPES.index(shape) for shape in ("sphere", "cube", "cylinder", "cone")
)


@dataclass(frozen=True)
class _Rays:
    """Two by two rays per pixel of a list: dx (1, 2, pixels), dy and dz (2, 1, pixels)."""

    dx: np.ndarray
    dy: np.ndarray
    dz: np.ndarray


@dataclass(frozen=True)
class Hits:
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


def trace(canvas: Canvas, objects: ObjectArrays) -> Hits:
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
    return _average(
        canvas, objects, samples[kept], depth.take(kept, axis=2), seen.take(kept, axis=2)
    )


def _average(
    canvas: Canvas,
    objects: ObjectArrays,
    samples: Samples,
    depth: np.ndarray,
    seen: np.ndarray,
) -> Hits:
    """The hits of the samples seen: their places averaged within each pixel."""
    who, rays = samples.owner, _rays(canvas, samples)
    reach = np.where(seen, depth, 0) / seen.sum(axis=(0, 1), dtype=np.float32)
    x, y, z = ((part * reach).sum(axis=(0, 1)) for part in (rays.dx, rays.dy, rays.dz))
    x -= objects.x.take(who)
    y -= (objects.y + canvas.camera.distance).take(who)
    z -= (objects.height / 2 - canvas.camera.height).take(who)
    return Hits(samples, seen, canvas.rays(samples), x, y, z)


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
    steps = (dx * cosine + dy * sine, dy * cosine - dx * sine, dz)
    for start, step in zip(starts, steps, strict=True):
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


def surface_normals(objects: ObjectArrays, hits: Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    # Each part is weighed by the 8th power of how near its face is: 1 on the face, soon 0 off it.
    round_weight = np.where(is_cylinder, round2, 1)
    u *= np.square(np.square(np.where(is_cube, u2, round_weight)))
    v *= np.square(np.square(np.where(is_cube, v2, round_weight)))
    leaning = np.sqrt(round2) * (objects.half / objects.height).take(who)
    z = np.where(shape == _CONE, leaning, z * np.square(np.square(np.where(has_edges, z * z, 1))))
    scale = 1 / np.sqrt(u * u + v * v + z * z + 1e-12)
    return (u * cosine - v * sine) * scale, (u * sine + v * cosine) * scale, z * scale
