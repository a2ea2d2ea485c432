"""The still parts of a procedural scene's picture: textured ground and wall, and soft shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jepakit.core.randomness import generator
from jepakit.data.sources.scenes.description import SHAPES, Scene, Surface
from jepakit.data.sources.scenes.geometry import Canvas, ObjectArrays, Samples, samples_within

_GRAIN_SIDE = 512  # texels; the grain repeats
_TEXELS_PER_METRE = 48.0
_SOFTEST = 0.3  # metres by which a soft shadow reaches beyond a sharp one
# Periods along a course for each course's height.
_LENGTHWISE = {"bricks": 0.5, "planks": 0.22, "tiles": 1.0}


@lru_cache(maxsize=1)
def _grain_pyramid() -> list[np.ndarray]:
    """Cloudy noise in [-1, 1] that repeats, at full size and halved again and again."""
    white = generator(0, "scene grain").standard_normal((_GRAIN_SIDE, _GRAIN_SIDE))
    rows = np.fft.fftfreq(_GRAIN_SIDE)[:, None]
    columns = np.fft.rfftfreq(_GRAIN_SIDE)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    cloud = np.fft.irfft2(np.fft.rfft2(white) / frequency**1.15, s=white.shape)
    level = np.clip(cloud / (2 * cloud.std()), -1, 1).astype(np.float32)
    pyramid = [level]
    while level.shape[0] > 16:
        side = level.shape[0] // 2
        level = level.reshape(side, 2, side, 2).mean(axis=(1, 3))
        pyramid.append(level)
    return pyramid


def _grain(u: np.ndarray, v: np.ndarray, footprint: float) -> np.ndarray:
    """Noise at places in metres, averaged over about `footprint` metres."""
    pyramid = _grain_pyramid()
    step = max(footprint * _TEXELS_PER_METRE, 1.0)
    level = pyramid[min(int(math.log2(step) + 0.5), len(pyramid) - 1)]
    side = level.shape[0]
    scale = _TEXELS_PER_METRE * side / _GRAIN_SIDE
    row = (v * scale).astype(np.intp)
    column = (u * scale).astype(np.intp)
    row &= side - 1
    column &= side - 1
    row *= side
    row += column
    return level.take(row)


def _wave(u: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """A square wave of period 1 in [-1, 1]; its edges are as soft as the footprint is wide."""
    triangle = np.abs(u - np.floor(u) - 0.5) * 2 - 0.5
    return np.clip(triangle / np.maximum(footprint, 0.02), -1, 1)


def _joint(u: np.ndarray, footprint: np.ndarray, width: float) -> np.ndarray:
    """1 on thin lines at the whole numbers, 0 between."""
    nearness = width - 0.5 + np.abs(u - np.floor(u) - 0.5)
    return np.clip(nearness / np.maximum(footprint, 0.02) + 0.5, 0, 1)


def _pattern(kind: str, u: np.ndarray, v: np.ndarray, footprint: np.ndarray) -> np.ndarray | float:
    """How much of the second colour shows at (u, v), coordinates whose unit is one period."""
    if kind == "checker":
        return 0.5 + 0.5 * _wave(u, footprint) * _wave(v, footprint)
    if kind == "stripes":
        return 0.5 + 0.5 * _wave(u, footprint)
    if kind == "tiles":
        return np.maximum(_joint(u, footprint, 0.035), _joint(v, footprint, 0.035))
    if kind in ("bricks", "planks"):
        course = np.floor(v)
        stagger = 0.5 * course if kind == "bricks" else 0.618 * course
        tone = np.sin(course * 12.9 + np.floor(u + stagger) * 4.1) * 0.25 + 0.25
        joints = np.maximum(_joint(u + stagger, footprint, 0.02), _joint(v, footprint, 0.045))
        return np.maximum(joints, tone)
    if kind == "dots":
        away = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
        return np.clip((0.27 - away) / np.maximum(footprint, 0.02) + 0.5, 0, 1)
    assert kind == "plain", kind
    return 0.0


def _surface_colour(
    surface: Surface, u: np.ndarray, v: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """Colour (3, rows, columns) at places in metres; `footprint` is a pixel's width there."""
    u, v = u + 64.0 + surface.shift[0], v + 64.0 + surface.shift[1]
    stretch = 0.3 if surface.pattern == "planks" else 1.0
    grain = _grain(u * stretch, v, float(footprint[len(footprint) // 2, -1])) * surface.grain
    unit = 1 / surface.scale
    long = unit * _LENGTHWISE.get(surface.pattern, 1.0)
    share = _pattern(surface.pattern, u * long, v * unit, footprint * unit)
    first, second = (np.array(colour, np.float32)[:, None, None] for colour in surface.colours)
    return (first + (second - first) * share) * (1 + grain)


def render_backdrop(scene: Scene, canvas: Canvas, objects: ObjectArrays) -> np.ndarray:
    """Linear light (3, H, W) of the room without its objects, but with their shadows."""
    camera, room = scene.camera, scene.background
    dx, dy, dz = canvas.dx[None, :], canvas.dy[:, None], canvas.dz[:, None]
    normal_x, normal_y = math.sin(room.wall_angle), math.cos(room.wall_angle)
    reach = room.wall_distance + normal_y * camera.distance
    to_wall = reach / np.maximum(normal_x * dx + normal_y * dy, 1e-3)
    to_ground = camera.height / np.maximum(-dz, 1e-6)

    picture = np.zeros((3, canvas.height, canvas.width), np.float32)
    first_ground = int(np.searchsorted(-to_ground[:, 0], -to_wall.max()))
    last_wall = int(np.searchsorted(-to_ground[:, 0], -to_wall.min()))
    first_ground, last_wall = max(first_ground - 1, 0), min(last_wall + 1, canvas.height)
    if last_wall > 0:
        picture[:, :last_wall] = _render_wall(scene, canvas, to_wall[:last_wall], last_wall)
    if first_ground < canvas.height:
        distance = to_ground[first_ground:]
        ground = _render_ground(scene, canvas, distance, first_ground)
        _cast_shadows(scene, canvas, objects, ground, first_ground)
        # Soft over one sample, so that the line where they meet is no staircase.
        steepness = -dz[first_ground:] / (canvas.sample_width * distance)
        share = np.clip((to_wall[first_ground:] - distance) * steepness + 0.5, 0, 1)
        seen = picture[:, first_ground:]
        seen += (ground - seen) * share
    return picture


def _corner_shade(distance: np.ndarray) -> np.ndarray:
    """Less light reaches the corner where ground and wall meet; `distance` in metres from it."""
    return 1 - 0.42 / (1 + np.square(np.maximum(distance, 0) * 1.8))


def _render_wall(scene: Scene, canvas: Canvas, to_wall: np.ndarray, rows: int) -> np.ndarray:
    light, room, camera = scene.light, scene.background, scene.camera
    sine, cosine = math.sin(room.wall_angle), math.cos(room.wall_angle)
    dx, dy, dz = canvas.dx[None, :], canvas.dy[:rows, None], canvas.dz[:rows, None]
    u = to_wall * (dx * cosine - dy * sine) + camera.distance * sine
    z = to_wall * dz + camera.height
    footprint = to_wall * canvas.sample_width
    facing = max(-(light.direction[0] * sine + light.direction[1] * cosine), 0.0)
    strength = [sky + 0.55 * facing * lamp for sky, lamp in zip(light.sky, light.lamp, strict=True)]
    colour = _surface_colour(room.wall, u, z, footprint)
    return colour * (np.array(strength, np.float32)[:, None, None] * _corner_shade(z))


def _render_ground(
    scene: Scene, canvas: Canvas, to_ground: np.ndarray, first_row: int
) -> np.ndarray:
    light, room = scene.light, scene.background
    x = to_ground * canvas.dx[None, :]
    y = to_ground * canvas.dy[first_row:, None] - scene.camera.distance
    sine, cosine = math.sin(room.ground.angle), math.cos(room.ground.angle)
    # A sample covers more ground along the view than across it: take the geometric mean.
    slope = np.maximum(-canvas.dz[first_row:, None], 0.02)
    footprint = to_ground * canvas.sample_width / np.sqrt(slope)
    colour = _surface_colour(room.ground, x * cosine + y * sine, y * cosine - x * sine, footprint)
    to_corner = room.wall_distance - math.sin(room.wall_angle) * x - math.cos(room.wall_angle) * y
    pool = 1 / (1 + (np.square(x) + np.square(y)) * 0.006)
    strength = np.array(light.sky) + light.direction[2] * np.array(light.lamp)
    return colour * (strength.astype(np.float32)[:, None, None] * (_corner_shade(to_corner) * pool))


def _cast_shadows(
    scene: Scene, canvas: Canvas, objects: ObjectArrays, ground: np.ndarray, first_row: int
) -> None:
    """Darkens the ground (3, rows, W), whose first row is the canvas's `first_row`, in place."""
    sweep = _shadow_sweep(scene, objects)
    corners = canvas.project(*_shadow_corners(objects, sweep), 0.0)
    np.maximum(corners[1], first_row, out=corners[1])
    samples = samples_within(canvas, corners)
    lit = np.ones((canvas.height - first_row) * canvas.width, np.float32)
    place = (samples.row - first_row) * canvas.width + samples.column
    np.multiply.at(lit, place, _lamp_passing(canvas, objects, sweep, samples))
    lit_rows = lit.reshape(ground.shape[1:])
    for channel, sky, lamp in zip(ground, scene.light.sky, scene.light.lamp, strict=True):
        direct = lamp * scene.light.direction[2]
        channel *= (sky + direct * lit_rows) / (sky + direct)


@dataclass(frozen=True)
class _Sweep:
    """Shadows as footprints that move from (x, y) by (dx, dy); each (n,), in metres.

    `lift` is by how much the part that casts the shadow rises meanwhile.
    """

    x: np.ndarray
    y: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    lift: np.ndarray


def _shadow_sweep(scene: Scene, objects: ObjectArrays) -> _Sweep:
    to_x, to_y, upright = scene.light.direction
    is_sphere = objects.shape == SHAPES.index("sphere")
    # A sphere's shadow is an ellipse: sweep its disc as far as the ellipse is longer than wide.
    half_sweep = math.sqrt((1 - upright) / (1 + upright)) * objects.half
    rise = np.where(is_sphere, objects.half - half_sweep, 0)
    lift = np.where(is_sphere, 2 * half_sweep, objects.height)
    cast_x, cast_y = -to_x / upright, -to_y / upright  # metres per metre of height
    x, y = objects.x + rise * cast_x, objects.y + rise * cast_y
    return _Sweep(x, y, lift * cast_x, lift * cast_y, lift)


def _shadow_corners(objects: ObjectArrays, sweep: _Sweep) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 4) of a rectangle on the ground around each shadow."""
    wide = objects.half * 1.3 + _SOFTEST
    near_x, far_x = np.minimum(sweep.dx, 0) - wide, np.maximum(sweep.dx, 0) + wide
    near_y, far_y = np.minimum(sweep.dy, 0) - wide, np.maximum(sweep.dy, 0) + wide
    corner_x = sweep.x + np.array([near_x, near_x, far_x, far_x])
    corner_y = sweep.y + np.array([near_y, far_y, near_y, far_y])
    return corner_x.T, corner_y.T


def _lamp_passing(
    canvas: Canvas, objects: ObjectArrays, sweep: _Sweep, samples: Samples
) -> np.ndarray:
    """How much of the lamp passes each object: none in its shadow, whose far edge is softer."""
    who, row, camera = samples.owner, samples.row, canvas.camera
    distance = (camera.height / np.maximum(-canvas.dz, 1e-3)).take(row)
    x = distance * canvas.dx.take(samples.column) - sweep.x.take(who)
    y = distance * canvas.dy.take(row) - (camera.distance + sweep.y).take(who)
    at_foot = np.clip(1.5 - (x * x + y * y) / np.square(1.15 * objects.half).take(who), 0, 1)
    swept = np.maximum(sweep.dx * sweep.dx + sweep.dy * sweep.dy, 1e-6)
    along = x * (sweep.dx / swept).take(who) + y * (sweep.dy / swept).take(who)
    along = np.clip(along, 0, 1)
    x -= along * sweep.dx.take(who)
    y -= along * sweep.dy.take(who)
    taper = np.where(objects.shape == SHAPES.index("cone"), objects.half, 0).take(who)
    outside = _footprint_distance(objects, who, x, y) + taper * along
    soft = 0.05 + 0.3 * along * sweep.lift.take(who)
    passing = np.clip(0.5 + outside / soft, 0, 1)
    return passing * passing * (3 - 2 * passing) * (1 - 0.5 * at_foot)


def _footprint_distance(
    objects: ObjectArrays, who: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Signed distance of ground points, relative to the centres, from a disc or a square."""
    side = np.where(objects.is_cube, objects.half, 0).take(who)
    cosine, sine = objects.cosine.take(who), objects.sine.take(who)
    across = np.abs(x * cosine + y * sine) - side
    along = np.abs(y * cosine - x * sine) - side
    rounding = np.where(objects.is_cube, 0, objects.half).take(who)
    inside = np.minimum(np.maximum(across, along), 0)
    return np.hypot(np.maximum(across, 0), np.maximum(along, 0)) + inside - rounding
