"""Deformation of canonical gaussians over time: HexPlane features, a trunk, one head an attribute.

Residuals are added before activation: means + dx, log_scales + ds, quats + dr (4DGaussians, STAG4D). The last
layer of every head starts at zero, so an untrained field is the identity (DreamGaussian4D; STAG4D jumps here).
Times are in [0, 1] and span the whole time axis (STAG4D uses half of it, by a slip).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.lib.hexplane import features
from stages.settings import FieldSettings, SettingsError

# Spatial planes start around 1 and time planes at 1, their neutral value. With the [0.1, 0.5] of 4DGaussians the
# product of three is about 0.03 and motion starts late (dev_robot after 200 steps: 0.5 dB less on the input view).
SPACE_INIT = (0.5, 1.5)


class Deformation(nn.Module):
    """Residuals of N gaussians at one time. `forward(means (N,3), time)` gives a dict of residual tensors."""

    def __init__(self, settings: FieldSettings, n_frames: int, generator: torch.Generator) -> None:
        super().__init__()
        self.bounds = settings.bounds
        time_cells = settings.time_resolution or max(2, (n_frames + 1) // 2)
        self.space = nn.ParameterList()
        self.time = nn.ParameterList()
        for level in range(settings.levels):
            cells = settings.resolution * 2**level
            low, high = SPACE_INIT
            init = torch.rand(3, cells, cells, settings.channels, generator=generator) * (high - low) + low
            self.space.append(nn.Parameter(init))
            self.time.append(nn.Parameter(torch.ones(3, time_cells, cells, settings.channels)))
        width = settings.width
        self.trunk = _linear(settings.levels * settings.channels, width, generator)
        sizes = {"means": 3, "log_scales": 3, "quats": 4} | ({"opacity_logits": 1} if settings.opacity else {})
        self.heads = nn.ModuleDict()
        for name, size in sizes.items():
            last = nn.Linear(width, size)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.heads[name] = nn.Sequential(nn.ReLU(), _linear(width, width, generator), nn.ReLU(), last)

    def check_bounds(self, means: Tensor) -> None:
        """Raise SettingsError if a mean lies outside the cube, where features are constant."""
        reach = float(means.detach().abs().max()) if means.numel() else 0.0
        if reach > self.bounds:
            raise SettingsError(
                f"a gaussian lies at {reach:.3f}, outside the deformation field's bounds of {self.bounds}. "
                f"Type `dynamic: {{field: {{bounds: {reach * 1.1:.2f}}}}}` or recentre the input."
            )

    def forward(self, means: Tensor, time: float) -> dict[str, Tensor]:
        hidden = self.trunk(features(means / self.bounds, time, list(self.space), list(self.time)))
        residuals = {name: head(hidden) for name, head in self.heads.items()}
        if "opacity_logits" in residuals:
            residuals["opacity_logits"] = residuals["opacity_logits"][:, 0]
        return residuals

    def plane_parameters(self) -> list[nn.Parameter]:
        """The planes, which learn faster than the heads."""
        return [*self.space, *self.time]

    def head_parameters(self) -> list[nn.Parameter]:
        """Everything but the planes."""
        return [*self.trunk.parameters(), *self.heads.parameters()]


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def deform(gaussians: dict[str, Tensor], residuals: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gaussians with residuals added before activation; attributes without a residual pass through."""
    return {name: value + residuals[name] if name in residuals else value for name, value in gaussians.items()}


def time_smoothness(deformation: Deformation) -> Tensor:
    """Mean squared second difference of the time planes along time (4DGaussians `time_smoothness`)."""
    return sum(_second_difference(plane, 1) for plane in deformation.time)


def plane_smoothness(deformation: Deformation) -> Tensor:
    """Mean squared second difference of the spatial planes along both axes (4DGaussians `plane_tv`)."""
    return sum(_second_difference(plane, axis) for plane in deformation.space for axis in (1, 2))


def time_l1(deformation: Deformation) -> Tensor:
    """Mean distance of the time planes from 1, which means no change over time."""
    return sum((plane - 1).abs().mean() for plane in deformation.time)


def _second_difference(plane: Tensor, axis: int) -> Tensor:
    if plane.shape[axis] < 3:
        return plane.new_zeros(())
    return torch.diff(plane, n=2, dim=axis).square().mean()
