"""Deformation of canonical gaussians over time: HexPlane features, a trunk, one head an attribute.

Residuals are added before activation: means + dx, log_scales + ds, quats + dr (4DGaussians, STAG4D). The last
layer of every head starts at zero, so an untrained field is the identity (DreamGaussian4D; STAG4D jumps here).
Times are in [0, 1] and span the whole time axis (STAG4D uses half of it, by a slip).

Letters: M times, N gaussians.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.lib import roughness
from stages.lib.hexplane import features
from stages.lib.perceptron import perceptron
from stages.settings import FieldSettings, RegulariserSettings, SettingsError

# Spatial planes start around 1 and time planes at 1, their neutral value. With the [0.1, 0.5] of 4DGaussians the
# product of three is about 0.03 and motion starts late (dev_robot after 200 steps: 0.5 dB less on the input view).
SPACE_INIT = (0.5, 1.5)
# Gaussians that generated anchors, which disagree, leave far from the object: 0.15 % were seen. More of them are an
# object that does not fit the field.
STRAY_SHARE = 0.01


class Deformation(nn.Module):
    """Residuals of N gaussians at M times. `forward(means (N,3), times)` gives a dict of residuals (M,N,...)."""

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
        self.trunk = linear(settings.levels * settings.channels, width, generator)
        sizes = {"means": 3, "log_scales": 3, "quats": 4} | ({"opacity_logits": 1} if settings.opacity else {})
        # The hidden layers of all heads as one matrix: three products of this size cost more than one.
        self.hidden = linear(width, len(sizes) * width, generator)
        self.heads = nn.ModuleDict()
        for name, size in sizes.items():
            self.heads[name] = nn.Linear(width, size)
            nn.init.zeros_(self.heads[name].weight)
            nn.init.zeros_(self.heads[name].bias)

    def outside(self, means: Tensor) -> int:
        """How many of the means (N,3) lie outside the cube."""
        return int((means.detach().abs().amax(dim=-1) > self.bounds).sum())

    def check_bounds(self, means: Tensor) -> None:
        """Raise SettingsError if more than strays of the means (N,3) lie outside the cube, where features are flat."""
        outside = self.outside(means)
        if outside > STRAY_SHARE * len(means):
            reach = float(means.detach().abs().max())
            raise SettingsError(
                f"{outside} of {len(means)} gaussians lie outside the deformation field's bounds of {self.bounds}, the "
                f"farthest at {reach:.3f}. "
                f"Type `dynamic: {{field: {{bounds: {reach * 1.1:.2f}}}}}` or recentre the input."
            )

    def forward(self, means: Tensor, times: list[float]) -> dict[str, Tensor]:
        found = features(means / self.bounds, times, list(self.space), list(self.time)).flatten(0, 1)
        last = torch.block_diag(*(head.weight for head in self.heads.values()))
        bias = torch.cat([head.bias for head in self.heads.values()])
        layers = (self.trunk.weight, self.trunk.bias), (self.hidden.weight, self.hidden.bias)
        out = perceptron(found, *layers, last, bias).unflatten(0, (len(times), len(means)))
        parts = out.split([head.out_features for head in self.heads.values()], dim=-1)
        residuals = dict(zip(self.heads, parts, strict=True))
        if "opacity_logits" in residuals:
            residuals["opacity_logits"] = residuals["opacity_logits"][..., 0]
        return residuals

    def plane_parameters(self) -> list[nn.Parameter]:
        """The planes, which learn faster than the heads."""
        return [*self.space, *self.time]

    def head_parameters(self) -> list[nn.Parameter]:
        """Everything but the planes."""
        return [*self.trunk.parameters(), *self.hidden.parameters(), *self.heads.parameters()]


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer with Xavier's uniform weights and no bias, drawn from `generator`."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def penalty(deformation: Deformation, weights: RegulariserSettings) -> Tensor:
    """The weighted sum of the three penalties below, in one pass over the planes on the CPU; elsewhere the slow twin
    `penalty_twin`."""
    space, time = list(deformation.space), list(deformation.time)
    if not roughness.fits([*space, *time]):
        return penalty_twin(deformation, weights)
    over = {"over_space": weights.plane_smoothness, "over_time": weights.time_smoothness, "from_one": weights.time_l1}
    return roughness.roughness(space, time, **over)


def penalty_twin(deformation: Deformation, weights: RegulariserSettings) -> Tensor:
    """The same, term by term."""
    return (
        weights.time_smoothness * time_smoothness(deformation)
        + weights.plane_smoothness * plane_smoothness(deformation)
        + weights.time_l1 * time_l1(deformation)
    )


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
