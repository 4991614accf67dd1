# ruff: noqa: RUF005 (array + list adds coordinates here, it does not join lists)
"""Training families of things: each maker draws one random object's proportions and returns its pose function.

A maker takes a generator, draws everything from it at once, and returns `pose(time)`, which is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stages.lib.suite.chance import cycles, draw_face, draw_material, draw_palette
from stages.lib.suite.creatures import PoseFunction
from stages.lib.suite.program import (
    Group,
    Pose,
    arc,
    bent,
    box,
    cone,
    cylinder,
    ellipsoid,
    eye,
    gradient,
    place,
    plain,
    rot_x,
    rot_y,
    rot_z,
    segments,
    smoothstep,
    sphere,
    stretched,
    stripes,
)

# Degrees a rotor of n blades may turn over the clip so that 24 frames stay below a quarter of its period each.
_ROTOR_DEG = 23 * 360 / 4 * 0.85


def ball(rng: np.random.Generator) -> PoseFunction:
    """A ball that bounces and rolls to and fro."""
    colors, hops = draw_palette(rng), int(rng.integers(1, 4))
    skin, height = draw_material(rng, colors.main, colors.contrast, 0.5), rng.uniform(0.2, 0.6)
    squash, roll, band = (
        rng.uniform(0.1, 0.35),
        rng.uniform(20, 90),
        draw_material(rng, colors.light, colors.near, 0.3),
    )
    face = draw_face(rng, (0, 0.08, 0.49), 0.28, 0.04)

    def pose(time: float) -> Pose:
        phase = (hops * time + 0.2) % 1.0
        lift = abs(math.sin(math.pi * phase)) * height
        s = 1.0 + squash * (2.0 * abs(math.sin(math.pi * phase)) - 1.0) * 0.6
        w = 1.0 / math.sqrt(s)
        parts: Pose = [stretched(ellipsoid((0, 0, 0), (0.5 * w, 0.5 * s, 0.5 * w), skin), (w, s, w))]
        parts += [place(part, None, (0, 0, 0.49 * (w - 1.0))) for part in face]
        parts.append(arc((0, 0, -0.1), 0.49 * w, 0.05, band))
        parts.append(ellipsoid((0.1, 0.5 * s, -0.1), (0.14, 0.08, 0.14), plain(colors.contrast)))
        return place(parts, rot_z(roll * math.sin(2 * math.pi * time) * 0.3), (0, lift + 0.5 * s, 0))

    return pose


def windmill(rng: np.random.Generator) -> PoseFunction:
    """A mill with turning blades."""
    colors, count = draw_palette(rng), int(rng.integers(3, 6))
    wall, roof = (
        draw_material(rng, colors.light, colors.near, 0.4),
        draw_material(rng, colors.main, colors.dark, 0.4),
    )
    blade, length = draw_material(rng, colors.contrast, colors.light, 0.3), rng.uniform(0.32, 0.48)
    speed, heading, width = (
        rng.choice([-1, 1]) * rng.uniform(0.2, 1.0) * _ROTOR_DEG / count,
        rng.uniform(-30, 30),
        rng.uniform(0.07, 0.11),
    )
    face = draw_face(rng, (0, -0.28, 0.3), 0.2, 0.04)

    def pose(time: float) -> Pose:
        parts: Pose = [
            [cone((0, -0.6, 0), (0, 0.2, 0), 0.34, 0.22, wall)],
            cone((0, 0.22, 0), (0, 0.55, 0), 0.27, 0.04, roof),
            box((0.05, -0.5, -0.3), (0.1, 0.18, 0.06), 0.02, plain(colors.dark)),
            *face,
        ]
        rotor: Group = [sphere((0, 0, 0.03), 0.07, plain(colors.main))]
        for k in range(count):
            turn = rot_z(360.0 * k / count)
            rotor.append(
                place(
                    box(
                        (0, 0.06 + 0.5 * length, 0),
                        (width, 0.5 * length, 0.025),
                        0.02,
                        blade,
                        rotation=rot_y(15),
                    ),
                    turn,
                )
            )
        parts.append(place(rotor, rot_z(speed * time), (0, 0.22, 0.36)))
        return place(parts, rot_y(heading))

    return pose


def top(rng: np.random.Generator) -> PoseFunction:
    """A spinning top that wobbles."""
    colors, count = draw_palette(rng), int(rng.integers(3, 7))
    skin = segments(colors.main, colors.contrast, count, rng.uniform(0.35, 0.6))
    spin, wobble, rate = rng.uniform(0.3, 1.0) * _ROTOR_DEG / count, rng.uniform(6, 18), cycles(rng, 1, 2)
    wide, tall, ring = (
        rng.uniform(0.45, 0.62),
        rng.uniform(0.2, 0.36),
        draw_material(rng, colors.near, colors.light, 0.3),
    )

    def pose(time: float) -> Pose:
        parts: Pose = [
            [
                ellipsoid((0, 0.05, 0), (wide, tall, wide), skin),
                cone((0, 0, 0), (0, -0.55, 0), 0.3, 0.03, skin, blend=0.1),
            ],
            arc((0, 0.05, 0), wide, 0.05, ring, rotation=rot_x(90)),
            [
                cone((0, 0.2, 0), (0, 0.6, 0), 0.06, 0.045, plain(colors.light)),
                sphere((0, 0.62, 0), 0.085, plain(colors.main), blend=0.02),
            ],
            box((0.25, 0.05 + 0.9 * tall, 0), (0.09, 0.05, 0.09), 0.03, plain(colors.dark)),
        ]
        lean = rot_y(math.degrees(rate * time)) @ rot_z(wobble) @ rot_y(-math.degrees(rate * time))
        return place(parts, lean @ rot_y(spin * time))

    return pose


def car(rng: np.random.Generator) -> PoseFunction:
    """A toy car that drives on the spot, rocking."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    paint, roof = (
        draw_material(rng, colors.main, colors.light, 0.5),
        draw_material(rng, colors.contrast, colors.light, 0.3),
    )
    long, cabin, wheel = rng.uniform(0.5, 0.66), rng.uniform(0.16, 0.3), rng.uniform(0.14, 0.2)
    heading, spin, shift = rng.uniform(25, 65), rng.uniform(150, 500), rng.uniform(-0.2, 0.05)
    tire = segments("#33333b", colors.light, 4, 0.35)

    def pose(time: float) -> Pose:
        rock = rot_x(2.5 * math.sin(2 * rate * time)) @ rot_z(3 * math.sin(rate * time))
        body: Pose = [
            [
                box((0, 0, 0), (0.28, 0.16, long), 0.1, paint),
                box(
                    (0, 0.16 + 0.5 * cabin, shift),
                    (0.24, 0.08 + 0.5 * cabin, 0.5 * long),
                    0.1,
                    roof,
                    blend=0.04,
                ),
            ],
            box(
                (0, 0.17 + 0.5 * cabin, shift + 0.5 * long),
                (0.18, 0.4 * cabin, 0.02),
                0.015,
                plain("#bfe6f5"),
            ),
            box(
                (0, 0.17 + 0.5 * cabin, shift - 0.5 * long),
                (0.15, 0.3 * cabin, 0.02),
                0.015,
                plain("#8fb8cc"),
            ),
            box((0, -0.1, -long), (0.26, 0.04, 0.05), 0.03, plain("#9aa0aa")),
        ]
        for side in (-1, 1):
            body.append(sphere((side * 0.18, 0.02, long - 0.01), 0.07, eye("#ffd447", (0, 0, 1), 20, 60)))
            body.append(box((side * 0.2, 0.04, -long), (0.05, 0.04, 0.02), 0.015, plain("#e63946")))
        parts = place(body, rock, (0, 0.015 * math.sin(4 * rate * time), 0))
        for x in (-1, 1):
            for z in (-1, 1):
                turn = rot_x(spin * time) @ rot_z(90)
                parts.append(cylinder((x * 0.27, -0.16, 0.6 * long * z), wheel, 0.07, 0.03, tire, rotation=turn))
        return place(parts, rot_y(heading))

    return pose


