"""Clips as files: decode any video, encode H.264 and animated WebP picture by picture, through PyAV (FFmpeg).

Vocabulary: a *clip* is uint8 (T, H, W, C), C = 3 (RGB) or 4 (RGBA, straight alpha, when the file is
transparent somewhere). Frames are in the order in which they are shown and turned upright as the file asks.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from stages.contracts import replacing
from stages.lib.containers import ends_early
from stages.lib.images import ImageError

# H.264 quality: constant rate factor 16 is visually lossless at these sizes; lower is better and larger.
CONSTANT_RATE_FACTOR = "16"
# x264's assembly makes different files of equal pictures up to this side (seen at 64 pixels, never above); there, and
# only there, its C code costs nothing that matters.
SMALL_SIDE = 64
# Of 100; the pictures are small and mostly white.
WEBP_QUALITY = "80"
# WebP's decoders know one matrix, the one of standard television.
MATRIX = {"libx264": Colorspace.ITU709, "libwebp_anim": Colorspace.ITU601}
# FFmpeg's native VP8 and VP9 decoders drop the alpha of WebM; libvpx keeps it.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass(frozen=True)
class Clip:
    """Frames chosen from a video."""

    frames: np.ndarray
    """(T, H, W, C) uint8; T = 0 when the range holds no frame"""
    decoded: int
    """frames seen in the file: all of them unless `last` was given and reached"""
    fps: float
    """mean frames per second; 0 when the file does not say"""


def read(path: Path) -> np.ndarray:
    """Decode a whole video or GIF to uint8 (T, H, W, 3 or 4).

    Raises what `decode` does.
    """
    return decode(path).frames


def decode(path: Path, first: int = 0, last: int | None = None, stride: int = 1) -> Clip:
    """Decode frames first, first + stride, ... up to `last` (inclusive; None = the end).

    Raises ImageError when the file is missing, empty, no video, or ends before it says, and when its pictures change
    their size.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path} does not exist; expected a video file. Correct the path.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); expected a video. Copy or download it again.")
    frames, decoded, announced = [], 0, 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(
                    f"{path} has no video stream; expected a whole video. Copy or download it again, or correct "
                    "the path."
                )
            stream = container.streams.video[0]
            announced, fps = stream.frames, float(stream.average_rate or 0)
            for frame in _decoded(container, stream):
                if decoded >= first and (decoded - first) % stride == 0:
                    frames.append(_upright(frame))
                    _check_size(path, decoded, frames)
                decoded += 1
                if last is not None and decoded > last:
                    break
    except av.FFmpegError as error:
        raise _broken(path, decoded, announced, str(error)) from None
    to_the_end = last is None or decoded <= last
    if decoded == 0 or (decoded < announced and to_the_end):
        raise _broken(path, decoded, announced, "it ends early")
    if to_the_end and ends_early(path):
        # Of the last picture only a part may be there.
        raise _broken(path, decoded - 1, announced, "it ends early")
    return Clip(_stacked(frames), decoded, fps)


@dataclass(frozen=True)
class Shape:
    """What one sees of a video before its pictures."""

    frames: int
    height: int
    width: int
    fps: float

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.width}x{self.height} at {self.fps:g} a second"


def write_copy(path: Path, source: Path) -> Shape:
    """Copy the pictures of an H.264 video into an MP4 of nothing else: no title, date or sound; atomically.

    Packets are copied as they are, so nothing is lost. Raises ImageError when the source is not H.264 in yuv420p, which
    every browser shows, or cannot be read.
    """
    remedy = "Convert it: `ffmpeg -i in.mp4 -c:v libx264 -pix_fmt yuv420p out.mp4`."
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    frames = 0
    try:
        with av.open(str(source)) as given:
            if not given.streams.video:
                raise ImageError(f"{source} has no video stream; expected H.264 in yuv420p. {remedy}")
            stream = given.streams.video[0]
            context = stream.codec_context
            if (context.name, context.pix_fmt) != ("h264", "yuv420p"):
                raise ImageError(f"{source} is {context.name} in {context.pix_fmt}; expected h264 in yuv420p. {remedy}")
            with (
                replacing(path) as temporary,
                av.open(str(temporary), "w", format="mp4", options=options) as container,
            ):
                copied = container.add_stream_from_template(stream)
                copied.metadata.clear()
                for packet in given.demux(stream):
                    # The last one only says that there are no more.
                    if packet.dts is not None:
                        packet.stream = copied
                        container.mux(packet)
                        frames += 1
                if frames < stream.frames or ends_early(source):
                    raise _broken(source, frames, stream.frames, "it ends early")
            return Shape(frames, context.height, context.width, float(stream.average_rate or 0))
    except av.FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ImageError(f"{source} cannot be read as a video ({error}); expected H.264 in yuv420p. {remedy}") from None


