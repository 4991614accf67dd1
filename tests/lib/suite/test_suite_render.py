"""The suite's renderer on scenes whose images are known by hand, without our camera code for the expected values."""

import math

import numpy as np
import pytest

from stages.lib import suite
from stages.lib.cameras import Cameras, orbit
from stages.lib.suite.program import (
    arc,
    assemble,
    bent,
    box,
    cone,
    cylinder,
    ellipsoid,
    plain,
    rot_x,
    rot_z,
    sphere,
)

SIZE = 128
FOCAL = 64.0 / math.tan(math.radians(24.55))  # pixels, fovy 49.1
RED, GREEN, BLUE, YELLOW = "#ff2020", "#20ff20", "#2020ff", "#ffff20"


def look(parts, azimuth=0.0, elevation=0.0, size=SIZE, **options):
    cameras = orbit(azimuth, elevation, 2.0, 49.1, size, size)
    return suite.render_parts(assemble(parts), cameras, **options)[0]


def axes_scene():
    """Balls on the axes, each small enough not to hide the next: x red, y green, z blue, and a yellow one at -x."""
    return [
        sphere((0.5, 0, 0), 0.15, plain(RED)),
        sphere((0, 0.5, 0), 0.15, plain(GREEN)),
        sphere((0, 0, 0.5), 0.15, plain(BLUE)),
        sphere((-0.5, 0, 0), 0.15, plain(YELLOW)),
    ]


def hue(pixel):
    """Which channels of a pixel are strong, e.g. (True, False, False) for red."""
    assert pixel[3] == 255
    return tuple(bool(channel > 0.6 * max(pixel[:3])) for channel in pixel[:3].tolist())


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0, 0, (False, False, True)),
        (90, 0, (True, False, False)),
        (-90, 0, (True, True, False)),
        (0, 90, (False, True, False)),
    ],
)
def test_the_middle_pixel_shows_the_side_that_faces_the_camera(azimuth, elevation, expected):
    assert hue(look(axes_scene(), azimuth, elevation)[64, 64]) == expected


def test_front_view_puts_x_right_and_y_up():
    image = look(axes_scene())
    offset = round(FOCAL * 0.5 / 2.0)
    assert offset == 35
    assert hue(image[64, 64 + offset]) == (True, False, False)
    assert hue(image[64 - offset, 64]) == (False, True, False)
    assert image[64 + offset, 64, 3] == 0


def test_top_view_puts_the_front_at_the_bottom():
    image = look(axes_scene(), elevation=90)
    assert hue(image[64 + 35, 64]) == (False, False, True)
    assert hue(image[64, 64 + 35]) == (True, False, False)


def test_azimuth_30_projects_a_ball_where_trigonometry_says():
    # Camera at 2 (sin 30, 0, cos 30); the ball at x = 0.5 is 0.5 cos 30 to the right at depth 2 - 0.5 sin 30.
    image = look([sphere((0.5, 0, 0), 0.02, plain(RED))], azimuth=30)
    rows, columns = np.nonzero(image[..., 3])
    weights = image[rows, columns, 3] / image[..., 3].sum(dtype=float)
    assert (weights * (columns + 0.5)).sum() == pytest.approx(64 + FOCAL * 0.5 * math.cos(math.pi / 6) / 1.75, abs=0.1)
    assert (weights * (rows + 0.5)).sum() == pytest.approx(64.0, abs=0.1)


@pytest.mark.parametrize("radius", [0.03, 0.3, 0.75])
def test_a_ball_covers_the_area_of_its_projected_circle(radius):
    area = look([sphere((0, 0, 0), radius, plain(RED))])[..., 3].sum() / 255.0
    # The renderer calls it a hit 0.03 pixels before the outline; a sixteenth of a pixel is the step of alpha.
    assert math.sqrt(area / math.pi) == pytest.approx(FOCAL * radius / math.sqrt(4.0 - radius**2), abs=0.06)