def robot(rng: np.random.Generator) -> PoseFunction:
    """A tin figure of boxes that turns its head and waves."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    metal, plate = (
        draw_material(rng, colors.main, colors.near, 0.5),
        draw_material(rng, colors.contrast, colors.light, 0.2),
    )
    wide, tall, head = rng.uniform(0.24, 0.36), rng.uniform(0.26, 0.36), rng.uniform(0.2, 0.27)
    wave, nod = rng.uniform(20, 50), rng.uniform(10, 30)
    face = draw_face(rng, (0, 0.02, 0.9 * head), 0.24, 0.0)

    def pose(time: float) -> Pose:
        swing = math.sin(rate * time)
        parts: Pose = [
            box((0, 0, 0), (wide, tall, 0.2), 0.05, metal),
            box((0.05, 0.02, 0.2), (0.13, 0.11, 0.03), 0.02, plate),
            box((0, 0.03, -0.24), (0.16, 0.2, 0.08), 0.04, plain(colors.dark)),
        ]
        skull: Pose = [box((0, 0, 0), (1.15 * head, head, 0.85 * head), 0.07, metal), *face]
        skull.append(
            [
                cone((0, head, 0), (0.03 * swing, head + 0.18, 0), 0.02, 0.02, plain(colors.dark)),
                sphere((0.03 * swing, head + 0.2, 0), 0.06, plain(colors.contrast)),
            ]
        )
        parts += place(skull, rot_y(nod * swing), (0, tall + head + 0.06, 0))
        for side in (-1, 1):
            raised = 60 if side > 0 else -50
            turn = rot_z(side * (raised + wave * swing * (1 if side > 0 else 0.3)))
            arm: Group = [
                cone((0, 0, 0), (side * 0.2, 0, 0.03), 0.075, 0.065, plain(colors.near)),
                cone(
                    (side * 0.2, 0, 0.03),
                    (side * 0.4, 0.05, 0.12),
                    0.065,
                    0.06,
                    plain(colors.near),
                    blend=0.02,
                ),
                sphere((side * 0.42, 0.05, 0.13), 0.09, plain(colors.contrast), blend=0.02),
            ]
            parts.append(place(arm, turn, (side * (wide + 0.03), 0.6 * tall, 0)))
            lift = 0.06 * max(0.0, side * swing)
            parts.append(box((side * 0.5 * wide, -tall - 0.14 + lift, 0.03), (0.09, 0.18, 0.11), 0.05, plate))
        return parts

    return pose


def tree(rng: np.random.Generator) -> PoseFunction:
    """A tree that sways in the wind, with fruits."""
    colors, rate, count = draw_palette(rng), cycles(rng, 1, 2), int(rng.integers(4, 7))
    leaves, bark = draw_material(rng, "#5fae4b", "#3f8f4a", 0.5), stripes("#8a5a3a", "#6f4529", (1, 0, 1), 9)
    centers = rng.uniform(-0.3, 0.3, (count, 3)) * [1.1, 0.8, 1.0] + [0, 0.25, 0]
    radii, bend = rng.uniform(0.22, 0.36, count), rng.uniform(4, 12)
    fruit = [(rng.integers(count), rng.normal(size=3) + [0, -0.1, 0.4]) for _ in range(8)]

    def pose(time: float) -> Pose:
        lean = math.sin(rate * time)
        crown: Group = []
        for k in range(count):
            shift = 0.04 * math.sin(rate * time + 1.3 * k)
            crown.append(sphere(centers[k] + [shift, 0, 0], radii[k], leaves, blend=0.1))
        parts: Pose = [crown]
        for k, direction in fruit:
            at = centers[k] + radii[k] * direction / np.linalg.norm(direction)
            parts.append(sphere(at + [0.04 * lean, 0, 0], 0.065, plain(colors.main)))
        trunk: Group = [
            cone((0, -0.7, 0), (0, 0.2, 0), 0.15, 0.09, bark),
            ellipsoid((0, -0.74, 0), (0.34, 0.08, 0.3), plain("#8fc46a"), blend=0.05),
        ]
        return [*place(parts, rot_z(bend * lean), (0, 0, 0)), trunk]

    return pose


def pendulum(rng: np.random.Generator) -> PoseFunction:
    """A clock with a swinging pendulum and turning hands."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    wood, bob = (
        draw_material(rng, colors.near, colors.dark, 0.4),
        draw_material(rng, colors.contrast, colors.light, 0.2),
    )
    swing, round_ = rng.uniform(15, 35), rng.uniform(0.22, 0.3)
    face = draw_face(rng, (0, 0.4, 0.16), 0.24, 0.0)

    def pose(time: float) -> Pose:
        case: Group = [
            box((0, 0.4, 0), (0.36, 0.32, 0.14), 0.06, wood),
            cone((-0.24, 0.74, 0), (0.24, 0.74, 0), 0.1, 0.1, plain(colors.main), blend=0.03),
        ]
        parts: Pose = [
            case,
            cylinder((0, 0.4, 0.13), round_, 0.03, 0.015, plain(colors.light), rotation=rot_x(90)),
            *face,
        ]
        for speed, long in ((-360, 0.18), (-60, 0.12)):
            turn = rot_z(speed * time)
            parts.append(
                cone(
                    (0, 0.4, 0.18),
                    turn @ np.array([0, long, 0]) + [0, 0.4, 0.18],
                    0.02,
                    0.012,
                    plain(colors.dark),
                )
            )
        angle = rot_z(swing * math.sin(rate * time))
        rod: Group = [
            cone((0, 0, 0), (0, -0.5, 0), 0.025, 0.025, plain(colors.dark)),
            ellipsoid((0, -0.58, 0), (0.17, 0.17, 0.07), bob, blend=0.02),
        ]
        parts.append(place(rod, angle, (0, 0.1, 0)))
        parts.append(box((0.1, 0.4, -0.16), (0.1, 0.14, 0.04), 0.02, plain(colors.contrast)))
        return parts

    return pose


