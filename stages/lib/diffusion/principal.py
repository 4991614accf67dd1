"""The first weights of the small autoencoder: an encoder that begins as a principal component analysis.

From random weights a small autoencoder of diffusers' class learns brightness first and shows every colour as grey for
hundreds of steps; the principal components of a picture's squares are the best linear encoder (Baldi and Hornik 1989),
and the class can hold them: a convolution of stride 2 takes four pixels to their components, level after level.

What is not linear on the way is made to begin so: a resnet's branch begins at zero (Goyal et al. 2017), and before the
last normalisation a component y stands as the pair y + o and -y + o, o = OFFSET and -OFFSET in turn, which keeps the
groups' means and deviations nearly constant from picture to picture; the SiLUs of y and -y differ by exactly y.

Letters: B pictures, C channels, H W pixels, K components.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn.functional import unfold

# In deviations of a component: large enough that these hardly change a group's, small enough for float32.
OFFSET = 8.0
# Logarithm of the posterior's variance at the beginning; the components' own variance is 1.
LOG_VARIANCE = -6.0


def components(features: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Principal components of squares of 2 x 2 pixels of features (B, C, H, W): axes (K, 4 C) and mean (4 C,)."""
    squares = unfold(features, 2, stride=2).transpose(1, 2).flatten(0, 1)
    mean = squares.mean(dim=0)
    centred = (squares - mean).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)
    return axes.T.flip(0)[:most].float(), mean


def project(features: Tensor, axes: Tensor, mean: Tensor) -> Tensor:
    """Components (B, K, H / 2, W / 2) of features (B, C, H, W)."""
    values = axes @ (unfold(features, 2, stride=2) - mean[:, None])
    return values.unflatten(2, (features.shape[2] // 2, features.shape[3] // 2))


def offsets(channels: int) -> Tensor:
    """What is added to each of so many paired channels."""
    return OFFSET * (1.0 - 2.0 * (torch.arange(channels) // 2 % 2))


def _pass_on(convolution: nn.Conv2d, count: int) -> None:
    """Let the first `count` outputs be the first inputs."""
    nn.init.dirac_(convolution.weight[:count])
    nn.init.zeros_(convolution.bias[:count])


@torch.no_grad()
def begin(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Set the encoder of a random autoencoder to the principal components of pictures (B, 3, H, W), in place.

    The leading components that the widths have room for; whatever else the widths leave stays random.
    """
    for block in vae.modules():
        if isinstance(block, ResnetBlock2D):
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
            if block.conv_shortcut is not None:
                _pass_on(block.conv_shortcut, min(block.conv_shortcut.weight.shape[:2]))
    encoder, features = vae.encoder, pictures
    _pass_on(encoder.conv_in, pictures.shape[1])
    halvings = [block.downsamplers[0].conv for block in encoder.down_blocks if block.downsamplers]
    for convolution in halvings:
        paired = convolution is halvings[-1]
        axes, mean = components(features, convolution.out_channels // (2 if paired else 1))
        features = project(features, axes, mean)
        if paired:
            scale = features.std(dim=(0, 2, 3))
            axes, features = axes / scale[:, None], features / scale[:, None, None]
        # Squares are laid out channel by channel, as a convolution's weights are.
        kernel, bias = axes.unflatten(1, (-1, 2, 2)), -axes @ mean
        if paired:
            kernel = torch.stack([kernel, -kernel], dim=1).flatten(0, 1)
            bias = torch.stack([bias, -bias], dim=1).flatten() + offsets(len(kernel))
        convolution.weight[: len(kernel)] = 0
        convolution.weight[: len(kernel), : kernel.shape[1], :2, :2] = kernel
        convolution.bias[: len(kernel)] = bias
    norm, out = encoder.conv_norm_out, encoder.conv_out
    shifted = torch.zeros(norm.num_channels)
    shifted[: 2 * features.shape[1]] = offsets(2 * features.shape[1])
    groups = shifted.unflatten(0, (norm.num_groups, -1))
    mean, deviation = groups.mean(dim=1, keepdim=True), (groups.var(dim=1, correction=0, keepdim=True) + 1).sqrt()
    norm.weight.copy_(deviation.expand_as(groups).flatten())
    norm.bias.copy_((mean - groups).flatten())
    latents = vae.config.latent_channels
    known = min(latents, features.shape[1])
    out.weight[:known] = 0
    out.bias[:known] = 0
    for channel in range(known):
        out.weight[channel, 2 * channel, 1, 1] = 1
        out.weight[channel, 2 * channel + 1, 1, 1] = -1
    out.weight[latents:] = 0
    out.bias[latents:] = LOG_VARIANCE
    _pass_on(vae.quant_conv, 2 * latents)
