"""Whether a video file goes to the end that its container announces, for containers that do not count their frames.

GIF ends with a trailer behind its blocks (GIF89a, sections 20 to 27). WebM and Matroska hold one segment, whose size
stands before it (RFC 8794, sections 4 and 6; RFC 9559, section 5.1), unless it was written while it was sent. A
decoder that comes to the end of a cut file reports nothing: it only gives fewer frames. Others (MP4, AVI) say how many
they hold.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

GIF_SIGNATURES = (b"GIF87a", b"GIF89a")
GIF_IMAGE, GIF_EXTENSION, GIF_TRAILER = b"\x2c", b"\x21", b"\x3b"
# Header and logical screen descriptor; their eleventh byte says whether a table of colours follows.
GIF_SCREEN = 13
GIF_SCREEN_FLAGS = 10
EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"


def ends_early(path: Path) -> bool:
    """Whether the end of a GIF, WebM or Matroska file is missing; False where that cannot be told, and for others."""
    with open(path, "rb") as file:
        start = file.read(len(GIF_SIGNATURES[0]))
        file.seek(0)
        if start in GIF_SIGNATURES:
            return _gif_ends_early(file)
        return start.startswith(EBML) and _segment_ends_early(file)


def _gif_ends_early(file: BinaryIO) -> bool:
    """Go from block to block to the trailer."""
    file.seek(GIF_SCREEN_FLAGS)
    file.seek(GIF_SCREEN + _colour_bytes(file.read(1)))
    while block := file.read(1):
        if block == GIF_TRAILER:
            return False
        if block == GIF_IMAGE:
            place = file.read(9)
            # The colours of this image, then one byte for the size of its codes.
            file.seek(_colour_bytes(place[8:]) + 1, os.SEEK_CUR)
        elif block == GIF_EXTENSION:
            file.seek(1, os.SEEK_CUR)
        elif block == b"\0":
            # Some writers end a block twice.
            continue
        else:
            # Not as the format has it: the decoder may know better.
            return False
        while (size := file.read(1)) and size != b"\0":
            file.seek(size[0], os.SEEK_CUR)
    return True


def _colour_bytes(flags: bytes) -> int:
    """Bytes of the table of colours that one byte of flags announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _segment_ends_early(file: BinaryIO) -> bool:
    """Compare the end of the segment with that of the file."""
    while True:
        identity, size = _variable(file), _variable(file)
        if not identity or not size:
            return True
        # The leading bits of a size say how long it is; all others set is a size that was not known.
        bits = 7 * len(size)
        length = int.from_bytes(size) & ((1 << bits) - 1)
        if identity == SEGMENT:
            known = length != (1 << bits) - 1
            return known and file.tell() + length > os.fstat(file.fileno()).st_size
        file.seek(length, os.SEEK_CUR)


def _variable(file: BinaryIO) -> bytes:
    """A number of EBML, whose first byte has one zero bit for every byte that follows; empty where the file ends."""
    first = file.read(1)
    if first in (b"", b"\0"):
        return b""
    following = 8 - first[0].bit_length()
    number = first + file.read(following)
    return number if len(number) == 1 + following else b""