def stack(rng: np.random.Generator) -> PoseFunction:
    """A tower of different blocks that turn against each other."""
    colors, rate, count = draw_palette(rng), cycles(rng, 1, 2), int(rng.integers(3, 6))
    tones = [colors.main, colors.contrast, colors.near, colors.light, colors.main]
    skins = [draw_material(rng, tones[k], tones[k - 1], 0.35) for k in range(count)]
    shapes, sizes = rng.integers(0, 4, count), np.sort(rng.uniform(0.22, 0.5, count))[::-1]
    turns, hop = rng.uniform(-90, 90, count), rng.uniform(0.0, 0.12)

    def pose(time: float) -> Pose:
        parts: Pose = []
        high = 0.6 / count
        for k in range(count):
            y = 2 * high * k + hop * k * max(0.0, math.sin(rate * time + 0.6 * k))
            turn = rot_y(turns[k] * math.sin(rate * time))
            if shapes[k] == 0:
                parts.append(box((0, y, 0), (sizes[k], high, 0.7 * sizes[k]), 0.05, skins[k], rotation=turn))
            elif shapes[k] == 1:
                parts.append(cylinder((0, y, 0), sizes[k], high, 0.04, skins[k], rotation=turn))
            elif shapes[k] == 2:
                parts.append(ellipsoid((0, y, 0), (sizes[k], 1.1 * high, 0.8 * sizes[k]), skins[k], rotation=turn))
            else:
                parts.append(arc((0, y, 0), sizes[k] - 0.5 * high, high, skins[k], rotation=turn @ rot_x(90)))
        top_height = 2 * high * count
        parts.append(
            cone((0, top_height - high, 0.05), (0.05, top_height + 0.25, 0), 0.14, 0.03, plain(colors.contrast))
        )
        return parts

    return pose


