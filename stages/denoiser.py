"""Stage denoiser: a small prior, trained to draw views of an object from one picture of it.

    zero123plus   six views at Zero123++'s angles (stages/lib/diffusion/six_views.py)
    zero123       one view from a relative pose (stages/lib/diffusion/relative_views.py)

Reads corpus.npz and the autoencoder; writes the public folder layout, which the loader of the same name reads, and the
loss curve.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Corpus, replacing_folder
from stages.lib import checkpoint, training
from stages.lib.device import choose
from stages.lib.diffusion import relative_views, six_views
from stages.settings import NO_INFLUENCE, DenoiserRun, DenoiserSettings, canonical_json

# Seed of the first weights, beside the steps' own.
INITIAL = 3
OBJECTIVES = {"zero123plus": six_views.objective, "zero123": relative_views.objective}
TITLES = {"zero123plus": "Zero123++", "zero123": "Zero123"}


def check_size(view_size: int, vae: AutoencoderKL, settings: DenoiserSettings) -> None:
    """Raise StageError unless views can be halved as often as autoencoder and UNet do."""
    multiple = 2 ** (len(vae.config.block_out_channels) + len(settings.channels) - 2)
    if view_size % multiple:
        raise StageError(
            f"priors.corpus.view_size is {view_size}; expected a multiple of {multiple} for a UNet of "
            f"{len(settings.channels)} widths (priors.denoiser.channels, priors.pose.channels). Type "
            f"`view_size: {multiple * max(1, round(view_size / multiple))}`."
        )


def main(
    corpus: Path,
    autoencoder: Path,
    out: Path,
    curve: Path,
    plot: Path,
    checkpoints: Path,
    settings: DenoiserRun,
    report: Reporter,
) -> None:
    """Train one small prior; `out` is the receipt of its folder, `autoencoder` the config.json of the other's."""
    chosen, device = settings.denoiser, choose(settings)
    pictures = Corpus.load(corpus)
    vae = AutoencoderKL.from_pretrained(autoencoder.parent, local_files_only=True).to(device.device).eval()
    check_size(pictures.rgba.shape[2], vae, chosen)
    torch.manual_seed(training.generator(settings.seed, INITIAL).initial_seed())
    goal = OBJECTIVES[settings.prior](pictures, vae, chosen, report)
    parameters = sum(parameter.numel() for network in goal.networks for parameter in network.parameters())
    report.say(f"{parameters} parameters, {len(pictures.rgba)} moments, on {device.device}")
    plan = training.Plan(
        chosen.steps, chosen.lr, chosen.ema_decay, chosen.precision, settings.seed, settings.checkpoint_interval_s
    )
    weights = autoencoder.parent / "diffusion_pytorch_model.safetensors"
    identity = checkpoint.digest("denoiser", canonical_json(settings, NO_INFLUENCE), device, [corpus, weights])
    with checkpoint.locked(checkpoints, report):
        rows = training.train(goal.networks, goal.loss, plan, checkpoints / "denoiser.pt", identity, report)
    training.write_curve(curve, plot, rows, f"{TITLES[settings.prior]}, {parameters / 1e6:.2f} M parameters")
    with replacing_folder(out.parent) as folder:
        about = {"hardware": training.hardware(device.device, settings.threads)}
        (folder / "hardware.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        goal.write(folder)
    report.announce(
        f"wrote {out.parent}: {parameters} parameters, last loss {np.mean([row[1] for row in rows[-25:]]):.4f}"
    )


if __name__ == "__main__":
    cli.run(main, "denoiser")
