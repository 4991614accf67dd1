"""A surface from gaussians: depth of many views fused into a signed distance, and its zero level as triangles.

Gaussians have no surface; their expected depth has one. The route is that of 2DGS (Huang et al., 2024): render depth,
fuse it into a truncated signed distance (Curless and Levoy, "A volumetric method for building complex models from range
images", 1996), extract the zero level. Extraction is by surface nets (Gibson, "Constrained elastic surface nets",
1998): one vertex a cell, the mean of the cell's edge crossings, which gives fewer slivers than marching cubes and
needs NumPy only.

Conventions
-----------
- A *grid* has corners at `origin + voxel * (i, j, k)`; distances are positive outside, in units of the truncation.
- What too few views have seen is inside: a closed object gives a closed mesh.
- Triangles are counter-clockwise from outside. Colours are sRGB in [0, 1], as in the pictures.
- Letters: V views, H W pixels, P vertices, F triangles, N gaussians, X Y Z corners of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.contracts import Gaussians, Sequence
from stages.lib.cameras import Cameras
from stages.lib.drawing import draw_on_black

# A ring around the equator, four views from above and four from below, and both poles: every side of an object is seen
# at less than 45 degrees from its normal.
AZIMUTH_DEG = (
    *(45.0 * i for i in range(8)),
    *(90.0 * i + 22.5 for i in range(4)),
    *(90.0 * i + 67.5 for i in range(4)),
)
ELEVATION_DEG = (*(0.0,) * 8, *(45.0,) * 4, *(-45.0,) * 4)
POLES_DEG = ((0.0, 90.0), (0.0, -90.0))
# Alpha above this is the object, below it empty space.
SOLID_ALPHA = 0.5
# Distances are cut at this many voxels: wide enough to average the views' disagreement, narrow enough for thin limbs.
TRUNCATION_VOXELS = 3.0
# One or two views alone look through a thin place and would hollow out the inside behind it.
LEAST_VIEWS = 3
# The grid holds the gaussians that show (this opacity), but for this share of strays at each side, and a margin.
SHOWING_LOGIT = -2.2
STRAY_PERCENT = 0.5
MARGIN_VOXELS = 6
# Pieces with fewer triangles than this fraction of the largest one's are floating specks.
SPECK_FRACTION = 0.02
# A view colours a vertex fully when it sees it within this many voxels of its own depth.
SEEN_VOXELS = 2.0
# What a view counts that does not see the vertex; decides only where no view does.
UNSEEN_WEIGHT = 1e-4


@dataclass(frozen=True)
class Grid:
    """Corners of a box of cubes: origin (3,), voxel side in world units, shape (X, Y, Z)."""

    origin: np.ndarray
    voxel: float
    shape: tuple[int, int, int]

    def corners(self) -> np.ndarray:
        """World positions (X * Y * Z, 3) of the corners, z fastest."""
        axes = [self.origin[axis] + self.voxel * np.arange(self.shape[axis]) for axis in range(3)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Mesh:
    """vertices (P, 3) float32, world units; faces (F, 3) uint32; colours (P, 3) float32, sRGB in [0, 1]."""

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray


def viewpoints() -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation (V,) in degrees of the views that are fused."""
    poles = np.array(POLES_DEG)
    return np.concatenate([AZIMUTH_DEG, poles[:, 0]]), np.concatenate([ELEVATION_DEG, poles[:, 1]])


def grid_around(sequence: Sequence, resolution: int) -> Grid:
    """One grid for every frame of a sequence, `resolution` voxels along its longest side.

    A sequence in which nothing shows gets a grid of one voxel around the origin.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for means, present, logits in zip(sequence.means, sequence.present, sequence.opacity_logits, strict=True):
        showing = present & (logits > SHOWING_LOGIT)
        if showing.any():
            ends = np.percentile(means[showing], (STRAY_PERCENT, 100 - STRAY_PERCENT), axis=0)
            low, high = np.minimum(low, ends[0]), np.maximum(high, ends[1])
    if (low > high).any():
        return Grid(np.full(3, -0.5), 1.0, (2, 2, 2))
    # One gaussian alone has no extent of its own.
    side = max(float((high - low).max()), 1e-3)
    voxel = side / max(resolution - 2 * MARGIN_VOXELS, 1)
    shape = np.ceil((high - low) / voxel).astype(int) + 1 + 2 * MARGIN_VOXELS
    return Grid(low - MARGIN_VOXELS * voxel, voxel, tuple(int(size) for size in shape))


@dataclass(frozen=True)
class Depths:
    """colours (V, H, W, 3) straight in [0, 1], alpha (V, H, W), depth (V, H, W) world units along the camera's z."""

    colours: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray


