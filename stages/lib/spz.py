"""Gaussians as SPZ version 3 (Niantic, https://github.com/nianticlabs/spz): a tenth of the PLY, read by web viewers.

One gzip stream. Header, little endian: magic "NGSP", version u32, number of gaussians u32, SH degree u8, fractional
bits of positions u8, flags u8, reserved u8. Then column after column:

    positions    3 x 24-bit fixed point
    opacities    u8, after the sigmoid; 1 to 254 here, since readers turn 0 and 255 into infinite logits
    colours      3 x u8, the constant SH coefficient, 0.15 a unit around one half
    scales       3 x u8, log scale in sixteenths from -10
    rotations    u32: the index of the largest component in 2 bits, then sign and 9 bits of the other three (x y z w)
    SH           3 x u8 a coefficient, R G B together: 5 bits in the first band, 4 in the others

Axes are right, up, back: those of this project's world, so nothing is turned. Version 3 is the newest whose stream is
gzip, which Python's own library has; version 4 is zstd. PlayCanvas's engine reads version 4 only; its splat-transform
reads both and converts.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

MAGIC = 0x5053474E
VERSION = 3
HEADER = struct.Struct("<IIIBBBB")
# Positions get as many fractional bits as fit, at most those of Niantic's writer (a quarter of a thousandth).
FRACTIONAL_BITS = 12
LARGEST_FIXED = (1 << 23) - 1
COLOUR_SCALE = 0.15
SMALLEST_LOG_SCALE = -10.0
SCALE_STEPS = 16.0
# Components that are not the largest lie within 1/sqrt(2) of zero.
COMPONENT_STEPS = 511
BASES_OF_DEGREE = {0: 1, 1: 4, 2: 9, 3: 16}
# Width of a quantisation step of SH in 1/128: 5 bits for the first band, 4 for the others, as Niantic's writer.
FIRST_BAND_STEP, OTHER_BANDS_STEP = 8, 16


def _bytes(values: np.ndarray, least: int = 0, most: int = 255) -> bytes:
    return np.clip(np.rint(values), least, most).astype(np.uint8).tobytes()


def _positions(means: np.ndarray) -> tuple[int, bytes]:
    """Fractional bits and the 24-bit columns of means (N, 3)."""
    reach = float(np.abs(means).max(initial=0.0))
    bits = FRACTIONAL_BITS
    while bits > 0 and reach * (1 << bits) > LARGEST_FIXED:
        bits -= 1
    if reach * (1 << bits) > LARGEST_FIXED:
        raise ValueError(f"means reach {reach:g}; expected at most {LARGEST_FIXED} world units, the range of SPZ.")
    fixed = np.rint(means.astype(np.float64) * (1 << bits)).astype("<i4")
    return bits, np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _rotations(quats: np.ndarray) -> bytes:
    """Smallest three of quaternions wxyz (N, 4), packed."""
    norm = np.linalg.norm(quats.astype(np.float64), axis=1, keepdims=True)
    # A quaternion of no length is drawn as no rotation.
    unit = np.where(norm > 0, quats / np.maximum(norm, 1e-30), [1.0, 0, 0, 0])[:, [1, 2, 3, 0]]
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit = unit * np.where(unit[rows, largest] < 0, -1.0, 1.0)[:, None]
    packed = largest.astype(np.uint32)
    for component in range(4):
        value = unit[:, component]
        size = np.minimum(np.rint(np.abs(value) * np.sqrt(2.0) * COMPONENT_STEPS), COMPONENT_STEPS).astype(np.uint32)
        one = (packed << 10) | ((value < 0).astype(np.uint32) << 9) | size
        packed = np.where(largest == component, packed, one)
    return packed.astype("<u4").tobytes()


def _bands(rest: np.ndarray) -> bytes:
    """SH without the constant (N, K - 1, 3), quantised to the middle of its steps."""
    step = np.where(np.arange(rest.shape[1]) < 3, FIRST_BAND_STEP, OTHER_BANDS_STEP)[:, None]
    return _bytes(np.rint((rest * 128 + 128) / step) * step)


def write(path: Path, means, quats, log_scales, opacity_logits, sh) -> None:
    """Write N gaussians as `ply.write` takes them; equal gaussians give equal bytes.

    means (N,3), quats (N,4) wxyz, log_scales (N,3), opacity_logits (N,), sh (N,K,3), all before activation. What lies
    outside the quantised ranges is clipped: log scales to -10 .. 5.94, the constant SH coefficient to +-3.33, others
    to +-1. Raises ValueError for more than degree 3 or means beyond the 24 bits.
    """
    degrees = {bases: degree for degree, bases in BASES_OF_DEGREE.items()}
    if sh.shape[1] not in degrees:
        raise ValueError(f"sh has {sh.shape[1]} bases; expected one of {sorted(degrees)}.")
    bits, positions = _positions(means)
    body = [
        HEADER.pack(MAGIC, VERSION, len(means), degrees[sh.shape[1]], bits, 0, 0),
        positions,
        _bytes(255.0 / (1.0 + np.exp(-opacity_logits.astype(np.float64))), 1, 254),
        _bytes((sh[:, 0] * COLOUR_SCALE + 0.5) * 255),
        _bytes((log_scales - SMALLEST_LOG_SCALE) * SCALE_STEPS),
        _rotations(quats),
        _bands(sh[:, 1:]),
    ]
    # Level 6: level 9 takes three times as long for less than one per cent. No time stamp: equal bytes.
    Path(path).write_bytes(gzip.compress(b"".join(body), compresslevel=6, mtime=0))
