"""Compiled renderer of the embedded suite: sphere tracing of one "program" of parts, sixteen rays at a time.

Vocabulary
----------
- Part: one primitive with its pose, size and material, stored as one row of `parts` (P, FIELDS) float64.
- Group: consecutive parts that join smoothly (or are carved away) among themselves; groups join sharply.
- Bound: the sphere around a part's centre that contains it. A ray that misses it never evaluates the part.
- Box: the part's bounding box in its own frame, which tells thin parts from their bounding spheres.
- Margin: how far outside its own surface a part can still change its group's surface (smooth union).
- Packet: LANES rays, either 4 x 4 neighbouring pixels or the 4 x 4 samples of one pixel. Every kernel loops
  over parts outside and over lanes inside, so that the compiler turns lanes into vector instructions.
- Register: LANES numbers inside the one work array `w`, named by its offset (`w[X + lane]`). Constant offsets
  into one array let the compiler prove that registers do not overlap.
- Unit: world length times `unit` is a length in the object's own coordinates, where all kernels work.

Conventions
-----------
- World right handed, y up; cameras as in `stages/lib/cameras.py`. Rotations in rows map world to local.
- Colours in rows are squares of display values: light is added there and the square root shown (gamma 2).
- All shading is diffuse and fixed in the world, so a surface point has one colour from every view.

Layout and kernels share this one file because Numba's cache notices a change of a function's own file only.

Sources: primitives and smooth union, Inigo Quilez, "distance functions" and "smooth minimum" (iquilezles.org);
sphere tracing, Hart 1996; occlusion from few distance samples, Evans 2006 ("Fast approximations for global
illumination on dynamic scenes"). Written anew.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Columns of one part.
KIND, CARVE, GROUP, BLEND, MARGIN, BOUND = 0, 1, 2, 3, 4, 5
CENTER = 6  # 3 numbers
ROTATION = 9  # 9 numbers, row major, world to local
SIZE = 18  # 10 numbers, meaning by kind
TEXTURE = 28
COLOR_A = 29  # 3 numbers
COLOR_B = 32  # 3 numbers
PATTERN = 35  # 6 numbers, meaning by texture
GRAIN = 41
BOX_CENTER = 42  # 3 numbers, local
BOX_HALF = 45  # 3 numbers, local
STRETCH = 48  # 3 numbers: texture coordinates are the part's own divided by these
FIELDS = 51

# Kinds of primitives, with the meaning of SIZE.
SPHERE = 0  # radius
ELLIPSOID = 1  # radii x y z
ROUND_CONE = 2  # radius at -y, radius at +y, length, cosine and sine of the slope
BOX = 3  # half extents x y z without rounding, rounding
ARC = 4  # ring radius, tube radius, sine and cosine of half the opening; lies in xy, centred on +y
CYLINDER = 5  # radius and half height without rounding, rounding; axis y
BENT = 6  # radii x y z, curl, wave offset, wave slope, wave frequency, wave phase, taper, safety

# Textures, with the meaning of PATTERN.
PLAIN = 0
STRIPES = 1  # axis x y z, periods a unit, phase in periods, share of colour B
SPOTS = 2  # frequency, spot radius in cells, seed
CHECKS = 3  # frequency x y z
GRADIENT = 4  # axis x y z, low, high
NOISE = 5  # frequency, threshold, softness, seed
EYE = 6  # cosines of the pupil's and the iris's half angles, gaze x y z
RINGS = 7  # frequency, phase, share of colour B: stripes over the distance to the local z axis
SEGMENTS = 8  # number of segments around the local y axis, phase, share of colour B

LANES = 16  # a 4 x 4 block
SIDE = 4

# Registers of the work array. Query point and what `_scene` answers for it:
X, Y, Z, DISTANCE = 0, 16, 32, 48
# A part's own coordinates, distance, share of the surface, and texture weight or colour:
LOCAL_X, LOCAL_Y, LOCAL_Z, OWN, SHARE, WEIGHT, RED, GREEN, BLUE = 64, 80, 96, 112, 128, 144, 160, 176, 192
# Its group so far:
JOINED, GROUP_RED, GROUP_GREEN, GROUP_BLUE = 208, 224, 240, 256
# Rays:
DIR_X, DIR_Y, DIR_Z, ALONG, ACTIVE, HIT = 272, 288, 304, 320, 336, 352
# Surface points found:
HIT_X, HIT_Y, HIT_Z, NORMAL_X, NORMAL_Y, NORMAL_Z = 368, 384, 400, 416, 432, 448
ALBEDO_RED, ALBEDO_GREEN, ALBEDO_BLUE, AMBIENT, SHADE, OPEN = 464, 480, 496, 512, 528, 544
LIGHT_RED, LIGHT_GREEN, LIGHT_BLUE = 560, 576, 592
# Marching: the last empty ball's radius and the step taken out of it:
BALL, MOVED = 608, 624
REGISTERS = 640
# Loops run to `w.size // _WORDS`, which is LANES: a length that the compiler knew would make it unroll them
# before it vectorises, and then it no longer does.
_WORDS = 40

# What is kept of a primary sample: display colour, hit, point, normal, light.
HIT_CHANNEL, POINT_CHANNEL, NORMAL_CHANNEL, LIGHT_CHANNEL, CHANNELS = 3, 4, 7, 10, 13

_FAR = 1e9
_TILE = 16
_MAX_STEPS = 64
# Share of the planar step that is taken beyond the empty ball (Balint and Valasek 2018).
_RELAX = 0.9
# World lengths; a ray that passes an outline nearer than this counts as a hit: 3 % of a pixel at 128x128.
_HIT = 4e-4
_NORMAL_STEP = 2e-3
# Neighbours whose display values differ by more than this get extra samples; 0.06 is 15 of 255 levels.
_EDGE_CONTRAST = 0.06
_ALIKE, _TEXTURE_EDGE, _SHAPE_EDGE = 0, 1, 2
# Neighbours lie on one smooth surface when their normals are within 32 degrees and the step between them is
# within 24 degrees of the tangent plane.
_SMOOTH_COSINE, _SMOOTH_SINE_SQUARED = 0.85, 0.16
# Two occlusion distances along the normal and three along the key light, in world lengths.
_OCCLUSION_NEAR, _OCCLUSION_FAR = 0.05, 0.14
_SHADOW_NEAR, _SHADOW_MIDDLE, _SHADOW_FAR = 0.06, 0.15, 0.30
# The key light stands above, to the right and in front; normalised (0.42, 0.70, 0.58).
_KEY_X, _KEY_Y, _KEY_Z = 0.4195, 0.6991, 0.5793
# The fill light comes from behind on the left, so that backs are shaped too; normalised (-0.6, 0.25, -0.7).
_FILL_X, _FILL_Y, _FILL_Z = -0.6281, 0.2617, -0.7328

# Infinities and NaN stay meaningful; everything else may be reordered or fused.
_MATH = {"reassoc", "contract", "arcp", "nsz", "afn"}
# Wrappers for calls from Python and C are left out where nothing calls from there: they only cost compile time.
# Reference counts of array arguments would double the time of these short functions (measured), and none of
# them allocates; only `render_image`, which does, counts.
_ALLOCATES = {"cache": True, "error_model": "numpy", "fastmath": _MATH, "nogil": True}
_OPTIONS = {**_ALLOCATES, "cache": False, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@njit(**_OPTIONS)
def _clamp(value, low, high):
    return min(max(value, low), high)


@njit(**_OPTIONS)
def _smoothstep(low, high, value):
    ratio = _clamp((value - low) / (high - low), 0.0, 1.0)
    return ratio * ratio * (3.0 - 2.0 * ratio)


@njit(**_OPTIONS)
def _cosine(turns):
    """cos(2 pi turns) to 2e-5 without a branch or a library call, so that it vectorises."""
    turns -= np.floor(turns + 0.5)
    v = turns * turns
    return 1.0 + v * (-19.739_05 + v * (64.934_9 + v * (-85.295_6 + v * (58.912_0 - v * 21.282_0))))


@njit(**_OPTIONS)
def _to_local(parts, i, w):
    """Bring the query points into a part's own frame."""
    cx, cy, cz = parts[i, CENTER], parts[i, CENTER + 1], parts[i, CENTER + 2]
    r0, r1, r2 = parts[i, ROTATION], parts[i, ROTATION + 1], parts[i, ROTATION + 2]
    r3, r4, r5 = parts[i, ROTATION + 3], parts[i, ROTATION + 4], parts[i, ROTATION + 5]
    r6, r7, r8 = parts[i, ROTATION + 6], parts[i, ROTATION + 7], parts[i, ROTATION + 8]
    for lane in range(w.size // _WORDS):
        x, y, z = w[X + lane] - cx, w[Y + lane] - cy, w[Z + lane] - cz
        w[LOCAL_X + lane] = r0 * x + r1 * y + r2 * z
        w[LOCAL_Y + lane] = r3 * x + r4 * y + r5 * z
        w[LOCAL_Z + lane] = r6 * x + r7 * y + r8 * z


@njit(**_OPTIONS)
def _sphere(parts, i, w):
    radius = parts[i, SIZE]
    for lane in range(w.size // _WORDS):
        x, y, z = w[LOCAL_X + lane], w[LOCAL_Y + lane], w[LOCAL_Z + lane]
        w[OWN + lane] = math.sqrt(x * x + y * y + z * z) - radius


@njit(**_OPTIONS)
def _ellipsoid(parts, i, w, safety):
    """First-order distance, and outside never less than to the bounding box.

    Both are lower bounds; beside flat ellipsoids the first alone is far too small and costs steps.
    """
    rx, ry, rz = parts[i, SIZE], parts[i, SIZE + 1], parts[i, SIZE + 2]
    ix, iy, iz = 1.0 / rx, 1.0 / ry, 1.0 / rz
    for lane in range(w.size // _WORDS):
        x, y, z = w[LOCAL_X + lane], w[LOCAL_Y + lane], w[LOCAL_Z + lane]
        ax, ay, az = max(abs(x) - rx, 0.0), max(abs(y) - ry, 0.0), max(abs(z) - rz, 0.0)
        x, y, z = x * ix, y * iy, z * iz
        k0 = x * x + y * y + z * z
        x, y, z = x * ix, y * iy, z * iz
        first = (k0 - math.sqrt(k0)) / math.sqrt(x * x + y * y + z * z + 1e-12)
        box = math.sqrt(ax * ax + ay * ay + az * az)
        w[OWN + lane] = safety * (max(first, box) if box > 0.0 else first)


@njit(**_OPTIONS)
def _round_cone(parts, i, w):
    low, high, length = parts[i, SIZE], parts[i, SIZE + 1], parts[i, SIZE + 2]
    cosine, sine = parts[i, SIZE + 3], parts[i, SIZE + 4]
    for lane in range(w.size // _WORDS):
        x, y, z = w[LOCAL_X + lane], w[LOCAL_Y + lane] + 0.5 * length, w[LOCAL_Z + lane]
        squared = x * x + z * z
        across = math.sqrt(squared)
        side = cosine * y - sine * across
        bottom = math.sqrt(squared + y * y) - low
        top = math.sqrt(squared + (y - length) * (y - length)) - high
        middle = cosine * across + sine * y - low
        w[OWN + lane] = bottom if side < 0.0 else (top if side > cosine * length else middle)


@njit(**_OPTIONS)
def _box(parts, i, w):
    hx, hy, hz, rounding = parts[i, SIZE], parts[i, SIZE + 1], parts[i, SIZE + 2], parts[i, SIZE + 3]
    for lane in range(w.size // _WORDS):
        x, y, z = abs(w[LOCAL_X + lane]) - hx, abs(w[LOCAL_Y + lane]) - hy, abs(w[LOCAL_Z + lane]) - hz
        inside = min(max(x, max(y, z)), 0.0)
        x, y, z = max(x, 0.0), max(y, 0.0), max(z, 0.0)
        w[OWN + lane] = math.sqrt(x * x + y * y + z * z) + inside - rounding


@njit(**_OPTIONS)
def _arc(parts, i, w):
    ring, tube, sine, cosine = parts[i, SIZE], parts[i, SIZE + 1], parts[i, SIZE + 2], parts[i, SIZE + 3]
    for lane in range(w.size // _WORDS):
        x, y, z = abs(w[LOCAL_X + lane]), w[LOCAL_Y + lane], w[LOCAL_Z + lane]
        reach = sine * x + cosine * y if cosine * x > sine * y else math.sqrt(x * x + y * y)
        squared = x * x + y * y + z * z + ring * ring - 2.0 * ring * reach
        w[OWN + lane] = math.sqrt(max(squared, 0.0)) - tube


@njit(**_OPTIONS)
def _cylinder(parts, i, w):
    radius, height, rounding = parts[i, SIZE], parts[i, SIZE + 1], parts[i, SIZE + 2]
    for lane in range(w.size // _WORDS):
        x, z = w[LOCAL_X + lane], w[LOCAL_Z + lane]
        across, along = math.sqrt(x * x + z * z) - radius, abs(w[LOCAL_Y + lane]) - height
        inside = min(max(across, along), 0.0)
        across, along = max(across, 0.0), max(along, 0.0)
        w[OWN + lane] = math.sqrt(across * across + along * along) + inside - rounding


@njit(**_OPTIONS)
def _unbend(parts, i, w):
    """Undo curl, wave and taper, so that a bent ellipsoid (and its texture) becomes a straight one."""
    length, curl, taper = parts[i, SIZE + 2], parts[i, SIZE + 3], parts[i, SIZE + 8]
    offset, slope = parts[i, SIZE + 4], parts[i, SIZE + 5]
    # sin(a) = cos(a - quarter turn)
    frequency, phase = parts[i, SIZE + 6] / (2.0 * math.pi), parts[i, SIZE + 7] / (2.0 * math.pi) - 0.25
    for lane in range(w.size // _WORDS):
        z = w[LOCAL_Z + lane]
        width = 1.0 / (1.0 + taper * _clamp(z / length, -1.0, 1.0))
        sideways = (offset + slope * z) * _cosine(frequency * z + phase)
        w[LOCAL_X + lane] = (w[LOCAL_X + lane] - sideways) * width
        w[LOCAL_Y + lane] = (w[LOCAL_Y + lane] - curl * z * z) * width


@njit(**_OPTIONS)
def _part(parts, i, w):
    """Signed distances of the query points to one part, into OWN; its coordinates stay in LOCAL_X to Z."""
    _to_local(parts, i, w)
    kind = int(parts[i, KIND])
    if kind == SPHERE:
        _sphere(parts, i, w)
    elif kind == ELLIPSOID:
        _ellipsoid(parts, i, w, 1.0)
    elif kind == ROUND_CONE:
        _round_cone(parts, i, w)
    elif kind == BOX:
        _box(parts, i, w)
    elif kind == ARC:
        _arc(parts, i, w)
    elif kind == CYLINDER:
        _cylinder(parts, i, w)
    else:
        _unbend(parts, i, w)
        _ellipsoid(parts, i, w, parts[i, SIZE + 9])


@njit(**_OPTIONS)
def _scene(parts, ids, count, w):
    """Signed distances of the query points to the parts `ids[:count]`, into DISTANCE."""
    for lane in range(w.size // _WORDS):
        w[DISTANCE + lane] = _FAR
        w[JOINED + lane] = _FAR
    group = -1.0
    for j in range(count):
        i = ids[j]
        _part(parts, i, w)
        if parts[i, GROUP] != group:
            group = parts[i, GROUP]
            # A group whose first part is out of reach may start with a carving part: nothing is left to carve.
            keep, far = 1.0 - parts[i, CARVE], _FAR * parts[i, CARVE]
            for lane in range(w.size // _WORDS):
                w[DISTANCE + lane] = min(w[DISTANCE + lane], w[JOINED + lane])
                w[JOINED + lane] = keep * w[OWN + lane] + far
            continue
        blend, rate = parts[i, BLEND], 0.25 / parts[i, BLEND]
        # Carving a part away is joining with the signs turned.
        sign = 1.0 - 2.0 * parts[i, CARVE]
        for lane in range(w.size // _WORDS):
            joined, own = sign * w[JOINED + lane], w[OWN + lane]
            overlap = max(blend - abs(joined - own), 0.0)
            w[JOINED + lane] = sign * (min(joined, own) - rate * overlap * overlap)
    for lane in range(w.size // _WORDS):
        w[DISTANCE + lane] = min(w[DISTANCE + lane], w[JOINED + lane])


@njit(**_OPTIONS)
def _hash(ix, iy, iz, seed):
    """A fixed pseudo-random number in [0, 1) of an integer lattice point."""
    mixed = (ix * 73856093) ^ (iy * 19349663) ^ (iz * 83492791) ^ (seed * 2654435761)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) * (1.0 / 65536.0)


@njit(**_OPTIONS)
def _lattice(value):
    """Lattice index below a coordinate, and the smoothed remainder."""
    below = np.floor(value)
    rest = value - below
    return int(below), rest * rest * (3.0 - 2.0 * rest)


@njit(**_OPTIONS)
def _noise(x, y, z, seed):
    """Value noise in [0, 1] with lattice spacing 1."""
    ix, ax = _lattice(x)
    iy, ay = _lattice(y)
    iz, az = _lattice(z)
    a = _hash(ix, iy, iz, seed) * (1.0 - ax) + _hash(ix + 1, iy, iz, seed) * ax
    b = _hash(ix, iy + 1, iz, seed) * (1.0 - ax) + _hash(ix + 1, iy + 1, iz, seed) * ax
    c = _hash(ix, iy, iz + 1, seed) * (1.0 - ax) + _hash(ix + 1, iy, iz + 1, seed) * ax
    d = _hash(ix, iy + 1, iz + 1, seed) * (1.0 - ax) + _hash(ix + 1, iy + 1, iz + 1, seed) * ax
    return (a * (1.0 - ay) + b * ay) * (1.0 - az) + (c * (1.0 - ay) + d * ay) * az


@njit(**_OPTIONS)
def _spots(frequency, radius, seed, w):
    """1 inside spots, 0 outside, into WEIGHT; a jittered spot of varied size in each lattice cell."""
    for lane in range(w.size // _WORDS):
        w[WEIGHT + lane] = _FAR
    # Only the eight cells around the nearest lattice corner can hold the nearest spot of radius < 0.5.
    for corner in range(8):
        sx, sy, sz = (corner & 1) - 1, ((corner >> 1) & 1) - 1, (corner >> 2) - 1
        for lane in range(w.size // _WORDS):
            x, y, z = frequency * w[LOCAL_X + lane], frequency * w[LOCAL_Y + lane], frequency * w[LOCAL_Z + lane]
            cx, cy, cz = np.floor(x + 0.5) + sx, np.floor(y + 0.5) + sy, np.floor(z + 0.5) + sz
            # One hash gives three jitters and a size: its four digits in base 16.
            code = _hash(int(cx), int(cy), int(cz), seed) * 16.0
            rest = (code - np.floor(code)) * 16.0
            last = (rest - np.floor(rest)) * 16.0
            dx = cx + 0.3 + 0.025 * np.floor(code) - x
            dy = cy + 0.3 + 0.025 * np.floor(rest) - y
            dz = cz + 0.3 + 0.025 * np.floor(last) - z
            size = 0.6 + 0.8 * (last - np.floor(last))
            squared = (dx * dx + dy * dy + dz * dz) / (size * size)
            w[WEIGHT + lane] = min(w[WEIGHT + lane], squared)
    for lane in range(w.size // _WORDS):
        w[WEIGHT + lane] = 1.0 - _smoothstep(0.85 * radius, 1.15 * radius, math.sqrt(w[WEIGHT + lane]))


@njit(**_OPTIONS)
def _band(turns, share):
    """1 over the stated share of a period, 0 elsewhere, with soft edges."""
    edge = _cosine(0.5 * share)
    return _smoothstep(edge - 0.22, edge + 0.22, _cosine(turns))


@njit(**_OPTIONS)
def _pattern(parts, i, w):
    """Weight of colour B at a part's own coordinates, into WEIGHT."""
    texture = int(parts[i, TEXTURE])
    a, b, c = parts[i, PATTERN], parts[i, PATTERN + 1], parts[i, PATTERN + 2]
    d, e, f = parts[i, PATTERN + 3], parts[i, PATTERN + 4], parts[i, PATTERN + 5]
    seed = int(d)
    if texture == STRIPES:
        for k in range(w.size // _WORDS):
            w[WEIGHT + k] = _band(d * (a * w[LOCAL_X + k] + b * w[LOCAL_Y + k] + c * w[LOCAL_Z + k]) + e, f)
    elif texture == SPOTS:
        _spots(a, b, int(c), w)
    elif texture == CHECKS:
        for k in range(w.size // _WORDS):
            product = _cosine(a * w[LOCAL_X + k]) * _cosine(b * w[LOCAL_Y + k]) * _cosine(c * w[LOCAL_Z + k])
            w[WEIGHT + k] = _smoothstep(-0.12, 0.12, product)
    elif texture == GRADIENT:
        for k in range(w.size // _WORDS):
            w[WEIGHT + k] = _smoothstep(d, e, a * w[LOCAL_X + k] + b * w[LOCAL_Y + k] + c * w[LOCAL_Z + k])
    elif texture == NOISE:
        for k in range(w.size // _WORDS):
            x, y, z = a * w[LOCAL_X + k], a * w[LOCAL_Y + k], a * w[LOCAL_Z + k]
            value = 0.7 * _noise(x, y, z, seed) + 0.3 * _noise(2.1 * x, 2.1 * y, 2.1 * z, seed)
            w[WEIGHT + k] = _smoothstep(b - c, b + c, value)
    elif texture == RINGS:
        for k in range(w.size // _WORDS):
            radius = math.sqrt(w[LOCAL_X + k] * w[LOCAL_X + k] + w[LOCAL_Y + k] * w[LOCAL_Y + k])
            w[WEIGHT + k] = _band(a * radius + b, c)
    elif texture == SEGMENTS:
        for k in range(w.size // _WORDS):
            turns = math.atan2(w[LOCAL_X + k], w[LOCAL_Z + k]) / (2.0 * math.pi)
            w[WEIGHT + k] = _band(a * turns + b, c)


@njit(**_OPTIONS)
def _eye(parts, i, w):
    """White, iris, pupil and a painted glint, into RED, GREEN and BLUE."""
    pupil_edge, iris_edge = parts[i, PATTERN], parts[i, PATTERN + 1]
    gx, gy, gz = parts[i, PATTERN + 2], parts[i, PATTERN + 3], parts[i, PATTERN + 4]
    white_red, white_green, white_blue = parts[i, COLOR_A], parts[i, COLOR_A + 1], parts[i, COLOR_A + 2]
    iris_red, iris_green, iris_blue = parts[i, COLOR_B], parts[i, COLOR_B + 1], parts[i, COLOR_B + 2]
    for lane in range(w.size // _WORDS):
        x, y, z = w[LOCAL_X + lane], w[LOCAL_Y + lane], w[LOCAL_Z + lane]
        scale = 1.0 / (math.sqrt(x * x + y * y + z * z) + 1e-9)
        facing = (gx * x + gy * y + gz * z) * scale
        # The glint sits up and to the right of the gaze; it keeps the eye alive without a specular term.
        glint = ((gx + 0.26) * x + (gy + 0.30) * y + gz * z) * scale * 0.929
        iris = _smoothstep(iris_edge - 0.03, iris_edge + 0.03, facing)
        pupil = 1.0 - _smoothstep(pupil_edge - 0.03, pupil_edge + 0.03, facing)
        shine = _smoothstep(0.955, 0.975, glint)
        red = (white_red + iris * (iris_red - white_red)) * pupil
        green = (white_green + iris * (iris_green - white_green)) * pupil
        blue = (white_blue + iris * (iris_blue - white_blue)) * pupil
        w[RED + lane] = red + shine * (1.0 - red)
        w[GREEN + lane] = green + shine * (1.0 - green)
        w[BLUE + lane] = blue + shine * (1.0 - blue)


@njit(**_OPTIONS)
def _color(parts, i, w):
    """Albedo (squared display values) of a part at its own coordinates, into RED, GREEN and BLUE."""
    sx, sy, sz = 1.0 / parts[i, STRETCH], 1.0 / parts[i, STRETCH + 1], 1.0 / parts[i, STRETCH + 2]
    for lane in range(w.size // _WORDS):
        w[LOCAL_X + lane] *= sx
        w[LOCAL_Y + lane] *= sy
        w[LOCAL_Z + lane] *= sz
    if int(parts[i, TEXTURE]) == EYE:
        _eye(parts, i, w)
        return
    if int(parts[i, TEXTURE]) == PLAIN:
        for lane in range(w.size // _WORDS):
            w[WEIGHT + lane] = 0.0
    else:
        _pattern(parts, i, w)
    red, green, blue, grain = parts[i, COLOR_A], parts[i, COLOR_A + 1], parts[i, COLOR_A + 2], parts[i, GRAIN]
    to_red, to_green, to_blue = (
        parts[i, COLOR_B] - red,
        parts[i, COLOR_B + 1] - green,
        parts[i, COLOR_B + 2] - blue,
    )
    for lane in range(w.size // _WORDS):
        cloud = _noise(9.0 * w[LOCAL_X + lane] + 5.0, 9.0 * w[LOCAL_Y + lane], 9.0 * w[LOCAL_Z + lane], 7)
        bright = 1.0 + grain * (cloud - 0.5)
        w[RED + lane] = bright * (red + w[WEIGHT + lane] * to_red)
        w[GREEN + lane] = bright * (green + w[WEIGHT + lane] * to_green)
        w[BLUE + lane] = bright * (blue + w[WEIGHT + lane] * to_blue)


@njit(**_OPTIONS)
def _close_group(w):
    """Take the colour of the group that ends here where it is the nearest so far."""
    for lane in range(w.size // _WORDS):
        nearer = w[JOINED + lane] < w[DISTANCE + lane]
        w[DISTANCE + lane] = w[JOINED + lane] if nearer else w[DISTANCE + lane]
        w[ALBEDO_RED + lane] = w[GROUP_RED + lane] if nearer else w[ALBEDO_RED + lane]
        w[ALBEDO_GREEN + lane] = w[GROUP_GREEN + lane] if nearer else w[ALBEDO_GREEN + lane]
        w[ALBEDO_BLUE + lane] = w[GROUP_BLUE + lane] if nearer else w[ALBEDO_BLUE + lane]
        w[JOINED + lane] = _FAR


@njit(**_OPTIONS)
def _albedo(parts, ids, count, w):
    """Albedo at the query points, into ALBEDO_*; materials blend where their parts blend."""
    for lane in range(w.size // _WORDS):
        w[DISTANCE + lane] = _FAR
        w[JOINED + lane] = _FAR
    group = -1.0
    for j in range(count):
        i = ids[j]
        if parts[i, GROUP] != group:
            group = parts[i, GROUP]
            _close_group(w)
        _part(parts, i, w)
        blend, rate = parts[i, BLEND], 0.25 / parts[i, BLEND]
        sign, margin = 1.0 - 2.0 * parts[i, CARVE], parts[i, MARGIN]
        near = 0.0
        for lane in range(w.size // _WORDS):
            joined, own = sign * w[JOINED + lane], w[OWN + lane]
            overlap = max(blend - abs(joined - own), 0.0)
            part = 8.0 * rate * rate * overlap * overlap
            w[JOINED + lane] = sign * (min(joined, own) - rate * overlap * overlap)
            w[SHARE + lane] = 1.0 - part if own < joined else part
            near = max(near, w[HIT + lane] if own < margin and w[SHARE + lane] > 0.0 else 0.0)
        # Where the part does not reach the surface its colour is never shown.
        if near > 0.0:
            _color(parts, i, w)
            for lane in range(w.size // _WORDS):
                share = w[SHARE + lane]
                w[GROUP_RED + lane] += share * (w[RED + lane] - w[GROUP_RED + lane])
                w[GROUP_GREEN + lane] += share * (w[GREEN + lane] - w[GROUP_GREEN + lane])
                w[GROUP_BLUE + lane] += share * (w[BLUE + lane] - w[GROUP_BLUE + lane])
    _close_group(w)


@njit(**_OPTIONS)
def _slab(origin, direction, half, near, far):
    """Clip the interval [near, far] of a ray to one coordinate within +-half."""
    if abs(direction) < 1e-9:
        if abs(origin) > half:
            return near, -1.0
        return near, far
    inverse = 1.0 / direction
    middle, width = -origin * inverse, half * abs(inverse)
    return max(near, middle - width), min(far, middle + width)


@njit(**_OPTIONS)
def _span(parts, i, origin, dx, dy, dz, spread):
    """Where a cone (radius `spread` at distance 1) is inside a part's bound and box: (near, far), or near > far."""
    ox, oy, oz = (
        origin[0] - parts[i, CENTER],
        origin[1] - parts[i, CENTER + 1],
        origin[2] - parts[i, CENTER + 2],
    )
    along = -(ox * dx + oy * dy + oz * dz)
    extra = parts[i, MARGIN] + spread * (along + parts[i, BOUND] + parts[i, MARGIN])
    limit = parts[i, BOUND] + extra
    half = limit * limit - (ox * ox + oy * oy + oz * oz - along * along)
    if half <= 0.0:
        return 1.0, 0.0
    half = math.sqrt(half)
    near, far = along - half, along + half
    for axis in range(3):
        column = ROTATION + 3 * axis
        a, b, c = parts[i, column], parts[i, column + 1], parts[i, column + 2]
        near, far = _slab(
            a * ox + b * oy + c * oz - parts[i, BOX_CENTER + axis],
            a * dx + b * dy + c * dz,
            parts[i, BOX_HALF + axis] + extra,
            near,
            far,
        )
    return near, far


@njit(**_OPTIONS)
def _meeting(parts, ids, count, origin, dx, dy, dz, spread, found):
    """Parts that a cone meets, into `found`: (their number, where to start, where to stop)."""
    start, stop, used = _FAR, -1.0, 0
    for j in range(count):
        near, far = _span(parts, ids[j], origin, dx, dy, dz, spread)
        if near > far:
            continue
        found[used] = ids[j]
        used += 1
        if parts[ids[j], CARVE] == 0.0:
            start, stop = min(start, near), max(stop, far)
    return used, max(start, 0.0), stop


@njit(**_OPTIONS)
def _direction(to_world, intrinsics, column, row):
    """Unit world direction through pixel coordinates (column, row)."""
    y = (row - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (column - intrinsics[0, 2] - intrinsics[0, 1] * y) / intrinsics[0, 0]
    scale = 1.0 / math.sqrt(x * x + y * y + 1.0)
    return (
        scale * (to_world[0, 0] * x + to_world[0, 1] * y + to_world[0, 2]),
        scale * (to_world[1, 0] * x + to_world[1, 1] * y + to_world[1, 2]),
        scale * (to_world[2, 0] * x + to_world[2, 1] * y + to_world[2, 2]),
    )


@njit(**_OPTIONS)
def _march(parts, ids, count, origin, start, stop, tolerance, w):
    """Move all rays from `start` to their first hit before `stop`; return the number of hits (HIT is 1 or 0)."""
    ox, oy, oz = origin[0], origin[1], origin[2]
    for lane in range(w.size // _WORDS):
        w[ALONG + lane] = start
        w[ACTIVE + lane] = 1.0
        w[HIT + lane] = 0.0
        w[BALL + lane] = 0.0
        w[MOVED + lane] = 0.0
    for _ in range(_MAX_STEPS):
        for lane in range(w.size // _WORDS):
            w[X + lane] = ox + w[ALONG + lane] * w[DIR_X + lane]
            w[Y + lane] = oy + w[ALONG + lane] * w[DIR_Y + lane]
            w[Z + lane] = oz + w[ALONG + lane] * w[DIR_Z + lane]
        _scene(parts, ids, count, w)
        active = 0.0
        for lane in range(w.size // _WORDS):
            live, step, ball, moved = w[ACTIVE + lane], w[DISTANCE + lane], w[BALL + lane], w[MOVED + lane]
            # Two empty balls that do not overlap may have something between them: go back to the first one's rim.
            safe = 0.0 if moved > ball and step + ball < moved else 1.0
            arrived = live * safe if step < tolerance else 0.0
            live -= arrived
            # Step to where the next empty ball would touch this one if the surface were a plane.
            slack = max(moved + ball - step, 1e-9)
            longer = _RELAX * step * (moved - ball + step) / slack if moved > 0.0 else 0.0
            longer = min(max(longer, 0.0), step)
            advance = step + (longer if w[ALONG + lane] + step + longer < stop else 0.0)
            along = w[ALONG + lane] + live * (advance if safe > 0.0 else ball - moved)
            live = live if along < stop else 0.0
            w[ALONG + lane] = along
            w[BALL + lane] = safe * step
            w[MOVED + lane] = safe * advance
            w[HIT + lane] += arrived
            w[ACTIVE + lane] = live
            active += live
        if active == 0.0:
            break
    hits = 0.0
    for lane in range(w.size // _WORDS):
        hits += w[HIT + lane]
    return hits


@njit(**_OPTIONS)
def _probe(parts, ids, count, length, along_normal, w):
    """How free the space is at `length` along the normal or towards the key light, into OPEN; 1 is free."""
    turn = 1.0 if along_normal else 0.0
    kx, ky, kz = (1.0 - turn) * _KEY_X, (1.0 - turn) * _KEY_Y, (1.0 - turn) * _KEY_Z
    for lane in range(w.size // _WORDS):
        w[X + lane] = w[HIT_X + lane] + length * (turn * w[NORMAL_X + lane] + kx)
        w[Y + lane] = w[HIT_Y + lane] + length * (turn * w[NORMAL_Y + lane] + ky)
        w[Z + lane] = w[HIT_Z + lane] + length * (turn * w[NORMAL_Z + lane] + kz)
    _scene(parts, ids, count, w)
    scale = 1.0 / length
    for lane in range(w.size // _WORDS):
        w[OPEN + lane] = _clamp(w[DISTANCE + lane] * scale, 0.0, 1.0)


@njit(**_OPTIONS)
def _normals(parts, ids, count, step, w):
    """Unit normals from distances at the corners of a small tetrahedron (Quilez), into NORMAL_*."""
    for lane in range(w.size // _WORDS):
        w[NORMAL_X + lane] = 0.0
        w[NORMAL_Y + lane] = 0.0
        w[NORMAL_Z + lane] = 0.0
    for corner in range(4):
        sx = 1.0 if corner == 0 or corner == 3 else -1.0
        sy = 1.0 if corner >= 2 else -1.0
        sz = 1.0 if corner == 1 or corner == 3 else -1.0
        for lane in range(w.size // _WORDS):
            w[X + lane] = w[HIT_X + lane] + step * sx
            w[Y + lane] = w[HIT_Y + lane] + step * sy
            w[Z + lane] = w[HIT_Z + lane] + step * sz
        _scene(parts, ids, count, w)
        for lane in range(w.size // _WORDS):
            w[NORMAL_X + lane] += sx * w[DISTANCE + lane]
            w[NORMAL_Y + lane] += sy * w[DISTANCE + lane]
            w[NORMAL_Z + lane] += sz * w[DISTANCE + lane]
    for lane in range(w.size // _WORDS):
        x, y, z = w[NORMAL_X + lane], w[NORMAL_Y + lane], w[NORMAL_Z + lane]
        scale = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-20)
        w[NORMAL_X + lane] = x * scale
        w[NORMAL_Y + lane] = y * scale
        w[NORMAL_Z + lane] = z * scale


@njit(**_OPTIONS)
def _neighbours(parts, hits, shift, reach, found, w):
    """Parts within `reach` of the packet's hits moved by `shift` towards the key light, into `found`; their number."""
    mx = my = mz = 0.0
    for lane in range(w.size // _WORDS):
        mx += w[HIT + lane] * w[HIT_X + lane]
        my += w[HIT + lane] * w[HIT_Y + lane]
        mz += w[HIT + lane] * w[HIT_Z + lane]
    mx, my, mz = mx / hits, my / hits, mz / hits
    widest = 0.0
    for lane in range(w.size // _WORDS):
        x, y, z = w[HIT_X + lane] - mx, w[HIT_Y + lane] - my, w[HIT_Z + lane] - mz
        widest = max(widest, w[HIT + lane] * (x * x + y * y + z * z))
    reach += math.sqrt(widest)
    mx, my, mz = mx + shift * _KEY_X, my + shift * _KEY_Y, mz + shift * _KEY_Z
    used = 0
    for i in range(parts.shape[0]):
        x, y, z = mx - parts[i, CENTER], my - parts[i, CENTER + 1], mz - parts[i, CENTER + 2]
        # Blending lifts a surface by a quarter of its radius, which is less than a fifth of the margin.
        limit = parts[i, BOUND] + 0.2 * parts[i, MARGIN] + reach
        if x * x + y * y + z * z < limit * limit:
            found[used] = i
            used += 1
    return used


@njit(**_OPTIONS)
def _shade(parts, hits, unit, found, w):
    """Free space around the hits: AMBIENT is the ambient share, SHADE the key light's share."""
    count = _neighbours(parts, hits, 0.0, 2.0 * _OCCLUSION_FAR * unit, found, w)
    _probe(parts, found, count, _OCCLUSION_NEAR * unit, True, w)
    for lane in range(w.size // _WORDS):
        w[AMBIENT + lane] = w[OPEN + lane]
    _probe(parts, found, count, _OCCLUSION_FAR * unit, True, w)
    for lane in range(w.size // _WORDS):
        w[AMBIENT + lane] = 0.35 + 0.325 * (w[AMBIENT + lane] + w[OPEN + lane])
        w[SHADE + lane] = 1.0
    for tap in range(3):
        # The farther the probe, the more it must be blocked before it counts: shadows soften with distance.
        length = _SHADOW_NEAR if tap == 0 else (_SHADOW_MIDDLE if tap == 1 else _SHADOW_FAR)
        gain = 1.0 if tap == 0 else (1.5 if tap == 1 else 2.5)
        count = _neighbours(parts, hits, length * unit, length * unit, found, w)
        _probe(parts, found, count, length * unit, False, w)
        for lane in range(w.size // _WORDS):
            facing = w[NORMAL_X + lane] * _KEY_X + w[NORMAL_Y + lane] * _KEY_Y + w[NORMAL_Z + lane] * _KEY_Z
            # A surface at a slant to the light fills part of the probe itself: ask only for the rest.
            w[SHADE + lane] = min(w[SHADE + lane], gain * w[OPEN + lane] / max(facing, 0.1))


@njit(**_OPTIONS)
def _light(w):
    """Light arriving at the hits, into LIGHT_*: key with soft shadow, fill, sky and ground."""
    for lane in range(w.size // _WORDS):
        nx, ny, nz, ambient = w[NORMAL_X + lane], w[NORMAL_Y + lane], w[NORMAL_Z + lane], w[AMBIENT + lane]
        facing = nx * _KEY_X + ny * _KEY_Y + nz * _KEY_Z
        # The shadow fades out before the terminator, where the share of the cone means nothing.
        shadow = 0.7 * _smoothstep(0.0, 0.4, facing) * (1.0 - w[SHADE + lane])
        key = max(0.0, (facing + 0.3) / 1.3) * (1.0 - shadow)
        fill = 0.30 * max(0.0, nx * _FILL_X + ny * _FILL_Y + nz * _FILL_Z) * ambient
        sky = 0.5 + 0.5 * ny
        w[LIGHT_RED + lane] = 0.84 * key + ambient * (0.30 + 0.16 * sky) + fill
        w[LIGHT_GREEN + lane] = 0.81 * key + ambient * (0.28 + 0.20 * sky) + fill
        w[LIGHT_BLUE + lane] = 0.74 * key + ambient * (0.29 + 0.27 * sky) + 1.1 * fill


@njit(**_OPTIONS)
def _display(w):
    """Display colours of albedo times light, into RED, GREEN and BLUE."""
    for lane in range(w.size // _WORDS):
        w[RED + lane] = math.sqrt(_clamp(w[LIGHT_RED + lane] * w[ALBEDO_RED + lane], 0.0, 1.0))
        w[GREEN + lane] = math.sqrt(_clamp(w[LIGHT_GREEN + lane] * w[ALBEDO_GREEN + lane], 0.0, 1.0))
        w[BLUE + lane] = math.sqrt(_clamp(w[LIGHT_BLUE + lane] * w[ALBEDO_BLUE + lane], 0.0, 1.0))


@njit(**_OPTIONS)
def _rays(to_world, intrinsics, column, row, spacing, w):
    """Directions of a 4 x 4 block of rays `spacing` pixels apart, into DIR_*."""
    for lane in range(w.size // _WORDS):
        w[DIR_X + lane], w[DIR_Y + lane], w[DIR_Z + lane] = _direction(
            to_world,
            intrinsics,
            column + spacing * (lane % SIDE + 0.5),
            row + spacing * (lane // SIDE + 0.5),
        )


@njit(**_OPTIONS)
def _packet(parts, ids, count, found, origin, to_world, intrinsics, column, row, spacing, unit, w):
    """Trace a 4 x 4 block of rays `spacing` pixels apart; return the number of hits (in HIT, colours in RED...)."""
    dx, dy, dz = _direction(to_world, intrinsics, column + 2.0 * spacing, row + 2.0 * spacing)
    # Half the block's diagonal, as a slope.
    spread = 2.0 * spacing * math.sqrt(2.0) / min(intrinsics[0, 0], intrinsics[1, 1])
    used, start, stop = _meeting(parts, ids, count, origin, dx, dy, dz, spread, found)
    if stop < 0.0:
        return 0.0
    _rays(to_world, intrinsics, column, row, spacing, w)
    hits = _march(parts, found, used, origin, start, stop, _HIT * unit, w)
    if hits == 0.0:
        return 0.0
    for lane in range(w.size // _WORDS):
        w[HIT_X + lane] = origin[0] + w[ALONG + lane] * w[DIR_X + lane]
        w[HIT_Y + lane] = origin[1] + w[ALONG + lane] * w[DIR_Y + lane]
        w[HIT_Z + lane] = origin[2] + w[ALONG + lane] * w[DIR_Z + lane]
    _normals(parts, found, used, _NORMAL_STEP * unit, w)
    for lane in range(w.size // _WORDS):
        w[X + lane] = w[HIT_X + lane]
        w[Y + lane] = w[HIT_Y + lane]
        w[Z + lane] = w[HIT_Z + lane]
    _albedo(parts, found, used, w)
    _shade(parts, hits, unit, found, w)
    _light(w)
    _display(w)
    return hits


@njit(**_OPTIONS)
def _difference(own, other):
    """Whether two neighbouring pixels are alike, differ in colour on one smooth surface, or in shape."""
    if own[HIT_CHANNEL] != other[HIT_CHANNEL]:
        return _SHAPE_EDGE
    contrast = max(abs(own[0] - other[0]), abs(own[1] - other[1]), abs(own[2] - other[2]))
    if contrast <= _EDGE_CONTRAST:
        return _ALIKE
    n, p = NORMAL_CHANNEL, POINT_CHANNEL
    if own[n] * other[n] + own[n + 1] * other[n + 1] + own[n + 2] * other[n + 2] < _SMOOTH_COSINE:
        return _SHAPE_EDGE
    dx, dy, dz = other[p] - own[p], other[p + 1] - own[p + 1], other[p + 2] - own[p + 2]
    across = dx * own[n] + dy * own[n + 1] + dz * own[n + 2]
    if across * across > _SMOOTH_SINE_SQUARED * (dx * dx + dy * dy + dz * dz):
        return _SHAPE_EDGE
    return _TEXTURE_EDGE


@njit(**_OPTIONS)
def _edge(pixels, row, column):
    """The strongest difference between a pixel's primary sample and its four neighbours'."""
    height, width = pixels.shape[0], pixels.shape[1]
    own, found = pixels[row, column], _ALIKE
    if column > 0:
        found = max(found, _difference(own, pixels[row, column - 1]))
    if column + 1 < width:
        found = max(found, _difference(own, pixels[row, column + 1]))
    if row > 0:
        found = max(found, _difference(own, pixels[row - 1, column]))
    if row + 1 < height:
        found = max(found, _difference(own, pixels[row + 1, column]))
    return found


@njit(**_OPTIONS)
def _keep_block(pixels, row, column, w):
    """Store a packet of primary samples: display colour, hit, point, normal and light."""
    for lane in range(w.size // _WORDS):
        r, c = row + lane // SIDE, column + lane % SIDE
        if r < pixels.shape[0] and c < pixels.shape[1] and w[HIT + lane] > 0.0:
            pixel = pixels[r, c]
            pixel[0], pixel[1], pixel[2] = w[RED + lane], w[GREEN + lane], w[BLUE + lane]
            pixel[HIT_CHANNEL] = 1.0
            for axis in range(3):
                pixel[POINT_CHANNEL + axis] = w[HIT_X + LANES * axis + lane]
                pixel[NORMAL_CHANNEL + axis] = w[NORMAL_X + LANES * axis + lane]
                pixel[LIGHT_CHANNEL + axis] = w[LIGHT_RED + LANES * axis + lane]


@njit(**_OPTIONS)
def _resolve_texture(parts, ids, count, found, origin, to_world, intrinsics, row, column, pixel, w):
    """Colours of a pixel's 4 x 4 samples where only the texture varies; return the number of hits, 16.

    The surface is taken as the tangent plane of the primary hit, under the light of the primary hit.
    """
    x, y, z = (
        pixel[POINT_CHANNEL] - origin[0],
        pixel[POINT_CHANNEL + 1] - origin[1],
        pixel[POINT_CHANNEL + 2] - origin[2],
    )
    nx, ny, nz = pixel[NORMAL_CHANNEL], pixel[NORMAL_CHANNEL + 1], pixel[NORMAL_CHANNEL + 2]
    red, green, blue = pixel[LIGHT_CHANNEL], pixel[LIGHT_CHANNEL + 1], pixel[LIGHT_CHANNEL + 2]
    plane = x * nx + y * ny + z * nz
    dx, dy, dz = _direction(to_world, intrinsics, column + 0.5, row + 0.5)
    spread = 0.5 * math.sqrt(2.0) / min(intrinsics[0, 0], intrinsics[1, 1])
    used, _, _ = _meeting(parts, ids, count, origin, dx, dy, dz, spread, found)
    _rays(to_world, intrinsics, column, row, 1.0 / SIDE, w)
    for lane in range(w.size // _WORDS):
        along = plane / (w[DIR_X + lane] * nx + w[DIR_Y + lane] * ny + w[DIR_Z + lane] * nz)
        w[X + lane] = origin[0] + along * w[DIR_X + lane]
        w[Y + lane] = origin[1] + along * w[DIR_Y + lane]
        w[Z + lane] = origin[2] + along * w[DIR_Z + lane]
        w[HIT + lane] = 1.0
        w[LIGHT_RED + lane] = red
        w[LIGHT_GREEN + lane] = green
        w[LIGHT_BLUE + lane] = blue
    _albedo(parts, found, used, w)
    _display(w)
    return float(LANES)


@njit(**_OPTIONS)
def _write_samples(image, row, column, hits, w):
    """Write a pixel from its 4 x 4 samples: colour is the mean of the covered ones, alpha their share."""
    red = green = blue = 0.0
    if hits > 0.0:
        for lane in range(w.size // _WORDS):
            red += w[HIT + lane] * w[RED + lane]
            green += w[HIT + lane] * w[GREEN + lane]
            blue += w[HIT + lane] * w[BLUE + lane]
        red, green, blue = red / hits, green / hits, blue / hits
    _write(image, row, column, red, green, blue, hits / LANES)


@njit(**_OPTIONS)
def _write(image, row, column, red, green, blue, alpha):
    """Round to straight-alpha bytes."""
    if alpha == 0.0:
        red = green = blue = 0.0
    image[row, column, 0] = int(255.0 * red + 0.5)
    image[row, column, 1] = int(255.0 * green + 0.5)
    image[row, column, 2] = int(255.0 * blue + 0.5)
    image[row, column, 3] = int(255.0 * alpha + 0.5)


@njit(**_ALLOCATES)
def render_image(parts, origin, to_world, intrinsics, unit, antialias, w, image):
    """Render one view of one posed program into `image` (H, W, 4) uint8, straight alpha.

    parts: (P, FIELDS) float64. origin: (3,) camera centre. to_world: (3, 3) camera to world rotation.
    intrinsics: (3, 3), pixels. unit: object lengths per world length. antialias: resolve edges with 16 samples.
    w: (REGISTERS,) float64, the work array, finite.
    """
    height, width = image.shape[0], image.shape[1]
    rows, columns = (height + _TILE - 1) // _TILE, (width + _TILE - 1) // _TILE
    everyone, found = np.arange(parts.shape[0]), np.empty(parts.shape[0], np.int64)
    ids, counts = np.empty((rows * columns, parts.shape[0]), np.int64), np.zeros(rows * columns, np.int64)
    pixels = np.zeros((height, width, CHANNELS))
    spread = 0.5 * _TILE * math.sqrt(2.0) / min(intrinsics[0, 0], intrinsics[1, 1])
    for tile in range(rows * columns):
        top, left = _TILE * (tile // columns), _TILE * (tile % columns)
        dx, dy, dz = _direction(to_world, intrinsics, left + 0.5 * _TILE, top + 0.5 * _TILE)
        count, _, _ = _meeting(parts, everyone, parts.shape[0], origin, dx, dy, dz, spread, ids[tile])
        counts[tile] = count
        for block in range((_TILE // SIDE) ** 2 if count > 0 else 0):
            row, column = top + SIDE * (block // (_TILE // SIDE)), left + SIDE * (block % (_TILE // SIDE))
            if row < height and column < width:
                near = ids[tile]
                if _packet(parts, near, count, found, origin, to_world, intrinsics, column, row, 1.0, unit, w) > 0.0:
                    _keep_block(pixels, row, column, w)
    for row in range(height):
        for column in range(width):
            tile = row // _TILE * columns + column // _TILE
            near, count, pixel = ids[tile], counts[tile], pixels[row, column]
            edge = _edge(pixels, row, column) if antialias and count > 0 else _ALIKE
            if edge == _ALIKE:
                _write(image, row, column, pixel[0], pixel[1], pixel[2], pixel[HIT_CHANNEL])
            elif edge == _TEXTURE_EDGE:
                hits = _resolve_texture(parts, near, count, found, origin, to_world, intrinsics, row, column, pixel, w)
                _write_samples(image, row, column, hits, w)
            else:
                spacing = 1.0 / SIDE
                hits = _packet(parts, near, count, found, origin, to_world, intrinsics, column, row, spacing, unit, w)
                _write_samples(image, row, column, hits, w)
