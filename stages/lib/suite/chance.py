"""Random ingredients of the training families: palettes, materials, faces.

Every function draws from the generator it is given and from nothing else, so a family's object depends on its
name and seed alone. Coordinates as in `program.py`.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from stages.lib.suite.program import (
    Material,
    Pose,
    arc,
    checks,
    ellipsoid,
    eye,
    gradient,
    noise,
    plain,
    rot_y,
    rot_z,
    segments,
    sphere,
    spots,
    stripes,
)

IRISES = ("#3a2a1c", "#2b6cb0", "#2f9e60", "#b7791f", "#7a3fb0")


@dataclass(frozen=True)
class Palette:
    """Colours that go together: a main one, a neighbour, a contrast, a light and a dark one."""

    main: str
    near: str
    contrast: str
    light: str
    dark: str


def _hex(hue: float, saturation: float, value: float) -> str:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def draw_palette(rng: np.random.Generator) -> Palette:
    """A palette around a random hue."""
    hue, saturation = rng.uniform(), rng.uniform(0.5, 0.85)
    side = rng.choice([-1.0, 1.0])
    return Palette(
        main=_hex(hue, saturation, rng.uniform(0.8, 0.98)),
        near=_hex(hue + 0.08 * side, saturation * 0.8, rng.uniform(0.65, 0.95)),
        contrast=_hex(hue + rng.uniform(0.38, 0.62), rng.uniform(0.6, 0.9), rng.uniform(0.75, 0.95)),
        light=_hex(hue + 0.05, 0.12, 0.98),
        dark=_hex(hue + 0.5, 0.35, 0.25),
    )


def draw_material(rng: np.random.Generator, first: str, second: str, scale: float = 1.0) -> Material:
    """A random texture of two colours; `scale` is the size in units of the part it is for."""
    rate = 1.0 / scale
    kind = rng.integers(7)
    if kind == 0:
        return plain(first, grain=rng.uniform(0.2, 0.45))
    if kind == 1:
        return stripes(first, second, rng.normal(size=3), rng.uniform(1.5, 3.5) * rate, rng.uniform(0.25, 0.55))
    if kind == 2:
        return spots(first, second, rng.uniform(1.5, 3.0) * rate, rng.uniform(0.28, 0.42), int(rng.integers(99)))
    if kind == 3:
        return checks(first, second, rng.uniform(0.8, 1.8) * rate)
    if kind == 4:
        return gradient(first, second, rng.normal((0.0, 1.5, 0.0)), -0.7 * scale, 0.7 * scale)
    if kind == 5:
        return noise(first, second, rng.uniform(1.5, 3.5) * rate, 0.5, 0.12, int(rng.integers(99)))
    return segments(first, second, int(rng.integers(3, 10)), rng.uniform(0.3, 0.6))


def draw_face(rng: np.random.Generator, center, width: float, depth: float) -> Pose:
    """Two eyes, cheeks and a smile on the front of a rounded body.

    center: the middle of the face on the surface. width: distance between the eyes. depth: how far the surface
    falls back at the eyes.
    """
    x, y, z = center
    radius = width * rng.uniform(0.22, 0.36)
    iris = eye(str(rng.choice(IRISES)), (0, 0, 1), rng.uniform(24, 36), rng.uniform(40, 55))
    parts: Pose = []
    for side in (-1, 1):
        at = (x + 0.5 * side * width, y, z - depth - 0.35 * radius)
        parts.append(sphere(at, radius, iris, rotation=rot_y(side * 14)))
        cheek = (x + 0.72 * side * width, y - 1.5 * radius, z - 1.5 * depth)
        parts.append(ellipsoid(cheek, (0.16 * width, 0.11 * width, 0.1 * width), plain("#ff8fa3")))
    smile = arc(
        (x, y - 0.15 * width, z),
        0.3 * width,
        0.05 * width,
        plain("#5a2233"),
        half_angle_deg=60,
        rotation=rot_z(180),
    )
    parts.append(smile)
    return parts


def cycles(rng: np.random.Generator, low: int = 1, high: int = 3) -> float:
    """Radians of a random whole number of cycles over the clip."""
    return 2.0 * np.pi * int(rng.integers(low, high + 1))
