"""Words to write an object in: parts, materials, rotations, and a pose that fits into its ball.

Conventions
-----------
- A part is one row (FIELDS,) float64 of `kernels.py`. A group is a list of parts that blend among themselves.
- A pose is a list of groups (or single parts) at one time in [0, 1]; `assemble` turns it into (P, FIELDS).
- Objects are written in their own units, x right, y up, z towards the input camera; `fit` finds the
  centre and the scale that put them into the ball of FIT_RADIUS at all times.
- Rotations are (3, 3), local to parent. Colours are "#rrggbb". Angles in degrees. The letter P counts parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from stages.lib.suite import kernels as K

Part = np.ndarray
Group = list[Part]
Pose = list[Group]

# At radius 2 and fovy 49.1 a ball of 0.79 touches the outermost pixel ring of a 32-pixel image.
FIT_RADIUS = 0.76
# Odd and not a multiple of common cycle counts, so that the extremes of a motion fall between few samples.
_FIT_TIMES = 47

# How far a smooth union reaches: it lifts a surface by at most a quarter of its radius, then one radius more.
_BLEND_REACH = 1.5
# Normals and colours look a little beside the surface, in object units.
_MARGIN_FLOOR = 0.01


def _shell_directions() -> np.ndarray:
    """26 unit directions (26, 3): axes, edges and corners of a cube."""
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.any(grid != 0, axis=1)].astype(float)
    return grid / np.linalg.norm(grid, axis=1, keepdims=True)


def _meridian_directions() -> np.ndarray:
    """Unit directions (36, 3) on four meridians along z, dense enough to follow a curl or a wave."""
    along = np.linspace(-1.0, 1.0, 9)
    across = np.sqrt(1.0 - along**2)
    sides = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return np.concatenate([np.stack([c * across, s * across, along], axis=1) for c, s in sides])


def _sphere_directions(count: int) -> np.ndarray:
    """Unit directions (count, 3) spread evenly over the sphere (golden spiral)."""
    height = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angle = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(count)
    across = np.sqrt(1.0 - height**2)
    return np.stack([across * np.cos(angle), height, across * np.sin(angle)], axis=1)


_DIRECTIONS = _shell_directions()
_FIT_DIRECTIONS = _sphere_directions(200)
_BENT_DIRECTIONS = np.concatenate([_DIRECTIONS, _meridian_directions()])


@dataclass(frozen=True)
class Material:
    """Two colours, the texture that mixes them in the part's own frame, and a fine brightness grain."""

    color_a: str
    color_b: str = "#000000"
    texture: int = K.PLAIN
    pattern: tuple[float, ...] = ()
    grain: float = 0.22


def plain(color: str, grain: float = 0.22) -> Material:
    """One colour; `grain` is the relative brightness range of its fine noise."""
    return Material(color, grain=grain)


def stripes(color_a: str, color_b: str, axis, frequency: float, share: float = 0.5, phase: float = 0.0):
    """Bands across a local `axis`; `frequency` bands a unit, colour B on the stated share of each."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    return Material(color_a, color_b, K.STRIPES, (*axis, frequency, phase, share))


def spots(color_a: str, color_b: str, frequency: float, radius: float = 0.34, seed: int = 0) -> Material:
    """Round spots of colour B, one a cell of 1/frequency, `radius` in cells (below 0.5)."""
    return Material(color_a, color_b, K.SPOTS, (frequency, radius, seed))


def checks(color_a: str, color_b: str, frequency) -> Material:
    """A 3D checkerboard; `frequency` is a number or three, periods a unit, 0 switches an axis off."""
    return Material(color_a, color_b, K.CHECKS, tuple(np.broadcast_to(np.asarray(frequency, float), 3)))


def gradient(color_a: str, color_b: str, axis, low: float, high: float) -> Material:
    """Colour A below `low` along a local axis, colour B above `high`, smooth between."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    return Material(color_a, color_b, K.GRADIENT, (*axis, low, high))


def noise(color_a: str, color_b: str, frequency: float, threshold=0.5, softness=0.15, seed: int = 0):
    """Cloudy patches of colour B where value noise exceeds `threshold`."""
    return Material(color_a, color_b, K.NOISE, (frequency, threshold, softness, seed))


