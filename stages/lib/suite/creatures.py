# ruff: noqa: RUF005 (array + list adds coordinates here, it does not join lists)
"""Training families that live: each maker draws one random object's proportions and returns its pose function.

A maker takes a generator, draws everything from it at once, and returns `pose(time)`, which is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stages.lib.suite.chance import cycles, draw_face, draw_material, draw_palette
from stages.lib.suite.program import (
    Group,
    Pose,
    arc,
    bent,
    cone,
    ellipsoid,
    eye,
    place,
    plain,
    rot_x,
    rot_y,
    rot_z,
    smoothstep,
    sphere,
    spots,
    stretched,
    stripes,
)

PoseFunction = Callable[[float], Pose]


def blob(rng: np.random.Generator) -> PoseFunction:
    """Soft balls that circle around each other and melt together."""
    colors, count, rate = draw_palette(rng), int(rng.integers(4, 7)), cycles(rng, 1, 2)
    skins = [
        draw_material(rng, colors.main, str(rng.choice([colors.near, colors.contrast])), 0.5) for _ in range(count)
    ]
    radii, phases = rng.uniform(0.2, 0.38, count), rng.uniform(0, 6.28, (count, 3))
    reach = rng.uniform(0.2, 0.45, (count, 3))
    face = draw_face(rng, (0, 0.05, 0.47), 0.3, 0.03)

    def pose(time: float) -> Pose:
        group: Group = [sphere((0, 0, 0), 0.44, skins[0])]
        for k in range(count):
            at = reach[k] * np.sin(rate * time * np.array([1, 1, 1]) + phases[k])
            group.append(sphere(at - [0, 0, 0.15], radii[k], skins[k], blend=0.22))
        return [group, *face]

    return pose


def snake(rng: np.random.Generator) -> PoseFunction:
    """A chain of beads that winds sideways, with a head and a tongue."""
    colors, count, rate = draw_palette(rng), int(rng.integers(9, 13)), cycles(rng, 1, 2)
    skins = [draw_material(rng, colors.main, colors.contrast, 0.3), plain(colors.near)]
    swing, waves, thick = rng.uniform(0.12, 0.24), rng.uniform(0.9, 1.5), rng.uniform(0.12, 0.17)
    heading, lift = rng.uniform(-60, 60), rng.uniform(0.15, 0.4)
    face = draw_face(rng, (0, 0.08, 0.17), 0.16, 0.03)

    def pose(time: float) -> Pose:
        group: Group = []
        for k in range(count):
            s = k / (count - 1)
            x = swing * math.sin(2 * math.pi * waves * s - rate * time)
            at = np.array([x, lift * smoothstep(0.4, 0.0, s), 0.8 - 1.6 * s])
            group.append(sphere(at, thick * (1.0 - 0.65 * s * s), skins[k % 2], blend=0.06))
        head = np.array([swing * math.sin(-rate * time), lift + 0.02, 0.84])
        skull: Pose = [ellipsoid((0, 0, 0), (0.17, 0.14, 0.2), skins[0]), *face]
        skull.append(cone((0, -0.06, 0.16), (0, -0.08, 0.34), 0.018, 0.012, plain("#e63946")))
        return place([group, *place(skull, None, head)], rot_y(heading))

    return pose


def quadruped(rng: np.random.Generator) -> PoseFunction:
    """An animal on four legs that trots on the spot."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    coat = draw_material(rng, colors.main, colors.contrast, 0.6)
    length, height, fat = rng.uniform(0.34, 0.52), rng.uniform(0.22, 0.45), rng.uniform(0.2, 0.32)
    swing, neck, heading = rng.uniform(20, 40), rng.uniform(0.05, 0.45), rng.uniform(25, 65)
    ear, head_size = rng.uniform(0.08, 0.24), rng.uniform(0.2, 0.28)
    face = draw_face(rng, (0, 0.04, head_size), 0.9 * head_size, 0.03)

    def pose(time: float) -> Pose:
        step = math.sin(rate * time)
        body: Group = [ellipsoid((0, 0, 0), (fat, fat, length), coat)]
        top = np.array([0, 0.1 + neck, length + 0.1])
        body.append(cone((0, 0.08, 0.6 * length), top, 0.6 * fat, 0.12, coat, blend=0.08))
        for x, z in ((-1, 1), (1, -1), (1, 1), (-1, -1)):
            turn = rot_x(swing * step * x * z)
            hip = np.array([0.6 * fat * x, -0.4 * fat, 0.62 * length * z])
            body.append(cone(hip, hip + turn @ np.array([0, -height - 0.1, 0]), 0.10, 0.075, coat, blend=0.05))
        wag = (0.10 * math.sin(2 * rate * time), 0.0, 3.0, 1.0)
        tail = bent((0, 0.15, -length - 0.18), (0.05, 0.05, 0.25), plain(colors.near), wave=wag, curl=1.2)
        head: Pose = [[ellipsoid((0, 0, 0), (head_size, 0.9 * head_size, head_size), coat)], *face]
        for side in (-1, 1):
            root = (0.6 * head_size * side, 0.7 * head_size, 0)
            tip = (head_size * side, 0.7 * head_size + ear, -0.03)
            head.append(cone(root, tip, 0.07, 0.04, plain(colors.contrast)))
        nod = rot_x(6 * step) @ rot_y(-0.5 * heading)
        bob = (0, 0.02 * math.cos(2 * rate * time), 0)
        return place([body, tail, *place(head, nod, top)], rot_y(heading), bob)

    return pose


