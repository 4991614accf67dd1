"""Losses by hand."""

from __future__ import annotations

import pytest
import torch

from stages.lib.losses import anisotropy, colour_error, mask_error, over


def test_colour_and_mask_error_are_means_per_view():
    image = torch.zeros(2, 4, 4, 3)
    image[1] = 0.5
    assert colour_error(image, torch.zeros(2, 4, 4, 3)).tolist() == [0.0, 0.25]
    assert mask_error(torch.full((1, 2, 2), 0.3), torch.zeros(1, 2, 2)).item() == pytest.approx(0.09)


def test_anisotropy_is_measured_on_scales_not_on_their_logs():
    # A ratio of exactly 10 exceeds 7.5 by 2.5; ratios below 7.5 are free.
    scales = torch.tensor([[0.1, 0.05, 0.01], [0.1, 0.1, 0.1]])
    assert anisotropy(scales.log(), 7.5).item() == pytest.approx(1.25, rel=1e-5)


def test_over_blends_straight_alpha():
    rgba = torch.tensor([[[[255, 0, 0, 51]]]], dtype=torch.uint8)
    colour, alpha = over(rgba, torch.tensor([[1.0, 1.0, 0.5]]))
    assert alpha.item() == pytest.approx(0.2)
    assert colour[0, 0, 0].tolist() == pytest.approx([1.0, 0.8, 0.4])
