"""protocol: how far each choice that the papers leave open moves each metric, for one method.

Reads views.npz, frames.npz and truth.npz of every scene of one variant; writes protocol.csv, its Markdown
page and its LaTeX twin.

Vocabulary
----------
- The *base* is the protocol of Consistent4D's scripts as far as they say, with a fixed data range: all frames, straight
  alpha blended on white, both pictures at 512 x 512 by Pillow's bicubic filter, data range 255, FID of each view with
  the resize of torchmetrics before 1.8, LPIPS with VGG. A *choice* changes one thing.
- *Difference*: the choice's number minus the base's, each a mean over scenes of the mean over views and frames.
- A *picture* is (H, W, 3) uint8; letters: O objects, V views, T frames.

A number needs its network's weights; without them the cell is empty and the reason stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Frames, Truth, Views, replacing
from stages.lib import device as devices
from stages.lib import frechet, images, latex, quality
from stages.lib.networks import Networks, features
from stages.lib.networks.features import LPIPS_SHARE, SEGMENT_SHARE
from stages.lib.pairing import check_clip, pair_views
from stages.lib.scores import METRICS as TABLE_METRICS
from stages.lib.scores import grid_lines, number_text, signed, write_csv
from stages.settings import ProtocolRun

HEADER = ["choice", "base", "alternative", "metric", "base_value", "value", "difference", "reason", "why"]
# Alpha above which a pixel belongs to the object (Consistent4D's reader).
MASK_ALPHA = 0.5
# STAG4D was scored on 30 of 32 frames (its issues 10 and 20).
FRAMES_LEFT_OUT = 2
SMALL_SET = "biased upward where N is not far above the features' number, compare equal N only"
TOO_SHORT = "too few frames to leave two out"


@dataclass(frozen=True)
class Protocol:
    """Everything that is disputed; the defaults are the base."""

    left_out: int = 0
    """frames left out at the end of every clip"""
    hard_alpha: bool = False
    """ground truth: only alpha 0 becomes white, other colours are kept as they are"""
    side: int | None = features.PROTOCOL_SIDE
    """side to which pictures are resized before PSNR, SSIM, CLIP and LPIPS; None = as rendered"""
    legacy_range: bool = False
    """PSNR and SSIM with the pictures' own ranges"""
    pooled: bool = False
    """PSNR of the error pooled over all frames, not the mean of every frame's"""
    turned: int = 0
    """views paired by folder number with a list of azimuths that starts elsewhere"""
    grouping: frechet.Grouping = "view"
    resize: features.InceptionResize = "tf1"
    backbone: str = "vgg"
    set_distance: bool = False
    """FVD over the set of clips, not clip by clip"""


BASE = Protocol()


@dataclass(frozen=True)
class Choice:
    """One disputed choice: what the base does, what the alternative does, the metrics it can move, and who does it."""

    name: str
    base: str
    alternative: str
    protocol: Protocol
    metrics: tuple[str, ...]
    why: str


