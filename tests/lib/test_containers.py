"""A file is whole when it goes to the end that its container announces, and cut when any of its end is missing."""

from __future__ import annotations

import pytest

from stages.lib.containers import SEGMENT, ends_early
from tests.clips import write_noise


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_whole_files(tmp_path, name):
    path = write_noise(tmp_path / name, 3, 16)
    assert not ends_early(path)
    # Some writers leave a few bytes behind.
    path.write_bytes(path.read_bytes() + b"\0\0\r\n")
    assert not ends_early(path)


@pytest.mark.parametrize("name", ["a.webm", "a.gif"])
def test_every_cut_is_seen(tmp_path, name):
    path = write_noise(tmp_path / name, 3, 16)
    data = path.read_bytes()
    # Up to here the file does not say what it is.
    for length in range(6, len(data)):
        path.write_bytes(data[:length])
        assert ends_early(path), length


def test_a_webm_that_was_sent_while_it_was_written_has_no_size(tmp_path):
    path = write_noise(tmp_path / "a.webm", 3, 16)
    data = bytearray(path.read_bytes())
    size = data.index(SEGMENT) + len(SEGMENT)
    assert data[size] == 1, "expected a size of eight bytes"
    data[size : size + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(data[: len(data) // 2])
    assert not ends_early(path)


def test_others_are_left_to_their_decoder(tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"", b"GIF", b"this is no video", b"GIF89a" + bytes(7) + b"?"):
        path.write_bytes(content)
        assert not ends_early(path)
