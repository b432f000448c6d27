"""The drawn person of the demo: looks, poses, and the shapes that figure.py draws for them. Lengths in metres."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demo.figure import Array, Colour, Cone, Ellipsoid, Group, linear

UPPER_ARM, FOREARM = 0.265, 0.235
HEAD = 1.14  # a little larger than life, as drawn people are


@dataclass(frozen=True)
class Look:
    """Colours (sRGB, '#rrggbb') and the cut of the hair: 'bob' or 'short'."""

    skin: str
    hair: str
    top: str
    shirt: str
    trousers: str
    shoes: str
    iris: str
    cut: str


@dataclass(frozen=True)
class Pose:
    """Angles in radians. An arm is (upper arm, forearm), each measured from hanging straight down, outward positive.

    `arms` and `fans` (how far the fingers are spread, 0 to 1) hold the viewer's left first, then the right.
    """

    hips: float = 0.0
    lean: float = 0.0
    tilt: float = 0.0
    arms: tuple[tuple[float, float], tuple[float, float]] = ((0.16, 0.06), (0.16, 0.06))
    fans: tuple[float, float] = (0.0, 0.0)
    smile: float = 1.0
    blink: float = 0.0


class _Frame:
    """A turned and scaled frame of reference: `at(right, up, z)` are coordinates of the picture."""

    def __init__(self, x: float, y: float, turn: float, scale: float = 1.0) -> None:
        self.x, self.y, self.turn, self.scale = x, y, turn, scale
        self._cos, self._sin = float(np.cos(turn)), float(np.sin(turn))

    def at(self, right: float, up: float, z: float = 0.0) -> tuple[float, float, float]:
        right, up = right * self.scale, up * self.scale
        x = self.x + right * self._cos + up * self._sin
        return x, self.y + right * self._sin - up * self._cos, z * self.scale

    def ball(
        self, place: tuple[float, float, float], axes: tuple[float, float, float], colour: Colour, turn: float = 0
    ) -> Ellipsoid:
        """An ellipsoid that turns and grows with the frame."""
        a, b, c = (axis * self.scale for axis in axes)
        return Ellipsoid(self.at(*place), (a, b, c), colour, self.turn + turn)

    def inside(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The inverse of `at`: (right, up) of picture coordinates."""
        dx, dy = x - self.x, y - self.y
        return (dx * self._cos + dy * self._sin) / self.scale, (dx * self._sin - dy * self._cos) / self.scale


def person(look: Look, pose: Pose) -> list[Group]:
    """All groups of a standing person whose feet are at x = 0, y = 0."""
    torso = _Frame(pose.hips, -0.93, pose.lean)
    neck = _Frame(*torso.at(0, 0.50)[:2], pose.lean + pose.tilt)
    head = _Frame(*neck.at(0, 0.122)[:2], neck.turn, HEAD)
    groups = [_legs(look, pose), *_shoes(look), _torso(look, torso), _neck(look, torso, head)]
    for index, side in enumerate((-1, 1)):
        groups += _arm(look, torso, side, pose.arms[index], pose.fans[index])
    return [*groups, _head(look, head, pose), *_hair(look, head)]


def _legs(look: Look, pose: Pose) -> Group:
    colour, cuff = linear(look.trousers), _lighter(linear(look.trousers), 1.5)
    shapes: list[Cone | Ellipsoid] = [
        Cone((pose.hips - 0.05, -0.93, 0), (pose.hips + 0.05, -0.93, 0), 0.115, 0.115, colour)
    ]
    for side in (-1, 1):
        hip = (pose.hips + side * 0.083, -0.885, 0.0)
        knee = (pose.hips * 0.5 + side * 0.097, -0.50, 0.02)
        ankle = (side * 0.105, -0.13, 0.0)
        shapes += [Cone(hip, knee, 0.092, 0.066, colour), Cone(knee, ankle, 0.066, 0.058, colour)]
        shapes += [Ellipsoid((ankle[0], -0.088, 0), (0.067, 0.024, 0.075), cuff)]
    return Group(shapes, soft=0.016, folds=0.0022, anchor=(pose.hips * 0.5, 0))


