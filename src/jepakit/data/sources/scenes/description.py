"""What a procedural scene holds: camera, light, room and objects, and the names of their kinds.

Lengths are metres; x points right, y away from the camera, z up; the ground is z = 0 and the camera
looks towards the origin. Colours are linear light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

Triple = tuple[float, float, float]

# Half-width and height of each shape, in units of the object's nominal radius.
PROPORTIONS = {
    "sphere": (1.0, 2.0),
    "cube": (0.8, 1.6),
    "cylinder": (0.82, 1.75),
    "cone": (1.05, 2.0),
}
# Hue, saturation and value of each colour.
PAINTS = {
    "red": (0.995, 0.82, 0.88),
    "orange": (0.075, 0.86, 0.98),
    "yellow": (0.142, 0.80, 1.00),
    "green": (0.36, 0.74, 0.68),
    "cyan": (0.49, 0.66, 0.88),
    "blue": (0.615, 0.78, 0.88),
    "purple": (0.79, 0.62, 0.76),
    "gray": (0.60, 0.05, 0.66),
}
RADII = {"small": 0.42, "medium": 0.60, "large": 0.84}

SHAPES = tuple(PROPORTIONS)
COLOURS = tuple(PAINTS)
MATERIALS = ("rubber", "plastic", "metal")
SIZES = tuple(RADII)
GROUND_PATTERNS = ("plain", "checker", "stripes", "tiles", "planks", "dots")
WALL_PATTERNS = ("plain", "stripes", "bricks", "dots", "planks")


@dataclass(frozen=True)
class Camera:
    """Stands at (0, -distance, height) and looks along +y, `tilt` radians downwards.

    `focal` is the focal length in units of half the picture's shorter side.
    """

    height: float
    distance: float
    tilt: float
    focal: float

    def project(self, x: float, y: float, z: float) -> Triple:
        """Column and row as fractions of the central square (0 = left, top) and the depth."""
        along, drop = y + self.distance, self.height - z
        cosine, sine = math.cos(self.tilt), math.sin(self.tilt)
        depth = along * cosine + drop * sine
        scale = 0.5 * self.focal / depth
        return 0.5 + x * scale, 0.5 - (along * sine - drop * cosine) * scale, depth


@dataclass(frozen=True)
class Light:
    """A far lamp in unit `direction` (towards the lamp), and the sky's even light."""

    direction: Triple
    lamp: Triple
    sky: Triple


@dataclass(frozen=True)
class Surface:
    """A textured plane: two colours in a pattern of `scale` metres, turned by `angle`, grainy."""

    pattern: str
    scale: float
    angle: float
    shift: tuple[float, float]
    colours: tuple[Triple, Triple]
    grain: float


@dataclass(frozen=True)
class Background:
    """The ground, and a wall `wall_distance` behind the origin, turned by `wall_angle` radians."""

    ground: Surface
    wall: Surface
    wall_distance: float
    wall_angle: float


@dataclass(frozen=True)
class SceneObject:
    """One object standing on the ground.

    `position` is its centre; `image_position` is the centre's column and row as fractions of the
    picture's central square; `depth` is measured along the camera's axis and `distance` straight.
    """

    shape: str
    colour: str
    material: str
    size: str
    position: Triple
    half_width: float
    height: float
    rotation: float
    paint: Triple
    image_position: tuple[float, float]
    depth: float
    distance: float


@dataclass(frozen=True)
class Scene:
    """A complete scene; it does not depend on the size at which it is rendered."""

    camera: Camera
    light: Light
    background: Background
    objects: tuple[SceneObject, ...]

    def without_textures(self) -> Scene:
        """The same scene with a plain floor and wall."""
        ground = replace(self.background.ground, pattern="plain")
        wall = replace(self.background.wall, pattern="plain")
        return replace(self, background=replace(self.background, ground=ground, wall=wall))

    @property
    def nearest(self) -> SceneObject:
        """The object whose centre is nearest to the camera."""
        return min(self.objects, key=lambda item: item.distance)
