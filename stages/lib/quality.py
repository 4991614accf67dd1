"""Scores of pictures, clips and motion that need no network: NumPy and OpenCV, one thread, no random numbers.

Vocabulary
----------
- Letters: T frames, N gaussians, H W pixels, C channels.
- *Picture*: (H, W, 3) float32 RGB in [0, 1], composited on white. *Alpha*: (H, W) float32 in [0, 1].
- *Prediction* is what is scored, *truth* what it is held against. Pixels whose alpha is above a threshold
  are the *object*; its *region* is the union of both objects, its *area* the pixel count of the true one.
- *Flow* (H, W, 2) float32: x and y displacement in pixels from a pixel of one picture to its place in another.

Conventions
-----------
- Whether a score is undefined depends on the truth and on T alone, never on the prediction: otherwise a
  worse picture could leave a mean by becoming undefined.
- Sums over the region are divided by the true object's area, not by the region's: a pale halo around the
  object would otherwise enlarge the region and so lower the mean error.
- Signed, raw or gap values of smoothness (`warp_*`, `flicker_*`, jitter) are diagnostics and are not ranked: a
  low raw value rewards blur and freezing, and a gap can cancel two faults.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import cv2
import numpy as np

# Identical pictures have no finite PSNR; the cap (DisCo's) keeps means over frames finite. It is an error of 1e-5
# per value, a four-hundredth of an 8-bit step.
PSNR_CAP_DB = 100.0

# Wang et al. 2004: constants, window and its width. The reflected border scores every pixel.
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
SSIM_WINDOW = (11, 11)
SSIM_SIGMA = 1.5

# Lai et al. 2018 (fast_blind_video_consistency, utils.py), after Sundaram et al. 2010.
OCCLUSION_RELATIVE, OCCLUSION_ABSOLUTE = 0.01, 0.5
BOUNDARY_RELATIVE, BOUNDARY_ABSOLUTE = 0.01, 0.002

# A pixel whose true colour changes by more than this in any channel, values in [0, 1], from one frame to the next
# changes suddenly: far above noise and shading, below an object's edge passing over its background.
SUDDEN_CHANGE = 0.1

FRAME_METRICS = ("psnr", "psnr_masked", "ssim", "ssim_masked", "iou", "psnr_legacy", "ssim_legacy")
SUDDEN_METRIC = "psnr_sudden"
# Frame by frame: how many pixels changed since the frame before, and the error where the clip changes most.
CHANGE_METRICS = ("sudden_pixels", "psnr_sudden_frame")
CLIP_METRICS = ("tof", "dtssd", "warp_gap", "warp_signed", "flicker_gap", "flicker_signed")
JITTER_METRICS = ("jitter_means", "jitter_log_scales", "jitter_quats", "jitter_opacity")

# ------------------------------------------------------------------ one picture


def on_white(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) and alpha (H, W), float32 in [0, 1], of a straight-alpha uint8 image (H, W, 4).

    Blended in float and not rounded again (Consistent4D's readme asks for white, not for a rounding rule).
    """
    # One contiguous plane after the other: twice as fast as broadcasting alpha over the last axis.
    *planes, alpha = cv2.split(rgba)
    alpha = alpha / np.float32(255)
    weight, rest = alpha / np.float32(255), 1 - alpha
    return cv2.merge([plane * weight + rest for plane in planes]), alpha


def object_region(alpha: np.ndarray, true_alpha: np.ndarray, threshold: float) -> tuple[np.ndarray, int]:
    """Region (H, W) bool and area in pixels that the masked scores use; alphas (H, W) in [0, 1].

    Both are the whole picture when the truth shows no object, so that an empty frame is scored too.
    """
    truth = true_alpha > threshold
    area = int(np.count_nonzero(truth))
    if area == 0:
        return np.ones_like(truth), truth.size
    return truth | (alpha > threshold), area


