"""Draws a procedural scene at random, so that every object is inside the picture and visible."""

from __future__ import annotations

import math
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import partial

import numpy as np

from jepakit.data.sources.scenes.description import (
    COLOURS,
    GROUND_PATTERNS,
    MATERIALS,
    PAINTS,
    PROPORTIONS,
    RADII,
    SHAPES,
    SIZES,
    WALL_PATTERNS,
    Background,
    Camera,
    Light,
    Scene,
    SceneObject,
    Surface,
    Triple,
)

# A layout is drawn by the first rule, and again by the next whenever an object finds no place in so
# many tries. A rule: the least gap between objects, and how much of an object's width nearer ones
# may hide. The last rule accepts everything; no scene has been seen to need it.
_TRIES = 64
_RULES = (*4 * [(0.12, 0.5)], *4 * [(0.06, 0.55)], *24 * [(0.0, 0.6)], (-math.inf, math.inf))
_COVER = 1.15  # how far an object hides others, in units of its disc: its corners stick out
_DEPTHS = (-3.4, 4.2)  # y range of the objects
_FRAME_MARGIN = 0.015  # of the picture's side


def draw_count(random: np.random.Generator, num_objects: tuple[int, int]) -> int:
    """The scene's number of objects: always the first number drawn from its generator."""
    return int(random.integers(num_objects[0], num_objects[1] + 1))


def draw_scene(random: np.random.Generator, num_objects: tuple[int, int]) -> Scene:
    """A random scene with a number of objects in `num_objects`, both ends included."""
    count = draw_count(random, num_objects)
    camera = _draw_camera(random)
    light = _draw_light(random)
    background = _draw_background(random)
    return Scene(camera, light, background, _draw_objects(random, camera, count))


def _between(random: float, low: float, high: float) -> float:
    return low + (high - low) * random


def _linear(hue: float, saturation: float, value: float) -> Triple:
    red, green, blue = hsv_to_rgb(hue % 1.0, saturation, value)
    return red * red, green * green, blue * blue


def _draw_camera(random: np.random.Generator) -> Camera:
    a, b, c, d = random.random(4).tolist()
    height, distance = _between(a, 2.8, 5.6), _between(b, 6.4, 8.6)
    tilt = math.atan2(height, distance) + _between(c, -0.09, 0.03)
    return Camera(height, distance, tilt, focal=_between(d, 2.25, 2.75))


def _draw_light(random: np.random.Generator) -> Light:
    a, b, c, d, e = random.random(5).tolist()
    # Azimuth 0 is behind the camera, where shadows would hide behind their objects.
    azimuth = math.copysign(_between(abs(2 * a - 1), 0.5, 2.1), a - 0.5)
    elevation = _between(b, 0.62, 1.0)
    flat = math.cos(elevation)
    direction = (flat * math.sin(azimuth), -flat * math.cos(azimuth), math.sin(elevation))
    power, warmth, sky = _between(c, 0.85, 1.15), _between(d, -0.10, 0.14), _between(e, 0.23, 0.38)
    lamp = (power * (1 + warmth), power, power * (1 - warmth))
    return Light(direction, lamp, (sky * (1 - warmth), sky, sky * (1 + warmth)))


def _draw_background(random: np.random.Generator) -> Background:
    distance, angle = random.random(2).tolist()
    return Background(
        ground=_draw_surface(random, GROUND_PATTERNS, (0.7, 1.7)),
        wall=_draw_surface(random, WALL_PATTERNS, (0.6, 1.4)),
        wall_distance=_between(distance, 5.6, 8.0),
        wall_angle=_between(angle, -0.45, 0.45),
    )


def _draw_surface(
    random: np.random.Generator, patterns: tuple[str, ...], scales: tuple[float, float]
) -> Surface:
    kind, scale, angle, u, v, hue, saturation, value, contrast, grain = random.random(10).tolist()
    saturation, value = 0.45 * saturation**1.5, _between(value, 0.45, 0.86)
    second = value - _between(contrast, 0.10, 0.26)
    return Surface(
        pattern=patterns[int(kind * len(patterns))],
        scale=_between(scale, *scales),
        angle=math.pi * angle,
        shift=(8 * u, 8 * v),
        colours=(_linear(hue, saturation, value), _linear(hue + 0.04, 1.2 * saturation, second)),
        grain=_between(grain, 0.05, 0.16),
    )


def _draw_objects(
    random: np.random.Generator, camera: Camera, count: int
) -> tuple[SceneObject, ...]:
    for gap, most_hidden in _RULES:
        looks = random.random((count, 7)).tolist()
        places = random.random((count, 2, _TRIES)).tolist()
        # Large objects first: they are the hardest to place. The order carries no other meaning.
        bodies = [_make_body(look) for look in sorted(looks, reverse=True)]
        placed = _place_all(camera, bodies, places, gap, most_hidden)
        if placed:
            return tuple(map(partial(_make_object, camera), bodies, placed))
    raise AssertionError("no try lay inside the picture: _DEPTHS does not suit the cameras")


