"""Frames between the fitted ones: nothing inserted changes nothing, SciPy's curves agree, presence is respected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from stages.contracts import ContractError, Sequence
from stages.lib import interpolation
from tests.slow_motion import insert, moments

FRAMES, GAUSSIANS = 5, 7
NAMES = ("means", "quats", "log_scales", "opacity_logits", "present", "times")


def sequence(present: np.ndarray | None = None, times: np.ndarray | None = None) -> Sequence:
    """Random gaussians at five times that are not evenly spaced."""
    chance = np.random.default_rng(0)
    shape = (FRAMES, GAUSSIANS)
    return Sequence(
        chance.standard_normal((*shape, 3)).astype(np.float32),
        3 * chance.standard_normal((*shape, 4)).astype(np.float32),
        chance.standard_normal((*shape, 3)).astype(np.float32),
        chance.standard_normal(shape).astype(np.float32),
        chance.standard_normal((GAUSSIANS, 1, 3)).astype(np.float32),
        np.ones(shape, bool) if present is None else present,
        np.array([0.0, 0.1, 0.4, 0.7, 1.0]) if times is None else times,
        {"stage": "dynamic"},
    )


def same(first: Sequence, second: Sequence) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in NAMES)


def test_nothing_inserted_is_the_identity():
    given = sequence()
    assert same(insert(given, 0), given)


@pytest.mark.parametrize("between", [0, 1, 3])
def test_no_more_than_four_frames_are_held(between):
    """Of frames that are made as they are asked for, one is asked for only when those before it have been given out."""
    given, asked = sequence(), []

    def made():
        for index, frame in enumerate(moments(given)):
            asked.append(index)
            yield frame

    for count, _ in enumerate(interpolation.insert(made(), given.times, between)):
        assert len(asked) <= min(FRAMES, count // (between + 1) + 3)
    assert count + 1 == len(interpolation.instants(given.times, between))
    assert asked == list(range(FRAMES))


def test_the_fitted_frames_keep_their_bits_and_times():
    given = sequence()
    made = insert(given, 3)
    assert len(made.times) == 17
    assert made.times[:5] == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1])
    assert (np.diff(made.times) > 0).all()
    assert same(made.at(given.times), given)
    made.check()


def test_means_are_the_cubic_of_scipy_with_central_differences():
    given = sequence()
    made = insert(given, 2)
    slopes = np.gradient(given.means.astype(np.float64), given.times, axis=0, edge_order=1)
    expected = CubicHermiteSpline(given.times, given.means, slopes, axis=0)(made.times)
    assert np.abs(made.means - expected).max() < 1e-5


def test_rotations_are_scipys_slerp():
    given = sequence()
    made = insert(given, 2)
    for index in range(GAUSSIANS):
        fitted = Rotation.from_quat(given.quats[:, index], scalar_first=True)
        expected = Slerp(given.times, fitted)(made.times)
        found = Rotation.from_quat(made.quats[:, index], scalar_first=True)
        assert (expected * found.inv()).magnitude().max() < 1e-3


def test_equal_and_opposite_quaternions_are_one_rotation():
    quats = np.array([[1.0, 0, 0, 0], [0.6, 0.8, 0, 0]])
    assert interpolation.slerp(quats, quats, 0.5) == pytest.approx(quats)
    assert interpolation.slerp(quats, -quats, 0.25) == pytest.approx(quats)


def test_scales_and_opacities_are_linear_as_stored():
    given = sequence()
    made = insert(given, 1)
    assert made.log_scales[1] == pytest.approx((given.log_scales[0] + given.log_scales[1]) / 2, abs=1e-6)
    assert made.opacity_logits[7] == pytest.approx((given.opacity_logits[3] + given.opacity_logits[4]) / 2, abs=1e-6)


def test_a_gaussian_exists_between_frames_where_both_have_it():
    present = np.ones((FRAMES, GAUSSIANS), bool)
    present[2, 0] = False
    made = insert(sequence(present), 1)
    assert made.present[:, 0].tolist() == [True, True, True, False, False, False, True, True, True]
    assert made.present[:, 1:].all()


def test_where_a_gaussian_is_absent_does_not_bend_its_path():
    """Gaussian 0 moves straight in frames 0 and 1 and is absent, far away, in frame 2."""
    present = np.ones((FRAMES, GAUSSIANS), bool)
    present[2:, 0] = False
    given = sequence(present)
    given.means[0, 0], given.means[1, 0], given.means[2:, 0] = 0.0, 1.0, 1e6
    made = insert(given, 3)
    assert made.means[:5, 0, 0] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0], abs=1e-6)


def test_uniform_motion_stays_uniform_at_unequal_times():
    given = sequence()
    given.means[:] = given.times[:, None, None]
    made = insert(given, 4)
    assert np.abs(made.means - made.times[:, None, None]).max() < 1e-6


def test_one_frame_stays_one_frame():
    given = sequence().at(np.array([0.4]))
    assert same(insert(given, 5), given)


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="between is -1"):
        interpolation.instants(np.array([0.0, 1.0]), -1)


def test_a_moment_that_is_not_there_is_named():
    with pytest.raises(ContractError, match=r"none at time 0\.5000"):
        sequence().at(np.array([0.4, 0.5]))


def test_nan_attributes_name_the_file_and_what_to_do(tmp_path):
    from stages.contracts import save_tensors

    given = sequence()
    given.means[1, 2] = np.nan
    save_tensors(tmp_path / "s.safetensors", {n: getattr(given, n) for n in (*NAMES, "sh")}, {})
    with pytest.raises(ContractError, match=r"s\.safetensors: Sequence\.means holds 3 NaN.* Delete it"):
        Sequence.load(tmp_path / "s.safetensors")
