"""The compact file: a whole sequence in a sixth to a tenth of its size, readable by a browser without a library.

The layout, byte by byte, is in `compact.md` beside this file; `workflow/player/compact.js` is its second reader.

Conventions
-----------
- Letters: T frames, N gaussians, K spherical-harmonics bases, F frames of a group.
- A *channel* is one number of a gaussian that changes with time: means 3, quats 4, log_scales 3, opacity_logits 1.
  It is stored as an integer, value = low + step * integer, so the error is at most half a step.
- A channel's integers are stored as differences to the frame before, a gaussian's first ones in the *base*; where a
  gaussian is absent its last values are held, so absence costs nothing.
- Groups of frames are written and read one after the other, so memory does not grow with T.
- NumPy and zlib only; nothing is random, equal sequences give equal bytes.

Prior art: temporal differences of quantised attributes are what QUEEN and video codecs do; the integers, the split
into byte planes before deflate and the held values are PNG's and SPZ's ideas put together.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stages.contracts import ContractError, Sequence, replacing

MAGIC = b"4DGS"
VERSION = 1
# Frames of a group: long enough for deflate to learn a channel's statistics, short enough to show progress.
GROUP_FRAMES = 8
# zlib's default: level 9 takes three times as long and saves 2 to 5 %.
DEFLATE_LEVEL = 6
SIZES = {"means": 3, "quats": 4, "log_scales": 3, "opacity_logits": 1}
# On the embedded suite 55 dB or more of 512x512 pictures (`python -m tests.benchmarks.compact`), far above any fit.
BITS = {"means": 13, "quats": 8, "log_scales": 8, "opacity_logits": 8, "sh": 8}
# A gaussian e^-10 of the largest one's size is far below the 0.3 pixels by which every gaussian is widened.
LOG_SCALE_RANGE = 10.0
# Renderers skip opacities under 1/255 (logit -5.5) and clamp them at 0.999 (logit 6.9): beyond, nothing changes.
OPACITY_LOGIT_RANGE = (-6.0, 7.5)
PREFIX = struct.Struct("<4sII")
LENGTH = struct.Struct("<I")


def _block(sequence: Sequence, first: int) -> dict[str, np.ndarray]:
    """Every channel and `present` of the group of frames that begins with `first`, read where they are on disk."""
    return {name: np.asarray(getattr(sequence, name)[first : first + GROUP_FRAMES]) for name in (*SIZES, "present")}


# ------------------------------------------------------------------ quantisation


@dataclass(frozen=True)
class Grid:
    """value = low + step * integer for C numbers; low, step: (C,) float64, integers below 2^bits."""

    low: np.ndarray
    step: np.ndarray
    bits: int

    def quantise(self, values: np.ndarray) -> np.ndarray:
        """Integers (..., C) int32 of float values (..., C), clipped to the grid."""
        return np.clip(np.rint((values - self.low) / self.step), 0, 2**self.bits - 1).astype(np.int32)

    def restore(self, integers: np.ndarray) -> np.ndarray:
        """float32 values of `quantise`'s integers."""
        return (self.low + self.step * integers).astype(np.float32)


def _spanning(low: np.ndarray, high: np.ndarray, bits: int) -> Grid:
    """The grid from low to high (C,); where they are equal the step is 1, so that nothing divides by zero."""
    step = (high - low) / (2**bits - 1)
    return Grid(np.asarray(low, np.float64), np.where(step > 0, step, 1.0), bits)


def _starts(frames: int) -> range:
    return range(0, frames, GROUP_FRAMES)


@dataclass(frozen=True)
class Survey:
    """What a first pass over the frames finds: the first values of every gaussian and the ranges of all."""

    first: dict[str, np.ndarray]
    """by channel (N, C) float32: values in the first frame that has the gaussian; zeros if none has"""
    grids: dict[str, Grid]


def survey(sequence: Sequence) -> Survey:
    """Read every frame once; only values of present gaussians count."""
    count, total = len(sequence.sh), len(sequence.times)
    first = {name: np.zeros((count, size), np.float32) for name, size in SIZES.items()}
    seen = np.zeros(count, bool)
    low = {name: np.full(size, np.inf) for name, size in SIZES.items()}
    high = {name: np.full(size, -np.inf) for name, size in SIZES.items()}
    for start in _starts(total):
        block = _block(sequence, start)
        for frame, present in enumerate(block["present"]):
            fresh = present & ~seen
            seen |= present
            for name, size in SIZES.items():
                values = block[name][frame].reshape(count, size)
                first[name][fresh] = values[fresh]
                if present.any():
                    low[name] = np.minimum(low[name], values[present].min(0))
                    high[name] = np.maximum(high[name], values[present].max(0))
    if not seen.any():
        low, high = ({name: np.zeros(size) for name, size in SIZES.items()} for _ in range(2))
    return Survey(first, _grids(low, high))


