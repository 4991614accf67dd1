# ruff: noqa: RUF005 (array + list adds coordinates here, it does not join lists)
"""Development objects: for choosing settings, so that the reporting objects stay unseen until they are scored.

Other shapes and other motions than `reporting.py`; the conventions are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stages.lib.suite.program import (
    Group,
    Pose,
    arc,
    bent,
    box,
    checks,
    cone,
    cylinder,
    ellipsoid,
    eye,
    gradient,
    place,
    plain,
    rings,
    rot_x,
    rot_y,
    rot_z,
    segments,
    smoothstep,
    sphere,
    spots,
    stretched,
    stripes,
)


def robot(time: float) -> Pose:
    """A tin robot that raises one arm, waves and turns its head."""
    turn = 24 * math.sin(2 * math.pi * time)
    raised = smoothstep(0.1, 0.35, time) * (1 - smoothstep(0.8, 0.98, time))
    wave = raised * 22 * math.sin(6 * math.pi * time)
    metal = gradient("#7fb2d9", "#a9d3ee", (0, 1, 0), -0.3, 0.3)
    parts: Pose = [
        [
            box((0, -0.12, 0), (0.34, 0.32, 0.24), 0.08, metal),
            cylinder((0, 0.22, 0), 0.12, 0.06, 0.02, plain("#5a6b7a")),
        ],
        box((0, -0.10, 0.235), (0.22, 0.17, 0.02), 0.015, plain("#33475b")),
        box((0.05, -0.12, -0.27), (0.18, 0.22, 0.07), 0.04, stripes("#f2b134", "#33475b", (1, 1, 0), 5)),
        cylinder((0, -0.50, 0), 0.16, 0.08, 0.03, plain("#5a6b7a")),
    ]
    for k, color in enumerate(("#ef5350", "#ffca3a", "#6ccf6c")):
        parts.append(sphere((-0.13 + 0.13 * k, -0.03, 0.25), 0.04, plain(color, grain=0.0)))
    parts.append(box((0, -0.18, 0.25), (0.15, 0.03, 0.01), 0.008, stripes("#7ef0d0", "#33475b", (1, 0, 0), 16, 0.4)))
    head: Pose = [
        box((0, 0.20, 0), (0.30, 0.20, 0.22), 0.09, checks("#f4a259", "#ee8f45", 5)),
        box((0, 0.20, 0.20), (0.23, 0.12, 0.04), 0.03, plain("#33475b")),
        [
            cone((0, 0.38, 0), (0, 0.55, 0), 0.025, 0.02, plain("#5a6b7a")),
            sphere((0, 0.58, 0), 0.06, plain("#ef5350")),
        ],
    ]
    for side in (-1, 1):
        head.append(sphere((side * 0.11, 0.21, 0.225), 0.075, eye("#35d0ba", (0, 0, 1), 25, 50)))
        head.append(cylinder((side * 0.31, 0.20, 0), 0.09, 0.05, 0.02, plain("#5a6b7a"), rotation=rot_z(90)))
    parts += place(head, rot_y(turn), (0, 0.28, 0))
    for side in (-1, 1):
        swing = raised * 125 + wave if side > 0 else 8 * math.sin(4 * math.pi * time)
        parts += place(_tube_arm(side), rot_z(side * swing) @ rot_x(-10), (side * 0.38, 0.08, 0))
        parts.append(
            cylinder(
                (side * 0.2, -0.66, 0.02),
                0.17,
                0.09,
                0.03,
                segments("#33475b", "#a9d3ee", 6),
                rotation=rot_z(90),
            )
        )
    return parts


def _tube_arm(side: int) -> Pose:
    """A hanging arm of rings with a claw; the shoulder is the origin."""
    arm: Group = [sphere((0, 0, 0), 0.10, plain("#f2b134"))]
    arm.append(
        cone(
            (0, 0, 0),
            (side * 0.10, -0.36, 0.04),
            0.065,
            0.06,
            stripes("#a9d3ee", "#5a6b7a", (0, 1, 0), 14, 0.4),
        )
    )
    claw = [arc((side * 0.11, -0.46, 0.05), 0.09, 0.035, plain("#f2b134"), half_angle_deg=130)]
    return [arm, claw]


def octopus(time: float) -> Pose:
    """An octopus with eight waving arms and a bobbing head."""
    phase = 2 * math.pi * 2 * time
    bob = 0.05 * math.sin(phase)
    skin = spots("#f0688c", "#c93f70", 4.0, 0.34, seed=6)
    parts: Pose = [
        [
            ellipsoid((0, 0.28 + bob, -0.04), (0.40, 0.46, 0.38), skin),
            ellipsoid((0, -0.06 + bob, 0), (0.34, 0.24, 0.32), skin, blend=0.15),
        ]
    ]
    for side in (-1, 1):
        parts.append(sphere((side * 0.16, 0.20 + bob, 0.30), 0.12, eye("#2b6cb0", (0, 0.0, 1), 28, 46)))
        cheek = ellipsoid(
            (side * 0.29, 0.04 + bob, 0.26), (0.07, 0.05, 0.04), plain("#ffb3c6"), rotation=rot_y(side * 40)
        )
        parts.append(cheek)
    parts.append(arc((0, 0.06 + bob, 0.33), 0.07, 0.018, plain("#6d1638"), half_angle_deg=65, rotation=rot_z(180)))
    parts.append(
        [
            cylinder((0.12, 0.73 + bob, -0.06), 0.20, 0.03, 0.015, plain("#33475b"), rotation=rot_z(-14)),
            cylinder(
                (0.15, 0.82 + bob, -0.06),
                0.13,
                0.11,
                0.03,
                stripes("#33475b", "#ffca3a", (0, 1, 0), 4, 0.3),
                rotation=rot_z(-14),
            ),
        ]
    )
    for k in range(8):
        angle = 45.0 * k + 22.5
        wave = (0.09, 0.0, 6.5, -phase + 0.9 * k)
        lift = 8 * math.sin(phase + 1.7 * k)
        arm = bent(
            (0, 0, 0.36),
            (0.10, 0.09, 0.40),
            stripes("#f0688c", "#ffc4d4", (0, 0, 1), 7, 0.3),
            wave=wave,
            taper=-0.45,
            curl=0.5,
        )
        parts.append(place(arm, rot_y(angle) @ rot_x(32 + lift), rot_y(angle) @ np.array([0, -0.10 + bob, 0.14])))
    return parts


def snail(time: float) -> Pose:
    """A snail that stretches and shrinks as it creeps, with moving eye stalks."""
    phase = 2 * math.pi * 2 * time
    stretch = 1 + 0.13 * math.sin(phase)
    skin = gradient("#d9c27e", "#f2e3ae", (0, 1, 0), -0.2, 0.3)
    head = np.array([0, 0.12 + 0.03 * math.sin(phase), 0.56 * stretch])
    body: Group = [
        stretched(bent((0, -0.36, -0.05), (0.19, 0.12, 0.72 * stretch), skin, taper=0.2, curl=0.1), (1, 1, stretch)),
        cone((0, -0.30, 0.42 * stretch), head, 0.15, 0.14, skin, blend=0.1),
        sphere(head, 0.17, skin, blend=0.05),
    ]
    parts: Pose = [body]
    sway = rot_x(4 * math.sin(phase)) @ rot_z(5 * math.sin(phase + 1))
    shell: Pose = [
        ellipsoid((0, 0.20, 0), (0.46, 0.46, 0.29), rings("#c8643c", "#f7cf8b", 5.5, 0.45), rotation=rot_y(90)),
        ellipsoid((0.0, 0.20, 0), (0.36, 0.20, 0.20), plain("#a9472a")),
    ]
    parts += place(shell, sway, (0, -0.05, -0.20))
    for side in (-1, 1):
        lean = 0.05 * math.sin(phase + side)
        tip = head + [side * 0.14 + lean, 0.34 + 0.05 * math.sin(phase + 2 * side), 0.08]
        parts.append(cone(head + [side * 0.07, 0.08, 0.02], tip, 0.045, 0.035, skin))
        parts.append(sphere(tip + [0, 0.04, 0.02], 0.095, eye("#4f8a3c", (0, 0, 1), 28, 46)))
        parts.append(ellipsoid(head + [side * 0.12, -0.03, 0.11], (0.04, 0.03, 0.03), plain("#f29a86")))
    parts.append(arc(head + [0, -0.02, 0.16], 0.05, 0.014, plain("#7a4a2a"), half_angle_deg=65, rotation=rot_z(180)))
    return place(parts, rot_y(42))


def train(time: float) -> Pose:
    """A steam engine with turning wheels, moving rods and rising steam."""
    angle = 360 * 1.2 * time
    rock = math.sin(4 * math.pi * time)
    green = stripes("#2f9e6e", "#27865d", (0, 1, 0), 5, 0.5)
    parts: Pose = [
        cylinder((0, 0.02, 0.22), 0.25, 0.46, 0.05, green, rotation=rot_x(90)),
        cylinder((0, 0.02, 0.66), 0.26, 0.05, 0.02, plain("#333842"), rotation=rot_x(90)),
        box((0, 0.15, -0.42), (0.30, 0.36, 0.26), 0.04, checks("#e4572e", "#d0461f", 4.5)),
        box((0, 0.54, -0.42), (0.36, 0.04, 0.32), 0.03, plain("#333842")),
        box((0, 0.22, -0.66), (0.20, 0.15, 0.04), 0.02, plain("#ffe08a")),
        box((0, -0.28, 0), (0.24, 0.07, 0.70), 0.03, plain("#5b3a29")),
        [
            cone((0, 0.24, 0.46), (0, 0.50, 0.46), 0.085, 0.12, plain("#333842")),
            arc((0, 0.52, 0.46), 0.12, 0.035, plain("#f2b134"), rotation=rot_x(90)),
        ],
        ellipsoid((0, 0.27, 0.12), (0.12, 0.13, 0.12), plain("#f2b134")),
        cone((0, -0.34, 0.70), (0, -0.34, 0.84), 0.12, 0.03, plain("#e4572e")),
    ]
    for side in (-1, 1):
        parts.append(sphere((side * 0.10, 0.09, 0.69), 0.07, eye("#333842", (0, 0, 1), 34, 50)))
        parts.append(box((side * 0.29, 0.24, -0.42), (0.025, 0.12, 0.14), 0.02, plain("#bfe6f5")))
        for z, radius in ((-0.42, 0.22), (0.08, 0.16), (0.46, 0.16)):
            wheel = segments("#e4572e", "#ffe9c9", 5, 0.4, phase=angle / 360.0 * 5)
            parts.append(cylinder((side * 0.29, -0.56 + radius, z), radius, 0.045, 0.02, wheel, rotation=rot_z(90)))
        crank = np.array(
            [
                side * 0.35,
                -0.40 + 0.08 * math.cos(math.radians(angle)),
                0.08 + 0.08 * math.sin(math.radians(angle)),
            ]
        )
        parts.append(cone(crank, crank + [0, 0, 0.38], 0.028, 0.028, plain("#9aa5b1")))
    parts.append(arc((0, -0.01, 0.705), 0.09, 0.018, plain("#ffe9c9"), half_angle_deg=65, rotation=rot_z(180)))
    steam: Group = []
    for k in range(3):
        s = (time * 2 + k / 3) % 1.0
        size = 0.13 * math.sin(math.pi * s) + 0.012
        steam.append(
            sphere(
                (0.05 * math.sin(5 * s + k), 0.52 + 0.36 * s, 0.46 - 0.3 * s),
                size,
                plain("#eef3f7"),
                blend=0.04,
            )
        )
    parts.append(steam)
    return place(parts, rot_y(36) @ rot_z(1.5 * rock))


def cactus(time: float) -> Pose:
    """A dancing cactus in a pot that bends from side to side, arms in the air."""
    phase = 2 * math.pi * 2 * time
    bend = 0.16 * math.sin(phase)
    skin = segments("#57b36a", "#2f8f57", 10, 0.4)
    turn, middle = rot_z(-math.degrees(bend) * 1.2), np.array([0.3 * bend, 0.0, 0.0])
    stem: Group = [
        cone((0, -0.42, 0), middle, 0.24, 0.25, skin),
        cone(middle, middle + turn @ [0, 0.42, 0], 0.25, 0.23, skin, blend=0.04),
    ]
    upper: Pose = [*_cactus_face(), *_cactus_blossom()]
    for side in (-1, 1):
        elbow = np.array([side * 0.45, 0.02 + 0.08 * side, 0])
        tip = np.array([side * 0.50, 0.34 + 0.08 * side, 0.02])
        arm: Group = [
            cone((side * 0.15, 0.0, 0), elbow, 0.10, 0.10, plain("#57b36a")),
            cone(elbow, tip, 0.10, 0.085, skin, blend=0.04),
        ]
        upper.append(place(arm, rot_z(12 * math.sin(phase * 2 + side))))
    pot = stripes("#4f7cc4", "#f7e3b5", (0, 1, 0), 4.5, 0.35, phase=0.3)
    base: Pose = [
        [
            cone((0, -0.76, 0), (0, -0.58, 0), 0.25, 0.31, pot),
            cylinder((0, -0.42, 0), 0.36, 0.06, 0.03, plain("#3f66a8"), blend=0.02),
        ],
        box((0.06, -0.64, -0.29), (0.12, 0.08, 0.04), 0.02, plain("#ef5350")),
    ]
    return [stem, *place(upper, turn, middle), *base]


def _cactus_face() -> Pose:
    smile = arc((0, 0.24, 0.235), 0.05, 0.015, plain("#1f5136"), half_angle_deg=70, rotation=rot_z(180))
    parts: Pose = [smile]
    for side in (-1, 1):
        parts.append(sphere((side * 0.105, 0.30, 0.20), 0.07, eye("#3a2a1c", (0, 0, 1), 36, 52)))
        at, blush = (side * 0.17, 0.19, 0.19), plain("#ff9fb2")
        parts.append(ellipsoid(at, (0.045, 0.03, 0.025), blush, rotation=rot_y(side * 35)))
    return parts


def _cactus_blossom() -> Pose:
    """Six petals around a yellow heart, a little off the top."""
    heart = np.array([0.08, 0.68, 0.0])
    parts: Pose = [sphere(heart, 0.06, plain("#ffd447"))]
    for k in range(6):
        heading = rot_y(60 * k) @ rot_x(-35)
        center = heart + heading @ [0, 0, 0.10]
        parts.append(ellipsoid(center, (0.055, 0.03, 0.10), plain("#ff6f9c"), rotation=heading))
    return parts


DEVELOPMENT_POSES: dict[str, Callable[[float], Pose]] = {
    "dev_robot": robot,
    "dev_octopus": octopus,
    "dev_snail": snail,
    "dev_train": train,
    "dev_cactus": cactus,
}
