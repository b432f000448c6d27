"""The drawn backgrounds of the demo's sample: a studio for the picture, a room for the driving video.

Both give linear RGB float32 [h, w, 3]; positions are fractions of the picture's height, so that any size works.
"""

from functools import lru_cache

import cv2
import numpy as np

from demo.figure import Array, Canvas, Colour, Cone, Ellipsoid, Group, draw_groups, linear

FLOOR_LINE = 0.70  # where the room's wall meets its floor


def studio(width: int, height: int, feet: float) -> Array:
    """A paper backdrop that runs into the floor, lit from the upper left; a soft shadow lies under `feet`."""
    y, x = _grid(width, height)
    middle = width / height / 2
    glow = np.exp(-(((x - middle * 0.85) / 0.42) ** 2) - ((y - 0.36) / 0.46) ** 2)
    colour = _between(linear("#7f93a3"), linear("#dfe6e8"), glow)
    floor = _soft(y - 0.86, 0.10)
    colour = _lay(colour, linear("#b4bdc2"), floor * 0.75)
    return _shadow(colour, x, y, middle, feet, 0.20)


@lru_cache(maxsize=1)
def room(width: int, height: int, feet: float) -> Array:
    """A living room: papered wall, window, picture, cabinet with a plant, wooden floor, a rug at `feet`.

    Kept for the next call with the same size: copy it before drawing on it.
    """
    y, x = _grid(width, height)
    random = np.random.default_rng(7)
    middle = width / height / 2
    colour = _wall(x, y, random)
    colour = np.where((y > FLOOR_LINE)[..., None], _boards(x - middle, y, random), colour)
    colour = _lay(colour, linear("#e8e3d8"), _box(x, y, -1, FLOOR_LINE - 0.032, 9, FLOOR_LINE, 0.001))
    colour = _lay(colour, linear("#8d8677"), _box(x, y, -1, FLOOR_LINE - 0.034, 9, FLOOR_LINE - 0.030, 0.001))
    colour = _window(colour, x, y)
    colour = _picture(colour, x, y, middle + 0.54)
    colour = _rug(colour, x - middle, y, feet)
    colour = _cabinet(colour, x, y, middle + 0.42)
    colour = _plant(colour, width, height, middle + 0.76)
    # Daylight falls off away from the window, and grain gives flat areas something for a codec to hold on to.
    colour *= (1.12 - 0.34 * np.clip(x / (2 * middle), 0, 1))[..., None]
    grain = cv2.resize(random.normal(0, 0.022, (height // 2, width // 2)).astype(np.float32), (width, height))
    return _shadow((colour * (1 + grain[..., None])).astype(np.float32), x, y, middle, feet, 0.16)


def _wall(x: Array, y: Array, random: np.random.Generator) -> Array:
    base = _between(linear("#7d9a94"), linear("#a3bab0"), _soft(np.sin(x * 2 * np.pi / 0.085), 0.9))
    bud = np.hypot(_saw(x, 0.085), _saw(y + 0.0425 * (np.round(x / 0.085) % 2), 0.085) * 0.75)
    base = _lay(base, linear("#d6ddc9"), 0.55 * _soft(0.0085 - bud, 0.002))
    plaster = cv2.GaussianBlur(random.normal(0, 1, x.shape).astype(np.float32), (0, 0), x.shape[0] / 160)
    return base * (1 + 0.5 * plaster[..., None])


def _boards(x: Array, y: Array, random: np.random.Generator) -> Array:
    """Floor boards that run towards the viewer and meet far behind the wall."""
    away = 1 / np.maximum(y - 0.30, 0.05)
    across = x * away * 5.2
    board = np.floor(across).astype(int)
    tone = random.uniform(0.78, 1.12, 512)[board % 512]
    joint = np.abs(_saw(away + 0.37 * (board % 7), 0.9)) / away
    grain = np.sin(across * 41 + 3 * np.sin(away * 9 + board * 2.1)) * np.sin(across * 17 + away * 5 + board)
    colour = np.array(linear("#a8744a"), np.float32) * (tone * (1 + 0.09 * grain))[..., None]
    colour *= (0.80 + 0.35 * np.clip((y - FLOOR_LINE) / 0.3, 0, 1))[..., None]
    gap = np.maximum(_soft(0.025 - np.abs(_saw(across, 1.0)), 0.02), _soft(0.0010 - joint, 0.001))
    return _lay(colour, linear("#4c2f1d"), 0.8 * gap)


def _window(colour: Array, x: Array, y: Array) -> Array:
    left, top, right, bottom = 0.17, 0.10, 0.52, 0.52
    colour = _lay(colour, linear("#f4f1ea"), _box(x, y, left - 0.022, top - 0.022, right + 0.022, bottom + 0.03, 0.002))
    pane = _box(x, y, left, top, right, bottom, 0.001)
    outside = _between(linear("#cfe6f5"), linear("#7fb4e0"), np.clip((bottom - y) / (bottom - top), 0, 1))
    cloud = np.exp(-(((x - 0.38) / 0.10) ** 2) - ((y - 0.20) / 0.025) ** 2)
    outside = _lay(outside, (1.0, 1.0, 1.0), 0.8 * cloud)
    for ridge, tone in ((0.42 + 0.03 * np.sin(x * 14), "#8fb3a0"), (0.46 + 0.02 * np.sin(x * 23 + 2), "#5f8f5b")):
        outside = _lay(outside, linear(tone), _soft(y - ridge, 0.003))
    colour = colour + pane[..., None] * (outside * 1.15 - colour)
    bars = np.maximum(
        _box(x, y, (left + right) / 2 - 0.006, top, (left + right) / 2 + 0.006, bottom, 0.001),
        _box(x, y, left, 0.30, right, 0.312, 0.001),
    )
    colour = _lay(colour, linear("#eeeae2"), bars)
    for edge in (left - 0.055, right + 0.055):
        hang = _box(x, y, edge - 0.055, top - 0.06, edge + 0.055, FLOOR_LINE - 0.05, 0.003)
        fold = 0.72 + 0.28 * np.sin((x - edge) * 260 + 6 * y)
        colour = colour + hang[..., None] * (np.array(linear("#c9a24b"), np.float32) * fold[..., None] - colour)
    return _lay(colour, linear("#5a4632"), _box(x, y, left - 0.15, top - 0.066, right + 0.15, top - 0.052, 0.001))


def _picture(colour: Array, x: Array, y: Array, middle: float) -> Array:
    u, v = x - middle, y - 0.24
    colour = colour * (1 - 0.35 * _box(u - 0.012, v - 0.016, -0.15, -0.11, 0.15, 0.11, 0.02))[..., None]
    colour = _lay(colour, linear("#3c2a1e"), _box(u, v, -0.15, -0.11, 0.15, 0.11, 0.002))
    colour = _lay(colour, linear("#f2ecdf"), _box(u, v, -0.137, -0.097, 0.137, 0.097, 0.002))
    inside = _box(u, v, -0.112, -0.072, 0.112, 0.072, 0.002)
    colour = _lay(colour, linear("#f0c987"), inside)
    colour = _lay(colour, linear("#e2603e"), inside * _soft(0.030 - np.hypot(u - 0.035, v + 0.015), 0.002))
    colour = _lay(colour, linear("#3f6f86"), inside * _soft(v - 0.012 - 0.014 * np.sin(u * 42), 0.002))
    return _lay(colour, linear("#23455c"), inside * _soft(v - 0.038 - 0.010 * np.sin(u * 61 + 2), 0.002))


def _cabinet(colour: Array, x: Array, y: Array, middle: float) -> Array:
    u = x - middle
    top, bottom = 0.55, 0.79
    colour = colour * (1 - 0.45 * _box(u, y, -0.24, bottom - 0.02, 0.24, bottom + 0.03, 0.03))[..., None]
    wood = 1 + 0.10 * np.sin(y * 300 + 9 * np.sin(u * 21)) * np.sin(y * 71 + u * 5)
    body = _box(u, y, -0.22, top, 0.22, bottom, 0.002)
    colour = colour + body[..., None] * (np.array(linear("#7a4a2b"), np.float32) * wood[..., None] - colour)
    colour = _lay(colour, linear("#96623c"), _box(u, y, -0.235, top - 0.016, 0.235, top + 0.006, 0.002))
    for edge in (-0.205, 0.005):
        door = _box(u, y, edge, top + 0.022, edge + 0.20, bottom - 0.022, 0.002)
        rim = door - _box(u, y, edge + 0.006, top + 0.028, edge + 0.194, bottom - 0.028, 0.002)
        colour = _lay(colour, linear("#3d2415"), 0.7 * rim)
    for knob in (-0.022, 0.022):
        colour = _lay(colour, linear("#d9c08a"), _soft(0.007 - np.hypot(u - knob, y - 0.67), 0.002))
    return colour


def _plant(colour: Array, width: int, height: int, middle: float) -> Array:
    """A pot plant on the floor, drawn with the figure's own renderer; a metre is 0.48 of the picture's height."""
    canvas = Canvas(np.ascontiguousarray(colour, np.float32), 0.48 * height, (middle * height, 0.83 * height))
    green, light = linear("#3f7d46"), linear("#6ba352")
    leaves = []
    for index, angle in enumerate(np.linspace(-1.15, 1.15, 11)):
        reach = 0.34 + 0.13 * ((index * 5) % 3) / 2
        x, y = reach * np.sin(angle) * 0.62, -0.19 - reach * np.cos(angle) * 0.92
        shade = light if index % 2 else green
        leaves.append(Group([Ellipsoid((x, y, 0.02 * (index % 4)), (0.050, 0.17, 0.03), shade, angle)], shine=0.12))
    clay, soil = linear("#b9573a"), linear("#4a3424")
    pot = [
        Group([Cone((0, -0.06, 0), (0, -0.20, 0), 0.085, 0.115, clay)], shine=0.2),
        Group([Ellipsoid((0, -0.27, 0.1), (0.135, 0.035, 0.10), _bright(clay, 1.25))], shine=0.2),
        Group([Ellipsoid((0, -0.278, 0.14), (0.118, 0.020, 0.08), soil)]),
        Group([Cone((0, -0.27, 0.2), (0, -0.36, 0.1), 0.016, 0.010, green)]),
    ]
    draw_groups(canvas, [*leaves, *pot])
    return canvas.colour


def _rug(colour: Array, x: Array, y: Array, feet: float) -> Array:
    off = np.hypot(x / 0.62, (y - feet) / 0.105)
    for radius, tone in ((1.0, "#7c2f35"), (0.94, "#d8c7a3"), (0.88, "#7c2f35"), (0.55, "#a34a48"), (0.50, "#7c2f35")):
        colour = _lay(colour, linear(tone), _soft(radius - off, 0.006))
    return colour


def _shadow(colour: Array, x: Array, y: Array, middle: float, feet: float, size: float) -> Array:
    near = np.exp(-(((x - middle) / size) ** 2) - ((y - feet) / (0.11 * size)) ** 2)
    far = np.exp(-(((x - middle - 0.10 * size) / (1.8 * size)) ** 2) - ((y - feet) / (0.28 * size)) ** 2)
    return (colour * (1 - 0.55 * near)[..., None] * (1 - 0.35 * far)[..., None]).astype(np.float32)


def _grid(width: int, height: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return (y + 0.5) / height, (x + 0.5) / height


def _saw(value: Array, period: float) -> Array:
    """The distance to the nearest multiple of `period`, with sign."""
    return value - np.round(value / period) * period


def _soft(inside: Array, edge: float) -> Array:
    """Opacity 0..1 across an edge; `inside` is positive inside."""
    return np.clip(inside / edge + 0.5, 0, 1).astype(np.float32)


def _box(x: Array, y: Array, left: float, top: float, right: float, bottom: float, edge: float) -> Array:
    return _soft(np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y)), edge)


def _lay(colour: Array, over: Colour, share: Array) -> Array:
    return colour + share[..., None] * (np.array(over, np.float32) - colour)


def _bright(colour: Colour, factor: float) -> Colour:
    red, green, blue = (channel * factor for channel in colour)
    return red, green, blue


def _between(first: Colour, second: Colour, share: Array) -> Array:
    return np.array(first, np.float32) + share[..., None] * (np.array(second, np.float32) - np.array(first, np.float32))