IMAGE_METRICS = ("psnr", "ssim", "clip", "lpips", "fvd", "fvd_set", "fid_frame", "fid_vid3d")
# The script resizes for these alone: the other networks have sides of their own.
SIZED_METRICS = ("psnr", "ssim", "clip", "lpips")
CHOICES = (
    Choice(
        "frames", "all", "last two left out", Protocol(left_out=FRAMES_LEFT_OUT), IMAGE_METRICS,
        "STAG4D was scored on 30 frames, others on 32",
    ),
    Choice(
        "background", "blend", "hard alpha", Protocol(hard_alpha=True), IMAGE_METRICS,
        "blend on white (training reader) or only alpha 0 made white (option of the scoring script)",
    ),
    Choice("size", "512", "256", Protocol(side=256), SIZED_METRICS, "test set is 256, the script resizes to 512"),
    Choice("size", "512", "as rendered", Protocol(side=None), SIZED_METRICS, "no resize at all"),
    Choice(
        "data range", "255", "the pictures' own", Protocol(legacy_range=True), ("psnr", "ssim"),
        "no data_range is passed in the script; torchmetrics before 1.8 then took the pictures' own",
    ),
    Choice(
        "mean of PSNR", "of frames", "of pooled error", Protocol(pooled=True), ("psnr",),
        "torchmetrics' class pools the error, its functional form does not",
    ),
    Choice(
        "view order", "by camera", "by number, one on", Protocol(turned=1), ("iou", *IMAGE_METRICS),
        "readme: -75, 15, 105, 195; suggested render indices: 15, 105, 195, 285",
    ),
    Choice(
        "antialias", "TF1 bilinear", "antialiased", Protocol(resize="antialias"), ("fid_frame",),
        "torchmetrics changed its default in 1.8",
    ),
    Choice(
        "grouping", "view", "object", Protocol(grouping="object"), ("fid_frame",),
        "the average of FIDs does not say over which frames one is taken",
    ),
    Choice("grouping", "view", "all", Protocol(grouping="all"), ("fid_frame",), "the same"),
    Choice(
        "FVD", "one clip against one", "set against set", Protocol(set_distance=True), ("fvd",),
        "the script's formula is the former, FVD's definition the latter",
    ),
    Choice(
        "LPIPS backbone", "VGG", "AlexNet", Protocol(backbone="alex"), ("lpips",), "lpips' own default is AlexNet",
    ),
)  # fmt: skip
TITLES = {"lpips": "lpips_vgg", "fvd": "fvd_clip"}


@dataclass(frozen=True)
class Scene:
    """Evaluation views of one scene, ours and the truth: (V, T, H, W, 4) uint8 straight alpha."""

    name: str
    prediction: np.ndarray
    truth: np.ndarray


# ------------------------------------------------------------------ pictures under a protocol


def on_white(rgba: np.ndarray, hard_alpha: bool = False) -> np.ndarray:
    """Pictures (..., 3) uint8 on white of straight RGBA (..., 4); `hard_alpha`: only alpha 0 becomes white."""
    if hard_alpha:
        return np.where(rgba[..., 3:] == 0, 255, rgba[..., :3]).astype(np.uint8)
    return images.to_uint8(images.over_white(rgba))


def seen(scene: Scene, protocol: Protocol) -> Scene:
    """The scene with the frames and the order of views of a protocol."""
    kept = slice(0, scene.truth.shape[1] - protocol.left_out)
    return replace(
        scene, prediction=scene.prediction[:, kept], truth=np.roll(scene.truth[:, kept], -protocol.turned, 0)
    )


