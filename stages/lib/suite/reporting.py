# ruff: noqa: RUF005 (array + list adds coordinates here, it does not join lists)
"""The seven objects that results are reported on, each with a motion that stresses something.

Coordinates: x right, y up, z towards the input camera, in each object's own units. A pose function takes a
time in [0, 1] and returns groups of parts (see `program.py`); it keeps no state. Left and right are the
image's, as seen by the input camera.
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
    noise,
    place,
    plain,
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

# The mouth opens within 0.08 of the clip: two of 24 frames, so that a smooth deformation cannot follow.
MOUTH_OPENS, MOUTH_OPEN = 0.45, 0.53

# 24 degrees between frames when 24 frames span times 0 to 1; a quarter of the period of 3 blades is 30.
PROPELLER_DEG = 540.0
PROPELLER_BLADES = 3

STEPS = 2  # double steps of the walk
BEATS = 3  # wing beats
HOPS = 2  # jumps of the jelly
STROKES = 2  # tail strokes of the fish


def mouth(time: float) -> Pose:
    """A little monster whose mouth opens suddenly."""
    opened = smoothstep(MOUTH_OPENS, MOUTH_OPEN, time)
    sway = math.sin(2 * math.pi * time)
    skin = spots("#45c4a8", "#1d8f86", 3.2, 0.36, seed=3)
    pose: Pose = [_monster_body(opened, skin)]
    pose += _monster_mouth(opened)
    lift = 0.06 * opened
    for side, radius in ((-1, 0.205), (1, 0.235)):
        gaze = (0.10 * sway, -0.05 + 0.15 * opened, 1.0)
        pose.append(sphere((side * 0.27, 0.34 + lift, 0.52), radius, eye("#e8a317", gaze)))
        cheek = ellipsoid((side * 0.55, -0.02, 0.47), (0.11, 0.075, 0.06), plain("#ff9db0"), rotation=rot_y(side * 45))
        pose.append(cheek)
        horn = stripes("#ffd166", "#f08a4b", (0, 1, 0), 7)
        pose.append(cone((side * 0.40, 0.66, 0.0), (side * 0.58, 0.96 + 0.02 * side * sway, 0.02), 0.13, 0.035, horn))
        hand = np.array([side * (0.98 + 0.02 * opened), -0.28 + 0.38 * opened + 0.03 * side * sway, 0.28])
        arm = cone((side * 0.66, -0.22, 0.12), hand, 0.11, 0.10, skin)
        pose.append([arm, sphere(hand, 0.13, plain("#2fa592"), blend=0.06)])
        pose.append(ellipsoid((side * 0.34, -0.86, 0.16), (0.22, 0.13, 0.32), plain("#2fa592")))
    for k in range(4):
        base = (0, 0.68 - 0.42 * k, -0.42 - 0.10 * math.sin(1.2 * k))
        pose.append(cone(base, (0, 0.80 - 0.50 * k, -0.80 + 0.10 * abs(k - 1.5)), 0.13, 0.02, plain("#f76c5e")))
    tail = stripes("#45c4a8", "#ffd166", (0, 0, 1), 5)
    wave = (0.10 * sway, 0.0, 3.0, 0.5)
    pose.append(bent((0.10, -0.66, -0.78), (0.12, 0.12, 0.36), tail, wave=wave, taper=0.5, curl=0.4))
    return pose


def _monster_body(opened: float, skin) -> Group:
    """A pear-shaped body with the mouth carved out of its front."""
    tall = 0.80 + 0.05 * opened
    red = gradient("#5d1230", "#a32748", (0, 0, 1), -0.2, 0.5)
    body = [
        stretched(ellipsoid((0, 0, 0), (0.78, tall, 0.66), skin), (1, tall / 0.80, 1)),
        ellipsoid((0, -0.32, 0.02), (0.80, 0.52, 0.68), skin, blend=0.25),
    ]
    if opened > 0.0:
        center, half = _mouth_place(opened)
        body.append(ellipsoid((0, center, 0.52), (0.44, half, 0.42), red, blend=0.04, carve=True))
    return body


def _mouth_place(opened: float) -> tuple[float, float]:
    """Height and half extent of the mouth."""
    return -0.12 - 0.10 * opened, 0.02 + 0.245 * opened


def _monster_mouth(opened: float) -> Pose:
    """The line of the closed lips, or tongue and teeth once the mouth is open."""
    center, half = _mouth_place(opened)
    if opened == 0.0:
        return [
            arc(
                (0, 0.20, 0.615),
                0.36,
                0.024,
                plain("#7a1f3d"),
                half_angle_deg=50,
                rotation=rot_x(-17) @ rot_z(180),
            )
        ]
    parts: Pose = [ellipsoid((0.05, center - 0.80 * half, 0.38), (0.22, 0.09 * opened + 0.01, 0.20), plain("#ff7d93"))]
    for x in (-0.23, -0.08, 0.08, 0.23):
        lip = center + half * math.sqrt(1 - (x / 0.44) ** 2)
        z = 0.56 - 0.6 * x * x
        parts.append(cone((x, lip + 0.02, z), (x, lip - 0.075 * opened, z), 0.055, 0.022, plain("#fff3d6")))
    for x in (-0.16, 0.16):
        lip = center - half * math.sqrt(1 - (x / 0.44) ** 2)
        parts.append(cone((x, lip - 0.03, 0.55), (x, lip + 0.05 * opened, 0.56), 0.055, 0.025, plain("#fff3d6")))
    return parts


def walk(time: float) -> Pose:
    """A small explorer with a cap and a backpack, walking on the spot."""
    phase = 2 * math.pi * STEPS * time
    swing = math.sin(phase)
    bob = 0.035 * math.cos(2 * phase)
    skin, hair = plain("#f6c49a"), plain("#5b3a29")
    pose: Pose = []
    upper: Pose = []
    shirt = stripes("#f4f1e8", "#e4572e", (0, 1, 0), 7.0)
    upper.append(
        [
            cone((0, -0.18, 0), (0, 0.22, 0), 0.25, 0.19, shirt),
            ellipsoid((0, -0.32, 0), (0.27, 0.18, 0.23), checks("#35609c", "#2b4f82", 6), blend=0.03),
        ]
    )
    upper.append(_explorer_head(skin, hair, swing))
    upper += _explorer_face()
    upper.append(_backpack(swing))
    for side in (-1, 1):
        turn = rot_x(-side * 42 * swing)
        arm = [
            cone((0, 0, 0), (side * 0.10, -0.24, 0.02), 0.085, 0.075, shirt),
            cone((side * 0.10, -0.24, 0.02), (side * 0.10, -0.40, 0.14), 0.07, 0.065, skin, blend=0.03),
            sphere((side * 0.10, -0.43, 0.17), 0.085, skin, blend=0.03),
        ]
        upper.append(place(arm, turn, (side * 0.25, 0.20, 0)))
    pose += place(upper, rot_y(9 * swing), (0, bob, 0))
    for side in (-1, 1):
        pose += place(_leg(side * swing, math.cos(phase) * side), None, (side * 0.135, -0.38 + bob, 0))
    # Turned half to the side, so that the input view sees the legs swing.
    return place(pose, rot_y(28))


def _explorer_head(skin, hair, swing: float) -> Group:
    """Head, ears, hair and a cap whose peak points forward."""
    cap = segments("#ffc93c", "#f28f3b", 6)
    return [
        ellipsoid((0, 0.58, 0), (0.37, 0.35, 0.34), skin),
        sphere((-0.36, 0.55, 0), 0.075, skin, blend=0.03),
        sphere((0.36, 0.55, 0), 0.075, skin, blend=0.03),
        ellipsoid((0, 0.60, -0.10), (0.375, 0.34, 0.31), hair, blend=0.02),
        ellipsoid((0, 0.74, -0.02), (0.40, 0.28, 0.37), cap, blend=0.01),
        ellipsoid((0, 0.75, 0.34), (0.26, 0.042, 0.18), plain("#f28f3b"), rotation=rot_x(-10), blend=0.03),
        sphere((0, 1.02, -0.02), 0.06, plain("#e4572e"), blend=0.02),
    ]


def _explorer_face() -> Pose:
    smile = arc((0, 0.50, 0.315), 0.11, 0.018, plain("#a23b3b"), half_angle_deg=60, rotation=rot_x(12) @ rot_z(180))
    parts: Pose = [smile, sphere((0, 0.53, 0.35), 0.05, plain("#eda980"))]
    for side in (-1, 1):
        parts.append(sphere((side * 0.135, 0.60, 0.285), 0.075, eye("#2b6cb0", (0, 0, 1), 30, 48)))
        cheek = ellipsoid((side * 0.22, 0.47, 0.27), (0.06, 0.045, 0.03), plain("#f2958a"), rotation=rot_y(side * 38))
        parts.append(cheek)
    return parts


def _backpack(swing: float) -> Group:
    """A green backpack with a blanket roll on top and a pocket."""
    pack = [
        box((0, 0.05, -0.33), (0.25, 0.29, 0.14), 0.09, plain("#4f9d69")),
        box((0, -0.06, -0.46), (0.17, 0.13, 0.07), 0.05, checks("#8fce7e", "#4f9d69", 7), blend=0.02),
        cylinder(
            (0, 0.36, -0.34),
            0.10,
            0.27,
            0.03,
            stripes("#c9563c", "#ffe0b5", (0, 1, 0), 8),
            rotation=rot_z(90),
        ),
    ]
    return place(pack, rot_z(3 * swing))


def _leg(swing: float, forward: float) -> Pose:
    """A leg that swings at the hip and bends at the knee on its way forward; the hip is the origin."""
    jeans, shoe = checks("#35609c", "#2b4f82", 6), plain("#e4572e")
    bend = 12 + 38 * max(0.0, forward)
    upper = rot_x(-36 * swing)
    knee = upper @ np.array([0, -0.22, 0.0])
    lower = upper @ rot_x(bend)
    ankle = knee + lower @ np.array([0, -0.22, 0.0])
    leg = [cone((0, 0, 0), knee, 0.115, 0.095, jeans), cone(knee, ankle, 0.095, 0.085, jeans, blend=0.03)]
    foot = [
        ellipsoid(ankle + lower @ np.array([0, -0.05, 0.06]), (0.11, 0.085, 0.18), shoe, rotation=lower),
        ellipsoid(
            ankle + lower @ np.array([0, -0.11, 0.06]),
            (0.115, 0.035, 0.185),
            plain("#fff7ea"),
            rotation=lower,
        ),
    ]
    return [leg, foot]


def wings(time: float) -> Pose:
    """A baby dragon that beats its wings and rises and sinks with them."""
    phase = 2 * math.pi * BEATS * time
    beat = math.sin(phase)
    late = math.sin(phase - 0.9)
    pose = _dragon_body(late)
    pose += _dragon_head(0.5 * late)
    for side in (-1, 1):
        pose += place(_wing(side, beat, late), rot_x(-48), (side * 0.16, 0.04, -0.24))
    return place(pose, None, (0, -0.09 * math.sin(phase + 0.5), 0))


def _dragon_body(late: float) -> Pose:
    skin = gradient("#8e6ad8", "#b79cf0", (0, 1, 0), -0.4, 0.4)
    belly = stripes("#ffe29a", "#f7b267", (0, 1, 0), 8, 0.35)
    wave = (0.10 * late, 0.0, 2.5, 0.0)
    tail = bent((0, -0.42, -0.42), (0.16, 0.16, 0.42), skin, curl=0.9, wave=wave, taper=0.55, blend=0.15)
    body = [
        ellipsoid((0, -0.18, 0), (0.33, 0.40, 0.31), skin),
        tail,
        ellipsoid((0, -0.20, 0.12), (0.25, 0.33, 0.235), belly, blend=0.015),
    ]
    pose: Pose = [body]
    for side in (-1, 1):
        pose.append(ellipsoid((side * 0.20, -0.56, 0.10), (0.13, 0.10, 0.19), skin))
        pose.append(cone((side * 0.26, -0.08, 0.16), (side * 0.32, -0.24, 0.32), 0.075, 0.065, skin))
    for k in range(4):
        y, z = 0.14 - 0.22 * k, -0.25 - 0.045 * k * k
        pose.append(cone((0, y, z), (0, y + 0.06, z - 0.14), 0.075, 0.015, plain("#ff7f6b")))
    # The tip sits on the end of the tail's axis, see `bent`.
    reach = -0.40
    tip = np.array([wave[0] * math.sin(wave[2] * reach), -0.42 + 0.9 * reach**2, -0.42 + reach])
    pose.append(cone(tip, tip + [0, 0.14, -0.10], 0.085, 0.015, plain("#ff7f6b")))
    return pose


def _dragon_head(nod: float) -> Pose:
    skin = spots("#9a79e0", "#7a55c7", 4.5, 0.36, seed=8)
    head: Pose = [
        [
            ellipsoid((0, 0.40, 0.08), (0.35, 0.30, 0.31), skin),
            ellipsoid((0, 0.30, 0.30), (0.23, 0.165, 0.20), plain("#b79cf0"), blend=0.12),
        ]
    ]
    for side in (-1, 1):
        head.append(sphere((side * 0.175, 0.50, 0.275), 0.125, eye("#2fbf71", (-side * 0.05, 0.0, 1), 30, 46)))
        head.append(sphere((side * 0.075, 0.36, 0.475), 0.028, plain("#4a2d86")))
        head.append(
            cone(
                (side * 0.16, 0.64, 0.0),
                (side * 0.25, 0.88, -0.10),
                0.075,
                0.022,
                stripes("#fff1c9", "#f2b366", (0, 1, 0), 10),
            )
        )
        head.append(
            ellipsoid(
                (side * 0.37, 0.48, -0.04),
                (0.16, 0.075, 0.04),
                plain("#ff9fb2"),
                rotation=rot_z(side * 25) @ rot_y(-side * 30),
            )
        )
    head.append(
        arc(
            (0, 0.335, 0.44),
            0.12,
            0.014,
            plain("#4a2d86"),
            half_angle_deg=55,
            rotation=rot_x(15) @ rot_z(180),
        )
    )
    return place(head, rot_x(4 * nod))


def _wing(side: int, beat: float, late: float) -> Pose:
    """Arm bones and webs of one wing; the outer wing follows the inner one a little later."""
    web, bone = stripes("#ffb84d", "#ff9350", (1, 0, 0), 9, 0.4), plain("#7a55c7")
    inner = rot_z(side * (20 + 36 * beat))
    outer = rot_z(side * (4 + 36 * beat + 24 * late))
    elbow = inner @ np.array([side * 0.40, 0.10, 0.0])
    tip = elbow + outer @ np.array([side * 0.50, 0.0, -0.10])
    group: Group = [cone((0, 0, 0), elbow, 0.06, 0.05, bone), cone(elbow, tip, 0.05, 0.02, bone, blend=0.03)]
    # Webs hang from the bones: (start, turn, degrees from sideways to backwards, length, width).
    middle = 0.5 * (elbow + tip)
    for start, turn, angle, length, width in (
        (0.35 * elbow, inner, 85, 0.25, 0.16),
        (0.85 * elbow, inner, 78, 0.31, 0.19),
        (middle, outer, 66, 0.27, 0.18),
        (0.2 * middle + 0.8 * tip, outer, 40, 0.20, 0.10),
    ):
        heading = turn @ rot_y(side * (90 + angle))
        center = start + heading @ np.array([0, -0.01, 0.8 * length])
        group.append(bent(center, (width, 0.018, length), web, rotation=heading, curl=-0.2, blend=0.06))
    return [group]


def bounce(time: float) -> Pose:
    """A pudding that jumps, squashes and stretches."""
    phase = (HOPS * time + 0.15) % 1.0
    # On the ground for 40 % of a hop, on a parabola for the rest.
    air = max(0.0, (phase - 0.4) / 0.6)
    height = 4.0 * air * (1.0 - air) * 0.30
    if phase < 0.4:
        squash = 1.0 - 0.34 * math.sin(math.pi * phase / 0.4) ** 2
    else:
        squash = 1.0 + 0.20 * math.sin(2 * math.pi * air) ** 2
    wide = 1.0 / math.sqrt(squash)
    tilt = rot_z(6 * math.sin(2 * math.pi * HOPS * time))
    return place(_pudding(squash, wide), tilt, (0, height, 0))


def _pudding(squash: float, wide: float) -> Pose:
    """Body with sauce, face, cherry and a bow on the back; the origin is the middle of the base."""
    jelly = spots("#ff86ad", "#ffe3ec", 5.0, 0.36, seed=11)
    foot = spots("#ff6f9c", "#ffc2d6", 5.0, 0.36, seed=4)
    sauce = plain("#8c4a2f")
    radius = 0.56 * wide
    base = ellipsoid((0, 0.20 * squash, 0), (radius * 1.08, 0.26 * squash, radius * 1.08), foot)
    middle = ellipsoid((0, 0.45 * squash, 0), (radius * 0.97, 0.45 * squash, radius * 0.97), jelly, blend=0.20)
    cover = ellipsoid((0, 0.78 * squash, 0), (radius * 0.78, 0.15 * squash, radius * 0.78), sauce, blend=0.03)
    group = [stretched(part, (wide, squash, wide)) for part in (base, middle, cover)]
    for angle, drop in ((20, 0.30), (75, 0.18), (130, 0.26), (185, 0.34), (240, 0.2), (300, 0.24)):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        start = (radius * 0.62 * c, 0.78 * squash, radius * 0.62 * s)
        end = (radius * 0.90 * c, (0.78 - drop) * squash, radius * 0.90 * s)
        group.append(cone(start, end, 0.085, 0.075, sauce, blend=0.06))
    return [group, *_pudding_face(squash, wide, radius), *_cherry(0.86 * squash), *_bow(squash, radius)]


def _pudding_face(squash: float, wide: float, radius: float) -> Pose:
    """Eyes, cheeks and a smile on the front, which moves with the body."""
    gaze, blush = eye("#5a2a1a", (0, 0.05, 1), 36, 52), plain("#ff4f7b")
    turn = rot_x(-12) @ rot_z(180)
    smile_at = (0, 0.40 * squash, radius * 1.03)
    parts: Pose = [arc(smile_at, 0.09 * wide, 0.024, plain("#7a2340"), half_angle_deg=70, rotation=turn)]
    for side in (-1, 1):
        parts.append(sphere((side * 0.21 * wide, 0.45 * squash, radius * 0.87), 0.095, gaze))
        at = (side * 0.35 * wide, 0.30 * squash, radius * 0.88)
        parts.append(ellipsoid(at, (0.09, 0.06, 0.05), blush, rotation=rot_y(side * 30)))
    return parts


def _cherry(top: float) -> Pose:
    """A cherry with stalk and leaf at a height."""
    return [
        sphere((0.04, top + 0.15, 0), 0.15, gradient("#e02440", "#ff5a5f", (0.3, 1, 0.3), -0.1, 0.14)),
        cone((0.04, top + 0.28, 0), (0.16, top + 0.46, -0.04), 0.018, 0.022, plain("#4d8b31")),
        ellipsoid((0.25, top + 0.44, -0.04), (0.11, 0.025, 0.06), plain("#6abf4b"), rotation=rot_z(-18)),
    ]


def _bow(squash: float, radius: float) -> Pose:
    """A striped bow on the back."""
    cloth, z = stripes("#6ec6ff", "#ffffff", (0, 1, 0), 9), -radius * 1.02
    parts: Pose = [sphere((0, 0.43 * squash, z - 0.01), 0.075, plain("#3d8fd1"))]
    for side in (-1, 1):
        parts.append(cone((side * 0.05, 0.42 * squash, z), (side * 0.24, 0.50 * squash, z), 0.04, 0.13, cloth))
    return parts


def propeller(time: float) -> Pose:
    """A toy plane with a pilot; the propeller turns fast, the plane sways gently."""
    sway = math.sin(2 * math.pi * time)
    pose = _fuselage()
    pose += _plane_wings()
    pose += _pilot()
    blades: Group = []
    for k in range(PROPELLER_BLADES):
        blade = [
            bent(
                (0, 0.29, 0),
                (0.085, 0.028, 0.27),
                gradient("#ffd447", "#e63946", (0, 0, 1), 0.10, 0.16),
                rotation=rot_x(-90) @ rot_z(20),
                taper=0.25,
            ),
        ]
        blades += place(blade, rot_z(360.0 / PROPELLER_BLADES * k))
    turn = rot_z(PROPELLER_DEG * time)
    pose.append(place(blades, turn, (0, 0, 0.83)))
    pose.append(cone((0, 0, 0.76), (0, 0, 0.93), 0.11, 0.05, plain("#e63946")))
    return place(pose, rot_y(26 + 5 * sway) @ rot_x(10 + 3 * sway) @ rot_z(7 * math.sin(2 * math.pi * time + 1)))


def _fuselage() -> Pose:
    red = stripes("#ef5350", "#fff6e5", (0, 0, 1), 1.3, 0.22, phase=0.095)
    tail = checks("#fff6e5", "#3aa0d8", (0, 5, 5))
    body = [
        bent((0, 0, 0.02), (0.26, 0.26, 0.86), red, taper=0.28),
        cylinder((0, 0, 0.62), 0.24, 0.10, 0.06, plain("#ffd447"), rotation=rot_x(90), blend=0.05),
    ]
    return [
        body,
        bent((0, 0.20, -0.72), (0.035, 0.14, 0.26), tail, rotation=rot_x(-58)),
        ellipsoid((0, 0.04, -0.72), (0.36, 0.03, 0.13), stripes("#ef5350", "#fff6e5", (1, 0, 0), 3.5, 0.4)),
    ]


def _plane_wings() -> Pose:
    top = stripes("#ef5350", "#fff6e5", (1, 0, 0), 2.2, 0.3)
    low = checks("#3aa0d8", "#fff6e5", (4, 0, 4))
    parts: Pose = [
        ellipsoid((0, 0.46, 0.22), (0.88, 0.042, 0.21), top),
        ellipsoid((0, -0.12, 0.20), (0.80, 0.045, 0.21), low),
    ]
    for side in (-1, 1):
        parts.append(cone((side * 0.52, -0.11, 0.26), (side * 0.55, 0.45, 0.26), 0.024, 0.024, plain("#8d5a3a")))
        parts.append(
            [
                cone((side * 0.12, -0.16, 0.34), (side * 0.24, -0.40, 0.38), 0.035, 0.03, plain("#8d5a3a")),
                cylinder(
                    (side * 0.27, -0.42, 0.38),
                    0.12,
                    0.05,
                    0.03,
                    gradient("#4a4a55", "#ffd447", (0, 1, 0), 0.2, 0.21),
                    rotation=rot_z(90),
                ),
            ]
        )
    return parts


def _pilot() -> Pose:
    """A bear with goggles and a scarf in the cockpit."""
    fur, scarf = plain("#b9794b"), stripes("#ffd447", "#e63946", (0, 0, 1), 6)
    parts: Pose = [
        [
            sphere((0, 0.33, -0.14), 0.19, fur),
            sphere((-0.15, 0.49, -0.16), 0.065, fur, blend=0.03),
            sphere((0.15, 0.49, -0.16), 0.065, fur, blend=0.03),
            ellipsoid((0, 0.28, 0.03), (0.09, 0.07, 0.06), plain("#f0cfa0"), blend=0.02),
        ],
        sphere((0, 0.31, 0.09), 0.03, plain("#3a2418")),
        bent((0.05, 0.22, -0.46), (0.07, 0.03, 0.24), scarf, curl=0.8, rotation=rot_y(12)),
    ]
    for side in (-1, 1):
        parts.append(sphere((side * 0.078, 0.38, 0.01), 0.055, eye("#57b8e8", (0, 0, 1), 26, 60)))
    return parts


def flower(time: float) -> Pose:
    """A potted flower that blooms: two rings of petals open, the stem rises."""
    opened = smoothstep(0.05, 0.95, time)
    sway = 0.04 * math.sin(2 * math.pi * time)
    head = np.array([sway, 0.30 + 0.12 * opened, 0.04])
    pose = _pot()
    leaf = stripes("#5cb85c", "#3f9645", (0, 0, 1), 8, 0.25)
    pose.append(
        [
            cone((0, -0.42, 0), (0.5 * sway, 0.0, 0), 0.05, 0.045, plain("#4da24f")),
            cone((0.5 * sway, 0.0, 0), head, 0.045, 0.05, plain("#4da24f"), blend=0.03),
        ]
    )
    for side, y, length in ((-1, -0.16, 0.27), (1, -0.04, 0.24)):
        turn = rot_y(side * 78) @ rot_x(-28 - 12 * opened)
        pose.append(
            bent(
                np.array([0, y, 0]) + turn @ [0, 0, length],
                (0.11, 0.022, length),
                leaf,
                curl=-0.9,
                rotation=turn,
            )
        )
    # The flower looks forward and up, so that the input view sees into it.
    pose += place(_blossom(opened), rot_x(52), head)
    return pose


def _pot() -> Pose:
    clay = stripes("#e2784f", "#fbe3c0", (0, 1, 0), 2.6, 0.25, phase=0.414)
    parts: Pose = [
        [
            cone((0, -0.82, 0), (0, -0.55, 0), 0.24, 0.31, clay),
            cylinder((0, -0.46, 0), 0.37, 0.08, 0.04, plain("#d1603d"), blend=0.02),
            cylinder((0, -0.24, 0), 0.29, 0.20, 0.02, plain("#d1603d"), carve=True),
        ],
        cylinder((0, -0.45, 0), 0.30, 0.03, 0.01, noise("#4a3020", "#7a5338", 14)),
    ]
    for side in (-1, 1):
        parts.append(sphere((side * 0.12, -0.66, 0.255), 0.06, eye("#3a2418", (0, 0.1, 1), 40, 60)))
        parts.append(
            ellipsoid((side * 0.20, -0.76, 0.215), (0.045, 0.03, 0.03), plain("#ff9a86"), rotation=rot_y(side * 40))
        )
    parts.append(
        arc(
            (0, -0.71, 0.272),
            0.055,
            0.014,
            plain("#7a2e1d"),
            half_angle_deg=70,
            rotation=rot_x(-8) @ rot_z(180),
        )
    )
    # A ladybird on the back tells the views apart.
    parts.append(
        [
            ellipsoid((0.05, -0.64, -0.29), (0.10, 0.12, 0.07), spots("#e63946", "#2b2b33", 13, 0.3, seed=2)),
            sphere((0.05, -0.52, -0.31), 0.055, plain("#2b2b33")),
        ]
    )
    return parts


def _blossom(opened: float) -> Pose:
    """Centre and petals around local +y; closed petals stand along it, open ones lie across it."""
    parts: Pose = [
        [
            ellipsoid((0, 0.03, 0), (0.17, 0.11, 0.17), spots("#ffc93c", "#c9772b", 13, 0.36, seed=5)),
            sphere((0, -0.08, 0), 0.10, plain("#4da24f"), blend=0.05),
        ]
    ]
    for ring, (count, length, width, color) in enumerate(((7, 0.27, 0.135, "#ff5d8f"), (7, 0.22, 0.115, "#ff96b9"))):
        petal = gradient("#fff0a8", color, (0, 0, 1), -1.0 * length, -0.2 * length)
        angle = 84 - (86 - 22 * ring) * smoothstep(0.0, 1.0, opened * 1.15 - 0.08 * ring)
        for k in range(count):
            heading = rot_y(360.0 / count * (k + 0.5 * ring)) @ rot_x(-angle)
            root = rot_y(360.0 / count * (k + 0.5 * ring)) @ np.array([0, 0, 0.10 - 0.02 * ring])
            center = root + heading @ np.array([0, 0.0, 0.92 * length])
            curl = 1.4 - 2.2 * opened
            parts.append(bent(center, (width, 0.022, length), petal, curl=curl, taper=0.25, rotation=heading))
    return parts


def swim(time: float) -> Pose:
    """A clownfish whose body and tail undulate; it heads to the right and towards the viewer."""
    phase = -2 * math.pi * STROKES * time
    wave = (0.05, -0.16, 2.6, phase)
    bands = stripes("#ff8420", "#fffaf0", (0, 0, 1), 1.7, 0.26, phase=0.52)

    def side_of(z: float) -> float:
        return (wave[0] + wave[1] * z) * math.sin(wave[2] * z + wave[3])

    body: Group = [bent((0, 0, 0), (0.23, 0.37, 0.66), bands, wave=wave, taper=0.30)]
    fin = stripes("#ff7a1c", "#2e2a33", (0, 0, 1), 2.0, 0.18, phase=0.191)
    slope = (side_of(-0.62) - side_of(-0.52)) / -0.10
    yaw = math.degrees(math.atan(slope))
    tail = [
        bent((0, 0.14, -0.20), (0.03, 0.13, 0.26), fin, rotation=rot_x(32)),
        bent((0, -0.14, -0.20), (0.03, 0.13, 0.26), fin, rotation=rot_x(-32), blend=0.04),
    ]
    pose: Pose = [body, place(tail, rot_y(yaw * 1.2), (side_of(-0.60), 0, -0.58))]
    pose.append(bent((0, 0.38, -0.02), (0.025, 0.15, 0.36), fin, wave=wave, curl=-0.3))
    pose.append(bent((0, -0.36, -0.14), (0.025, 0.12, 0.20), fin, wave=wave, curl=0.4))
    flap = 22 * math.sin(phase + 1.0)
    for side in (-1, 1):
        x = side_of(0.22)
        turn = rot_y(side * (138 + flap)) @ rot_x(14)
        pose.append(
            bent(
                np.array([x + side * 0.20, -0.10, 0.20]) + turn @ [0, 0, 0.13],
                (0.12, 0.022, 0.18),
                fin,
                rotation=turn @ rot_z(70),
            )
        )
        head = side_of(0.42)
        pose.append(sphere((head + side * 0.175, 0.10, 0.40), 0.095, eye("#2b2b33", (side * 0.85, 0.05, 0.55), 40, 52)))
        pose.append(ellipsoid((side_of(0.5) + side * 0.15, -0.06, 0.50), (0.05, 0.045, 0.06), plain("#ff5e57")))
    smile = arc((side_of(0.62), -0.04, 0.625), 0.07, 0.02, plain("#9c3d12"), half_angle_deg=75, rotation=rot_z(180))
    pose.append(smile)
    return place(pose, rot_y(52) @ rot_x(-4))


REPORTING_POSES: dict[str, Callable[[float], Pose]] = {
    "mouth": mouth,
    "walk": walk,
    "wings": wings,
    "bounce": bounce,
    "propeller": propeller,
    "flower": flower,
    "swim": swim,
}