def chest(rng: np.random.Generator) -> PoseFunction:
    """A chest whose lid springs open and shows what is inside."""
    colors = draw_palette(rng)
    wood, lid = (
        draw_material(rng, colors.main, colors.near, 0.4),
        draw_material(rng, colors.near, colors.dark, 0.4),
    )
    start, duration, angle = rng.uniform(0.1, 0.6), rng.uniform(0.08, 0.4), rng.uniform(60, 110)
    wide, deep, heading = rng.uniform(0.42, 0.56), rng.uniform(0.3, 0.4), rng.uniform(-35, 35)
    gems = [(rng.uniform(-0.25, 0.25), rng.uniform(-0.15, 0.15), rng.uniform(0.08, 0.13)) for _ in range(5)]

    def pose(time: float) -> Pose:
        opened = smoothstep(start, start + duration, time)
        base: Group = [
            box((0, -0.2, 0), (wide, 0.25, deep), 0.05, wood),
            box((0, 0.0, 0), (wide - 0.08, 0.22, deep - 0.08), 0.02, plain("#5a3521"), carve=True),
        ]
        cover: Group = [
            cylinder((0, 0, deep), deep, wide, 0.05, lid, rotation=rot_z(90)),
            box((0, -0.5 - 0.02, deep), (wide + 0.2, 0.5, deep + 0.2), 0.01, plain("#5a3521"), carve=True),
            box((0, 0.04, 2 * deep), (0.09, 0.1, 0.04), 0.03, plain("#f4c430"), blend=0.01),
        ]
        parts: Pose = [base, place(cover, rot_x(-angle * opened), (0, 0.06, -deep))]
        for x, z, r in gems:
            parts.append(sphere((x, -0.08 + 0.1 * opened, z), r, plain(colors.contrast, grain=0.5)))
        parts.append(box((0.1, -0.2, -deep), (0.14, 0.1, 0.03), 0.02, plain(colors.contrast)))
        return place(parts, rot_y(heading))

    return pose