def draw_depths(gaussians: Gaussians, cameras: Cameras) -> Depths:
    """Colour, alpha and expected depth of one frame's gaussians in V views."""
    drawn = draw_on_black(gaussians, cameras)
    weight = np.maximum(drawn.alpha, 1e-6)
    return Depths(np.clip(drawn.image / weight[..., None], 0, 1), drawn.alpha, drawn.depth / weight)


@dataclass(frozen=True)
class Rays:
    """Where the corners of a grid lie in one view: pixel (C,) int32 or -1 outside the picture, z (C,) float32."""

    pixel: np.ndarray
    z: np.ndarray


def rays_of(points: np.ndarray, cameras: Cameras) -> list[Rays]:
    """The nearest pixel and the depth of points (C, 3) in every view."""
    rays = []
    for view in range(len(cameras)):
        matrix = cameras.intrinsics[view] @ cameras.world_to_camera[view, :3]
        x, y, z = (matrix[:, :3] @ points.T + matrix[:, 3:]).astype(np.float32)
        safe = np.where(z > 1e-6, z, 1.0)
        column, row = np.floor(x / safe), np.floor(y / safe)
        inside = (z > 1e-6) & (column >= 0) & (column < cameras.width) & (row >= 0) & (row < cameras.height)
        pixel = np.where(inside, row * cameras.width + column, -1).astype(np.int32)
        rays.append(Rays(pixel, z))
    return rays


def fuse(depths: Depths, rays: list[Rays], grid: Grid) -> np.ndarray:
    """Truncated signed distance (X, Y, Z) in [-1, 1] from V depth pictures.

    A view says +1 where it looks through, the distance in front of its depth where it sees, and nothing from one
    truncation behind it on; corners are the mean of what was said, -1 where fewer than LEAST_VIEWS said anything.
    """
    truncation = np.float32(TRUNCATION_VOXELS * grid.voxel)
    total = np.zeros(len(rays[0].z), np.float32)
    count = np.zeros(len(rays[0].z), np.float32)
    for view, ray in enumerate(rays):
        # Where the view looks through, the depth is infinite; outside the picture it says nothing.
        depth = np.where(depths.alpha[view] < SOLID_ALPHA, np.inf, depths.depth[view]).astype(np.float32).ravel()
        depth = np.append(depth, np.float32(-np.inf))
        ahead = (depth[ray.pixel] - ray.z) / truncation
        said = ahead > -1
        total += np.where(said, np.minimum(ahead, 1), 0)
        count += said
    fused = np.where(count >= LEAST_VIEWS, total / np.maximum(count, 1), -1).reshape(grid.shape)
    return _blurred(fused)


def _blurred(values: np.ndarray) -> np.ndarray:
    """Binomial blur over three corners along each axis, which takes out the steps of nearest pixels."""
    for axis in range(3):
        padded = np.pad(values, [(1, 1) if other == axis else (0, 0) for other in range(3)], mode="edge")
        size = values.shape[axis]
        first, middle, last = (np.take(padded, range(start, start + size), axis=axis) for start in range(3))
        values = 0.25 * first + 0.5 * middle + 0.25 * last
    return values