def rings(color_a: str, color_b: str, frequency: float, share: float = 0.5, phase: float = 0.0) -> Material:
    """Rings around the local z axis."""
    return Material(color_a, color_b, K.RINGS, (frequency, phase, share))


def segments(color_a: str, color_b: str, count: int, share: float = 0.5, phase: float = 0.0) -> Material:
    """`count` wedges of colour B around the local y axis."""
    return Material(color_a, color_b, K.SEGMENTS, (float(count), phase, share))


def eye(iris: str = "#3a2a1c", gaze=(0.0, 0.0, 1.0), pupil_deg=24.0, iris_deg=38.0, white="#fffdf6"):
    """An eyeball that looks along `gaze` (local), with a painted glint."""
    gaze = np.asarray(gaze, float) / np.linalg.norm(gaze)
    pattern = (math.cos(math.radians(pupil_deg)), math.cos(math.radians(iris_deg)), *gaze)
    return Material(white, iris, K.EYE, pattern, grain=0.0)


def rot_x(degrees: float) -> np.ndarray:
    """Rotation (3, 3) about x, right handed: +y turns towards +z."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rot_y(degrees: float) -> np.ndarray:
    """Rotation (3, 3) about y, right handed: +z turns towards +x."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rot_z(degrees: float) -> np.ndarray:
    """Rotation (3, 3) about z, right handed: +x turns towards +y."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _linear(color: str) -> np.ndarray:
    """Squared display values, the space in which light is added."""
    return np.array([int(color[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]) ** 2


def _part(kind, center, size, bound, material: Material, rotation, blend, carve, half=None) -> Part:
    row = np.zeros(K.FIELDS)
    row[K.KIND], row[K.CARVE] = kind, carve
    # A zero radius would divide by zero in the smooth union; a millionth is a sharp one.
    row[K.BLEND] = max(blend, 1e-6)
    row[K.BOUND] = bound
    row[K.BOX_HALF : K.BOX_HALF + 3] = bound if half is None else half
    row[K.CENTER : K.CENTER + 3] = center
    row[K.ROTATION : K.ROTATION + 9] = np.eye(3).ravel() if rotation is None else np.asarray(rotation).T.ravel()
    row[K.SIZE : K.SIZE + len(size)] = size
    row[K.TEXTURE] = material.texture
    row[K.COLOR_A : K.COLOR_A + 3] = _linear(material.color_a)
    row[K.COLOR_B : K.COLOR_B + 3] = _linear(material.color_b)
    row[K.PATTERN : K.PATTERN + len(material.pattern)] = material.pattern
    row[K.GRAIN] = material.grain
    row[K.STRETCH : K.STRETCH + 3] = 1.0
    return row


def sphere(center, radius: float, material, *, rotation=None, blend=0.0, carve=False) -> Part:
    """A ball; the rotation turns its texture only."""
    return _part(K.SPHERE, center, [radius], radius, material, rotation, blend, carve)


def ellipsoid(center, radii, material, *, rotation=None, blend=0.0, carve=False) -> Part:
    """An ellipsoid with radii along its local axes."""
    return _part(K.ELLIPSOID, center, radii, max(radii), material, rotation, blend, carve, radii)


def cone(start, end, radius_start: float, radius_end: float, material, *, blend=0.0, carve=False) -> Part:
    """A capsule between two points with a radius at each; local y runs from start to end."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    # A ball swallows the other one when the radii differ by more than the distance; keep a sliver of slope.
    length = max(float(np.linalg.norm(end - start)), 1.001 * abs(radius_start - radius_end), 1e-4)
    up = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    side = np.array([up[1], -up[0], 0.0] if abs(up[2]) < 0.9 else [0.0, up[2], -up[1]])
    side /= np.linalg.norm(side)
    forward = [side[1] * up[2] - side[2] * up[1], side[2] * up[0] - side[0] * up[2], side[0] * up[1] - side[1] * up[0]]
    sine = (radius_start - radius_end) / length
    size = [radius_start, radius_end, length, math.sqrt(1.0 - sine * sine), sine]
    rotation = np.array([side, up, forward]).T
    bound = 0.5 * length + max(radius_start, radius_end)
    thick = max(radius_start, radius_end)
    half = (thick, bound, thick)
    return _part(K.ROUND_CONE, 0.5 * (start + end), size, bound, material, rotation, blend, carve, half)