def covered(part, azimuth=0.0, elevation=0.0):
    return look([part], azimuth, elevation)[..., 3].sum() / 255.0


def test_each_primitive_covers_its_known_area():
    red = plain(RED)
    # Nearest faces: a square of half side 0.3 at depth 1.7; a disc of radius 0.4 at depth 1.8.
    assert covered(box((0, 0, 0), (0.3, 0.3, 0.3), 0.0, red)) == pytest.approx((FOCAL * 0.6 / 1.7) ** 2, rel=0.01)
    disc = math.pi * (FOCAL * 0.4 / 1.8) ** 2
    assert covered(cylinder((0, 0, 0), 0.4, 0.2, 0.0, red), elevation=90) == pytest.approx(disc, rel=0.01)
    assert covered(cylinder((0, 0, 0), 0.4, 0.2, 0.0, red, rotation=rot_x(90))) == pytest.approx(disc, rel=0.01)
    # Thin things at depth 2: a capsule, an ellipse, a ring and half of it.
    scale = (FOCAL / 2.0) ** 2
    capsule = (2 * 0.05 * 0.8 + math.pi * 0.05**2) * scale
    assert covered(cone((-0.4, 0, 0), (0.4, 0, 0), 0.05, 0.05, red)) == pytest.approx(capsule, rel=0.02)
    ellipse = math.pi * 0.6 * 0.2 * scale
    assert covered(ellipsoid((0, 0, 0), (0.6, 0.2, 0.02), red)) == pytest.approx(ellipse, rel=0.01)
    assert covered(bent((0, 0, 0), (0.6, 0.02, 0.2), red, rotation=rot_x(90))) == pytest.approx(ellipse, rel=0.01)
    middle, half_width = math.atan(0.5 / 2.0), math.asin(0.05 / math.hypot(0.5, 2.0))
    ring = math.pi * FOCAL**2 * (math.tan(middle + half_width) ** 2 - math.tan(middle - half_width) ** 2)
    assert covered(arc((0, 0, 0), 0.5, 0.05, red)) == pytest.approx(ring, rel=0.02)
    half = 0.5 * ring + math.pi * 0.05**2 * scale
    assert covered(arc((0, 0, 0), 0.5, 0.05, red, half_angle_deg=90)) == pytest.approx(half, rel=0.02)


def test_rotation_turns_x_towards_y():
    image = look([cone((0, 0, 0), (0.5, 0, 0), 0.05, 0.05, plain(RED), blend=0.0)])
    turned = look([box((0, 0, 0), (0.5, 0.05, 0.05), 0.0, plain(RED), rotation=rot_z(45))])
    assert image[64, 64 + 30, 3] == 255 and image[64, 64 - 30, 3] == 0
    assert turned[64 - 22, 64 + 22, 3] == 255 and turned[64 + 22, 64 + 22, 3] == 0


def test_carving_opens_a_hole_and_paints_it():
    ball, hole = sphere((0, 0, 0), 0.5, plain(RED)), sphere((0, 0, 0.5), 0.3, plain(BLUE), carve=True)
    assert hue(look([[ball, hole]])[64, 64]) == (False, False, True)
    assert hue(look([[ball, hole]], azimuth=180)[64, 64]) == (True, False, False)


def test_smooth_union_fills_the_gap_only_within_a_group():
    left, right = sphere((-0.29, 0, 0), 0.25, plain(RED)), sphere((0.29, 0, 0), 0.25, plain(RED), blend=0.3)
    assert look([left, right])[64, 64, 3] == 0
    assert look([[left, right]])[64, 64, 3] == 255


