"""A small renderer for a drawn, rounded human figure: what demo/sample.py makes its picture and its video from.

The figure is a set of round cones and ellipsoids seen straight from the front (orthographic), so that the height of
each above the picture plane is a closed formula; a smooth maximum joins those of one group, the nearest group wins,
and light falls on the slope of the result. Lengths are metres; x points right, y down from the floor at 0 (the top
of the head is near -1.72), z to the viewer. Colours are linear RGB until the very end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

Colour = tuple[float, float, float]
Array = np.ndarray

KEY_LIGHT = np.array([-0.50, -0.58, 0.64], np.float32)
KEY_COLOUR = np.array([1.00, 0.94, 0.86], np.float32) * 1.05
SKY_COLOUR = np.array([0.62, 0.70, 0.82], np.float32) * 0.42
GROUND_COLOUR = np.array([0.55, 0.45, 0.38], np.float32) * 0.30
RIM_COLOUR = np.array([0.75, 0.85, 1.00], np.float32) * 0.30


@dataclass(frozen=True)
class Cone:
    """A round cone between two points (x, y, z) with a radius at either end; equal radii make a capsule."""

    start: Sequence[float]
    end: Sequence[float]
    start_radius: float
    end_radius: float
    colour: Colour

    def reach(self) -> tuple[float, float, float, float]:
        radius = max(self.start_radius, self.end_radius)
        xs, ys = (self.start[0], self.end[0]), (self.start[1], self.end[1])
        return min(xs) - radius, min(ys) - radius, max(xs) + radius, max(ys) + radius

    def surface(self, x: Array, y: Array) -> tuple[Array, Array]:
        """(distance outside the outline in m, negative inside; height z in m, going on downhill outside)."""
        along = np.array(self.end[:2], np.float32) - np.array(self.start[:2], np.float32)
        place = ((x - self.start[0]) * along[0] + (y - self.start[1]) * along[1]) / max(float(along @ along), 1e-9)
        place = np.clip(place, 0, 1)
        radius = self.start_radius + (self.end_radius - self.start_radius) * place
        off = np.hypot(x - self.start[0] - along[0] * place, y - self.start[1] - along[1] * place)
        depth = self.start[2] + (self.end[2] - self.start[2]) * place
        inside = np.sqrt(np.maximum(radius**2 - off**2, 0))
        return off - radius, depth + inside - 2 * np.maximum(off - radius, 0)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid around (x, y, z) with half axes in m, turned by `turn` radians in the picture plane."""

    centre: Sequence[float]
    axes: tuple[float, float, float]
    colour: Colour
    turn: float = 0.0

    def reach(self) -> tuple[float, float, float, float]:
        size = max(self.axes[:2])
        x, y = self.centre[:2]
        return x - size, y - size, x + size, y + size

    def surface(self, x: Array, y: Array) -> tuple[Array, Array]:
        """As Cone.surface."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        u = ((x - self.centre[0]) * cos + (y - self.centre[1]) * sin) / self.axes[0]
        v = ((y - self.centre[1]) * cos - (x - self.centre[0]) * sin) / self.axes[1]
        off = np.hypot(u, v)
        outside = (off - 1) * min(self.axes[:2])
        return outside, self.centre[2] + self.axes[2] * np.sqrt(np.maximum(1 - off**2, 0)) - 2 * np.maximum(outside, 0)


@dataclass(frozen=True)
class Group:
    """Shapes that grow into one another over `soft` metres.

    `shine` is the strength of the highlight, 0 to 1; `folds` the depth of cloth folds in m, which follow `anchor`;
    `pattern` paints on the surface: (x, y, colour [h, w, 3]) in m gives the new colour.
    """

    shapes: Sequence[Cone | Ellipsoid]
    soft: float = 0.02
    shine: float = 0.0
    folds: float = 0.0
    anchor: tuple[float, float] = (0.0, 0.0)
    pattern: Callable[[Array, Array, Array], Array] | None = None


@dataclass
class Canvas:
    """The picture while figures are drawn on it: linear RGB float32 [h, w, 3]; `origin` is the pixel of (0, 0) m."""

    colour: Array
    scale: float
    origin: tuple[float, float]
    depth: Array = field(init=False)

    def __post_init__(self) -> None:
        self.depth = np.full(self.colour.shape[:2], -9.0, np.float32)

    def window(self, reach: Sequence[float], margin: float) -> tuple[slice, slice, Array, Array]:
        """The pixels around a region in m: row and column slices, and x and y in m for them."""
        height, width = self.depth.shape
        left = int(np.clip((reach[0] - margin) * self.scale + self.origin[0], 0, width))
        right = int(np.clip((reach[2] + margin) * self.scale + self.origin[0] + 1, 0, width))
        top = int(np.clip((reach[1] - margin) * self.scale + self.origin[1], 0, height))
        bottom = int(np.clip((reach[3] + margin) * self.scale + self.origin[1] + 1, 0, height))
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        x = (x + 0.5 - self.origin[0]) / self.scale
        y = (y + 0.5 - self.origin[1]) / self.scale
        return slice(top, bottom), slice(left, right), x, y


def draw_groups(canvas: Canvas, groups: Sequence[Group]) -> None:
    """Draws the groups onto the canvas; what is nearer to the viewer covers what is farther, whatever the order."""
    for group in groups:
        _draw_group(canvas, group)
    _darken_hollows(canvas)


def _draw_group(canvas: Canvas, group: Group) -> None:
    reaches = np.array([shape.reach() for shape in group.shapes])
    around = (*reaches[:, :2].min(0), *reaches[:, 2:].max(0))
    rows, columns, x, y = canvas.window(around, 2 * group.soft)
    height = np.full(x.shape, -9.0, np.float32)
    outside = np.full(x.shape, 9.0, np.float32)
    colour = np.zeros((*x.shape, 3), np.float32)
    for shape in group.shapes:
        part_outside, part_height = shape.surface(x, y)
        share = np.clip(0.5 + (part_height - height) / (2 * group.soft), 0, 1).astype(np.float32)
        colour += share[..., None] * (np.array(shape.colour, np.float32) - colour)
        height = _smooth_max(height, part_height, group.soft)
        outside = -_smooth_max(-outside, -part_outside, group.soft)
    wins = (outside < 0) & (height > canvas.depth[rows, columns])
    if group.pattern is not None:
        colour = group.pattern(x, y, colour)
    folded = height + group.folds * _folds(x - group.anchor[0], y - group.anchor[1]) if group.folds else height
    lit = _light(colour, folded * canvas.scale, group.shine)
    canvas.colour[rows, columns][wins] = lit[wins]
    canvas.depth[rows, columns][wins] = height[wins]


def _smooth_max(a: Array, b: Array, soft: float) -> Array:
    """The larger of two, rounded off over `soft` where they meet (polynomial)."""
    share = np.clip(0.5 + (b - a) / (2 * soft), 0, 1)
    return (a + (b - a) * share + soft * share * (1 - share)).astype(np.float32)


def _folds(x: Array, y: Array) -> Array:
    """Waves like those of loose cloth, -1 to 1: mostly across the body, bent and broken by slower ones."""
    bend = 0.9 * np.sin(13 * x + 5 * y) + 0.6 * np.sin(7 * y - 19 * x + 1)
    return (np.sin(58 * y + 34 * np.abs(x) + 2.2 * bend) * np.sin(17 * x - 11 * y + bend)).astype(np.float32)


def _light(colour: Array, height: Array, shine: float) -> Array:
    """Light on a surface: `height` in pixels [h, w], `colour` its own colour; both give linear RGB."""
    slope_y, slope_x = np.gradient(height)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    # The light wraps round the edge a little, as it does from a large window.
    key = np.clip((normal @ KEY_LIGHT + 0.45) / 1.45, 0, 1)[..., None] ** 1.5
    up = (0.5 - 0.5 * normal[..., 1])[..., None]
    rim = ((1 - normal[..., 2]) ** 3)[..., None] * up
    halfway = KEY_LIGHT + np.array([0, 0, 1], np.float32)
    gloss = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1)[..., None] ** 24 * shine
    return colour * (key * KEY_COLOUR + up * SKY_COLOUR + (1 - up) * GROUND_COLOUR + rim * RIM_COLOUR) + gloss * 0.5


def _darken_hollows(canvas: Canvas) -> None:
    """Ambient shade: a pixel of the figure that lies behind its surroundings gets less light."""
    figure = canvas.depth > -8
    weight = figure.astype(np.float32)
    depth = np.where(figure, canvas.depth, 0).astype(np.float32)
    for size, strength in ((0.035, 5.0), (0.012, 7.0)):
        sigma = size * canvas.scale
        around = cv2.GaussianBlur(depth, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
        shade = np.exp(-strength * np.clip(around - canvas.depth - 0.004, 0, 0.15))
        canvas.colour[figure] *= shade[figure][:, None]


def linear(hexadecimal: str) -> Colour:
    """'#rrggbb' (sRGB) as linear RGB 0..1; a plain power of 2.2 is close enough for a drawing."""
    red, green, blue = (int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red**2.2, green**2.2, blue**2.2


def finish(colour: Array, size: tuple[int, int]) -> Array:
    """Linear RGB float [h, w, 3], drawn larger, as uint8 sRGB of (width, height): edges become smooth here."""
    small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    return np.round(np.clip(small, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