def box(center, half_extents, rounding: float, material, *, rotation=None, blend=0.0, carve=False) -> Part:
    """A box with rounded edges; the half extents include the rounding."""
    half = np.asarray(half_extents, float)
    bound = float(np.linalg.norm(half - rounding)) + rounding
    return _part(K.BOX, center, [*(half - rounding), rounding], bound, material, rotation, blend, carve, half)


def arc(center, ring_radius, tube_radius, material, *, half_angle_deg=180.0, rotation=None, blend=0.0, carve=False):
    """A torus in the local xy plane, or the piece of it within `half_angle_deg` of local +y."""
    angle = math.radians(half_angle_deg)
    size = [ring_radius, tube_radius, math.sin(angle) if half_angle_deg < 180.0 else 0.0, math.cos(angle)]
    bound = ring_radius + tube_radius
    half = (bound, bound, tube_radius)
    return _part(K.ARC, center, size, bound, material, rotation, blend, carve, half)


def cylinder(center, radius, half_height, rounding, material, *, rotation=None, blend=0.0, carve=False):
    """A cylinder about local y with rounded rims; both sizes include the rounding."""
    size = [radius - rounding, half_height - rounding, rounding]
    bound = math.hypot(radius, half_height)
    half = (radius, half_height, radius)
    return _part(K.CYLINDER, center, size, bound, material, rotation, blend, carve, half)


def bent(
    center,
    radii,
    material,
    *,
    curl=0.0,
    wave=(0.0, 0.0, 0.0, 0.0),
    taper=0.0,
    rotation=None,
    blend=0.0,
    carve=False,
):
    """An ellipsoid along local z, curled towards +y, waved in x and tapered towards -z (taper > 0).

    The axis runs through ((offset + slope z) sin(frequency z + phase), curl z^2, z) with
    wave = (offset, slope, frequency, phase).
    """
    rx, ry, rz = radii
    reach = abs(wave[0]) + abs(wave[1]) * rz
    # Undoing curl and wave steepens distances by their slopes, undoing the taper by the narrowest width.
    steep = max(2.0 * abs(curl) * rz, abs(wave[1]) + reach * abs(wave[2]))
    safety = (1.0 - abs(taper)) / math.sqrt(1.0 + steep * steep)
    size = np.array([rx, ry, rz, curl, *wave, taper, safety])
    # Sampled on the surface; 5 % covers what lies between the samples.
    shell = _bent_shell(size)
    low, high = shell.min(0), shell.max(0)
    bound = 1.05 * float(np.sqrt((shell**2).sum(1).max()))
    row = _part(K.BENT, center, size, bound, material, rotation, blend, carve, 0.525 * (high - low))
    row[K.BOX_CENTER : K.BOX_CENTER + 3] = 0.5 * (low + high)
    return row


def stretched(part: Part, stretch) -> Part:
    """A copy whose texture is stretched by three local factors, so that it sticks to a part that deforms."""
    part = part.copy()
    part[K.STRETCH : K.STRETCH + 3] = stretch
    return part


def place(parts, rotation=None, translation=(0.0, 0.0, 0.0)):
    """Move a part, a group or a pose rigidly: x -> rotation x + translation. Returns a copy."""
    if isinstance(parts, list):
        return [place(part, rotation, translation) for part in parts]
    moved = parts.copy()
    if rotation is not None:
        moved[K.CENTER : K.CENTER + 3] = rotation @ parts[K.CENTER : K.CENTER + 3]
        local = parts[K.ROTATION : K.ROTATION + 9].reshape(3, 3) @ np.asarray(rotation).T
        moved[K.ROTATION : K.ROTATION + 9] = local.ravel()
    moved[K.CENTER : K.CENTER + 3] += translation
    return moved