def _shoes(look: Look) -> list[Group]:
    groups = []
    for side in (-1, 1):
        colour, sole, lace = linear(look.shoes), linear("#f1eee8"), linear("#fbf9f4")
        x = side * 0.112
        shapes = [
            Ellipsoid((x, -0.055, 0.05), (0.050, 0.055, 0.09), colour),
            Ellipsoid((x + side * 0.014, -0.022, 0.10), (0.053, 0.044, 0.08), colour),
            Cone((x - 0.035 + side * 0.013, 0.012, 0.13), (x + 0.035 + side * 0.013, 0.012, 0.13), 0.016, 0.016, sole),
        ]
        laces = [
            Cone((x - 0.020 + side * 0.006, y, 0.2), (x + 0.020 + side * 0.006, y, 0.2), 0.0045, 0.0045, lace)
            for y in (-0.052, -0.036, -0.020)
        ]
        groups += [Group(shapes, soft=0.012, shine=0.25), *[Group([shape], soft=0.002) for shape in laces]]
    return groups


def _torso(look: Look, torso: _Frame) -> Group:
    jacket, shirt = linear(look.top), linear(look.shirt)
    seam, band = _lighter(jacket, 0.45), _lighter(jacket, 0.72)
    shapes = [
        Cone(torso.at(-0.055, 0.02), torso.at(0.055, 0.02), 0.122, 0.122, jacket),
        Cone(torso.at(0, 0.06), torso.at(0, 0.22), 0.138, 0.140, jacket),
        Ellipsoid(torso.at(0, 0.31), (0.163, 0.150, 0.125), jacket, torso.turn),
        Cone(torso.at(-0.135, 0.392), torso.at(-0.03, 0.445), 0.056, 0.060, jacket),
        Cone(torso.at(0.135, 0.392), torso.at(0.03, 0.445), 0.056, 0.060, jacket),
    ]

    def pattern(x: Array, y: Array, colour: Array) -> Array:
        right, up = torso.inside(x, y)
        opening = 0.026 + 0.105 * np.clip((up - 0.12) / 0.40, 0, 1) ** 1.6
        colour = _mix(colour, band, _soft(0.012 - np.abs(up + 0.075)))
        pocket = np.abs(right) - 0.125 + 0.35 * (up - 0.02)
        colour = _mix(colour, seam, _soft(0.0022 - np.abs(pocket)) * _soft(0.045 - np.abs(up - 0.04)))
        lapel = opening + 0.024 * np.clip((up - 0.05) / 0.2, 0, 1)
        colour = _mix(colour, band, _soft(lapel - np.abs(right)))
        colour = _mix(colour, seam, _soft(0.0016 - np.abs(np.abs(right) - lapel)))
        colour = _mix(colour, seam, _soft(opening + 0.003 - np.abs(right)))
        return _mix(colour, shirt, _soft(opening - np.abs(right)))

    return Group(shapes, soft=0.035, folds=0.0028, anchor=(torso.x, torso.y), pattern=pattern)


def _neck(look: Look, torso: _Frame, head: _Frame) -> Group:
    skin = _lighter(linear(look.skin), 0.9)
    shapes = [
        Cone(torso.at(0, 0.42, 0.045), head.at(0, -0.05, -0.02), 0.052, 0.050, skin),
        Ellipsoid(torso.at(0, 0.425, 0.055), (0.066, 0.046, 0.04), skin),
    ]
    return Group(shapes, soft=0.03)


