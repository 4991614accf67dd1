"""Cameras of every stage, in NumPy so that stages without a network import no torch.

Conventions
-----------
- World: right handed, y up. The input camera sits on +z and looks at the origin.
- `azimuth_deg` positive moves the camera from +z towards +x, `elevation_deg` positive towards +y.
- Camera axes are OpenCV's: x right, y down, z forward. `world_to_camera` maps column vectors.
- Pixel (row 0, column 0) is the top left; its centre is at (0.5, 0.5). Intrinsics are in pixels.
- Letters: V views, H W image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Field of view of every Zero123 and of Zero123++ v1.1 (2 atan(16/35): Zero123's rendering script, Zero123++'s author
# in issue 68), and the difference at which pictures visibly disagree: half a degree moves an outline by 1 %.
ZERO123_FOVY_DEG = 49.13
FOVY_TOLERANCE_DEG = 0.5

# Zero123++ v1.1 (README of SUDO-AI-3D/zero123plus): six views, relative to the input view.
ZERO123PP_V11_AZIMUTH_DEG = (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)
ZERO123PP_V11_ELEVATION_DEG = (30.0, -20.0, 30.0, -20.0, 30.0, -20.0)

# v1.2 has the same azimuths.
ZERO123PP_V12_ELEVATION_DEG = (20.0, -10.0, 20.0, -10.0, 20.0, -10.0)

# Evaluation views of the Consistent4D test set (readme of its archive), at the input's elevation.
EVALUATION_AZIMUTH_DEG = (-75.0, 15.0, 105.0, 195.0)


@dataclass(frozen=True)
class Cameras:
    """V pinhole cameras of one image size.

    world_to_camera: (V, 4, 4) float64. intrinsics: (V, 3, 3) float64, pixels.
    """

    world_to_camera: np.ndarray
    intrinsics: np.ndarray
    width: int
    height: int

    def __len__(self) -> int:
        return self.world_to_camera.shape[0]

    def __getitem__(self, index: int | slice | list[int] | np.ndarray) -> Cameras:
        """A subset of the cameras; an integer keeps the view axis."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Cameras(self.world_to_camera[chosen], self.intrinsics[chosen], self.width, self.height)

    @property
    def positions(self) -> np.ndarray:
        """Camera centres in the world, (V, 3)."""
        rotation = self.world_to_camera[:, :3, :3]
        return -np.einsum("vij,vi->vj", rotation, self.world_to_camera[:, :3, 3])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates (V, N, 2) of world points (N, 3), without clipping."""
        in_camera = np.einsum("vij,nj->vni", self.world_to_camera[:, :3, :3], points)
        in_camera = in_camera + self.world_to_camera[:, None, :3, 3]
        homogeneous = np.einsum("vij,vnj->vni", self.intrinsics, in_camera)
        return homogeneous[..., :2] / homogeneous[..., 2:]


def orbit(azimuth_deg, elevation_deg, radius: float, fovy_deg: float, width: int, height: int) -> Cameras:
    """Cameras on a sphere around the origin, all looking at it with +y up in the image.

    azimuth_deg, elevation_deg: scalars or (V,), degrees, broadcast together.
    radius: distance to the origin, world units. fovy_deg: vertical field of view, degrees.
    """
    azimuth, elevation = np.broadcast_arrays(
        np.atleast_1d(np.radians(np.asarray(azimuth_deg, dtype=np.float64))),
        np.atleast_1d(np.radians(np.asarray(elevation_deg, dtype=np.float64))),
    )
    outward = np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], axis=-1
    )
    forward = -outward
    # Written from the azimuth instead of a cross product with +y, so that elevation 90 is defined.
    right = np.stack([np.cos(azimuth), np.zeros_like(azimuth), -np.sin(azimuth)], axis=-1)
    down = np.cross(forward, right)
    rotation = np.stack([right, down, forward], axis=-2)
    world_to_camera = np.tile(np.eye(4), (len(azimuth), 1, 1))
    world_to_camera[:, :3, :3] = rotation
    world_to_camera[:, :3, 3] = -np.einsum("vij,vj->vi", rotation, radius * outward)
    focal = 0.5 * height / np.tan(0.5 * np.radians(fovy_deg))
    intrinsics = np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
    return Cameras(world_to_camera, np.tile(intrinsics, (len(azimuth), 1, 1)), width, height)
