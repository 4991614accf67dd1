"""A second, plain reader of SPZ versions 2 and 3: one gaussian after the other, from the format's description."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

COEFFICIENTS = {0: 0, 1: 3, 2: 8, 3: 15}


def read(path: Path) -> list[dict]:
    """Every gaussian as a dict: mean, opacity (0 to 1), dc, log_scale, quat (wxyz), sh (list of rgb)."""
    data = gzip.decompress(Path(path).read_bytes())
    magic, version, count, degree, bits, _flags, reserved = struct.unpack_from("<4sIIBBBB", data)
    assert magic == b"NGSP" and version == 3 and reserved == 0
    bands = COEFFICIENTS[degree]
    start, places = 16, {}
    for name, size in (("mean", 9), ("opacity", 1), ("dc", 3), ("scale", 3), ("quat", 4), ("sh", 3 * bands)):
        places[name] = (start, size)
        start += size * count
    assert start == len(data), "bytes are left over"

    def cell(name: str, index: int) -> bytes:
        first, size = places[name]
        return data[first + index * size : first + (index + 1) * size]

    gaussians = []
    for index in range(count):
        raw = cell("mean", index)
        mean = [int.from_bytes(raw[i : i + 3], "little", signed=True) / 2**bits for i in (0, 3, 6)]
        word = int.from_bytes(cell("quat", index), "little")
        largest, xyzw = word >> 30, [0.0] * 4
        for component in (3, 2, 1, 0):
            if component != largest:
                size = (word & 511) / 511 / math.sqrt(2)
                xyzw[component] = -size if word & 512 else size
                word >>= 10
        xyzw[largest] = math.sqrt(max(0.0, 1 - sum(value * value for value in xyzw)))
        rest = cell("sh", index)
        gaussians.append(
            {
                "mean": mean,
                "opacity": cell("opacity", index)[0] / 255,
                "dc": [(value / 255 - 0.5) / 0.15 for value in cell("dc", index)],
                "log_scale": [value / 16 - 10 for value in cell("scale", index)],
                "quat": [xyzw[3], *xyzw[:3]],
                "sh": [[(value - 128) / 128 for value in rest[3 * k : 3 * k + 3]] for k in range(bands)],
            }
        )
    return gaussians