def _grids(low: dict[str, np.ndarray], high: dict[str, np.ndarray]) -> dict[str, Grid]:
    # One step for the three axes: a voxel is a cube, whatever the shape of the object.
    extent = (high["means"] - low["means"]).max()
    tallest = high["log_scales"].max()
    smallest = max(low["log_scales"].min(), tallest - LOG_SCALE_RANGE)
    spans = {
        "means": (low["means"], low["means"] + extent),
        "quats": (-np.ones(4), np.ones(4)),
        "log_scales": (np.full(3, smallest), np.full(3, tallest)),
        "opacity_logits": tuple(np.array([bound]) for bound in OPACITY_LOGIT_RANGE),
    }
    return {name: _spanning(*spans[name], BITS[name]) for name in SIZES}


def unit_quats(quats: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Unit quaternions (N, 4) with the sign that is nearest to `near` (N, 4): q and -q are one rotation.

    A zero quaternion, which has no direction, becomes the identity.
    """
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(length > 0, quats / np.where(length > 0, length, 1), [1.0, 0, 0, 0])
    return np.where((unit * near).sum(1, keepdims=True) < 0, -unit, unit)


# ------------------------------------------------------------------ bytes


def zigzag(differences: np.ndarray, bits: int) -> np.ndarray:
    """Signed differences of `bits`-bit integers as unsigned ones, small for small: 0, -1, 1, -2 -> 0, 1, 2, 3.

    Differences are taken modulo 2^bits, so they need no more bits than the integers themselves.
    """
    half = 1 << (bits - 1)
    wrapped = ((differences + half) & (2 * half - 1)) - half
    return (wrapped << 1) ^ (wrapped >> (bits - 1))


def unzigzag(codes: np.ndarray) -> np.ndarray:
    """The signed differences of `zigzag`, between -2^(bits-1) and 2^(bits-1) - 1."""
    return (codes >> 1) ^ -(codes & 1)


def planes(codes: np.ndarray, bits: int) -> bytes:
    """Low bytes of all codes, then, for more than 8 bits, all high bytes: the second are mostly zero."""
    low = (codes & 255).astype(np.uint8).tobytes()
    return low + ((codes >> 8).astype(np.uint8).tobytes() if bits > 8 else b"")


class _Cursor:
    """Reads planes and bits from the front of a chunk."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> np.ndarray:
        found = np.frombuffer(self._data, np.uint8, count, self._at)
        self._at += count
        return found

    def codes(self, count: int, bits: int) -> np.ndarray:
        low = self.take(count).astype(np.int32)
        return low + (self.take(count).astype(np.int32) << 8) if bits > 8 else low


def _write_chunk(file: BinaryIO, parts: list[bytes]) -> None:
    packed = zlib.compress(b"".join(parts), DEFLATE_LEVEL)
    file.write(LENGTH.pack(len(packed)) + packed)


# ------------------------------------------------------------------ writing


def write(path: Path, sequence: Sequence) -> int:
    """Write a sequence, in memory or on disk, its frames read twice and group by group; returns the size in bytes.

    Raises ContractError on NaN or wrong shapes. The file appears under its name only when it is complete.
    """
    sequence.check()
    found = survey(sequence)
    count, bases = sequence.sh.shape[:2]
    sh = sequence.sh.reshape(count, 3 * bases)
    bounds = (sh.min(0), sh.max(0)) if len(sh) else (np.zeros(sh.shape[1]),) * 2
    colours = _spanning(*bounds, BITS["sh"])
    header = {
        "frames": len(sequence.times),
        "gaussians": count,
        "bases": bases,
        "group": GROUP_FRAMES,
        "times": sequence.times.tolist(),
        "grids": {
            name: {"low": grid.low.tolist(), "step": grid.step.tolist(), "bits": grid.bits}
            for name, grid in {**found.grids, "sh": colours}.items()
        },
        "record": sequence.record,
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(PREFIX.pack(MAGIC, VERSION, len(text)) + text)
            state = _write_base(file, found, colours.quantise(sh))
            for start in _starts(len(sequence.times)):
                state = _write_group(file, _block(sequence, start), found.grids, state)
        size = temporary.stat().st_size
    return size


# From channel to its integers (N, C) in the frame before, with "present" (N,) bool.
State = dict[str, np.ndarray]


def _write_base(file: BinaryIO, found: Survey, sh: np.ndarray) -> State:
    first = {**found.first, "quats": unit_quats(found.first["quats"], np.array([[1.0, 0, 0, 0]]))}
    state = {name: found.grids[name].quantise(first[name]) for name in SIZES}
    parts = [planes(state[name].T, BITS[name]) for name in SIZES]
    _write_chunk(file, [*parts, planes(sh.T, BITS["sh"])])
    return {**state, "present": np.zeros(len(sh), bool)}


def _write_group(file: BinaryIO, block: dict[str, np.ndarray], grids: dict[str, Grid], state: State) -> State:
    """Write the frames of a block as differences to `state`; return the state after them."""
    state = dict(state)
    codes: dict[str, list[np.ndarray]] = {name: [] for name in SIZES}
    bits = []
    for frame, present in enumerate(block["present"]):
        bits.append(np.packbits(present ^ state["present"]).tobytes())
        state["present"] = present
        for name, size in SIZES.items():
            values = block[name][frame].reshape(-1, size)
            if name == "quats":
                values = unit_quats(values, grids[name].restore(state[name]))
            integers = np.where(present[:, None], grids[name].quantise(values), state[name])
            codes[name].append(zigzag(integers - state[name], BITS[name]).T)
            state[name] = integers
    # By component, then frame, then gaussian: a run of deflate's input is one number over the object.
    stacks = [planes(np.stack(codes[name], axis=1), BITS[name]) for name in SIZES]
    _write_chunk(file, [*bits, *stacks])
    return state


# ------------------------------------------------------------------ reading


@dataclass(frozen=True)
class Header:
    """What stands before the chunks."""

    frames: int
    gaussians: int
    bases: int
    group: int
    times: np.ndarray
    """(T,) float64"""
    grids: dict[str, Grid]
    record: dict


def _refused(path: Path, why: str) -> ContractError:
    return ContractError(
        f"{path} cannot be read as a compact sequence ({why}). Delete it and run the same command again to remake it."
    )


def _read_header(path: Path, file: BinaryIO) -> Header:
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size or not prefix.startswith(MAGIC):
        raise _refused(path, f"it begins with {prefix[:4]!r}; expected {MAGIC!r}")
    _, version, length = PREFIX.unpack(prefix)
    if version != VERSION:
        raise ContractError(
            f"{path} has version {version} of the compact layout; this code reads version {VERSION}. "
            "Delete the file and run the same command again to remake it."
        )
    try:
        read = json.loads(file.read(length))
        grids = {
            name: Grid(np.array(grid["low"]), np.array(grid["step"]), grid["bits"])
            for name, grid in read["grids"].items()
        }
        return Header(**{**read, "times": np.array(read["times"], np.float64), "grids": grids})
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(path, f"its header is damaged: {error}") from None


def _read_chunk(path: Path, file: BinaryIO) -> _Cursor:
    try:
        (length,) = LENGTH.unpack(file.read(LENGTH.size))
        return _Cursor(zlib.decompress(file.read(length)))
    except (struct.error, zlib.error) as error:
        raise _refused(path, f"it is truncated or damaged: {error}") from None


def read_header(path: Path) -> Header:
    """The header alone. Raises ContractError on another file or version."""
    with _opened(path) as file:
        return _read_header(path, file)


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise _refused(path, str(error)) from None


def groups(path: Path) -> Iterator[Sequence]:
    """The sequence group by group, each a Sequence of at most `group` frames with the same N and sh.

    Absent gaussians hold the values of their nearest present frame. Raises ContractError as `read` does.
    """
    with _opened(path) as file:
        header = _read_header(path, file)
        count = header.gaussians
        base = _read_chunk(path, file)
        try:
            bits = {name: header.grids[name].bits for name in (*SIZES, "sh")}
            state = {name: base.codes(size * count, bits[name]).reshape(size, count) for name, size in SIZES.items()}
            colours = base.codes(3 * header.bases * count, bits["sh"]).reshape(3 * header.bases, count).T
            sh = header.grids["sh"].restore(colours).reshape(count, header.bases, 3)
            present = np.zeros(count, bool)
            for start in range(0, header.frames, header.group):
                times = header.times[start : start + header.group]
                chunk = _read_chunk(path, file)
                rows = []
                for _ in times:
                    present = present ^ np.unpackbits(chunk.take((count + 7) // 8), count=count).astype(bool)
                    rows.append(present)
                arrays = {}
                for name, size in SIZES.items():
                    codes = chunk.codes(size * len(times) * count, bits[name]).reshape(size, len(times), count)
                    integers = state[name][:, None] + np.cumsum(unzigzag(codes), axis=1)
                    integers &= (1 << bits[name]) - 1
                    state[name] = integers[:, -1]
                    values = header.grids[name].restore(integers.transpose(1, 2, 0))
                    arrays[name] = values if size > 1 else values[..., 0]
                yield Sequence(**arrays, sh=sh, present=np.stack(rows), times=times, record=header.record)
        except (ValueError, KeyError) as error:
            raise _refused(path, f"it is truncated or damaged: {error}") from None


def read(path: Path) -> Sequence:
    """The whole sequence, dequantised; raises ContractError on a damaged, truncated or newer file."""
    parts = list(groups(path))
    if not parts:
        raise _refused(path, "it holds no frame")
    stacked = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*SIZES, "present", "times")}
    return Sequence(**stacked, sh=parts[0].sh, record=parts[0].record)