def write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write uint8 pictures (H, W, 3) as H.264 in yuv420p, which every player shows; atomically.

    frames: an array (T, H, W, 3) or anything that yields pictures, which are not kept. Odd heights and widths are made
    even by repeating the last row or column. One thread, so that equal frames give equal bytes. The index is put first,
    so that browsers start at once. Raises ValueError on other shapes, no pictures, or an fps that is not positive.
    """
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as container:
        _encode(container, "libx264", "yuv420p", {"crf": CONSTANT_RATE_FACTOR, "preset": "medium"}, frames, fps)


def write_webp(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write uint8 pictures (H, W, 3) as an animated WebP that repeats for ever; atomically.

    Takes and refuses what `write_mp4` does; every browser shows the file as a picture.
    """
    with replacing(path) as temporary, av.open(str(temporary), "w", format="webp", options={"loop": "0"}) as container:
        _encode(container, "libwebp_anim", "yuv420p", {"quality": WEBP_QUALITY, "loop": "0"}, frames, fps)


def _encode(container, codec: str, layout: str, options: dict[str, str], frames: Iterable[np.ndarray], fps: float):
    """Encode pictures one by one into an open container with one stream."""
    if not fps > 0:
        raise ValueError(f"fps is {fps}; expected frames per second above 0.")
    stream = None
    for picture in frames:
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"a frame is {picture.dtype} {picture.shape}; expected uint8 (H, W, 3).")
        picture = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
        if stream is None:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], layout
            small = codec == "libx264" and max(picture.shape[:2]) <= SMALL_SIDE
            stream.options = options | ({"x264-params": "asm=0"} if small else {})
            context = stream.codec_context
            context.thread_count = 1
            # Without tags players guess the matrix from the height, and colours shift.
            context.colorspace, context.color_range = MATRIX[codec], ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        container.mux(stream.encode(frame.reformat(format=layout, dst_colorspace=MATRIX[codec])))
    if stream is None:
        raise ValueError("there are no frames; expected uint8 (T, H, W, 3) with T >= 1.")
    container.mux(stream.encode())


def _decoded(container, stream):
    """Frames of the stream, through the decoder that keeps alpha if the file says it has any."""
    name = stream.codec_context.name
    if stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) != "1" or name not in ALPHA_DECODERS:
        yield from container.decode(stream)
        return
    decoder = av.CodecContext.create(ALPHA_DECODERS[name], "r")
    decoder.extradata = stream.codec_context.extradata
    for packet in container.demux(stream):
        yield from decoder.decode(packet)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """One frame as (H, W, 3 or 4), turned as its display matrix says (phones film sideways)."""
    transparent = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
    picture = frame.to_ndarray(format="rgba" if transparent else "rgb24")
    return np.rot90(picture, k=round(frame.rotation / 90) % 4)


def _check_size(path: Path, index: int, frames: list[np.ndarray]) -> None:
    """Raise ImageError when the last of the frames, number `index` of the file, is unlike the first."""
    shapes = [frames[0].shape, frames[-1].shape]
    if shapes[0] == shapes[1]:
        return
    given, expected = (f"{shape[1]} x {shape[0]} pixels of {shape[2]} channels" for shape in reversed(shapes))
    raise ImageError(
        f"{path} changes: frame {index} has {given}, those before it {expected}; expected one size for the whole clip. "
        f"Use its first part with `frames.last: {index - 1}`, or convert it: `ffmpeg -i in -vf scale=W:H out.mp4`."
    )


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    """Frames in one array; the alpha of a clip that is opaque everywhere is dropped."""
    if not frames:
        return np.zeros((0, 0, 0, 3), dtype=np.uint8)
    clip = np.stack(frames)
    if clip.shape[-1] == 4 and (clip[..., 3] == 255).all():
        clip = clip[..., :3]
    return np.ascontiguousarray(clip)


def _broken(path: Path, decoded: int, announced: int, reason: str) -> ImageError:
    held = f"{decoded} of {announced} frames" if announced else f"{decoded} frames"
    remedy = "Copy, download or convert it again"
    if decoded >= 2:
        remedy += f", or use its whole part with `frames.last: {decoded - 1}`"
    return ImageError(f"{path} cannot be decoded to its end ({reason}): got {held}; expected a whole video. {remedy}.")