def assemble(pose: Iterable[Group | Part]) -> np.ndarray:
    """Rows (P, FIELDS) of a pose, with group numbers in order of appearance."""
    rows = []
    for number, group in enumerate(pose):
        members = np.stack(group if isinstance(group, list) else [group])
        members[:, K.GROUP] = number
        # A part can be lifted by any later part's blend, so the whole group shares the widest margin.
        members[:, K.MARGIN] = _BLEND_REACH * members[:, K.BLEND].max() + _MARGIN_FLOOR
        rows.append(members)
    return np.ascontiguousarray(np.concatenate(rows))


@dataclass(frozen=True)
class Fit:
    """World point = (object point - center) / unit. center: (3,). unit: object lengths per world length."""

    center: np.ndarray
    unit: float


@dataclass(frozen=True)
class SuiteObject:
    """An animated object: `pose(time)` gives its parts in object units, `fit` its place in the world."""

    pose: Callable[[float], Pose]
    fit: Fit


def _shell(part: Part) -> np.ndarray:
    """World points (n, 3) on or just outside a part's surface, for the fit."""
    size, direction = part[K.SIZE : K.SIZE + 10], _DIRECTIONS
    kind = int(part[K.KIND])
    if kind == K.SPHERE:
        local = direction * size[0]
    elif kind == K.ELLIPSOID:
        local = direction * size[:3]
    elif kind == K.ROUND_CONE:
        offset = np.array([0.0, 0.5 * size[2], 0.0])
        local = np.concatenate([direction * size[0] - offset, direction * size[1] + offset])
    elif kind == K.BOX:
        local = np.sign(direction) * size[:3] + direction * size[3]
    elif kind == K.ARC:
        angle = np.linspace(-1, 1, 13)[:, None] * math.atan2(size[2], size[3]) if size[2] else None
        angle = np.linspace(-1, 1, 13)[:, None] * math.pi if angle is None else angle
        ring = np.concatenate([np.sin(angle), np.cos(angle), 0 * angle], axis=1) * size[0]
        local = (ring[:, None] + direction * size[1]).reshape(-1, 3)
    elif kind == K.CYLINDER:
        angle = np.linspace(0, 2 * math.pi, 13)[:, None]
        rim = np.concatenate([np.cos(angle), 0 * angle, np.sin(angle)], axis=1) * (size[0] + size[2])
        lift = np.array([0.0, size[1] + size[2], 0.0])
        local = np.concatenate([rim - lift, rim + lift])
    else:
        local = _bent_shell(size)
    return local @ part[K.ROTATION : K.ROTATION + 9].reshape(3, 3) + part[K.CENTER : K.CENTER + 3]


def _bent_shell(size: np.ndarray) -> np.ndarray:
    x, y, z = (_BENT_DIRECTIONS * size[:3]).T
    width = 1.0 + size[8] * z / size[2]
    x = x * width + (size[4] + size[5] * z) * np.sin(size[6] * z + size[7])
    return np.stack([x, y * width + size[3] * z * z, z], 1)


def fit(pose: Callable[[float], Pose], radius: float = FIT_RADIUS) -> Fit:
    """Centre and scale that keep every pose inside the ball of `radius` around the world's origin."""
    points = []
    for time in np.linspace(0.0, 1.0, _FIT_TIMES):
        parts = assemble(pose(float(time)))
        points += [_shell(part) for part in parts if part[K.CARVE] == 0.0]
    points = np.concatenate(points)
    # The enclosing ball touches few points, all of them extreme in some direction.
    extreme = points[np.argmax(_FIT_DIRECTIONS @ points.T, axis=1)]
    center = extreme.mean(0)
    # Steps towards the farthest point, each shorter than the last (Badoiu and Clarkson 2003).
    for step in range(1, 200):
        offset = extreme - center
        center = center + offset[np.argmax((offset**2).sum(1))] / (step + 1.0)
    reach = float(np.sqrt(((points - center) ** 2).sum(1).max()))
    return Fit(center, reach / radius)


def smoothstep(low: float, high: float, value: float) -> float:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    ratio = min(max((value - low) / (high - low), 0.0), 1.0)
    return ratio * ratio * (3.0 - 2.0 * ratio)
