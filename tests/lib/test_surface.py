"""Surfaces and GLB files: spheres by formula, and trimesh as the reader that was not written here."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Gaussians, Sequence
from stages.lib import glb, surface
from stages.lib.cameras import orbit

C0 = 0.28209479177387814
trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed; type `pip install trimesh`")


def ball(centre=(0.0, 0.0, 0.0), radius: float = 0.4, count: int = 4000) -> Gaussians:
    """Opaque flat specks on a sphere, red on the right (+x), blue on the left."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    outward = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=1)
    colour = np.where(outward[:, :1] > 0, [1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    return Gaussians(
        (outward * radius + centre).astype(np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        np.full((count, 3), np.log(0.012), np.float32),
        np.full(count, 6.0, np.float32),
        ((colour - 0.5) / C0)[:, None].astype(np.float32),
    )


def sequence_of(frames: list[Gaussians]) -> Sequence:
    stacked = {name: np.stack([getattr(one, name) for one in frames]) for name in vars(frames[0]) if name != "sh"}
    present = np.ones(stacked["means"].shape[:2], bool)
    return Sequence(**stacked, sh=frames[0].sh, present=present, times=np.linspace(0, 1, len(frames)))


def extract(gaussians: Gaussians, resolution: int = 48) -> surface.Mesh:
    grid = surface.grid_around(sequence_of([gaussians]), resolution)
    cameras = orbit(*surface.viewpoints(), 2.0, 49.1, 128, 128)
    return surface.extract(gaussians, cameras, grid, surface.rays_of(grid.corners(), cameras))


def test_surface_nets_of_a_sphere_are_closed_and_point_outwards():
    axes = np.mgrid[:30, :32, :34] - np.array([14.2, 15.1, 16.7])[:, None, None, None]
    vertices, faces = surface.surface_nets(np.sqrt((axes**2).sum(axis=0)) - 10)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 1000, rel=0.02)
    assert np.abs(np.linalg.norm(vertices - (14.2, 15.1, 16.7), axis=1) - 10).max() < 0.2
    assert ((surface.normals(vertices, faces) * (vertices - (14.2, 15.1, 16.7))).sum(axis=1) > 9).all()


def test_what_touches_the_border_is_closed_there():
    vertices, faces = surface.surface_nets(np.full((4, 4, 4), -1.0))
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume > 27


def test_the_surface_of_a_ball_of_gaussians():
    mesh = extract(ball((0.1, -0.05, 0.0)))
    radius = np.linalg.norm(mesh.vertices - (0.1, -0.05, 0.0), axis=1)
    # A voxel is 0.022; specks of 0.012 and the blur widen the ball a little.
    assert np.median(radius) == pytest.approx(0.4, abs=0.02)
    assert np.percentile(np.abs(radius - np.median(radius)), 99) < 0.03
    right, left = mesh.vertices[:, 0] > 0.2, mesh.vertices[:, 0] < 0.0
    assert np.median(mesh.colours[right], axis=0) == pytest.approx([1, 0, 0], abs=0.05)
    assert np.median(mesh.colours[left], axis=0) == pytest.approx([0, 0, 1], abs=0.05)


def test_specks_are_dropped():
    tetrahedron = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    corners = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.uint32)
    big = trimesh.creation.icosphere(3)
    vertices = np.concatenate([tetrahedron + 5, big.vertices]).astype(np.float32)
    kept, faces = surface.without_specks(vertices, np.concatenate([corners, big.faces + 4]).astype(np.uint32))
    assert (len(kept), len(faces)) == (len(big.vertices), len(big.faces))
    assert np.array_equal(kept[faces], big.vertices[big.faces].astype(np.float32))


def test_nothing_has_no_surface():
    empty = Gaussians(*(array[:0] for array in vars(ball(count=4)).values()))
    assert len(extract(empty).faces) == 0


def test_a_still_is_read_by_trimesh_and_by_ourselves(tmp_path):
    mesh = extract(ball(), 32)
    glb.write_still(tmp_path / "a.glb", mesh)
    (read,) = trimesh.load_scene(tmp_path / "a.glb").geometry.values()
    assert len(read.faces) == len(mesh.faces)
    assert np.abs(read.bounds - [mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)]).max() < 1e-6
    again = glb.read_still(tmp_path / "a.glb")
    assert np.array_equal(again.vertices, mesh.vertices)
    assert np.array_equal(again.faces, mesh.faces)
    assert np.abs(again.colours - mesh.colours).max() < 1e-3


def test_srgb_and_linear_are_inverse_and_right_at_one_half():
    values = np.linspace(0, 1, 33)
    assert glb.to_srgb(glb.to_linear(values)) == pytest.approx(values, abs=1e-6)
    assert glb.to_linear(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)


def test_an_empty_mesh_is_an_empty_scene(tmp_path):
    nothing = surface.Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32), np.zeros((0, 3), np.float32))
    glb.write_still(tmp_path / "a.glb", nothing)
    assert (tmp_path / "a.glb").read_bytes()[:4] == b"glTF"
    assert len(glb.read_still(tmp_path / "a.glb").faces) == 0
    glb.write_flipbook(tmp_path / "b.glb", [nothing, nothing], np.array([0.0, 0.1], np.float32))
    assert len(glb.read_still(tmp_path / "b.glb").faces) == 0