def pictures(scene: Scene, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Ours and the truth on white, (V, T, H, W, 3) uint8."""
    scene = seen(scene, protocol)
    return on_white(scene.prediction), on_white(scene.truth, protocol.hard_alpha)


def _flat(clips: np.ndarray) -> np.ndarray:
    return clips.reshape(-1, *clips.shape[-3:])


def pairs(scene: Scene, protocol: Protocol) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of float32 pictures in [0, 1] at the protocol's size."""
    for both in zip(*map(_flat, pictures(scene, protocol)), strict=True):
        sized = both if protocol.side is None else [features.resized(picture, protocol.side) for picture in both]
        yield tuple(picture.astype(np.float32) / 255 for picture in sized)


# ------------------------------------------------------------------ metrics under a protocol


class Pixels:
    """Scores of every pair of pictures, each combination of frames, background, size and order computed once."""

    def __init__(self, scenes: list[Scene]) -> None:
        self._scenes = scenes
        self._kept: dict[Protocol, list[np.ndarray]] = {}

    def scores(self, protocol: Protocol) -> list[np.ndarray]:
        """Of each scene (V * T, 5): psnr, ssim, legacy psnr, legacy ssim, mean squared error."""
        key = replace(BASE, hard_alpha=protocol.hard_alpha, side=protocol.side, turned=protocol.turned)
        if key not in self._kept:
            self._kept[key] = [np.array([_pixel_scores(p, t) for p, t in pairs(s, key)]) for s in self._scenes]
        views, frames = self._scenes[0].truth.shape[:2]
        kept = [found.reshape(views, frames, -1)[:, : frames - protocol.left_out] for found in self._kept[key]]
        return [found.reshape(-1, found.shape[-1]) for found in kept]


def _pixel_scores(p: np.ndarray, t: np.ndarray) -> tuple[float, ...]:
    similarity = float(quality.ssim_map(p, t).mean(dtype=np.float64))
    error = cv2.norm(p, t, cv2.NORM_L2SQR) / p.size
    return quality.psnr(p, t), similarity, quality.psnr_legacy(p, t), quality.ssim_legacy(p, t), error


def psnr(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float:
    found = pixels.scores(protocol)
    if protocol.pooled:
        return float(np.mean([quality.decibels(float(scene[:, 4].mean())) for scene in found]))
    return float(np.mean([scene[:, 2 if protocol.legacy_range else 0].mean() for scene in found]))


def ssim(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float:
    found = pixels.scores(protocol)
    return float(np.mean([scene[:, 3 if protocol.legacy_range else 1].mean() for scene in found]))


def iou(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float:
    found = []
    for scene in (seen(scene, protocol) for scene in scenes):
        masks = [
            alpha.reshape(-1, *alpha.shape[-2:]) / 255 for alpha in (scene.prediction[..., 3], scene.truth[..., 3])
        ]
        found.append(np.mean([quality.iou(p, t, MASK_ALPHA) for p, t in zip(*masks, strict=True)]))
    return float(np.mean(found))


def clip(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float | None:
    network = loaded.get("clip_vit_b32")
    if network is None:
        return None
    call = partial(features.clip_features, network, batch=batch, side=protocol.side)
    sides = [[call(_flat(x)) for x in pictures(scene, protocol)] for scene in scenes]
    return float(np.mean([(ours * true).sum(axis=1).mean() for ours, true in sides]))


def lpips(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float | None:
    network = loaded.get(f"lpips_{protocol.backbone}")
    if network is None:
        return None
    call = partial(features.lpips_distances, network, batch=max(1, batch // LPIPS_SHARE), side=protocol.side)
    both = [map(_flat, pictures(scene, protocol)) for scene in scenes]
    return float(np.mean([call(*pair).mean() for pair in both]))


def fvd(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float | None:
    network = loaded.get("i3d_kinetics")
    if network is None:
        return None
    both = [[np.stack([features.i3d_logits(network, c) for c in x]) for x in pictures(s, protocol)] for s in scenes]
    if protocol.set_distance:
        return frechet.fvd_set(*(np.concatenate([pair[side] for pair in both]) for side in (0, 1)))
    return float(np.mean([np.mean([frechet.fvd_clip(p, t) for p, t in zip(*pair, strict=True)]) for pair in both]))


def fvd_set(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float | None:
    return fvd(scenes, replace(protocol, set_distance=True), loaded, pixels, batch)


def fid_vid3d(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float | None:
    network = loaded.get("resnet3d_kinetics")
    if network is None:
        return None
    call = partial(features.resnet3d_features, network, batch=max(1, batch // SEGMENT_SHARE))
    both = [[np.stack([call(clip) for clip in x]) for x in pictures(s, protocol)] for s in scenes]
    return frechet.fid_vid3d(*(np.concatenate([pair[side] for pair in both]) for side in (0, 1)))


def fid_frame(scenes: list[Scene], protocol: Protocol, loaded: Networks, pixels: Pixels, batch: int) -> float | None:
    network = loaded.get("inception_fid")
    if network is None:
        return None
    sides: list[list[np.ndarray]] = [[], []]
    for scene in scenes:
        for side, x in zip(sides, pictures(scene, protocol), strict=True):
            found = features.inception_features(network, _flat(x), batch, protocol.resize)
            side.append(found.reshape(*x.shape[:2], -1))
    return frechet.fid_frame(np.stack(sides[0]), np.stack(sides[1]), protocol.grouping)


Metric = Callable[[list[Scene], Protocol, Networks, Pixels, int], float | None]
METRICS: dict[str, Metric] = {
    "psnr": psnr,
    "ssim": ssim,
    "iou": iou,
    "clip": clip,
    "lpips": lpips,
    "fvd": fvd,
    "fvd_set": fvd_set,
    "fid_frame": fid_frame,
    "fid_vid3d": fid_vid3d,
}
NETWORK = {
    "clip": "clip_vit_b32",
    "fvd": "i3d_kinetics",
    "fvd_set": "i3d_kinetics",
    "fid_frame": "inception_fid",
    "fid_vid3d": "resnet3d_kinetics",
}
SET_METRICS = ("fvd_set", "fid_vid3d")
ONE_CLIP = "one clip; a distance between sets needs at least 2"


def _network(metric: str, protocol: Protocol) -> str:
    return f"lpips_{protocol.backbone}" if metric == "lpips" else NETWORK.get(metric, "")


def set_size(metric: str, protocol: Protocol, scenes: list[Scene]) -> int | None:
    """How many clips a side a metric's number is a set distance of; None where it is none."""
    is_set = metric in SET_METRICS or (metric == "fvd" and protocol.set_distance)
    return sum(len(scene.truth) for scene in scenes) if is_set else None


def _measured(metric: str, value: float | None) -> float | None:
    if value is not None and not np.isfinite(value):
        raise StageError(f"{metric} is {value}; expected a number. The weights of its network may be damaged.")
    return value


def table(scenes: list[Scene], loaded: Networks, batch: int, report: Reporter) -> list[dict]:
    """One dictionary a choice and metric, with HEADER's columns; numbers are floats or None."""
    base: dict[str, float | None] = {}
    rows = []
    pixels = Pixels(scenes)
    n_frames = min(scene.truth.shape[1] for scene in scenes)
    total = sum(len(choice.metrics) for choice in CHOICES)
    for choice in CHOICES:
        for metric in choice.metrics:
            measure = partial(METRICS[metric], scenes, loaded=loaded, pixels=pixels, batch=batch)
            sizes = [set_size(metric, one, scenes) for one in (BASE, choice.protocol)]
            unfit = TOO_SHORT if choice.protocol.left_out and n_frames - choice.protocol.left_out < 2 else ""
            unfit = ONE_CLIP if sizes[1] == 1 else unfit
            if metric not in base:
                base[metric] = None if sizes[0] == 1 else _measured(metric, measure(protocol=BASE))
            value = None
            if not unfit and base[metric] is not None:
                value = _measured(metric, measure(protocol=choice.protocol))
            reasons = [loaded.reasons.get(_network(metric, one), "") for one in (BASE, choice.protocol)]
            reason = unfit or next(filter(None, reasons), "")
            if value is not None:
                reason = "" if sizes[1] is None else f"one set of {sizes[1]} clips a side: {SMALL_SET}"
            difference = None if value is None or base[metric] is None else value - base[metric]
            rows.append(
                {
                    "choice": choice.name,
                    "base": choice.base,
                    "alternative": choice.alternative,
                    "metric": TITLES.get(metric, metric),
                    "base_value": base[metric],
                    "value": value,
                    "difference": difference,
                    "reason": reason,
                    "why": choice.why,
                }
            )
            report.progress(len(rows), total)
    return rows


# ------------------------------------------------------------------ writing


def grid(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the rows that have a number."""
    titles = ["choice", "base", "alternative", "metric", "base value", "value", "difference", "why it is open"]
    lines = []
    for row in (row for row in rows if row["value"] is not None):
        metric = TABLE_METRICS[row["metric"]]
        cells = [number_text(row[name], metric.digits) for name in ("base_value", "value")]
        named = [row["choice"], row["base"], row["alternative"], f"{row['metric']} {metric.arrow}"]
        lines.append([*named, *cells, signed(row["difference"], metric), row["why"]])
    return titles, lines


def markdown_text(rows: list[dict], settings: ProtocolRun, scenes: list[Scene], loaded: Networks) -> str:
    """The page: a grid of the numbers, then what is empty and why."""
    empty, noted = {}, {}
    for row in rows:
        if row["value"] is None:
            empty.setdefault(row["reason"], []).append(f"{row['metric']} ({row['choice']}: {row['alternative']})")
        elif row["reason"]:
            noted.setdefault(row["reason"], []).append(f"{row['metric']} ({row['alternative']})")
    n_views, n_frames, height, width = scenes[0].truth.shape[:4]
    lines = [
        "# What the open choices are worth",
        "",
        f"One method, {settings.title}, suite {settings.suite} ({', '.join(scene.name for scene in scenes)}), seed "
        f"{settings.seed}, {n_views} views of {n_frames} frames at {width}x{height}. Every line changes one "
        "thing of the base protocol: all frames, blended on white, 512 x 512, data range 255, views by camera, FID a "
        "view.",
        "",
        *grid_lines(*grid(rows)),
        "",
        *(f"- {', '.join(names)}: {reason}" for reason, names in noted.items()),
        *(f"- without a number: {', '.join(names)}: {reason}" for reason, names in empty.items()),
        *(f"- network {name}: {digest}" for name, digest in sorted(loaded.digests.items())),
    ]
    return "\n".join(lines) + "\n"


def latex_text(rows: list[dict], settings: ProtocolRun) -> str:
    """The LaTeX twin: the rows that have a number, without the reasons for a choice."""
    titles, lines = grid(rows)
    caption = f"What the open choices are worth: {settings.title}, suite {settings.suite}"
    return "\n".join(latex.table(caption, titles[:-1], [line[:-1] for line in lines], texts=4)) + "\n"


def read(views: list[Path], frames: list[Path], truth: list[Path]) -> list[Scene]:
    """The evaluation views of every scene that has ground truth, paired by camera; raises StageError if none has."""
    scenes = []
    for files in zip(views, frames, truth, strict=True):
        rendered, clip_frames, held = Views.load(files[0]), Frames.load(files[1]), Truth.load(files[2])
        check_clip(rendered, clip_frames, None, held)
        found = [pair for pair in pair_views(rendered, clip_frames, None, held) if pair.view == "evaluation"]
        if found:
            sides = (np.stack([pair.prediction for pair in found]), np.stack([pair.truth for pair in found]))
            scenes.append(Scene(files[1].parent.name, *sides))
    if not scenes:
        raise StageError("no scene has ground-truth views; expected some, or nothing can be scored.")
    if len({scene.truth.shape for scene in scenes}) > 1:
        raise StageError("the scenes differ in views, frames or size; expected one shape. Name scenes of one kind.")
    return scenes


def main(
    views: list[Path],
    frames: list[Path],
    truth: list[Path],
    out: Path,
    markdown: Path,
    tex: Path,
    settings: ProtocolRun,
    report: Reporter,
) -> None:
    """Score one method under every choice; views, frames and truth name the same scenes in the same order."""
    cv2.setNumThreads(1)
    loaded = Networks(devices.choose(settings).device)
    scenes = read(views, frames, truth)
    rows = table(scenes, loaded, settings.networks.batch, report)
    write_csv(out, HEADER, rows)
    for path, text in (
        (markdown, markdown_text(rows, settings, scenes, loaded)),
        (tex, latex_text(rows, settings)),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    report.say(f"wrote {out}: {len(rows)} rows of {len(scenes)} scenes")


if __name__ == "__main__":
    cli.run(main, "protocol")