def _arm(look: Look, torso: _Frame, side: int, angles: tuple[float, float], fan: float) -> list[Group]:
    jacket, skin = linear(look.top), linear(look.skin)
    shoulder = torso.at(side * 0.152, 0.388)
    elbow = _Frame(shoulder[0], shoulder[1], -side * angles[0]).at(0, -UPPER_ARM, 0.0)
    hand = _Frame(elbow[0], elbow[1], -side * angles[1])
    wrist = hand.at(0, -FOREARM, 0.05)
    sleeve = [
        Cone(shoulder, elbow, 0.059, 0.050, jacket),
        Cone((*elbow[:2], 0.0), wrist, 0.050, 0.042, jacket),
        Cone(hand.at(0, -FOREARM + 0.02, 0.05), wrist, 0.046, 0.045, _lighter(jacket, 0.72)),
    ]
    groups = [Group(sleeve, soft=0.014, folds=0.003, anchor=(elbow[0], elbow[1]))]
    return [*groups, _hand(skin, _Frame(wrist[0], wrist[1], hand.turn), side, fan)]


def _hand(skin: Colour, hand: _Frame, side: int, fan: float) -> Group:
    """A hand from the wrist on: closed fingers when it hangs, spread when `fan` is 1."""
    width = 0.022 + 0.008 * fan
    z = 0.05
    shapes: list[Cone | Ellipsoid] = [
        Cone(hand.at(0, 0.0, z), hand.at(0, -0.03, z), 0.027, 0.028, skin),
        Cone(hand.at(-width * 0.5, -0.055, z), hand.at(width * 0.5, -0.055, z), 0.026, 0.026, skin),
    ]
    for index, length in enumerate((0.060, 0.074, 0.079, 0.068)):
        across = (index - 1.5) / 1.5
        root = hand.at(-side * across * width * -1, -0.070, z)
        finger = _Frame(root[0], root[1], hand.turn - across * side * 0.26 * fan)
        tip = finger.at(0, -length * (1 if fan else 0.88), z + (0 if fan else 0.02))
        shapes.append(Cone((*root[:2], z), tip, 0.0108, 0.0082, skin))
    thumb = _Frame(*hand.at(-side * 0.026, -0.02)[:2], hand.turn + side * (0.35 + 0.45 * fan))
    shapes.append(Cone(thumb.at(0, 0, z + 0.01), thumb.at(0, -0.06, z + 0.02), 0.013, 0.0095, skin))
    return Group(shapes, soft=0.005)


def _head(look: Look, head: _Frame, pose: Pose) -> Group:
    skin = linear(look.skin)
    warm = _mix_colour(skin, linear("#c8503f"), 0.22)
    shapes = [
        head.ball((0, 0.022, 0), (0.077, 0.095, 0.095), skin),
        head.ball((0, -0.030, 0), (0.065, 0.074, 0.088), skin),
        head.ball((0, -0.066, 0.012), (0.042, 0.050, 0.074), skin),
        head.ball((0, -0.012, 0.080), (0.0100, 0.028, 0.015), skin),
        head.ball((0, -0.030, 0.090), (0.0125, 0.011, 0.014), skin),
    ]
    shapes += [head.ball((s * 0.078, -0.012, -0.005), (0.013, 0.026, 0.016), warm) for s in (-1, 1)]
    return Group(shapes, soft=0.013, shine=0.10, pattern=_face(look, head, pose))


