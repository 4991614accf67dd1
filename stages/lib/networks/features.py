"""What the networks see and say: the papers' preprocessing, in fixed batches.

Vocabulary: a *picture* is (H, W, 3) uint8 RGB on white; a *clip* is (T, H, W, 3). Every function takes a `Loaded`
network and hands back float64 arrays; `run_batches` is the one place where a network is called.

Conventions
-----------
- Resizing is Pillow's, antialiased, as in the papers' scripts, except where a function says otherwise.
- A batch always has the same size: the last one is filled up by repeating its last picture, so that a picture's
  feature does not depend on how many others there are.
- Letters: T frames, N pictures, H W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.lib.networks import Loaded, exact, inception, resnet3d

# Consistent4D's compute_image_level_metrics.py resizes both images to this before any image metric.
PROTOCOL_SIDE = 512
CLIP_SIDE = 224
I3D_SIDE = 224
# A pair at 512 x 512 through VGG takes the memory of so many pictures at 224, a segment of 16 frames of so many.
LPIPS_SHARE = 8
SEGMENT_SHARE = 8
# OpenAI CLIP's preprocessing.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

InceptionResize = Literal["tf1", "antialias"]


# ------------------------------------------------------------------ pictures


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """Picture (H, W, 3) uint8 at (side, side) by Pillow's bicubic filter, rounded to uint8 again."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def resized_float(picture: np.ndarray, side: int) -> np.ndarray:
    """Picture (H, W, 3) at (side, side) float32 in 0 to 255, bicubic, channel by channel without rounding."""
    planes = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
    return np.stack([np.asarray(p.resize((side, side), Image.Resampling.BICUBIC)) for p in planes], axis=-1)


def bilinear_tf1(pictures: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) at (side, side) as TensorFlow 1 resized: corner-aligned grid without half pixels, no antialias.

    Inception's FID weights were trained behind it; torchmetrics used it until 1.8.
    """
    for axis in (2, 3):
        size = pictures.shape[axis]
        place = torch.arange(side, dtype=pictures.dtype, device=pictures.device) * (size / side)
        low = place.floor().long().clamp(max=size - 1)
        high = (low + 1).clamp(max=size - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = side
        weight = (place - low).reshape(shape)
        pictures = pictures.index_select(axis, low) * (1 - weight) + pictures.index_select(axis, high) * weight
    return pictures


def _stacked(images: Iterable[np.ndarray], device: torch.device) -> Tensor:
    """(B, 3, H, W) float32 of pictures (H, W, 3)."""
    array = np.stack([np.moveaxis(image, -1, 0) for image in images]).astype(np.float32)
    return torch.from_numpy(array).to(device)


def batches(items: Iterable, size: int) -> Iterator[tuple[list, int]]:
    """Lists of exactly `size` items, the last filled up by repetition, and how many of each are real."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk + [chunk[-1]] * (size - len(chunk)), len(chunk)


def run_batches(call: Callable[[list], Tensor], items: Iterable, size: int) -> np.ndarray:
    """Float64 (N, ...) of a network called on fixed batches of `items`."""
    found = []
    with exact():
        for chunk, count in batches(items, size):
            found.append(call(chunk)[:count].double().cpu().numpy())
    return np.concatenate(found)


# ------------------------------------------------------------------ networks


def clip_input(picture: np.ndarray, side: int | None) -> np.ndarray:
    """The protocol's two steps, `side` then 224 (both bicubic and rounded), normalised: (224, 224, 3) float32.

    side: PROTOCOL_SIDE in the protocol; None leaves the first step out.
    """
    first = picture if side is None else resized(picture, side)
    small = resized(first, CLIP_SIDE).astype(np.float32) / 255
    return ((small - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)).astype(np.float32)


def clip_features(network: Loaded, pictures: Iterable[np.ndarray], batch: int, side: int | None) -> np.ndarray:
    """Image features (N, 512) of unit length of pictures (H, W, 3) uint8; `side` as in `clip_input`."""

    def call(chunk: list[np.ndarray]) -> Tensor:
        given = _stacked((clip_input(picture, side) for picture in chunk), network.device)
        return network.module.encode_image(given, normalize=True)

    return run_batches(call, pictures, batch)


def lpips_distances(
    network: Loaded, predictions: Iterable[np.ndarray], truths: Iterable[np.ndarray], batch: int, side: int | None
) -> np.ndarray:
    """LPIPS (N,) of pairs of pictures (H, W, 3) uint8, at side x side (PROTOCOL_SIDE in the protocol) in [-1, 1].

    side: None leaves them at their own size.
    """

    def prepared(pictures: Iterable[np.ndarray]) -> Tensor:
        sized = pictures if side is None else (resized(picture, side) for picture in pictures)
        return _stacked(sized, network.device) / 127.5 - 1

    def call(chunk: list[tuple[np.ndarray, np.ndarray]]) -> Tensor:
        return network.module(prepared(p for p, _ in chunk), prepared(t for _, t in chunk)).flatten()

    return run_batches(call, zip(predictions, truths, strict=True), batch)


def i3d_logits(network: Loaded, clip: Iterable[np.ndarray]) -> np.ndarray:
    """Logits (400,) of one clip of pictures (H, W, 3) uint8, all frames at once as in Consistent4D's script."""
    frames = [resized_float(picture, I3D_SIDE) / 127.5 - 1 for picture in clip]
    with exact():
        stacked = _stacked(frames, network.device).transpose(0, 1)[None]
        return network.module(stacked)[0].double().cpu().numpy()


def inception_features(
    network: Loaded, pictures: Iterable[np.ndarray], batch: int, resize: InceptionResize = "tf1"
) -> np.ndarray:
    """Pooled features (N, 2048) of pictures (H, W, 3) uint8; `resize`: torchmetrics' way before 1.8 and since."""

    def call(chunk: list[np.ndarray]) -> Tensor:
        stacked, side = _stacked(chunk, network.device), (inception.SIDE,) * 2
        if resize == "tf1":
            stacked = bilinear_tf1(stacked, inception.SIDE)
        else:
            stacked = F.interpolate(stacked, side, mode="bilinear", align_corners=False, antialias=True)
        return network.module((stacked - 128) / 128)

    return run_batches(call, pictures, batch)


def resnet3d_features(network: Loaded, clip: Iterable[np.ndarray], batch: int) -> np.ndarray:
    """DisCo's feature (2048,) of one clip of pictures (H, W, 3) uint8: mean over segments of 16 frames.

    The last frame is repeated to fill the last segment.
    """

    def call(chunk: list[list[np.ndarray]]) -> Tensor:
        frames = [_stacked(segment, network.device).transpose(0, 1) for segment in chunk]
        return network.module(torch.stack(frames))

    frames = (resized_float(picture, resnet3d.SIDE) - np.float32(resnet3d.MEAN) for picture in clip)
    segments = (chunk for chunk, _ in batches(frames, resnet3d.SEGMENT_FRAMES))
    return run_batches(call, segments, batch).mean(axis=0)
