"""Metric maths: values by hand, a slow twin, and perturbations that must never be rewarded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stages.lib import quality

T, SIDE, THRESHOLD = 8, 96, 0.5


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """(T, H, W, 4) uint8: a textured disc that moves 2 pixels a frame and brightens."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((SIDE, SIDE, 3)), (0, 0), 2)
    texture = 255 * (noise - noise.min()) / (noise.max() - noise.min())
    frames = np.zeros((T, SIDE, SIDE, 4), np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for t in range(T):
        inside = (columns - 38 - 2 * t) ** 2 + (rows - 48) ** 2 < 24**2
        colour = np.roll(texture, 2 * t, axis=1) * (0.7 + 0.04 * t)
        frames[t, ..., :3] = colour * inside[..., None]
        frames[t, ..., 3] = 255 * inside
    return frames


def blur(clip: np.ndarray) -> np.ndarray:
    """Blurs the colours inside, leaves alpha: what a fit of too few gaussians looks like."""
    blurred = np.stack([cv2.GaussianBlur(frame[..., :3], (0, 0), 3) for frame in clip])
    return np.concatenate([blurred, clip[..., 3:]], axis=-1)


def noise(clip: np.ndarray) -> np.ndarray:
    change = np.random.default_rng(1).integers(-25, 26, clip[..., :3].shape)
    return np.concatenate([np.clip(clip[..., :3] + change, 0, 255).astype(np.uint8), clip[..., 3:]], axis=-1)


PERTURBATIONS = {
    "blur": blur,
    "shift": lambda clip: np.roll(clip, 1, axis=2),
    "noise": noise,
    "freeze": lambda clip: np.repeat(clip[:1], T, axis=0),
    "shuffle": lambda clip: clip[[3, 0, 5, 2, 7, 4, 1, 6]],
}
# A change of colour leaves the silhouette; a shift of all frames leaves how a clip follows itself.
EQUAL_BY_DEFINITION = {("blur", "iou"), ("noise", "iou"), ("shift", "flicker_gap"), ("shift", "warp_gap")}
BEST = {"psnr": 100.0, "psnr_masked": 100.0, "ssim": 1.0, "ssim_masked": 1.0, "iou": 1.0}
BEST |= {"psnr_legacy": 100.0, "ssim_legacy": 1.0}
LARGER_IS_BETTER = set(BEST)


def scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All metrics of a clip, those of frames as their mean."""
    frames = [quality.frame_scores(p, t, THRESHOLD) for p, t in zip(prediction, truth, strict=True)]
    pictures = [[quality.on_white(image)[0] for image in images] for images in (prediction, truth)]
    clip_scores = quality.clip_scores(*pictures, n_frames=len(truth), skip_ends=2)
    return {name: float(np.mean([frame[name] for frame in frames])) for name in frames[0]} | clip_scores


@pytest.fixture(scope="module")
def perturbed(clip) -> dict[str, dict[str, float]]:
    return {name: scores(change(clip), clip) for name, change in PERTURBATIONS.items()}


def flat(value: float, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


# ------------------------------------------------------------------ perturbations


def test_identity_gives_the_best_value_of_every_metric(clip):
    found = scores(clip, clip)
    assert set(found) == {*quality.FRAME_METRICS, *quality.CLIP_METRICS}
    assert found == pytest.approx({name: BEST.get(name, 0.0) for name in found}, abs=1e-6)


@pytest.mark.parametrize("metric", [*quality.FRAME_METRICS, "tof", "dtssd", "warp_gap", "flicker_gap"])
@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_a_worse_picture_scores_worse(perturbed, perturbation, metric):
    value, best = perturbed[perturbation][metric], BEST.get(metric, 0.0)
    if (perturbation, metric) in EQUAL_BY_DEFINITION:
        assert value == pytest.approx(best, abs=1e-6)
    else:
        margin = best - value if metric in LARGER_IS_BETTER else value - best
        assert margin > 1e-5, f"{perturbation} leaves {metric} at {value}"


@pytest.mark.parametrize("metric", ["psnr", "psnr_masked", "ssim", "ssim_masked", "tof", "dtssd"])
def test_more_blur_is_worse_than_less(clip, perturbed, metric):
    twice = scores(blur(blur(clip)), clip)[metric]
    once = perturbed["blur"][metric]
    assert twice < once if metric in LARGER_IS_BETTER else twice > once


def test_raw_smoothness_rewards_freezing_so_only_gaps_are_kept(perturbed):
    assert perturbed["freeze"]["flicker_signed"] < 0 < perturbed["freeze"]["flicker_gap"]
    assert perturbed["blur"]["warp_signed"] < 0 < perturbed["blur"]["warp_gap"]


@pytest.mark.parametrize("colour", [255, 200])
def test_a_halo_cannot_dilute_the_error_of_the_object(clip, colour):
    poor, truth = noise(clip)[0], clip[0]
    halo = poor.copy()
    around = (cv2.dilate(truth[..., 3], np.ones((15, 15))) > 0) & (truth[..., 3] == 0)
    halo[around] = (colour, colour, colour, 255)
    before, after = (quality.frame_scores(image, truth, THRESHOLD) for image in (poor, halo))
    assert after["iou"] < 0.8 < before["iou"] == 1.0
    assert after["psnr_masked"] <= before["psnr_masked"] + 1e-6
    assert after["ssim_masked"] <= before["ssim_masked"] + 1e-6
    if colour == 200:
        assert after["psnr_masked"] < before["psnr_masked"] - 0.5


def test_missing_and_superfluous_parts_both_cost(clip):
    truth = clip[0]
    missing, superfluous = truth.copy(), truth.copy()
    missing[:48] = 0
    superfluous[4:14, 4:14] = (0, 0, 0, 255)
    for image in (missing, superfluous):
        assert quality.frame_scores(image, truth, THRESHOLD)["psnr_masked"] < 20
        assert quality.frame_scores(image, truth, THRESHOLD)["ssim_masked"] < 0.95


# ------------------------------------------------------------------ one picture


def test_transparent_pixels_are_white_and_half_alpha_is_half_way():
    rgba = np.array([[[10, 20, 30, 0], [51, 102, 255, 255], [0, 0, 0, 51]]], np.uint8)
    picture, alpha = quality.on_white(rgba)
    assert picture.dtype == np.float32 and alpha[0] == pytest.approx([0.0, 1.0, 0.2])
    assert picture[0, 0] == pytest.approx([1.0, 1.0, 1.0])
    assert picture[0, 1] == pytest.approx([0.2, 0.4, 1.0])
    assert picture[0, 2] == pytest.approx([0.8, 0.8, 0.8])


def test_psnr_of_a_constant_error_of_a_tenth_is_20_db():
    assert quality.psnr(flat(0.4), flat(0.5)) == pytest.approx(20.0, abs=1e-5)
    assert quality.psnr(flat(0.5), flat(0.5)) == 100.0


def test_psnr_masked_divides_by_the_true_object():
    truth = flat(1.0, 10)
    prediction = truth.copy()
    prediction[:2, :5] = 0.9
    true_alpha = np.zeros((10, 10), np.float32)
    true_alpha[:2, :5] = 1
    alpha = np.ones((10, 10), np.float32)
    region, area = quality.object_region(alpha, true_alpha, THRESHOLD)
    assert region.all() and area == 10
    assert quality.psnr_masked(prediction, truth, region, area) == pytest.approx(20.0, abs=1e-5)
    prediction[9, :] = 0.9
    assert quality.psnr_masked(prediction, truth, region, area) == pytest.approx(20.0 - 3.0103, abs=1e-3)


def test_an_empty_frame_is_scored_as_a_whole_picture():
    empty = np.zeros((32, 32, 4), np.uint8)
    assert quality.frame_scores(empty, empty, THRESHOLD) == pytest.approx(BEST)
    junk = empty.copy()
    junk[:16] = (0, 0, 0, 255)
    found = quality.frame_scores(junk, empty, THRESHOLD)
    assert found["iou"] == 0.0 and found["psnr_masked"] == pytest.approx(3.0103, abs=1e-4)


def test_iou_of_two_rectangles():
    a, b = np.zeros((10, 10)), np.zeros((10, 10))
    a[0:4, 0:4] = 1
    b[2:6, 0:4] = 1
    assert quality.iou(a, b, THRESHOLD) == pytest.approx(8 / 24)
    assert quality.iou(0.5 * a, b, THRESHOLD) == 0.0


def test_ssim_equals_its_slow_twin(clip):
    prediction, truth = (quality.on_white(image)[0] for image in (noise(clip)[2], clip[2]))

    def smooth(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, sigma=1.5, mode="mirror", truncate=3.5)

    twin = np.zeros((SIDE, SIDE))
    for channel in range(3):
        x, y = (image[..., channel].astype(np.float64) for image in (prediction, truth))
        mean_x, mean_y = smooth(x), smooth(y)
        variance_x, variance_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
        covariance = smooth(x * y) - mean_x * mean_y
        structure = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
        twin += structure / ((mean_x**2 + mean_y**2 + 1e-4) * (variance_x + variance_y + 9e-4)) / 3
    found = quality.ssim_map(prediction, truth)
    assert found.min() < 0.9
    np.testing.assert_allclose(found, twin, atol=2e-4)
    assert float(found.mean()) == pytest.approx(float(twin.mean()), abs=1e-6)


def test_ssim_masked_is_the_mean_over_the_object_when_silhouettes_agree():
    similarity = np.ones((4, 4), np.float32)
    similarity[:2] = 0.5
    region = np.zeros((4, 4), bool)
    region[1:3] = True
    assert quality.ssim_masked(similarity, region, 8) == pytest.approx(0.75)
    assert quality.ssim_masked(similarity, region, 2) == pytest.approx(0.0)


# ------------------------------------------------------------------ one clip


def test_dtssd_and_flicker_of_two_ramps():
    predictions, truths = ([flat(slope * t) for t in range(6)] for slope in (0.1, 0.02))
    found = quality.clip_scores(predictions, truths, n_frames=6, skip_ends=2)
    assert found["dtssd"] == pytest.approx(0.08**2, rel=1e-4)
    assert found["flicker_signed"] == pytest.approx(0.08, rel=1e-4)
    assert found["flicker_gap"] == pytest.approx(0.08, rel=1e-4)


def test_tof_is_the_missed_motion_in_pixels():
    texture = cv2.GaussianBlur(np.random.default_rng(3).random((64, 64, 3)).astype(np.float32), (0, 0), 2)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    moving = [np.roll(texture, 2 * t, axis=1) for t in range(6)]
    found = quality.clip_scores([texture] * 6, moving, n_frames=6, skip_ends=2)
    assert found["tof"] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(("n_frames", "skip"), [(24, 2), (6, 2), (5, 1), (4, 1), (3, 0), (2, 0), (1, 0)])
def test_short_clips_leave_out_fewer_ends(n_frames, skip):
    assert quality.skipped_ends(n_frames, 2) == skip


def test_tof_looks_only_at_pairs_inside_the_ends(clip):
    pictures = [quality.on_white(image)[0] for image in clip]
    broken = [pictures[7], *pictures[1:]]
    assert quality.clip_scores(broken, pictures, n_frames=T, skip_ends=1)["tof"] == 0.0
    assert quality.clip_scores(broken, pictures, n_frames=T, skip_ends=0)["tof"] > 0.1


def test_one_frame_has_no_clip_scores():
    assert quality.clip_scores([flat(0.5)], [flat(0.5)], n_frames=1, skip_ends=2) is None


def test_clips_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="argument"):
        quality.clip_scores([flat(0.5)] * 3, [flat(0.5)] * 4, n_frames=4, skip_ends=0)


def test_warp_error_vanishes_along_the_true_flow():
    first = np.random.default_rng(4).random((40, 40, 3)).astype(np.float32)
    second = np.roll(first, 3, axis=1)
    flow = np.zeros((40, 40, 2), np.float32)
    flow[..., 0] = 3
    seen = np.zeros((40, 40), bool)
    seen[:, :37] = True
    assert quality.warp_error(first, second, flow, seen) == pytest.approx(0.0, abs=1e-10)
    assert quality.warp_error(first, second, 0 * flow, seen) > 0.05
    assert quality.warp_error(flat(0.2), flat(0.5), np.zeros((32, 32, 2), np.float32), np.zeros((32, 32), bool)) == (
        pytest.approx(0.09, rel=1e-4)
    )


def test_a_pixel_is_visible_when_the_flows_agree_and_are_smooth():
    still = np.zeros((20, 20, 2), np.float32)
    moving = still + np.float32(2)
    assert quality.visible(still, still).all()
    assert quality.visible(moving, -moving).all()
    assert not quality.visible(moving, moving).any()
    torn = still.copy()
    torn[:, 10:, 0] = 2
    seen = quality.visible(torn, -torn)
    assert not seen[:, 9].any() and seen[:, :9].all()


def blinking() -> np.ndarray:
    """(4, 8, 8, 3): grey; one pixel jumps by 0.2 in blue between frames 1 and 2, another drifts by 0.09 a frame."""
    pictures = np.full((4, 8, 8, 3), 0.5, np.float32)
    pictures[2:, 3, 4, 2] += 0.2
    pictures[:, 6, 6] += np.arange(4, dtype=np.float32)[:, None] * 0.09
    return pictures


def test_the_sudden_region_holds_jumps_and_no_drift():
    assert np.argwhere(quality.sudden_region(blinking())).tolist() == [[3, 4]]
    assert not quality.sudden_region(blinking()[:1]).any()


def test_psnr_sudden_pools_all_frames_inside_the_region():
    truth = blinking()
    prediction = truth.copy()
    prediction[2, 3, 4] += 0.2
    prediction[:, :3] = 0.0
    value = quality.psnr_sudden(prediction, truth, quality.sudden_region(truth))
    assert value == pytest.approx(-10 * np.log10(0.2**2 / 4), abs=1e-4)
    assert quality.psnr_sudden(prediction, truth, np.zeros((8, 8), bool)) is None


# ------------------------------------------------------------------ one sequence


def about_z(*angles_deg: float) -> np.ndarray:
    """Quaternions (T, 1, 4) of rotations about z."""
    half = np.radians(angles_deg) / 2
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=-1)[:, None]


def test_rotation_jitter_is_the_change_of_turn_in_degrees():
    assert quality.rotation_jitter(about_z(0, 25, 50, 75)) == pytest.approx(np.zeros((2, 1)), abs=1e-6)
    assert quality.rotation_jitter(about_z(0, 10, 30))[0, 0] == pytest.approx(10.0)
    assert quality.rotation_jitter(-3 * about_z(0, 10, 30))[0, 0] == pytest.approx(10.0)
    flipped = about_z(0, 10, 30) * np.array([1, -1, 1])[:, None, None]
    assert quality.rotation_jitter(flipped)[0, 0] == pytest.approx(10.0)


def steady(n_frames: int, n: int) -> dict[str, np.ndarray]:
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (n_frames, n, 1))
    zeros = np.zeros((n_frames, n, 3), np.float32)
    logits = np.zeros((n_frames, n), np.float32)
    return {"means": zeros, "quats": quats, "log_scales": zeros, "opacity_logits": logits} | {
        "present": np.ones((n_frames, n), bool)
    }


def test_jitter_counts_acceleration_and_not_speed():
    uniform = steady(5, 3)
    uniform["means"] = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32)
    assert quality.jitter(**uniform, radius=2.0) == pytest.approx(dict.fromkeys(quality.JITTER_METRICS, 0.0))
    falling = steady(5, 1)
    falling["means"] = falling["means"].copy()
    falling["means"][:, 0, 1] = np.arange(5) ** 2
    falling["log_scales"] = 2 * falling["means"]
    found = quality.jitter(**falling, radius=2.0)
    assert found["jitter_means"] == pytest.approx(1.0) and found["jitter_log_scales"] == pytest.approx(4.0)


def test_jitter_is_weighted_by_opacity_and_presence():
    arrays = steady(3, 2)
    arrays["means"] = np.array([[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]], np.float32)
    arrays["opacity_logits"] = np.tile(np.log(np.array([3.0, 1 / 3], np.float32)), (3, 1))
    assert quality.jitter(**arrays, radius=1.0)["jitter_means"] == pytest.approx(0.25 * 2.0, rel=1e-5)
    arrays["present"] = np.array([[True, True], [True, True], [True, False]])
    assert quality.jitter(**arrays, radius=1.0)["jitter_means"] == 0.0
    arrays["present"] = np.array([[True, True], [True, True], [False, False]])
    assert quality.jitter(**arrays, radius=1.0) is None


def test_jitter_needs_three_frames():
    assert quality.jitter(**steady(2, 4), radius=1.0) is None
    assert quality.jitter(**steady(1, 4), radius=1.0) is None


@pytest.mark.parametrize(("darkest", "loss"), [(0, 0.0), (20, 0.71), (40, 1.48)])
def test_legacy_psnr_is_lower_where_the_truth_has_no_black(darkest, loss):
    truth = np.full((16, 16, 3), 1.0, np.float32)
    truth[4:8] = darkest / 255
    prediction = np.clip(truth - 0.01, 0, 1).astype(np.float32)
    assert quality.psnr(prediction, truth) - quality.psnr_legacy(prediction, truth) == pytest.approx(loss, abs=0.01)


def test_legacy_ssim_takes_the_larger_range():
    grey = (np.random.default_rng(0).random((32, 32, 3)) * 0.5 + 0.25).astype(np.float32)
    other = grey + np.float32(0.1) * (grey > 0.5)
    assert quality.ssim_legacy(grey, other) < quality.ssim_map(grey, other).mean()


def test_a_frame_has_the_legacy_scores_of_its_pictures_on_white(clip):
    found = quality.frame_scores(noise(clip)[2], clip[2], THRESHOLD)
    pictures = [quality.on_white(image)[0] for image in (noise(clip)[2], clip[2])]
    assert found["psnr_legacy"] == quality.psnr_legacy(*pictures)
    assert found["ssim_legacy"] == quality.ssim_legacy(*pictures) != found["ssim"]
    assert found["ssim"] == float(quality.ssim_map(*pictures).mean(dtype=np.float64))