def spring(rng: np.random.Generator) -> PoseFunction:
    """A coil with a head on top that stretches and leans."""
    colors, rate, count = draw_palette(rng), cycles(rng, 1, 3), int(rng.integers(5, 8))
    coil = [draw_material(rng, tone, colors.light, 0.4) for tone in (colors.main, colors.near)]
    radius, tube, stretch, lean = (
        rng.uniform(0.24, 0.34),
        rng.uniform(0.05, 0.075),
        rng.uniform(0.1, 0.3),
        rng.uniform(5, 22),
    )
    skin = draw_material(rng, colors.contrast, colors.near, 0.4)
    face = draw_face(rng, (0, 0, 0.31), 0.22, 0.04)

    def pose(time: float) -> Pose:
        gap = 0.13 * (1 + stretch * math.sin(2 * rate * time))
        step = rot_z(lean * math.sin(rate * time) / count)
        turn, at = np.eye(3), np.zeros(3)
        parts: Pose = [cylinder((0, -0.1, 0), 0.42, 0.07, 0.03, plain(colors.dark))]
        for k in range(count):
            parts.append(arc(at, radius, tube, coil[k % 2], rotation=turn @ rot_x(90)))
            turn = turn @ step
            at = at + turn @ np.array([0, gap, 0])
        head: Pose = [
            sphere((0, 0, 0), 0.32, skin),
            *face,
            cone((0, 0.25, -0.05), (0.05, 0.5, -0.1), 0.1, 0.03, plain(colors.main)),
        ]
        return [*parts, *place(head, turn, at + turn @ np.array([0, 0.2, 0]))]

    return pose


