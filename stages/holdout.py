"""Stage holdout: what a small prior draws of objects that it has not been trained on, against constant answers.

The small Zero123++ draws its six views; the small Zero123 draws views at POSES, each from the input view.

Groups: *held_out* new objects of the families that were trained on; *left_out* objects of families that were not
(priors.corpus.leave_out); *development*; *reporting*, the seven, only when asked for.

Answers: *generated*, and the constant ones of `stages/lib/answers.py`; the mean view only where the six views are
drawn. A network that knows an object's sides must beat the best of them.
Every answer is scored like the asset's views are (`quality.psnr_masked`), the generated ones after their matte, at the
size that the network draws. Writes quality.csv (group, answer), quality_views.csv (every view), a picture, and the
model card.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Corpus, replacing
from stages.lib import answers, images, objects, quality, suite
from stages.lib.device import choose
from stages.lib.diffusion import micro, zero123, zero123plus
from stages.lib.matting import matte
from stages.lib.training import generator
from stages.settings import GENERATED, HoldoutRun

MASK_THRESHOLD = 0.5
# Objects in the picture, the first of every group.
SHOWN = 6
# Azimuth and elevation of the views that are asked of the small Zero123: all around, in the middle and at both ends of
# the elevations that it was trained at, none of them at an angle of Zero123++.
ELEVATIONS = (15.0, -30.0, 0.0, 30.0, -15.0, 30.0, 0.0, -30.0)
POSES = tuple((45.0 * index, elevation) for index, elevation in enumerate(ELEVATIONS))
# What a card calls each network, what it does, where its pictures stand.
ABOUT = {
    "zero123plus": ("Zero123++", "Six views of an object from one picture", "at Zero123++ v1.1's angles"),
    "zero123": (
        "Zero123",
        "A view of an object from one picture and the camera's pose relative to it",
        "at Zero123++ v1.1's and at random angles",
    ),
}
VIEW_COLUMNS = ("group", "name", "object_seed", "time", "view", "answer", "psnr", "psnr_masked")


def moments(settings: HoldoutRun) -> dict[str, list[objects.Moment]]:
    """What is scored, by group; the input camera stands at the front."""
    chosen, corpus = settings.priors.holdout, settings.priors.corpus
    trained = objects.families(corpus)
    around = POSES if settings.prior == "zero123" else ()

    def of(names, seeds) -> list[objects.Moment]:
        each = [(name, seed, time) for name in names for seed in seeds for time in chosen.times]
        return [objects.Moment(*one, 0.0, around) for one in each]

    new = range(objects.HELD_OUT, objects.HELD_OUT + chosen.objects)
    groups = {"held_out": of(trained, new), "left_out": of(corpus.leave_out, new)}
    groups["development"] = of(suite.DEVELOPMENT, [0])
    if chosen.reporting:
        groups["reporting"] = of(suite.REPORTING, [0])
    return {group: found for group, found in groups.items() if found}


def score(answer: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR and masked PSNR in dB of one view, both (H, W, 4) uint8."""
    picture, alpha = quality.on_white(np.ascontiguousarray(answer))
    true_picture, true_alpha = quality.on_white(truth)
    region, area = quality.object_region(alpha, true_alpha, MASK_THRESHOLD)
    return quality.psnr(picture, true_picture), quality.psnr_masked(picture, true_picture, region, area)


def summary(views: pd.DataFrame) -> pd.DataFrame:
    """Mean scores by group and answer; `margin` is what is generated minus the best constant answer, dB."""
    table = views.groupby(["group", "answer"], sort=False)[["psnr", "psnr_masked"]].mean().reset_index()
    table.insert(2, "n_views", views.groupby(["group", "answer"], sort=False).size().to_numpy())
    constant = table[table["answer"] != GENERATED].groupby("group")["psnr_masked"].max()
    margin = table["psnr_masked"] - table["group"].map(constant)
    table["margin"] = margin.where(table["answer"] == GENERATED)
    return table


