"""Clips as files: what is written is read back, bytes repeat, and broken files are named."""

from __future__ import annotations

import re
import struct
import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stages.lib import video
from stages.lib.images import ImageError
from tests.clips import write_noise


def clip(n_frames: int = 6, height: int = 32, width: int = 48) -> np.ndarray:
    """A red square that moves right over a grey that brightens, (T, H, W, 3) uint8."""
    frames = np.zeros((n_frames, height, width, 3), dtype=np.uint8)
    for t in range(n_frames):
        frames[t] = 60 + 20 * t
        frames[t, 8:24, 4 * t : 4 * t + 16] = (220, 30, 30)
    return frames


def test_round_trip(tmp_path):
    frames = clip()
    video.write_mp4(tmp_path / "a.mp4", frames, 24)
    read = video.read(tmp_path / "a.mp4")
    assert read.shape == frames.shape and read.dtype == np.uint8
    # Chroma has half the resolution, so that colours bleed at edges; flat areas are nearly exact.
    assert np.abs(read[:, :6].astype(int) - frames[:, :6]).max() <= 6
    assert np.abs(read[0, 14, 8].astype(int) - (220, 30, 30)).max() <= 8
    decoded = video.decode(tmp_path / "a.mp4")
    assert (decoded.decoded, decoded.fps) == (6, 24.0)


def test_an_animated_webp_repeats_for_ever_with_its_colours(tmp_path):
    frames = clip()
    video.write_webp(tmp_path / "a.webp", iter(frames), 12)
    video.write_webp(tmp_path / "b.webp", frames, 12)
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()
    moving = Image.open(tmp_path / "a.webp")
    assert (moving.n_frames, moving.size, moving.info["loop"]) == (6, (48, 32), 0)
    for index in range(6):
        moving.seek(index)
        picture = np.array(moving.convert("RGB")).astype(int)
        # Decoding a frame tells how long it is shown.
        assert moving.info["duration"] in (83, 84)
        assert np.abs(picture[14, 4 * index + 8] - (220, 30, 30)).max() <= 10
        assert np.abs(picture[28, 40] - (60 + 20 * index)).max() <= 4


def test_pictures_are_not_kept(tmp_path):
    made = []

    def pictures():
        for index in range(8):
            picture = np.full((16, 16, 3), 20 * index, np.uint8)
            made.append(weakref.ref(picture))
            yield picture
            del picture
            assert sum(one() is not None for one in made) <= 1

    video.write_mp4(tmp_path / "a.mp4", pictures(), 10)
    assert len(video.read(tmp_path / "a.mp4")) == 8


@pytest.mark.parametrize("write", [video.write_mp4, video.write_webp])
def test_no_pictures_are_refused(tmp_path, write):
    with pytest.raises(ValueError, match="there are no frames"):
        write(tmp_path / "a.file", iter([]), 10)
    assert list(tmp_path.iterdir()) == []


def test_equal_frames_give_equal_bytes_with_the_index_first(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        video.write_mp4(tmp_path / name, clip(), 23.976)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data == (tmp_path / "b.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_small_pictures_give_equal_bytes_too(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    written = set()
    for _ in range(8):
        video.write_mp4(tmp_path / "a.mp4", pictures, 24)
        written.add((tmp_path / "a.mp4").read_bytes())
    assert len(written) == 1


def test_odd_sides_are_padded_by_repeating(tmp_path):
    video.write_mp4(tmp_path / "a.mp4", clip(2, 31, 45), 24)
    read = video.read(tmp_path / "a.mp4")
    assert read.shape == (2, 32, 46, 3)
    assert np.abs(read[:, 31].astype(int) - read[:, 30]).max() <= 6


def test_range(tmp_path):
    video.write_mp4(tmp_path / "a.mp4", clip(10), 24)
    chosen = video.decode(tmp_path / "a.mp4", first=1, last=8, stride=3)
    assert np.array_equal(chosen.frames, video.read(tmp_path / "a.mp4")[1:9:3])
    assert video.decode(tmp_path / "a.mp4", first=20).frames.shape[0] == 0


def test_gif_keeps_transparency_and_opaque_gif_has_none(tmp_path):
    pictures = []
    for t in range(3):
        rgba = np.zeros((16, 16, 4), dtype=np.uint8)
        rgba[4:12, t : t + 8] = (255, 0, 0, 255)
        pictures.append(Image.fromarray(rgba))
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], disposal=2, duration=100)
    read = video.read(tmp_path / "a.gif")
    assert read.shape == (3, 16, 16, 4)
    assert [int((frame[..., 3] == 255).sum()) for frame in read] == [64, 64, 64]
    assert read[2, 6, 2].tolist() == [255, 0, 0, 255] and read[2, 6, 0, 3] == 0
    pictures = [Image.fromarray(frame) for frame in clip(3)]
    pictures[0].save(tmp_path / "b.gif", save_all=True, append_images=pictures[1:])
    assert video.read(tmp_path / "b.gif").shape == (3, 32, 48, 3)


def test_webm_keeps_transparency(tmp_path):
    rgba = np.zeros((32, 32, 4), dtype=np.uint8)
    rgba[8:24, 8:24] = (0, 200, 0, 255)
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuva420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode())
    read = video.read(tmp_path / "a.webm")
    assert read.shape == (3, 32, 32, 4)
    assert read[1, 16, 16, 3] > 250 and read[1, 2, 2, 3] < 5


