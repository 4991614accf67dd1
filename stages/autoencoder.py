"""Stage autoencoder: the small AutoencoderKL of the priors, trained on the corpus's pictures.

Reads corpus.npz; writes diffusers' folder (float32), whose latents have the scale that Zero123++'s pipeline expects
(stages/lib/diffusion/micro.py), and the loss curve. Every step sees random pictures, mirrored and with their colours in
a random order, on Zero123++'s grey or on Zero123's white.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from stages import cli
from stages.cli import Reporter
from stages.contracts import Corpus, replacing_folder
from stages.lib import checkpoint, training
from stages.lib.device import choose
from stages.lib.diffusion import micro, principal
from stages.lib.diffusion.zero123plus import over_grey
from stages.settings import NO_INFLUENCE, AutoencoderRun, AutoencoderSettings, canonical_json

# Pictures from which the scale of the latents is measured, and those whose components the encoder begins with.
MEASURED, BEGINNING = 1024, 256
# Seeds of the parts, beside the steps' own.
INITIAL, CHOSEN, ANALYSED = 1, 2, 4
# Share of the pictures on white, as Zero123 has its own; the others are on Zero123++'s grey.
WHITE = 0.5


def terms(
    vae: AutoencoderKL, pictures: torch.Tensor, noise: torch.Tensor, settings: AutoencoderSettings
) -> training.Terms:
    """Weighted terms of the loss on pictures (B, 3, H, W); noise (B, C, h, w) draws from the posterior.

    Kingma and Welling 2014 with the small weight on the divergence of latent diffusion (Rombach et al. 2022).
    """
    posterior = vae.encode(pictures).latent_dist
    error = vae.decode(posterior.mean + posterior.std * noise).sample.float() - pictures
    return {
        "squared": error.square().mean(),
        "absolute": settings.absolute * error.abs().mean(),
        "kl": settings.kl * posterior.kl().mean(),
    }


def drawn(rgba: np.ndarray, count: int, generator: torch.Generator, white: float = WHITE) -> torch.Tensor:
    """`count` random pictures of (M, H, W, 4), augmented, a share of them on white: float32 (count, 3, H, W)."""
    chosen = rgba[torch.randint(len(rgba), (count,), generator=generator).numpy()]
    on_white = (torch.rand(count, 1, 1, 1, generator=generator) < white).numpy()
    pictures = micro.pictures(np.where(on_white, over_grey(chosen, 255), over_grey(chosen)))
    orders = torch.tensor(micro.colour_orders(6))[torch.randint(6, (count,), generator=generator)]
    pictures = pictures[torch.arange(count)[:, None], orders]
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, pictures.flip(-1), pictures)


def main(
    corpus: Path, out: Path, curve: Path, plot: Path, checkpoints: Path, settings: AutoencoderRun, report: Reporter
) -> None:
    """Train the small priors' autoencoder; `out` is its config.json, the weights lie beside it."""
    chosen, device = settings.autoencoder, choose(settings)
    loaded = Corpus.load(corpus)
    rgba = np.concatenate([loaded.rgba, loaded.random], axis=1)
    rgba = rgba.reshape(-1, *rgba.shape[2:])
    torch.manual_seed(training.generator(settings.seed, INITIAL).initial_seed())
    vae = micro.make_autoencoder(chosen)
    principal.begin(vae, drawn(rgba, BEGINNING, training.generator(settings.seed, ANALYSED)))
    vae = vae.to(device.device)
    side = rgba.shape[1] // 2 ** (len(chosen.channels) - 1)
    shape = (chosen.batch, chosen.latent_channels, side, side)

    def loss(generator: torch.Generator) -> training.Terms:
        pictures = drawn(rgba, chosen.batch, generator).to(device.device)
        return terms(vae, pictures, torch.randn(shape, generator=generator).to(device.device), chosen)

    plan = training.Plan(
        chosen.steps, chosen.lr, chosen.ema_decay, chosen.precision, settings.seed, settings.checkpoint_interval_s
    )
    parameters = sum(parameter.numel() for parameter in vae.parameters())
    report.say(f"{parameters} parameters, {len(rgba)} pictures, on {device.device}")
    identity = checkpoint.digest("autoencoder", canonical_json(settings, NO_INFLUENCE), device, [corpus])
    with checkpoint.locked(checkpoints, report):
        rows = training.train([vae], loss, plan, checkpoints / "autoencoder.pt", identity, report)
    # Zero123's copy is rescaled by its own pictures (micro.for_zero123), so these are on grey.
    some = drawn(rgba, min(MEASURED, len(rgba)), training.generator(settings.seed, CHOSEN), white=0)
    some = some.split(chosen.batch)
    with torch.no_grad():
        encoded = torch.cat([vae.encode(part.to(device.device)).latent_dist.mean for part in some])
        micro.normalise(vae, encoded)
        error = torch.cat([(vae(part.to(device.device)).sample.cpu() - part).square().mean((1, 2, 3)) for part in some])
    psnr = -10 * float((error.mean() * micro.IMAGE_STD**2).log10())
    report.announce(f"reconstruction of {len(error)} pictures: {psnr:.2f} dB")
    training.write_curve(curve, plot, rows, f"autoencoder, {parameters / 1e6:.2f} M parameters, {psnr:.1f} dB")
    with replacing_folder(out.parent) as folder:
        vae.cpu().save_pretrained(folder)


if __name__ == "__main__":
    cli.run(main, "autoencoder")