def balloon(rng: np.random.Generator) -> PoseFunction:
    """A hot-air balloon with a basket that swings."""
    colors, rate, count = draw_palette(rng), cycles(rng, 1, 2), int(rng.integers(4, 9))
    cloth, wicker = (
        segments(colors.main, str(rng.choice([colors.light, colors.contrast])), count),
        stripes("#b98850", "#96683a", (0, 1, 0), 12),
    )
    wide, tall, swing = rng.uniform(0.42, 0.52), rng.uniform(0.42, 0.56), rng.uniform(4, 12)
    turn, face = rng.uniform(-40, 40), draw_face(rng, (0, 0, 0.49), 0.24, 0.03)

    def pose(time: float) -> Pose:
        sway = math.sin(rate * time)
        parts: Pose = [
            [
                ellipsoid((0, 0, 0), (wide, tall, wide), cloth),
                cone((0, -0.2, 0), (0, -0.55, 0), 0.36, 0.14, cloth, blend=0.1),
            ]
        ]
        parts.append(arc((0, -0.02, 0), wide + 0.005, 0.035, plain(colors.contrast), rotation=rot_x(90)))
        parts += place(face, None, (0, 0.05, wide - 0.5))
        parts = place(parts, rot_y(turn * sway))
        basket: Pose = [
            box((0, -1.0, 0), (0.17, 0.12, 0.14), 0.04, wicker),
            box((0.16, -1.0, 0.06), (0.06, 0.08, 0.06), 0.03, plain(colors.contrast)),
        ]
        for x in (-1, 1):
            for z in (-1, 1):
                basket.append(
                    cone(
                        (0.14 * x, -0.9, 0.11 * z),
                        (0.2 * x, -0.55, 0.2 * z),
                        0.013,
                        0.013,
                        plain(colors.dark),
                    )
                )
        return place(
            [*parts, *place(basket, rot_z(0.5 * swing * sway))],
            rot_z(swing * sway),
            (0, 0.04 * math.cos(rate * time), 0),
        )

    return pose


def rocket(rng: np.random.Generator) -> PoseFunction:
    """A rocket that hovers on a flickering flame."""
    colors, rate, fins = draw_palette(rng), cycles(rng, 2, 4), int(rng.integers(3, 5))
    hull, fin = draw_material(rng, colors.light, colors.near, 0.5), plain(colors.main)
    wide, tall, tilt = rng.uniform(0.2, 0.28), rng.uniform(0.5, 0.62), rng.uniform(4, 14)
    fire = gradient("#ffe066", "#f25c1f", (0, 0, 1), -0.15, 0.2)

    def pose(time: float) -> Pose:
        flame = 0.2 + 0.06 * math.sin(rate * time)
        parts: Pose = [
            [bent((0, 0, 0), (wide, wide, tall), hull, taper=-0.25, rotation=rot_x(-90))],
            cone((0, 0.62 * tall, 0), (0, 1.02 * tall, 0), 0.55 * wide, 0.03, plain(colors.contrast)),
            [sphere((0, 0.15, 0.82 * wide), 0.12, eye("#7cc8f0", (0, 0.1, 1), 5, 62, colors.dark))],
            bent(
                (0, -tall - flame + 0.05, 0),
                (0.6 * wide, 0.6 * wide, flame),
                fire,
                taper=-0.5,
                wave=(0.03, 0, 8, rate * time),
                rotation=rot_x(90),
            ),
            box((0.05, -0.1, -1.0 * wide), (0.09, 0.12, 0.05), 0.03, plain(colors.contrast)),
        ]
        for k in range(fins):
            turn = rot_y(360.0 * k / fins + 30)
            parts.append(
                place(
                    ellipsoid((0, -0.75 * tall, 1.1 * wide), (0.035, 0.24, 0.16), fin, rotation=rot_x(25)),
                    turn,
                )
            )
        return place(
            parts,
            rot_z(tilt * math.sin(0.5 * rate * time)) @ rot_x(8) @ rot_y(40 * math.sin(0.5 * rate * time)),
        )

    return pose