@dataclass
class _Body:
    """An object before it has a place."""

    shape: str
    colour: str
    material: str
    size: str
    half_width: float
    height: float
    reach: float  # radius of the footprint on the ground
    rotation: float
    paint: Triple


def _make_body(look: list[float]) -> _Body:
    size = SIZES[int(look[0] * len(SIZES))]
    shape = SHAPES[int(look[1] * len(SHAPES))]
    colour = COLOURS[int(look[2] * len(COLOURS))]
    hue, saturation, value = PAINTS[colour]
    hue, value = hue + _between(look[5], -0.012, 0.012), value * _between(look[6], 0.92, 1.04)
    half_width, height = (RADII[size] * part for part in PROPORTIONS[shape])
    return _Body(
        shape=shape,
        colour=colour,
        material=MATERIALS[int(look[3] * len(MATERIALS))],
        size=size,
        half_width=half_width,
        height=height,
        reach=half_width * (math.sqrt(2) if shape == "cube" else 1.0),
        rotation=math.pi / 2 * look[4],
        paint=_linear(hue, saturation, value),
    )


def _make_object(camera: Camera, body: _Body, place: _Place) -> SceneObject:
    z = body.height / 2
    return SceneObject(
        shape=body.shape,
        colour=body.colour,
        material=body.material,
        size=body.size,
        position=(place.x, place.y, z),
        half_width=body.half_width,
        height=body.height,
        rotation=body.rotation,
        paint=body.paint,
        image_position=(place.column, place.row),
        depth=place.depth,
        distance=math.hypot(place.x, place.y + camera.distance, camera.height - z),
    )


@dataclass
class _Place:
    """An object's place, its disc in the picture, and how much of it nearer objects hide."""

    x: float
    y: float
    reach: float
    column: float
    row: float
    disc: float  # radius in the picture, as a fraction of its side
    depth: float
    hidden: float = 0.0


def _place_all(
    camera: Camera,
    bodies: list[_Body],
    places: list[list[list[float]]],
    gap: float,
    most_hidden: float,
) -> list[_Place] | None:
    """A place for each body, or None as soon as one of them finds none."""
    placed: list[_Place] = []
    for body, tries in zip(bodies, places, strict=True):
        for across, along in zip(*tries, strict=True):
            place = _place_in_frame(camera, body, across, along)
            if place and _fits(place, placed, gap, most_hidden):
                placed.append(place)
                break
        else:
            return None
    return placed


def _place_in_frame(camera: Camera, body: _Body, across: float, along: float) -> _Place | None:
    """The place at these fractions of what the camera sees, or None if the body sticks out there.

    The checks are on the body's upright bounding box, so they hold for every pixel of it.
    """
    y = _between(along, *_DEPTHS)
    if camera.project(0.0, y - body.reach, 0.0)[1] > 1 - _FRAME_MARGIN:
        return None
    _, front_row, front_depth = camera.project(0.0, y - body.reach, body.height)
    _, back_row, _ = camera.project(0.0, y + body.reach, body.height)
    half_frame = (1 - 2 * _FRAME_MARGIN) * front_depth / camera.focal
    if min(front_row, back_row) < _FRAME_MARGIN or half_frame < body.reach:
        return None
    x = (2 * across - 1) * (half_frame - body.reach)
    column, row, depth = camera.project(x, y, body.height / 2)
    disc = 0.5 * camera.focal * max(body.reach, body.height / 2) / depth
    return _Place(x, y, body.reach, column, row, disc, depth)


def _clearance(a: _Place, b: _Place) -> float:
    return math.hypot(a.x - b.x, a.y - b.y) - a.reach - b.reach


def _fits(place: _Place, placed: list[_Place], gap: float, most_hidden: float) -> bool:
    """Whether the new place is free and every object stays visible; if so, notes what it hides."""
    hidden, hides = 0.0, []
    for other in placed:
        if _clearance(place, other) < gap:
            return False
        apart = math.hypot(place.column - other.column, place.row - other.row)
        near, far = (place, other) if place.depth < other.depth else (other, place)
        overlap = _COVER * near.disc + far.disc - apart
        if overlap <= 0:
            continue
        share = min(overlap / (2 * far.disc), 1.0)
        if far is place:
            hidden += share
        else:
            hides.append((other, share))
        if hidden > most_hidden or (far is other and other.hidden + share > most_hidden):
            return False
    place.hidden = hidden
    for other, share in hides:
        other.hidden += share
    return True