def _face(look: Look, head: _Frame, pose: Pose) -> Callable[[Array, Array, Array], Array]:
    hair, iris = linear(look.hair), linear(look.iris)
    skin = linear(look.skin)
    lips = _mix_colour(skin, linear("#b03a48"), 0.55)
    dark = linear("#20130f")

    def pattern(x: Array, y: Array, colour: Array) -> Array:
        u, v = head.inside(x, y)
        side = np.abs(u)
        blush = np.exp(-(((side - 0.043) / 0.02) ** 2) - ((v + 0.034) / 0.017) ** 2)
        colour = _mix(colour, _mix_colour(skin, linear("#d9483b"), 0.5), 0.42 * blush)
        colour = _mix(colour, _lighter(skin, 0.62), _oval(side - 0.0065, v + 0.0385, 0.0038, 0.0024))
        open_eye = 0.0118 * (1 - 0.9 * pose.blink)
        eye = _oval(side - 0.0320, v - 0.004, 0.0178, open_eye)
        colour = _mix(colour, dark, _oval(side - 0.0325, v - 0.0062, 0.0198, open_eye + 0.0018))
        colour = _mix(colour, (0.86, 0.86, 0.86), eye)
        # Both irises look the same way: measured from each eye's own centre, not mirrored.
        look_at = u - np.sign(u) * 0.0320
        colour = _mix(colour, _lighter(iris, 0.4), eye * _oval(look_at, v - 0.005, 0.0105, 0.0105))
        colour = _mix(colour, iris, eye * _oval(look_at, v - 0.004, 0.0088, 0.0088))
        colour = _mix(colour, dark, eye * _oval(look_at, v - 0.005, 0.0047, 0.0047))
        colour = _mix(colour, (1.6, 1.6, 1.6), eye * _oval(look_at + 0.0032, v - 0.0084, 0.0028, 0.0028))
        brow = v - 0.0285 + 3.2 * (side - 0.036) ** 2 + 0.02 * (side - 0.036)
        colour = _mix(colour, _lighter(hair, 0.8), 0.9 * _oval(side - 0.035, brow, 0.0205, 0.0036))
        curve = v + 0.0640 - pose.smile * 9.0 * u**2
        colour = _mix(colour, lips, _oval(u, curve - 0.0014, 0.0265, 0.0052))
        colour = _mix(colour, _lighter(lips, 1.12), _oval(u, curve + 0.0046, 0.0195, 0.0058))
        return _mix(colour, _lighter(lips, 0.35), _oval(u, curve, 0.0270, 0.0013))

    return pattern


def _hair(look: Look, head: _Frame) -> list[Group]:
    colour = linear(look.hair)

    def strands(x: Array, y: Array, colour: Array) -> Array:
        u, v = head.inside(x, y)
        wave = np.sin(520 * u + 40 * np.sin(9 * v) + 60 * v) * 0.5 + np.sin(990 * u - 70 * v) * 0.3
        return colour * (1 + 0.16 * wave)[..., None]

    top = [
        head.ball((0, 0.062, -0.004), (0.087, 0.070, 0.102), colour),
        head.ball((-0.034, 0.083, 0.058), (0.050, 0.026, 0.038), colour, -0.42),
        head.ball((0.040, 0.080, 0.054), (0.046, 0.024, 0.036), colour, 0.62),
    ]
    groups = [Group(top, soft=0.014, shine=0.16, pattern=strands)]
    if look.cut == "bob":
        back = [head.ball((0, -0.010, -0.075), (0.104, 0.125, 0.05), colour)]
        for s in (-1, 1):
            back.append(head.ball((s * 0.083, -0.035, 0), (0.024, 0.100, 0.045), colour, s * 0.06))
            back.append(head.ball((s * 0.081, -0.105, 0.01), (0.028, 0.036, 0.04), colour, -s * 0.3))
        groups.append(Group(back, soft=0.02, shine=0.16, pattern=strands))
    else:
        sides = [head.ball((s * 0.078, 0.026, 0.01), (0.010, 0.034, 0.03), colour) for s in (-1, 1)]
        groups.append(Group(sides, soft=0.005, pattern=strands))
    return groups


def _soft(inside: Array, edge: float = 0.0006) -> Array:
    """Opacity 0..1 of a signed distance in m that is positive inside; the edge is about a millimetre wide."""
    return np.clip(inside / edge + 0.5, 0, 1)


def _oval(u: Array, v: Array, a: float, b: float) -> Array:
    """Opacity of an ellipse around (0, 0) with half axes a and b."""
    return _soft((1 - np.hypot(u / a, v / b)) * min(a, b))


def _mix(colour: Array, other: Colour, share: Array) -> Array:
    return (colour + share[..., None] * (np.array(other, np.float32) - colour)).astype(np.float32)


def _mix_colour(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (c + share * (o - c) for c, o in zip(colour, other, strict=True))
    return red, green, blue


def _lighter(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(1.0, channel * factor) for channel in colour)
    return red, green, blue