def egg(rng: np.random.Generator) -> PoseFunction:
    """An egg-shaped fellow who walks with a hat and swinging arms."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    skin = draw_material(rng, colors.main, colors.near, 0.6)
    hat = draw_material(rng, colors.contrast, colors.light, 0.3)
    wide, tall, leg = rng.uniform(0.34, 0.48), rng.uniform(0.42, 0.6), rng.uniform(0.18, 0.38)
    peak, heading, tilt = rng.uniform(0.15, 0.45), rng.uniform(-35, 35), rng.uniform(4, 12)
    face = draw_face(rng, (0, 0.12, 0.98 * wide), 0.3, 0.05)

    def pose(time: float) -> Pose:
        step = math.sin(rate * time)
        body: Group = [
            ellipsoid((0, 0, 0), (wide, tall, wide), skin),
            ellipsoid((0, -0.3 * tall, 0), (1.1 * wide, 0.6 * tall, 1.1 * wide), skin, blend=0.1),
        ]
        parts: Pose = [body, *face]
        parts.append(
            [
                cone((0, 0.72 * tall, 0), (0.06, 0.72 * tall + peak, -0.05), 0.75 * wide, 0.06, hat),
                sphere((0.06, 0.78 * tall + peak, -0.05), 0.08, plain(colors.light), blend=0.02),
            ]
        )
        for side in (-1, 1):
            hand = np.array([side * (wide + 0.22), -0.12, 0.25 * side * step + 0.05])
            parts.append(cone((side * 0.9 * wide, 0.0, 0), hand, 0.07, 0.09, skin))
            foot = np.array([side * 0.45 * wide, -0.8 * tall - leg + 0.08 * max(0, side * step), 0.22 * side * step])
            parts.append(cone((side * 0.45 * wide, -0.7 * tall, 0), foot, 0.09, 0.075, plain(colors.dark)))
            parts.append(ellipsoid(foot + [0, -0.03, 0.07], (0.11, 0.08, 0.18), plain(colors.contrast)))
        return place(parts, rot_y(heading) @ rot_z(tilt * step))

    return pose


def bird(rng: np.random.Generator) -> PoseFunction:
    """A bird that flies on the spot."""
    colors, rate = draw_palette(rng), cycles(rng, 2, 4)
    coat, feather = (
        draw_material(rng, colors.main, colors.light, 0.5),
        draw_material(rng, colors.near, colors.contrast, 0.4),
    )
    fat, span, width = rng.uniform(0.22, 0.34), rng.uniform(0.32, 0.5), rng.uniform(0.14, 0.24)
    amplitude, heading, beak = rng.uniform(25, 50), rng.uniform(-50, 50), rng.uniform(0.12, 0.3)
    face = draw_face(rng, (0, 0.05, 0.22), 0.22, 0.05)[:-1]

    def pose(time: float) -> Pose:
        beat, late = math.sin(rate * time), math.sin(rate * time - 0.9)
        body: Group = [
            bent((0, 0, -0.1), (fat, 0.9 * fat, 0.46), coat, taper=0.35),
            sphere((0, 0.22, 0.36), 0.23, coat, blend=0.12),
        ]
        parts: Pose = [body, *place(face, None, (0, 0.22, 0.36))]
        parts.append(cone((0, 0.18, 0.56), (0, 0.14, 0.58 + beak), 0.07, 0.015, plain("#f4a52c")))
        parts.append(ellipsoid((0, 0.06, -0.66), (0.2, 0.025, 0.24), feather, rotation=rot_x(12 + 8 * late)))
        for side in (-1, 1):
            inner, outer = rot_z(side * (6 + amplitude * beat)), rot_z(side * (4 + 1.3 * amplitude * late))
            elbow = np.array([side * 0.12, 0.1, 0]) + inner @ np.array([side * 0.8 * span, 0, 0])
            at = 0.5 * (np.array([side * 0.12, 0.1, 0]) + elbow)
            wing = [ellipsoid(at, (0.55 * span, 0.03, width), feather, rotation=inner)]
            tip = elbow + outer @ np.array([side * 0.4 * span, 0, -0.05])
            wing.append(ellipsoid(tip, (0.55 * span, 0.025, 0.8 * width), feather, rotation=outer, blend=0.05))
            parts.append(wing)
        return place(parts, rot_y(heading) @ rot_x(-8), (0, -0.05 * beat, 0))

    return pose


def fish(rng: np.random.Generator) -> PoseFunction:
    """A fish of any proportions that swims on the spot."""
    colors, rate = draw_palette(rng), -cycles(rng, 1, 3)
    skin, fin = (
        draw_material(rng, colors.main, colors.contrast, 0.6),
        draw_material(rng, colors.near, colors.dark, 0.3),
    )
    tall, wide, long = rng.uniform(0.2, 0.45), rng.uniform(0.14, 0.26), rng.uniform(0.5, 0.72)
    bend, heading, back = (
        rng.uniform(0.08, 0.2),
        rng.choice([-1, 1]) * rng.uniform(35, 75),
        rng.uniform(0.1, 0.25),
    )
    gaze = eye(colors.dark, (0, 0, 1), 35, 50)

    def pose(time: float) -> Pose:
        wave = (0.04, -bend, 2.4, rate * time)

        def side_of(z: float) -> float:
            return (wave[0] + wave[1] * z) * math.sin(wave[2] * z + wave[3])

        parts: Pose = [[bent((0, 0, 0), (wide, tall, long), skin, wave=wave, taper=0.3)]]
        turn = rot_y(1.2 * math.degrees(math.atan((side_of(-0.5 * long) - side_of(-long)) / (0.5 * long))))
        for side in (-1, 1):
            blade = bent((0, 0.45 * tall * side, -0.15), (0.025, 0.12, 0.24), fin, rotation=rot_x(-side * 35))
            parts.append(place(blade, turn, (side_of(-0.9 * long), 0, -0.9 * long)))
            flap = rot_y(side * (140 + 25 * math.sin(rate * time)))
            at = np.array([side_of(0.3) + side * 0.8 * wide, -0.3 * tall, 0.25])
            parts.append(bent(at + flap @ [0, 0, 0.1], (0.02, 0.09, 0.16), fin, rotation=flap))
            looking = rot_y(side * 60)
            at = (side_of(0.6 * long) + 0.62 * side * wide, 0.3 * tall, 0.6 * long)
            parts.append(sphere(at, 0.08, gaze, rotation=looking))
        parts.append(bent((0, 0.95 * tall, -0.05), (0.022, back, 0.5 * long), fin, wave=wave, curl=-0.3))
        return place(parts, rot_y(heading))

    return pose


def jellyfish(rng: np.random.Generator) -> PoseFunction:
    """A bell that pumps, with waving tentacles."""
    colors, rate, count = draw_palette(rng), cycles(rng, 1, 3), int(rng.integers(5, 9))
    bell, arm = (
        draw_material(rng, colors.main, colors.light, 0.5),
        stripes(colors.near, colors.contrast, (0, 0, 1), 5),
    )
    wide, tall, length = rng.uniform(0.42, 0.6), rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.4)
    face = draw_face(rng, (0, 0.12, 0.95 * wide), 0.28, 0.05)

    def pose(time: float) -> Pose:
        pump = math.sin(rate * time)
        w, t = wide * (1 - 0.1 * pump), tall * (1 + 0.12 * pump)
        dome: Group = [stretched(ellipsoid((0, 0, 0), (w, t, w), bell), (w / wide, t / tall, w / wide))]
        dome.append(
            ellipsoid((0, -0.75 * t, 0), (0.85 * w, 0.6 * t, 0.85 * w), plain(colors.near), blend=0.05, carve=True)
        )
        parts: Pose = [dome, *place(face, None, (0, 0.05 * pump, -0.1 * wide * (1 + pump)))]
        for k in range(count):
            angle = 360.0 * k / count
            wave = (0.07, 0.0, 9.0, -rate * time + k)
            tentacle = bent((0, 0, length), (0.05, 0.05, length), arm, wave=wave, taper=-0.4)
            parts.append(place(tentacle, rot_y(angle) @ rot_x(90), rot_y(angle) @ np.array([0, -0.2, 0.62 * w])))
        return place(parts, rot_z(6 * math.sin(0.5 * rate * time)), (0, 0.06 * pump, 0))

    return pose


def mushroom(rng: np.random.Generator) -> PoseFunction:
    """A mushroom that bobs and tilts its cap."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    cap = spots(colors.main, colors.light, rng.uniform(2.5, 4.0), rng.uniform(0.3, 0.42), int(rng.integers(99)))
    stem = draw_material(rng, "#f6ead2", "#e3cfa4", 0.4)
    wide, tall, thick = rng.uniform(0.45, 0.65), rng.uniform(0.3, 0.5), rng.uniform(0.2, 0.3)
    tilt, squash = rng.uniform(5, 14), rng.uniform(0.05, 0.15)
    face = draw_face(rng, (0, -0.25, 1.05 * thick), 0.22, 0.04)

    def pose(time: float) -> Pose:
        s = 1 + squash * math.sin(2 * rate * time)
        head = [
            stretched(ellipsoid((0, 0.05, 0), (wide / s, tall * s, wide / s), cap), (1 / s, s, 1 / s)),
            ellipsoid(
                (0, -0.62 * tall, 0),
                (0.9 * wide / s, 0.55 * tall, 0.9 * wide / s),
                plain("#e8d3b0"),
                carve=True,
                blend=0.04,
            ),
        ]
        foot = cone((0, -0.6, 0), (0, 0.05, 0), thick * 1.2, thick * 0.9, stem)
        grass = [
            cone((x, -0.75, z), (1.3 * x, -0.5, z + 0.05), 0.05, 0.01, plain("#57a64a"))
            for x, z in ((0.3, 0.1), (-0.28, -0.2), (0.1, -0.3))
        ]
        lean = rot_z(tilt * math.sin(rate * time)) @ rot_x(6)
        return [foot, *face, place(head, lean, (0, 0.1 * s, 0)), *grass]

    return pose