def lamp(rng: np.random.Generator) -> PoseFunction:
    """A desk lamp that bends its joints."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 2)
    paint, shade = (
        draw_material(rng, colors.main, colors.light, 0.3),
        draw_material(rng, colors.contrast, colors.near, 0.3),
    )
    first, second, bend = rng.uniform(0.4, 0.55), rng.uniform(0.35, 0.5), rng.uniform(12, 28)
    heading = rng.choice([-1, 1]) * rng.uniform(20, 60)

    def pose(time: float) -> Pose:
        swing = math.sin(rate * time)
        low = rot_x(-25 + bend * swing)
        high = rot_x(45 - 1.4 * bend * swing)
        elbow = low @ np.array([0, first, 0])
        neck = elbow + high @ np.array([0, second, 0])
        parts: Pose = [
            cylinder((0, -0.02, 0), 0.32, 0.06, 0.04, paint),
            sphere((0.2, 0.06, 0.1), 0.05, plain(colors.contrast)),
        ]
        parts.append(
            [
                cone((0, 0, 0), elbow, 0.05, 0.045, plain(colors.near)),
                sphere(elbow, 0.075, plain(colors.dark), blend=0.02),
                cone(elbow, neck, 0.045, 0.045, plain(colors.near), blend=0.02),
            ]
        )
        nod = rot_x(115 + 14 * math.sin(2 * rate * time)) @ rot_y(12 * swing)
        head: Pose = [
            [
                cone((0, -0.05, 0), (0, 0.2, 0), 0.09, 0.25, shade),
                cone((0, 0.16, 0), (0, 0.42, 0), 0.12, 0.26, plain(colors.light), carve=True),
            ],
            sphere((0, 0.2, 0), 0.12, plain("#fff2b0")),
        ]
        return place([*parts, *place(head, nod, neck)], rot_y(heading))

    return pose


def gyroscope(rng: np.random.Generator) -> PoseFunction:
    """Rings inside rings around a core, each turning about another axis."""
    colors, count = draw_palette(rng), int(rng.integers(2, 4))
    tones = (colors.main, colors.contrast, colors.near)
    skins = [draw_material(rng, tones[k], colors.light, 0.3) for k in range(count)]
    speeds, tube = rng.uniform(60, 240, count) * rng.choice([-1, 1], count), rng.uniform(0.045, 0.075)
    core, size = draw_material(rng, colors.light, colors.contrast, 0.25), rng.uniform(0.2, 0.28)
    face = draw_face(rng, (0, 0.03, size), 0.7 * size, 0.03)

    def pose(time: float) -> Pose:
        parts: Pose = [sphere((0, 0, 0), size, core), *face]
        turn = np.eye(3)
        for k in range(count):
            radius = 0.72 - 0.17 * k
            turn = turn @ (rot_x(speeds[k] * time + 20) if k % 2 else rot_y(speeds[k] * time + 30))
            parts.append(arc((0, 0, 0), radius, tube, skins[k], rotation=turn))
            for side in (-1, 1):
                knob = turn @ np.array([0, side * radius, 0] if k % 2 else [side * radius, 0, 0])
                parts.append(sphere(knob, 1.7 * tube, plain(colors.dark if side < 0 else colors.contrast)))
        return parts

    return pose


THINGS: dict[str, Callable[[np.random.Generator], PoseFunction]] = {
    "train_ball": ball,
    "train_windmill": windmill,
    "train_top": top,
    "train_car": car,
    "train_robot": robot,
    "train_tree": tree,
    "train_pendulum": pendulum,
    "train_stack": stack,
    "train_chest": chest,
    "train_spring": spring,
    "train_balloon": balloon,
    "train_rocket": rocket,
    "train_lamp": lamp,
    "train_gyroscope": gyroscope,
}