def surface_nets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (P, 3) in units of the grid and triangles (F, 3) of the zero level of values (X, Y, Z), inside < 0.

    The grid's border counts as outside, so that the surface is closed.
    """
    padded = np.pad(values, 1, constant_values=1.0)
    inside = padded < 0
    cells = tuple(size - 1 for size in padded.shape)
    crossings = np.zeros((*cells, 3), np.float32)
    count = np.zeros(cells, np.uint8)
    edges = []
    for axis in range(3):
        first, second = (
            tuple(slice(start, None if start else -1) if other == axis else slice(None) for other in range(3))
            for start in (0, 1)
        )
        crossed = inside[first] != inside[second]
        place = np.argwhere(crossed)
        start, end = padded[first][crossed], padded[second][crossed]
        position = place.astype(np.float32)
        position[:, axis] += start / (start - end)
        others = [other for other in range(3) if other != axis]
        around = []
        for steps in ((1, 1), (0, 1), (0, 0), (1, 0)):
            cell = place.copy()
            cell[:, others] -= steps
            around.append(cell)
            # The border is outside, so no crossing lies on it and the four cells exist.
            flat = np.ravel_multi_index(cell.T, cells)
            np.add.at(crossings.reshape(-1, 3), flat, position)
            np.add.at(count.reshape(-1), flat, 1)
        edges.append((axis, inside[first][crossed], around))
    used = count > 0
    number = np.full(cells, -1, np.int64)
    number[used] = np.arange(used.sum())
    faces = []
    for axis, leaving, around in edges:
        a, b, c, d = (number[tuple(cell.T)] for cell in around)
        # The four cells turn with the axis for x and z, against it for y.
        forward = leaving != (axis == 1)
        b, d = np.where(forward, b, d), np.where(forward, d, b)
        faces += [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]
    vertices = crossings[used] / count[used][:, None] - 1.0
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.uint32)


def without_specks(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop pieces smaller than SPECK_FRACTION of the largest one, counted in triangles, and the vertices they used."""
    if not len(faces):
        return vertices, faces
    label = np.arange(len(vertices))
    while True:
        least = label[faces].min(axis=1)
        new = label.copy()
        for corner in range(3):
            np.minimum.at(new, faces[:, corner], least)
        # A label's own label is at most as large, so jumping halves the way to the piece's smallest vertex.
        new = new[new]
        if np.array_equal(new, label):
            break
        label = new
    piece = label[faces[:, 0]]
    sizes = np.bincount(piece, minlength=len(vertices))
    faces = faces[sizes[piece] >= SPECK_FRACTION * sizes.max()]
    kept = np.unique(faces)
    return vertices[kept], np.searchsorted(kept, faces).astype(np.uint32)


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (P, 3), means of the triangles around, weighted by area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    face = np.cross(b - a, c - a)
    summed = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(summed, faces[:, corner], face)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-20)


def colour(vertices: np.ndarray, faces: np.ndarray, depths: Depths, cameras: Cameras, voxel: float) -> np.ndarray:
    """Colour (P, 3) of each vertex: the mean over the views that see it, weighted by how straight they look at it."""
    outward = normals(vertices, faces)
    total = np.zeros((len(vertices), 3))
    weights = np.zeros((len(vertices), 1))
    for view, ray in enumerate(rays_of(vertices, cameras)):
        towards = cameras.positions[view] - vertices
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        pixel = np.maximum(ray.pixel, 0)
        solid = (ray.pixel >= 0) & (depths.alpha[view].ravel()[pixel] > SOLID_ALPHA)
        near = np.abs(depths.depth[view].ravel()[pixel] - ray.z) < SEEN_VOXELS * voxel
        facing = np.maximum((outward * towards).sum(axis=1), 0) ** 2
        weight = (solid * (near * facing + UNSEEN_WEIGHT))[:, None]
        total += weight * depths.colours[view].reshape(-1, 3)[pixel]
        weights += weight
    return (total / np.maximum(weights, 1e-12)).astype(np.float32)


def extract(gaussians: Gaussians, cameras: Cameras, grid: Grid, rays: list[Rays]) -> Mesh:
    """The coloured surface of one frame's gaussians; no vertices where nothing is solid."""
    depths = draw_depths(gaussians, cameras)
    places, faces = without_specks(*surface_nets(fuse(depths, rays, grid)))
    vertices = (grid.origin + grid.voxel * places).astype(np.float32)
    return Mesh(vertices, faces, colour(vertices, faces, depths, cameras, grid.voxel))