def crab(rng: np.random.Generator) -> PoseFunction:
    """A crab that walks sideways and snaps its claws."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 3)
    shell = draw_material(rng, colors.main, colors.near, 0.5)
    wide, deep, big = rng.uniform(0.36, 0.5), rng.uniform(0.28, 0.4), rng.uniform(0.13, 0.2)
    gaze = eye("#2b2b33", (0, 0, 1), 35, 50)

    def pose(time: float) -> Pose:
        step = math.sin(rate * time)
        parts: Pose = [ellipsoid((0, 0, 0), (wide, 0.24, deep), shell)]
        for side in (-1, 1):
            parts.append(cone((side * 0.14, 0.15, 0.2), (side * 0.17, 0.36, 0.26), 0.035, 0.03, plain(colors.near)))
            parts.append(sphere((side * 0.17, 0.42, 0.27), 0.09, gaze))
            for k in range(3):
                lift = 0.08 * max(0, math.sin(rate * time + 2.1 * k + side))
                knee = np.array([side * (wide + 0.18), 0.08 + lift, -0.2 + 0.17 * k])
                foot = np.array([side * (wide + 0.28), -0.3 + lift, -0.24 + 0.2 * k])
                leg = [cone((side * 0.8 * wide, 0, -0.15 + 0.12 * k), knee, 0.05, 0.045, plain(colors.main))]
                parts.append([*leg, cone(knee, foot, 0.045, 0.02, plain(colors.contrast), blend=0.02)])
            hand = np.array([side * (wide + 0.16), 0.22 + 0.06 * side * step, 0.42])
            snap = 14 + 14 * math.sin(2 * rate * time + side)
            claw: Group = [cone((side * 0.8 * wide, 0.02, 0.2), hand, 0.06, 0.07, plain(colors.main))]
            for turn, size in ((snap, 1.0), (-snap, 0.75)):
                heading = rot_x(-turn - 35)
                claw.append(
                    bent(
                        hand + heading @ [0, 0, big],
                        (0.07, 0.06 * size + 0.02, big),
                        shell,
                        rotation=heading,
                        blend=0.03,
                    )
                )
            parts.append(claw)
        smile = arc((0, 0.02, 0.97 * deep), 0.09, 0.018, plain(colors.dark), half_angle_deg=60, rotation=rot_z(180))
        return place([*parts, smile], rot_z(5 * step), (0.03 * step, 0, 0))

    return pose


def muncher(rng: np.random.Generator) -> PoseFunction:
    """A ball that opens its mouth at some time, slowly or suddenly."""
    colors = draw_palette(rng)
    skin = draw_material(rng, colors.main, colors.near, 0.7)
    start, duration = rng.uniform(0.15, 0.75), rng.uniform(0.06, 0.4)
    wide, gap, y = rng.uniform(0.3, 0.46), rng.uniform(0.12, 0.26), rng.uniform(-0.25, -0.1)
    eyes, antenna = rng.uniform(0.12, 0.2), rng.uniform(0.15, 0.35)
    gaze, sway = eye(colors.contrast, (0, 0, 1), 26, 44), cycles(rng, 1, 2)

    def pose(time: float) -> Pose:
        opened = smoothstep(start, start + duration, time)
        half = 0.02 + gap * opened
        body: Group = [ellipsoid((0, 0, 0), (0.66, 0.62 + 0.05 * opened, 0.6), skin)]
        parts: Pose = [body]
        if opened > 0.0:
            body.append(ellipsoid((0, y, 0.45), (wide, half, 0.35), plain("#8a2846"), carve=True, blend=0.04))
            parts.append(
                ellipsoid((0, y - 0.7 * half, 0.35), (0.55 * wide, 0.08 * opened + 0.01, 0.16), plain("#ff8095"))
            )
        else:
            parts.append(arc((0, y + 0.2, 0.55), 0.25, 0.02, plain("#6b2038"), half_angle_deg=45, rotation=rot_z(180)))
        for side in (-1, 1):
            parts.append(sphere((side * 0.24, 0.26 + 0.05 * opened, 0.46), eyes, gaze))
            tip = (side * (0.3 + 0.04 * math.sin(sway * time)), 0.55 + antenna, 0)
            parts.append(cone((side * 0.2, 0.5, 0), tip, 0.05, 0.03, plain(colors.contrast)))
            parts.append(ellipsoid((side * 0.28, -0.62, 0.1), (0.18, 0.1, 0.25), plain(colors.contrast)))
        parts.append(bent((0, -0.35, -0.7), (0.1, 0.1, 0.25), plain(colors.near), curl=0.8))
        return place(parts, rot_y(8 * math.sin(sway * time)))

    return pose


def butterfly(rng: np.random.Generator) -> PoseFunction:
    """A butterfly that opens and closes its wings."""
    colors, rate = draw_palette(rng), cycles(rng, 1, 4)
    upper, lower = (
        draw_material(rng, a, b, 0.4) for a, b in ((colors.main, colors.contrast), (colors.contrast, colors.light))
    )
    big, small, closed = rng.uniform(0.32, 0.44), rng.uniform(0.2, 0.3), rng.uniform(30, 60)
    face = draw_face(rng, (0, 0, 0.12), 0.13, 0.03)

    def pose(time: float) -> Pose:
        parts: Pose = [cone((0, -0.3, 0), (0, 0.2, 0), 0.06, 0.09, stripes(colors.dark, colors.near, (0, 1, 0), 6))]
        parts += place([sphere((0, 0, 0), 0.14, plain(colors.near)), *face], None, (0, 0.3, 0.04))
        fold = 30 + 0.5 * closed * (1 + math.sin(rate * time))
        for side in (-1, 1):
            parts.append(cone((side * 0.05, 0.4, 0.05), (side * 0.15, 0.6, 0.1), 0.018, 0.03, plain(colors.dark)))
            wing: Group = [
                ellipsoid((side * big, 0.3, 0), (big, 0.3, 0.03), upper, rotation=rot_z(side * 25)),
                ellipsoid(
                    (side * small, -0.25, 0),
                    (small, 0.24, 0.03),
                    lower,
                    rotation=rot_z(-side * 30),
                    blend=0.02,
                ),
            ]
            parts.append(place(wing, rot_y(side * fold), (side * 0.05, 0, -0.02)))
        return place(parts, rot_x(-10), (0, 0.05 * math.sin(rate * time), 0))

    return pose


def flower(rng: np.random.Generator) -> PoseFunction:
    """A flower of random petals that opens, or closes."""
    colors, count = draw_palette(rng), int(rng.integers(5, 10))
    petal, heart = draw_material(rng, colors.main, colors.light, 0.3), spots("#f4c430", "#9c5f1f", 10, 0.36)
    length, width, backwards = rng.uniform(0.24, 0.36), rng.uniform(0.1, 0.16), rng.uniform() < 0.3
    facing, sway, tall = rng.uniform(25, 75), cycles(rng, 1, 2), rng.uniform(0.5, 0.8)
    face = draw_face(rng, (0, 0, 0.15), 0.15, 0.02)

    def pose(time: float) -> Pose:
        opened = smoothstep(0.0, 1.0, 1 - time if backwards else time)
        blossom: Pose = [ellipsoid((0, 0.02, 0), (0.17, 0.1, 0.17), heart)]
        blossom += place(face, rot_x(-90), (0, -0.04, 0))
        for k in range(count):
            turn = rot_y(360.0 * k / count)
            heading = turn @ rot_x(-80 + 78 * opened)
            center = turn @ np.array([0, 0, 0.1]) + heading @ np.array([0, 0, 0.9 * length])
            blossom.append(
                bent(
                    center,
                    (width, 0.022, length),
                    petal,
                    curl=1.2 - 1.8 * opened,
                    taper=0.2,
                    rotation=heading,
                )
            )
        head = np.array([0.06 * math.sin(sway * time), 0, 0])
        stem = [cone((0, -tall, 0), head, 0.05, 0.045, plain("#4da24f"))]
        leaf = bent(
            (0.2, -0.6 * tall, 0),
            (0.1, 0.02, 0.2),
            plain("#5cb85c"),
            curl=-0.8,
            rotation=rot_y(80) @ rot_x(-30),
        )
        mound = ellipsoid((0, -tall - 0.05, 0), (0.32, 0.12, 0.32), plain("#8a5a3a"))
        return [*place(blossom, rot_x(facing), head), stem, leaf, mound]

    return pose


def spider(rng: np.random.Generator) -> PoseFunction:
    """A round body on six or eight jointed legs that dances."""
    colors, rate, pairs = draw_palette(rng), cycles(rng, 1, 3), int(rng.integers(3, 5))
    coat, leg = (
        draw_material(rng, colors.main, colors.near, 0.4),
        stripes(colors.contrast, colors.light, (0, 1, 0), 5),
    )
    body, height = rng.uniform(0.26, 0.36), rng.uniform(0.25, 0.5)
    face = draw_face(rng, (0, 0.02, 0.98 * body), 0.26, 0.05)

    def pose(time: float) -> Pose:
        bob = 0.08 * math.sin(2 * rate * time)
        parts: Pose = [[sphere((0, 0, 0), body, coat), sphere((0, 0.08, -1.2 * body), 0.85 * body, coat, blend=0.08)]]
        parts += face
        parts = place(parts, rot_z(8 * math.sin(rate * time)), (0, bob, 0))
        for side in (-1, 1):
            for k in range(pairs):
                angle = math.radians(-50 + 100 * k / (pairs - 1))
                out = np.array([side * math.cos(angle), 0, math.sin(angle)])
                lift = 0.12 * max(0.0, math.sin(rate * time + 1.7 * k + side))
                knee, foot = 0.5 * out + [0, 0.1 + bob + lift, 0], 0.72 * out + [0, -height + lift, 0]
                parts.append(
                    [
                        cone(0.8 * body * out + [0, bob, 0], knee, 0.055, 0.045, leg),
                        cone(knee, foot, 0.045, 0.025, leg, blend=0.02),
                    ]
                )
        return parts

    return pose


CREATURES: dict[str, Callable[[np.random.Generator], PoseFunction]] = {
    "train_blob": blob,
    "train_snake": snake,
    "train_quadruped": quadruped,
    "train_egg": egg,
    "train_bird": bird,
    "train_fish": fish,
    "train_jellyfish": jellyfish,
    "train_mushroom": mushroom,
    "train_crab": crab,
    "train_muncher": muncher,
    "train_butterfly": butterfly,
    "train_flower": flower,
    "train_spider": spider,
}