def picture(shown: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Two rows an object on white: input and true views, below what was generated. (condition, truth, generated)."""
    rows = []
    for condition, truth, generated in shown:
        side = truth.shape[1]
        small = cv2.resize(images.over_white(condition), (side, side), interpolation=cv2.INTER_AREA)
        rows.append(np.concatenate([small, *images.over_white(truth)], axis=1))
        rows.append(np.concatenate([np.ones_like(small), *images.over_white(generated)], axis=1))
    return images.to_uint8(np.concatenate(rows))


Drawing = Callable[[np.ndarray], np.ndarray]


def six_views(folder: Path, device: torch.device, size: int, settings: HoldoutRun, report: Reporter) -> Drawing:
    """A function from input views (S, P, P, 4) to the six views of each, opaque uint8 (S, 6, H, W, 3)."""
    model, drawing = zero123plus.load(folder, device, torch.float32), settings.micro
    # Moments are no clip: none is held to another.
    sampling = zero123plus.Sampling(drawing.steps, drawing.guidance, 0.0, size, drawing.frames_per_batch, settings.seed)
    return lambda conditions: zero123plus.sample(model, conditions, sampling, report.progress)


def posed_views(folder: Path, device: torch.device, size: int, settings: HoldoutRun, report: Reporter) -> Drawing:
    """A function from input views (S, P, P, 4) to the views of each at POSES, opaque uint8 (S, V, H, W, 3)."""
    model, chosen = zero123.load(folder, micro.POSE, size, device, torch.float32), settings.priors.holdout
    azimuth, elevation = np.array(POSES).T
    poses = zero123.relative_pose(azimuth, elevation, np.zeros_like(azimuth), np.zeros_like(azimuth), model.pose)

    def draw(conditions: np.ndarray) -> np.ndarray:
        drawn = []
        for index, condition in enumerate(conditions):
            embedding, latent, _ = zero123.embed(model, condition)
            noise = generator(settings.seed, index)
            drawn.append(
                zero123.sample(model, embedding, latent, poses, chosen.pose_steps, chosen.pose_guidance, noise)
            )
            report.progress(index + 1, len(conditions))
        return np.stack(drawn)

    return draw


def card(settings: HoldoutRun, table: pd.DataFrame, folder: Path, corpus: Corpus, hardware: str) -> str:
    """The text of model_card.md: figures of this very training, nothing from elsewhere."""
    priors, posed = settings.priors, settings.prior == "zero123"
    name, does, where = ABOUT[settings.prior]
    trained, examples = (priors.pose, "pairs of views") if posed else (priors.denoiser, "sheets")
    drawn = (
        (priors.holdout.pose_steps, priors.holdout.pose_guidance)
        if posed
        else (settings.micro.steps, settings.micro.guidance)
    )
    sizes = {path.parent.name: path.stat().st_size for path in sorted(folder.rglob("*.safetensors"))}
    left = ", ".join(priors.corpus.leave_out) or "none"
    lines = [
        f"# micro {name}",
        "",
        f"{does}: small networks of {name}'s own classes (diffusers, transformers), "
        "in its public folder layout. Made by this repository's `snakemake promote_priors`; licence Apache-2.0.",
        "",
        f"- **Data**: {len(corpus.rgba)} moments of {len(np.unique(corpus.name))} procedural training families, "
        f"{priors.corpus.objects} objects each; none of the reporting or development objects. Left out: {left}.",
        f"- **Views**: {corpus.rgba.shape[2]} x {corpus.rgba.shape[3]} pixels {where}, radius "
        f"{objects.RADIUS}, fovy {objects.FOVY_DEG} degrees.",
        f"- **Steps**: autoencoder {priors.autoencoder.steps} of {priors.autoencoder.batch} pictures "
        f"({priors.autoencoder.precision}); UNet and encoders {trained.steps} of {trained.batch} {examples} "
        f"({trained.precision}).",
        f"- **Hardware**: {hardware}. **Date**: {priors.date or 'not given'}.",
        f"- **Recipe**: {priors.recipe}, seed {settings.seed}.",
        "- **Files** (float16): " + ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()) + ".",
        f"- **Drawn with** {drawn[0]} steps, guidance {drawn[1]}.",
        "",
        "Mean over views, dB; margin: generated minus the best constant answer, by masked PSNR.",
        "",
        "| group | answer | views | PSNR | masked PSNR | margin |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in table.itertuples():
        margin = "" if np.isnan(row.margin) else f"{row.margin:+.2f}"
        scores = f"{row.psnr:.2f} | {row.psnr_masked:.2f} | {margin}"
        lines.append(f"| {row.group} | {row.answer} | {row.n_views} | {scores} |")
    lines += ["", "It knows toys of a few kinds, with diffuse light from above; it is no prior for photographs.", ""]
    return "\n".join(lines)


def main(
    network: Path,
    corpus: Path,
    out: Path,
    views: Path,
    sheet: Path,
    model_card: Path,
    settings: HoldoutRun,
    report: Reporter,
) -> None:
    """Score a small prior; `network` is the receipt of its folder."""
    device, posed = choose(settings), settings.prior == "zero123"
    trained_on = Corpus.load(corpus)
    size = trained_on.rgba.shape[2]
    mean = None if posed else answers.mean_views(trained_on.rgba)
    try:
        draw = (posed_views if posed else six_views)(network.parent, device.device, size, settings, report)
    except zero123plus.ModelError as error:
        raise StageError(str(error)) from None
    rows, shown = [], []
    for group, chosen in moments(settings).items():
        report.say(f"{group}: {len(chosen)} moments")
        six, conditions, around = objects.render(
            chosen, size, settings.priors.corpus.condition_size, settings.threads, report.progress
        )
        truths = around if posed else six
        generated, _ = matte(draw(conditions), "colour", settings.matte_tolerance, "anchors", report)
        for moment, truth, condition, drawn in zip(chosen, truths, conditions, generated, strict=True):
            given = {GENERATED: drawn, **answers.constant_answers(condition, len(truth), size, mean)}
            for answer, pictures in given.items():
                for view in range(len(truth)):
                    about = (group, moment.name, moment.object_seed, moment.time, view, answer)
                    rows.append((*about, *score(pictures[view], truth[view])))
        shown += list(zip(conditions, truths, generated, strict=True))[:SHOWN]
    scored = pd.DataFrame(rows, columns=VIEW_COLUMNS)
    table = summary(scored)
    for path, content in ((out, table), (views, scored)):
        with replacing(path) as temporary:
            content.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    images.write_png(sheet, picture(shown))
    hardware = json.loads((network.parent / "hardware.json").read_text(encoding="utf-8"))["hardware"]
    with replacing(model_card) as temporary:
        temporary.write_text(card(settings, table, network.parent, trained_on, hardware), encoding="utf-8")
    for row in table[table["answer"] == GENERATED].itertuples():
        report.announce(f"{row.group}: {row.psnr_masked:.2f} dB masked, {row.margin:+.2f} against the best constant")


if __name__ == "__main__":
    cli.run(main, "holdout")
