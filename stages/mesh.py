"""mesh: a coloured surface for every frame, and one file in which it moves.

Reads sequence.safetensors and frames.npz; writes mesh/frame%04d.glb and animated.glb. The latter is the key frame's
mesh deformed by the gaussians beneath it (morph targets) where that mesh and every frame's own surface cover each
other; else, where the topology changes, it shows the meshes of the frames one after the other.

Letters: T frames, P vertices, N gaussians.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Sequence, nearest_frame, replacing_folder
from stages.lib import glb, surface
from stages.settings import ExportsRun

# Pictures from which depth is fused are at least this wide, so that a voxel covers about a pixel.
LEAST_SIZE = 256
# Gaussians that carry a vertex, weighted by a bell as wide as their mean distance.
CARRIERS = 8
# A deformed mesh stands for a frame when this share of each surface is within this many voxels of the other.
COVERED_VOXELS = 3.0
LEAST_COVERED = 0.95
# Vertices of each surface that are compared, evenly taken.
COMPARED = 1000


def nearest(points: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances (P, count) of the nearest `others` (Q, 3) of each point (P, 3); not sorted."""
    indices = np.empty((len(points), count), np.int64)
    distances = np.empty((len(points), count), np.float32)
    squares = (others**2).sum(axis=1)
    # Blocks of this many rows keep the table of distances in some megabytes.
    for start in range(0, len(points), 512):
        block = points[start : start + 512]
        table = np.maximum((block**2).sum(axis=1)[:, None] + squares - 2 * block @ others.T, 0)
        found = table.argmin(axis=1)[:, None] if count == 1 else np.argpartition(table, count - 1, axis=1)[:, :count]
        indices[start : start + 512] = found
        distances[start : start + 512] = np.sqrt(np.take_along_axis(table, found, axis=1))
    return indices, distances


def carried(sequence: Sequence, vertices: np.ndarray, key: int) -> Iterator[np.ndarray]:
    """The vertices (P, 3) of the key frame at every time, moved by the mean displacement of the gaussians beneath.

    Only gaussians that exist and show in all frames carry. Their translations are blended, not their rotations: those
    of round gaussians mean nothing. Yields the vertices unmoved where no gaussian lasts.
    """
    shows = np.ones(len(sequence.sh), bool)
    for present, logits in zip(sequence.present, sequence.opacity_logits, strict=True):
        shows &= present & (logits > surface.SHOWING_LOGIT)
    lasting = np.flatnonzero(shows)
    if not len(lasting):
        yield from (vertices for _ in sequence.times)
        return
    start = sequence.means[key][lasting]
    beneath, distance = nearest(vertices, start, min(CARRIERS, len(lasting)))
    width = np.maximum(distance.mean(axis=1, keepdims=True), 1e-6)
    weight = np.exp(-((distance / width) ** 2))
    weight /= weight.sum(axis=1, keepdims=True)
    for means in sequence.means:
        shift = (means[lasting] - start)[beneath]
        yield (vertices + np.einsum("pk,pkc->pc", weight, shift)).astype(np.float32)


def covered(first: np.ndarray, second: np.ndarray, reach: float) -> float:
    """The smaller share, of the two directions, of vertices within `reach` of the other surface's vertices."""
    if not len(first) or not len(second):
        return float(len(first) == len(second))
    shares = []
    for points, others in ((first, second), (second, first)):
        chosen = points[:: max(1, len(points) // COMPARED)]
        shares.append(float((nearest(chosen, others, 1)[1] <= reach).mean()))
    return min(shares)


def main(sequence: Path, frames: Path, out: Path, animated: Path, settings: ExportsRun, report: Reporter) -> None:
    """Write one GLB a frame, and one that moves."""
    the_sequence, the_frames = Sequence.load(sequence, on_disk=True), Frames.load(frames, on_disk=True)
    count = len(the_sequence.times)
    key = nearest_frame(the_sequence.times, the_frames.times[the_frames.key])
    cameras = the_frames.cameras(*surface.viewpoints(), max(LEAST_SIZE, the_frames.rgba.shape[1]))
    grid = surface.grid_around(the_sequence, settings.exports.mesh_resolution)
    rays = surface.rays_of(grid.corners(), cameras)
    # One picture of the clip a frame, as in the videos.
    seconds = np.arange(count, dtype=np.float32) / settings.renders.fps
    with replacing_folder(out) as partial:
        files = [partial / f"frame{index:04d}.glb" for index in range(count)]
        for index, file in enumerate(files):
            glb.write_still(file, surface.extract(the_sequence.frame(index), cameras, grid, rays))
            report.progress(index + 1, count)
        standing = glb.read_still(files[key])
        shares = [
            covered(moved, glb.read_still(file).vertices, COVERED_VOXELS * grid.voxel)
            for moved, file in zip(carried(the_sequence, standing.vertices, key), files, strict=True)
        ]
        worst = int(np.argmin(shares))
        if shares[worst] >= LEAST_COVERED and len(standing.faces):
            glb.write_morph(animated, standing, carried(the_sequence, standing.vertices, key), seconds)
            how = "one mesh that deforms"
        else:
            glb.write_flipbook(animated, (glb.read_still(file) for file in files), seconds)
            how = "a mesh a frame, since the topology changes"
    report.say(
        f"wrote {count} meshes in {out} and {animated}: {how}; the key frame's mesh covers {100 * shares[worst]:.1f} % "
        f"of frame {worst}, its worst (expected {100 * LEAST_COVERED:g} % to deform one mesh)"
    )


if __name__ == "__main__":
    cli.run(main, "mesh")