def test_shading_does_not_depend_on_the_view():
    # The same surface point, on the ball's equator at 45 degrees, seen from three azimuths.
    ball = [sphere((0, 0, 0), 0.5, plain("#c0a080", grain=0.0))]
    seen = []
    for azimuth in (25, 45, 65):
        angle = math.radians(45 - azimuth)
        column = 64 + FOCAL * 0.5 * math.sin(angle) / (2.0 - 0.5 * math.cos(angle))
        seen.append(look(ball, azimuth)[64, int(column), :3].astype(int))
    assert np.abs(np.diff(seen, axis=0)).max() <= 4


def edges(alpha):
    return (alpha > 0) & (alpha < 255)


def test_partial_alpha_lies_only_on_the_outline():
    alpha = suite.render("mouth", [0.6], orbit(0, 0, 2.0, 49.1, SIZE, SIZE))[0, 0, ..., 3]
    inside = np.pad(alpha > 0, 1)
    outside = np.pad(alpha < 255, 1)
    shifts = [(slice(a, a + SIZE), slice(b, b + SIZE)) for a in range(3) for b in range(3)]
    near_both = np.any([inside[s] for s in shifts], 0) & np.any([outside[s] for s in shifts], 0)
    partial = edges(alpha)
    assert 100 < partial.sum() < 1000
    assert not np.any(partial & ~near_both)
    # An interior pixel is never see-through: partial pixels have an empty or partial pixel beside them.
    assert (alpha == 255).sum() > 10 * partial.sum()


def test_outside_all_channels_are_zero():
    images = suite.render("wings", [0.0, 0.7], orbit([0, 140], [0, 20], 2.0, 49.1, 64, 64))
    assert np.all(images[images[..., 3] == 0] == 0)


@pytest.mark.parametrize("name", ["walk", "bounce", "swim", "dev_train"])
def test_edges_agree_with_sixteen_samples_everywhere(name):
    """The slow twin: every pixel as the mean of 4 x 4 samples, from an image four times as large."""
    found = suite.get_object(name)
    parts = assemble(found.pose(0.3))
    place = {"center": found.fit.center, "unit": found.fit.unit}
    fast = suite.render_parts(parts, orbit(20, 10, 2.0, 49.1, 96, 96), **place)[0].astype(float)
    large = suite.render_parts(parts, orbit(20, 10, 2.0, 49.1, 384, 384), antialias=False, **place)[0].astype(float)
    large = large.reshape(96, 4, 96, 4, 4)
    alpha = large[..., 3].mean((1, 3))
    color = (large[..., :3] * large[..., 3:]).sum((1, 3)) / np.maximum(large[..., 3].sum((1, 3)), 1.0)[..., None]
    assert np.abs(alpha - fast[..., 3]).mean() < 0.05
    assert (np.abs(alpha - fast[..., 3]) > 16).mean() < 1e-3
    difference = np.abs(color - fast[..., :3]) * (alpha[..., None] > 0)
    assert difference.mean() < 0.3
    # Details thinner than the distance of the primary samples may be missed.
    assert (difference.max(-1) > 40).mean() < 3e-3


@pytest.mark.parametrize(("width", "height"), [(64, 64), (70, 33), (33, 70), (512, 512), (1, 1)])
def test_any_image_size(width, height):
    image = suite.render("swim", [0.4], orbit(0, 0, 2.0, 49.1, width, height))
    assert image.shape == (1, 1, height, width, 4) and image.dtype == np.uint8
    assert image[0, 0, height // 2, width // 2, 3] == 255


def test_a_part_of_the_image_is_the_same_as_in_the_whole():
    whole = orbit(0, 0, 2.0, 49.1, 64, 64)
    shifted = whole.intrinsics.copy()
    shifted[:, 0, 2] -= 16.0
    cut = Cameras(whole.world_to_camera, shifted, 32, 64)
    full = suite.render("walk", [0.2], whole)[0, 0]
    part = suite.render("walk", [0.2], cut)[0, 0]
    # Columns beside the cut miss a neighbour for the edge test.
    assert np.array_equal(full[:, 17:47], part[:, 1:31])
