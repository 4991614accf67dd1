"""Gaussians as PLY in the layout of the INRIA 3DGS code, which every viewer reads.

Binary little endian float32: x y z, nx ny nz (zero), f_dc_0..2, f_rest_0.. (channel major), opacity
(logit), scale_0..2 (log), rot_0..3 (wxyz). Values are stored before activation, as in memory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_SH_DEGREE_OF_BASES = {1: 0, 4: 1, 9: 2, 16: 3}


def _names(bases: int) -> list[str]:
    rest = [f"f_rest_{i}" for i in range(3 * (bases - 1))]
    return [
        *("x", "y", "z", "nx", "ny", "nz"),
        *("f_dc_0", "f_dc_1", "f_dc_2"),
        *rest,
        "opacity",
        *("scale_0", "scale_1", "scale_2"),
        *("rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def write(path: Path, means, quats, log_scales, opacity_logits, sh, comments=()) -> None:
    """Write N gaussians: means (N,3), quats (N,4), log_scales (N,3), opacity_logits (N,), sh (N,K,3).

    `comments` are single lines put into the header; viewers skip them.
    """
    count, bases = sh.shape[:2]
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(count, 3 * (bases - 1))
    columns = [means, np.zeros_like(means), sh[:, 0], rest, opacity_logits[:, None], log_scales, quats]
    table = np.concatenate(columns, axis=1).astype("<f4")
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    lines += [f"element vertex {count}", *(f"property float {name}" for name in _names(bases)), "end_header"]
    with open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
        file.write(table.tobytes())


def _header(raw: bytes) -> tuple[int, list[str], int]:
    end = raw.find(b"end_header\n")
    if not raw.startswith(b"ply\n") or end < 0:
        raise ValueError("no PLY header")
    count, names = 0, []
    for line in raw[:end].decode("ascii").splitlines():
        words = line.split()
        if words[:1] == ["format"] and words[1] != "binary_little_endian":
            raise ValueError(f"format {words[1]}; expected binary_little_endian")
        if words[:2] == ["element", "vertex"]:
            count = int(words[2])
        if words[:1] == ["property"]:
            if words[1] != "float":
                raise ValueError(f"property {words[-1]} is {words[1]}; expected float")
            names.append(words[2])
    return count, names, end + len(b"end_header\n")


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays that `write` takes; raises ValueError on another layout or a truncated file."""
    raw = Path(path).read_bytes()
    count, names, start = _header(raw)
    bases = (sum(name.startswith("f_rest_") for name in names)) // 3 + 1
    missing = set(_names(bases)) - set(names) - {"nx", "ny", "nz"}
    if missing or bases not in _SH_DEGREE_OF_BASES:
        raise ValueError(f"properties {sorted(missing)} are missing; expected the INRIA 3DGS layout")
    if len(raw) - start < 4 * count * len(names):
        raise ValueError(f"truncated: header announces {count} gaussians, {len(raw) - start} bytes follow")
    table = np.frombuffer(raw, "<f4", count * len(names), start).reshape(count, len(names))
    column = {name: index for index, name in enumerate(names)}

    def take(*wanted: str) -> np.ndarray:
        return np.ascontiguousarray(table[:, [column[name] for name in wanted]])

    rest = take(*(f"f_rest_{i}" for i in range(3 * (bases - 1)))) if bases > 1 else np.zeros((count, 0), np.float32)
    dc = take("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    sh = np.concatenate([dc, rest.reshape(count, 3, bases - 1).transpose(0, 2, 1)], axis=1)
    return {
        "means": take("x", "y", "z"),
        "quats": take("rot_0", "rot_1", "rot_2", "rot_3"),
        "log_scales": take("scale_0", "scale_1", "scale_2"),
        "opacity_logits": take("opacity")[:, 0],
        "sh": np.ascontiguousarray(sh),
    }