def test_a_phones_video_is_turned_upright(tmp_path):
    """The display matrix of the track (ISO 14496-12, tkhd) is set to a quarter turn clockwise by hand."""
    path = tmp_path / "a.mp4"
    frames = np.zeros((2, 32, 48, 3), dtype=np.uint8)
    frames[:, :16] = 200
    video.write_mp4(path, frames, 24)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    read = video.read(path)
    assert read.shape == (2, 48, 32, 3)
    # Turned clockwise, what was above is on the right.
    assert read[0, 24, 28].min() > 150 and read[0, 24, 4].max() < 50


def write_bytes(path: Path, kind: str) -> Path:
    if kind == "missing":
        return path
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video " * 50)
    else:
        data = write_noise(path).read_bytes()
        path.write_bytes(data[: 60 if kind == "cut at the start" else len(data) * 2 // 3])
    return path


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", r"clip\.mp4 does not exist; expected a video file"),
        ("empty", r"clip\.mp4 is empty \(0 bytes\)"),
        ("text", r"clip\.mp4 cannot be decoded to its end .* expected a whole video"),
        ("cut at the start", r"clip\.mp4 has no video stream; expected a whole video"),
        ("cut", r"clip\.mp4 cannot be decoded to its end .* got \d+ of 12 frames; .*`frames\.last: \d+`"),
    ],
)
def test_broken_files(tmp_path, kind, text):
    with pytest.raises(ImageError, match=text):
        video.read(write_bytes(tmp_path / "clip.mp4", kind))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif"])
def test_a_cut_video_is_refused_and_its_whole_part_can_be_used(tmp_path, name):
    path = tmp_path / name
    whole = video.read(write_noise(path))
    assert len(whole) == 12
    write_bytes(path, "cut")
    with pytest.raises(ImageError, match=r"clip\.\w+ cannot be decoded to its end .*expected a whole video") as raised:
        video.read(path)
    last = int(re.search(r"`frames\.last: (\d+)`", str(raised.value))[1])
    assert 2 <= last < 11
    np.testing.assert_array_equal(video.decode(path, last=last).frames, whole[: last + 1])


def test_pictures_that_change_their_size_are_named(tmp_path):
    """Two streams in one: raw H.264 repeats its parameters, and a decoder follows them."""
    parts = []
    for side in (32, 48):
        with av.open(str(tmp_path / "part.h264"), "w") as container:
            stream = container.add_stream("libx264", rate=24)
            stream.height, stream.width, stream.pix_fmt = side, side, "yuv420p"
            for picture in clip(3, side, side):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        parts.append((tmp_path / "part.h264").read_bytes())
    path = tmp_path / "clip.h264"
    path.write_bytes(b"".join(parts))
    text = r"clip\.h264 changes: frame 3 has 48 x 48 pixels .* 32 x 32 .*`frames\.last: 2`"
    with pytest.raises(ImageError, match=text):
        video.read(path)
    assert video.decode(path, last=2).frames.shape == (3, 32, 32, 3)


def told(path: Path, frames: np.ndarray, codec: str = "libx264") -> Path:
    """A video that says who made it, with a sound track."""
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["title"] = container.metadata["comment"] = "made by stagmethod"
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.metadata["handler_name"] = "stagmethod"
        sound = container.add_stream("aac", rate=8000)
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        for one in (stream, sound):
            container.mux(one.encode())
    return path


def test_a_copy_has_the_pictures_and_nothing_else(tmp_path):
    source = told(tmp_path / "told.mp4", clip())
    shape = video.write_copy(tmp_path / "copy.mp4", source)
    assert (shape.frames, shape.height, shape.width, shape.fps) == (6, 32, 48, 24.0)
    np.testing.assert_array_equal(video.read(tmp_path / "copy.mp4"), video.read(source))
    assert b"stagmethod" in source.read_bytes() and b"stagmethod" not in (tmp_path / "copy.mp4").read_bytes()
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert not {"title", "comment", "creation_time"} & set(container.metadata)
    video.write_copy(tmp_path / "again.mp4", source)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "copy.mp4").read_bytes()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", r"clip\.mp4 cannot be read as a video"),
        ("empty", r"clip\.mp4 cannot be read as a video"),
        ("text", r"clip\.mp4 cannot be read as a video"),
        ("cut", r"clip\.mp4 cannot be decoded to its end .*: got \d+ of 12 frames"),
        ("other", r"clip\.mp4 is mpeg4 in yuv420p; expected h264 in yuv420p\. Convert it: `ffmpeg"),
    ],
)
def test_what_browsers_do_not_show_is_not_copied(tmp_path, kind, text):
    path = tmp_path / "clip.mp4"
    source = told(path, clip(), "mpeg4") if kind == "other" else write_bytes(path, kind)
    with pytest.raises(ImageError, match=text):
        video.write_copy(tmp_path / "copy.mp4", source)
    assert {one.name for one in tmp_path.iterdir()} <= {"clip.mp4"}


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"the old one")
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
        video.write_mp4(tmp_path / "a.mp4", clip().astype(np.float32), 24)
    with pytest.raises(ValueError, match="fps is 0; expected"):
        video.write_mp4(tmp_path / "a.mp4", clip(), 0)

    def full_disk(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(video.np, "ascontiguousarray", full_disk)
    with pytest.raises(OSError, match="no space left"):
        video.write_mp4(tmp_path / "a.mp4", clip(), 24)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"the old one"