def iou(alpha: np.ndarray, true_alpha: np.ndarray, threshold: float) -> float:
    """Intersection over union of the objects, in [0, 1], 1 best and 1 when both are empty; alphas (H, W)."""
    mask, truth = alpha > threshold, true_alpha > threshold
    union = int(np.count_nonzero(mask | truth))
    return 1.0 if union == 0 else int(np.count_nonzero(mask & truth)) / union


def decibels(mse: float) -> float:
    """PSNR in dB of a mean squared error of values in [0, 1], at most PSNR_CAP_DB."""
    return PSNR_CAP_DB if mse <= 0 else min(PSNR_CAP_DB, -10.0 * math.log10(mse))


def _mean_square(a: np.ndarray, b: np.ndarray) -> float:
    # OpenCV sums float32 in float64 without a copy; NumPy's mean with a dtype takes five times as long.
    return cv2.norm(a, b, cv2.NORM_L2SQR) / a.size


def _square_length(vectors: np.ndarray) -> np.ndarray:
    # Summing a last axis of two with NumPy's reduction costs ten times as much.
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2


def psnr(prediction: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB over the whole picture, data range 1; pictures (H, W, 3)."""
    return decibels(_mean_square(prediction, truth))


def psnr_masked(prediction: np.ndarray, truth: np.ndarray, region: np.ndarray, area: int) -> float:
    """PSNR in dB of the squared error summed over the region and divided by the true object's area.

    After dycheck's mPSNR (Gao et al. 2022), whose mask is the truth's alone; here a missing part and a
    superfluous part both cost, and no superfluous part can dilute the error of another. It can be below 0.
    """
    error = cv2.norm(prediction, truth, cv2.NORM_L2SQR, region.view(np.uint8))
    return decibels(error / (area * prediction.shape[-1]))


def picture_range(picture: np.ndarray) -> float:
    """Largest minus smallest value of a picture, at least one 8-bit step so that a plain one can be divided by it."""
    return max(float(np.ptp(picture)), 1 / 255)


def psnr_legacy(prediction: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB with the truth's own range as peak: torchmetrics before 1.8 without `data_range`, as in the papers.

    The darker half of the grey scale missing in the truth costs 6 dB; pictures (H, W, 3).
    """
    return decibels(_mean_square(prediction, truth) / picture_range(truth) ** 2)


def ssim_legacy(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean SSIM with the larger of the two pictures' ranges (torchmetrics without `data_range`); pictures (H, W, 3)."""
    return float(ssim_map(prediction, truth, _legacy_range(prediction, truth)).mean(dtype=np.float64))


def _legacy_range(prediction: np.ndarray, truth: np.ndarray) -> float:
    return max(picture_range(prediction), picture_range(truth))


def ssim_map(prediction: np.ndarray, truth: np.ndarray, data_range: float = 1.0) -> np.ndarray:
    """Structural similarity of every pixel (H, W), mean over channels, 1 best; pictures (H, W, 3).

    Wang et al. 2004: Gaussian window 11, sigma 1.5, K1 0.01, K2 0.03, biased moments; border reflected without its
    edge, no crop (torchmetrics' variant); everywhere but in `ssim_legacy` with the fixed data range 1.
    """
    return _similarity(_moments(prediction, truth), data_range)


def _moments(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """What SSIM needs of two pictures, whatever their range: product and squares of the means, variances, covariance.

    Each (H, W, 3). Blurring is nearly all of SSIM's time, so that two ranges share it.
    """

    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, SSIM_WINDOW, SSIM_SIGMA, borderType=cv2.BORDER_REFLECT_101)

    mean_p, mean_t = blur(prediction), blur(truth)
    means_product = mean_p * mean_t
    means_squared = mean_p * mean_p + mean_t * mean_t
    variances = np.maximum(blur(prediction * prediction + truth * truth) - means_squared, 0)
    return means_product, means_squared, variances, blur(prediction * truth) - means_product


def _similarity(moments: tuple[np.ndarray, ...], data_range: float) -> np.ndarray:
    """Map (H, W) of SSIM from `_moments`."""
    means_product, means_squared, variances, covariance = moments
    c1, c2 = SSIM_C1 * data_range**2, SSIM_C2 * data_range**2
    value = (2 * means_product + c1) * (2 * covariance + c2)
    value /= (means_squared + c1) * (variances + c2)
    return (value[..., 0] + value[..., 1] + value[..., 2]) / 3


def ssim_masked(similarity: np.ndarray, region: np.ndarray, area: int) -> float:
    """1 minus the dissimilarity (1 - map) summed over the region and divided by the true object's area.

    Equal to the mean of the map (H, W) over the object when the silhouettes agree; a superfluous part lowers it,
    below 0 when it is large.
    """
    return 1.0 - float((1.0 - similarity[region]).sum(dtype=np.float64)) / area


def frame_scores(prediction: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    """FRAME_METRICS of one frame; images (H, W, 4) uint8, `threshold` on alpha in [0, 1]."""
    picture, alpha = on_white(prediction)
    true_picture, true_alpha = on_white(truth)
    region, area = object_region(alpha, true_alpha, threshold)
    moments = _moments(picture, true_picture)
    similarity = _similarity(moments, 1.0)
    legacy = _similarity(moments, _legacy_range(picture, true_picture))
    return {
        "psnr": psnr(picture, true_picture),
        "psnr_masked": psnr_masked(picture, true_picture, region, area),
        "ssim": float(similarity.mean(dtype=np.float64)),
        "ssim_masked": ssim_masked(similarity, region, area),
        "iou": iou(alpha, true_alpha, threshold),
        "psnr_legacy": psnr_legacy(picture, true_picture),
        "ssim_legacy": float(legacy.mean(dtype=np.float64)),
    }


# ------------------------------------------------------------------ one clip


def grey(picture: np.ndarray) -> np.ndarray:
    """Luma (H, W) uint8 of a picture (H, W, 3), as the flow wants it."""
    return np.rint(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8)


def dense_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Farneback flow (H, W, 2) from `first` to `second`, both (H, W) uint8, with TecoGAN's parameters."""
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def flow_distance(flow: np.ndarray, true_flow: np.ndarray) -> float:
    """tOF of one pair of frames: mean length in pixels of the difference of two flows (H, W, 2).

    TecoGAN (Chu et al. 2020), metrics.py; without its crop to a multiple of 32.
    """
    return float(np.mean(np.sqrt(_square_length(flow - true_flow)), dtype=np.float64))


def backwarp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Values (H, W, C) of `image` at the places the flow (H, W, 2) points to, bilinear, border repeated."""
    height, width = flow.shape[:2]
    columns = np.arange(width, dtype=np.float32) + flow[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def visible(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool of the first frame that are neither occluded in the second nor on a motion boundary.

    Flows (H, W, 2) from first to second frame and back. Sundaram et al. 2010, constants of Lai et al. 2018.
    """
    returned = backwarp(backward, forward)
    length = _square_length(forward)
    limit = OCCLUSION_RELATIVE * (length + _square_length(returned)) + OCCLUSION_ABSOLUTE
    occluded = _square_length(forward + returned) > limit
    gradient = np.zeros_like(length)
    gradient[:, :-1] += _square_length(np.diff(forward, axis=1))
    gradient[:-1] += _square_length(np.diff(forward, axis=0))
    return ~(occluded | (gradient > BOUNDARY_RELATIVE * length + BOUNDARY_ABSOLUTE))


def warp_error(first: np.ndarray, second: np.ndarray, flow: np.ndarray, seen: np.ndarray) -> float:
    """Mean squared difference, over the seen pixels, of `first` and `second` brought back by the flow.

    Lai et al. 2018 (evaluate_WarpError.py), pictures (H, W, 3) in [0, 1]; over all pixels when none is seen.
    """
    brought_back = backwarp(second, flow)
    count = int(np.count_nonzero(seen))
    if count == 0:
        return _mean_square(brought_back, first)
    return cv2.norm(brought_back, first, cv2.NORM_L2SQR, seen.view(np.uint8)) / (count * first.shape[-1])


def skipped_ends(n_frames: int, skip_ends: int) -> int:
    """Frames left out at each end for tOF: `skip_ends`, or as many as leave two frames of a short clip."""
    return max(0, min(skip_ends, (n_frames - 2) // 2))


def clip_scores(
    predictions: Iterable[np.ndarray], truths: Iterable[np.ndarray], n_frames: int, skip_ends: int
) -> dict[str, float] | None:
    """CLIP_METRICS of one view; iterables of T = `n_frames` pictures (H, W, 3), two of each held at a time.

    None when T < 2. `tof` pixels, frames at both ends left out (`skipped_ends`); `dtssd` mean squared
    difference of frame differences, values in [0, 1] (DisCo's formula, over the whole clip); `warp_*` flow-warp
    error, flow and visibility of the truth as in Lai et al. 2018; `flicker_*` mean absolute frame difference
    (VBench). `*_signed` is ours minus the truth's own value, `*_gap` its magnitude.
    """
    if n_frames < 2:
        return None
    skip = skipped_ends(n_frames, skip_ends)
    sums = dict.fromkeys(("tof", "dtssd", "warp_signed", "flicker_signed"), 0.0)
    quadruples = zip(pairwise(predictions), pairwise(truths), strict=True)
    for start, ((first, second), (true_first, true_second)) in enumerate(quadruples):
        grey_first, grey_second = grey(true_first), grey(true_second)
        forward = dense_flow(grey_first, grey_second)
        if skip <= start < n_frames - 1 - skip:
            sums["tof"] += flow_distance(dense_flow(grey(first), grey(second)), forward)
        seen = visible(forward, dense_flow(grey_second, grey_first))
        sums["warp_signed"] += warp_error(first, second, forward, seen)
        sums["warp_signed"] -= warp_error(true_first, true_second, forward, seen)
        change, true_change = second - first, true_second - true_first
        sums["dtssd"] += _mean_square(change, true_change)
        sums["flicker_signed"] += cv2.norm(first, second, cv2.NORM_L1) / first.size
        sums["flicker_signed"] -= cv2.norm(true_first, true_second, cv2.NORM_L1) / first.size
    n_pairs = n_frames - 1
    scores = {name: total / (n_pairs - 2 * skip if name == "tof" else n_pairs) for name, total in sums.items()}
    gaps = {f"{name}_gap": abs(scores[f"{name}_signed"]) for name in ("warp", "flicker")}
    return {name: (scores | gaps)[name] for name in CLIP_METRICS}


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool that change by more than SUDDEN_CHANGE between two pictures (H, W, 3)."""
    return (np.abs(after - before) > SUDDEN_CHANGE).any(axis=-1)


def sudden_region(truths: Iterable[np.ndarray]) -> np.ndarray:
    """Pixels (H, W) bool that change by more than SUDDEN_CHANGE between two consecutive frames at any time.

    `truths` are the T >= 1 true pictures (H, W, 3) of one view.
    """
    pictures = iter(truths)
    before = next(pictures)
    region = np.zeros(before.shape[:2], bool)
    for picture in pictures:
        region |= changed(before, picture)
        before = picture
    return region


def region_error(prediction: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Squared error summed over a region (H, W) bool and the channels of two pictures (H, W, 3)."""
    return cv2.norm(prediction, truth, cv2.NORM_L2SQR, region.view(np.uint8))


def psnr_region(prediction: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float | None:
    """PSNR in dB of one picture (H, W, 3) over the region (H, W) bool; None when the region is empty."""
    count = int(np.count_nonzero(region))
    return decibels(region_error(prediction, truth, region) / (count * 3)) if count else None


def psnr_sudden(predictions: Iterable[np.ndarray], truths: Iterable[np.ndarray], region: np.ndarray) -> float | None:
    """PSNR in dB of the mean squared error over the region (H, W) of all frames; None when the region is empty.

    Pictures (H, W, 3) of one view. Pooled, not averaged frame by frame: frames of rest, which every method gets
    right, would otherwise outvote the moment of the change.
    """
    count = int(np.count_nonzero(region))
    if count == 0:
        return None
    errors = [region_error(*pictures, region) for pictures in zip(predictions, truths, strict=True)]
    return decibels(sum(errors) / (len(errors) * count * 3))


# ------------------------------------------------------------------ one sequence of gaussians


def _turn(quats: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Unit quaternion (..., 4) wxyz that turns `other` into `quats`: their product with the conjugate."""
    w, v = quats[..., :1], quats[..., 1:]
    other_w, other_v = other[..., :1], -other[..., 1:]
    real = w * other_w - (v * other_v).sum(axis=-1, keepdims=True)
    return np.concatenate([real, w * other_v + other_w * v + np.cross(v, other_v)], axis=-1)


def rotation_jitter(quats: np.ndarray) -> np.ndarray:
    """Angle in degrees (T-2, N) between successive frame-to-frame rotations; quats (T, N, 4) wxyz, any length."""
    unit = quats / np.maximum(np.linalg.norm(quats, axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    steps = _turn(unit[1:], unit[:-1])
    change = _turn(steps[1:], steps[:-1])
    # arctan2 keeps small angles that arccos of a value near 1 would lose; |w| since q and -q are one rotation.
    return np.degrees(2 * np.arctan2(np.linalg.norm(change[..., 1:], axis=-1), np.abs(change[..., 0])))


def jitter(
    means: Iterable[np.ndarray],
    quats: Iterable[np.ndarray],
    log_scales: Iterable[np.ndarray],
    opacity_logits: Iterable[np.ndarray],
    present: Iterable[np.ndarray],
    radius: float,
) -> dict[str, float] | None:
    """JITTER_METRICS: opacity-weighted mean length of the second difference over time, 0 = constant velocity.

    means (T, N, 3) in units of `radius`, the cameras' distance, which no fit can change; quats (T, N, 4) as an
    angle in degrees; log_scales (T, N, 3); opacity (T, N) after its sigmoid; present (T, N): a gaussian counts
    where it exists in three frames in a row. None when that never happens. Read frame by frame, three held at a
    time. Our own definition; no standard.
    """
    sums, total = dict.fromkeys(JITTER_METRICS, 0.0), 0.0
    frames = zip(means, quats, log_scales, opacity_logits, present, strict=True)
    for (first, second), (_, third) in pairwise(pairwise(frames)):
        *moving, seen = (np.stack(rows) for rows in zip(first, second, third, strict=True))
        centres, turns, sizes, logits = (rows.astype(np.float64) for rows in moving)
        opacity = 1 / (1 + np.exp(-logits))
        weights = opacity[1] * seen.all(axis=0)
        lengths = {
            "jitter_means": _second_difference(centres) / radius,
            "jitter_log_scales": _second_difference(sizes),
            "jitter_quats": rotation_jitter(turns)[0],
            "jitter_opacity": _second_difference(opacity[..., None]),
        }
        total += float(weights.sum())
        for name in JITTER_METRICS:
            sums[name] += float((weights * lengths[name]).sum())
    return {name: value / total for name, value in sums.items()} if total > 0 else None


def _second_difference(values: np.ndarray) -> np.ndarray:
    """Length (N,) of the second difference of three frames (3, N, C)."""
    return np.linalg.norm(np.diff(values, n=2, axis=0)[0], axis=-1)
