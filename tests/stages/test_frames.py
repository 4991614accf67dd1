"""Stage frames: what comes out of each kind of source, and one clear error for each that cannot be used."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import stages.lib
from stages import frames
from stages.cli import Reporter, StageError
from stages.contracts import Frames, Truth
from stages.lib import images, video
from stages.settings import CameraSettings, FramesRun, FramesSettings, SceneSource, SettingsError

SIZE = 32


def square(left: int, side: int = 24, height: int = 64, width: int = 64) -> np.ndarray:
    """A red square in a transparent picture, its left upper corner at (20, left)."""
    rgba = np.zeros((height, width, 4), dtype=np.uint8)
    rgba[20 : 20 + side, left : left + side] = (200, 40, 30, 255)
    return rgba


def folder(path: Path, pictures: list[np.ndarray], name: str = "{}.png") -> Path:
    for index, picture in enumerate(pictures):
        images.write_png(path / name.format(index), picture)
    return path


def moving(n_frames: int = 6) -> list[np.ndarray]:
    return [square(10 + 2 * t) for t in range(n_frames)]


def run(
    tmp_path: Path, kind: str, source: Path | str, n_frames: int = 6, terminal: io.StringIO | None = None, **changed
) -> tuple[Frames, Truth, str]:
    """Run the stage on a source and load what it wrote; the third value is its log."""
    settings = FramesRun(
        scene=SceneSource(kind=kind, source=str(source), n_frames=n_frames),
        camera=CameraSettings(elevation_deg=5.0),
        frames=FramesSettings(**{"size": SIZE, **changed}),
    )
    log = io.StringIO()
    out, truth = tmp_path / "out" / "frames.npz", tmp_path / "out" / "truth.npz"
    frames.main(out, truth, settings, Reporter("frames", "", log, terminal or io.StringIO()))
    return Frames.load(out), Truth.load(truth), log.getvalue()


def refused(tmp_path: Path, text: str, kind: str, source: Path | str, **changed) -> None:
    """The stage raises an error that matches and writes nothing."""
    with pytest.raises((StageError, SettingsError), match=text):
        run(tmp_path, kind, source, **changed)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ what comes out


def test_folder_of_rgba(tmp_path):
    out, truth, log = run(tmp_path, "images", folder(tmp_path / "in", moving()))
    assert out.rgba.shape == (6, SIZE, SIZE, 4) and truth.rgba.shape == (0, 6, SIZE, SIZE, 4)
    assert out.times.tolist() == [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
    assert (out.key, out.fovy_deg, out.radius, out.elevation_deg) == (3, 49.1, 2.0, 5.0)
    # The square spans columns 12 to 36 of 64 in frame 1, so 6 to 18 of 32; rows 20 to 44, so 10 to 22.
    rows, columns = np.nonzero(out.rgba[1, ..., 3])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 21, 6, 17)
    assert out.rgba[1, 12, 10].tolist() == [200, 40, 30, 255]
    assert out.record["source_frames"] == [f"{i}.png" for i in range(6)]
    assert "matte: alpha (chosen by auto)" in log


def test_range_stride_and_key(tmp_path):
    out, _, _ = run(tmp_path, "images", folder(tmp_path / "in", moving(12)), first=2, last=10, stride=4, key=2)
    assert out.record["source_frames"] == ["2.png", "6.png", "10.png"]
    assert out.times.tolist() == [0.0, 0.5, 1.0] and out.key == 2


def test_equal_input_gives_equal_bytes(tmp_path):
    source = folder(tmp_path / "in", moving())
    run(tmp_path, "images", source)
    first = (tmp_path / "out" / "frames.npz").read_bytes()
    run(tmp_path, "images", source)
    assert (tmp_path / "out" / "frames.npz").read_bytes() == first


def test_a_wide_picture_is_padded_equally(tmp_path):
    out, _, log = run(tmp_path, "images", folder(tmp_path / "in", [square(52, 24, 64, 128)] * 2))
    rows, columns = np.nonzero(out.rgba[0, ..., 3])
    # 128 becomes 32: columns 52 to 76 are 13 to 19; rows 20 + 32 to 44 + 32 are 13 to 19.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (13, 18, 13, 18)
    assert "128 x 64 padded to 128 x 128" in log


def test_recentre_uses_one_window_for_the_clip(tmp_path):
    out, _, log = run(tmp_path, "images", folder(tmp_path / "in", moving(2)), recentre=True, fill=0.5)
    # The union is 26 wide, so that the side is 52; its middle, column 23, becomes column 16.
    first, last = (np.nonzero(out.rgba[t, ..., 3].max(axis=0) > 127)[0] for t in (0, 1))
    assert (first.min() + last.max() + 1) / 2 == pytest.approx(16, abs=0.5)
    assert last.max() - first.min() + 1 == pytest.approx(16, abs=1)
    assert last.min() > first.min()
    assert "side 52 pixels become 32" in log


def test_video_on_a_plain_background(tmp_path):
    pictures = [images.to_uint8(images.over(p, (1.0, 1.0, 1.0))) for p in moving()]
    video.write_mp4(tmp_path / "clip.mp4", np.stack(pictures), 12)
    out, _, log = run(tmp_path, "video", tmp_path / "clip.mp4", first=1, stride=2)
    assert out.rgba.shape == (3, SIZE, SIZE, 4)
    assert out.record["source_frames"] == [f"frame {i} of clip.mp4" for i in (1, 3, 5)]
    expected = np.stack([images.resample(p, images.padded_square(64, 64), SIZE) for p in moving()[1::2]])
    assert np.abs(out.rgba[..., 3].astype(int) - expected[..., 3]).mean() < 3
    assert np.abs(out.rgba[0, 14, 10].astype(int) - (200, 40, 30, 255)).max() < 12
    assert "background rgb(255, 255, 255), found in 100.0% of the border pixels" in log


def test_mask_files(tmp_path):
    source = folder(tmp_path / "in", [np.full((64, 64, 3), 90, dtype=np.uint8)] * 3)
    folder(tmp_path / "masks", [square(10 + t)[..., 3] for t in range(3)])
    out, _, _ = run(tmp_path, "images", source, first=1, mask_path=str(tmp_path / "masks"))
    expected = images.resample(square(12), images.padded_square(64, 64), SIZE)
    assert np.array_equal(out.rgba[1, ..., 3], expected[..., 3])
    assert out.rgba[1, 14, 12].tolist() == [90, 90, 90, 255]


def test_stag4d_and_consistent4d(tmp_path):
    out, truth, _ = run(tmp_path, "stag4d", folder(tmp_path / "in" / "ref", moving(3), "{}_rgba.png").parent)
    assert len(out.rgba) == 3 and len(truth.rgba) == 0
    root = tmp_path / "set"
    folder(root / "input" / "skull", moving(4))
    for view in range(4):
        folder(root / "eval_gt" / "skull" / f"eval_{view}", [square(4 + 8 * view)] * 4)
    out, truth, _ = run(tmp_path, "consistent4d", root / "skull", stride=3)
    assert truth.rgba.shape == (4, 2, SIZE, SIZE, 4)
    assert truth.azimuth_deg.tolist() == [[-75.0] * 2, [15.0] * 2, [105.0] * 2, [195.0] * 2]
    assert (truth.elevation_deg == 5.0).all()
    assert np.nonzero(truth.rgba[2, 0, ..., 3].max(axis=0))[0].min() == 10


def test_diffusion4d_keeps_the_angle_of_each_chosen_frame(tmp_path):
    source = folder(tmp_path / "in", moving(5), "front_frame{}.png")
    folder(source, moving(5), "multi_frame{}.png")
    _, truth, _ = run(tmp_path, "diffusion4d", source, first=1, last=3, stride=2)
    assert truth.azimuth_deg.tolist() == [[90.0, 270.0]] and truth.elevation_deg.tolist() == [[5.0, 5.0]]


def test_procedural(tmp_path, monkeypatch):
    """A stand-in for the suite writes the time and the camera into the colour."""

    def render(name, times, cameras):
        rgba = np.zeros((len(times), len(cameras), cameras.height, cameras.width, 4), dtype=np.uint8)
        rgba[:, :, 8:24, 8:24, 3] = 255
        rgba[:, :, 8:24, 8:24, 0] = np.round(np.asarray(times) * 200)[:, None, None, None]
        rgba[:, :, 8:24, 8:24, 1] = np.round(100 + 50 * cameras.positions[:, 0])[None, :, None, None]
        return rgba

    monkeypatch.setattr(stages.lib, "suite", SimpleNamespace(render=render, names=lambda: ("walk",)), raising=False)
    out, truth, _ = run(tmp_path, "procedural", "walk", n_frames=5, stride=2)
    assert out.rgba[:, 16, 16, 0].tolist() == [0, 100, 200] and out.times.tolist() == [0.0, 0.5, 1.0]
    assert truth.rgba.shape == (4, 3, SIZE, SIZE, 4) and truth.azimuth_deg[:, 0].tolist() == [-75.0, 15.0, 105.0, 195.0]
    # x of the camera at azimuth 105, elevation 5, radius 2 is 1.9245; at -75 it is the negative.
    assert truth.rgba[:, 0, 16, 16, 1].tolist()[0::2] == [4, 196] and out.rgba[0, 16, 16, 1] == 100
    refused(tmp_path / "x", "no procedural object is named 'wlak'; expected one of walk", "procedural", "wlak")
    refused(tmp_path / "x", "cameras cannot follow the moved", "procedural", "walk", recentre=True)


# ------------------------------------------------------------------ bad input


def test_bad_videos(tmp_path):
    refused(tmp_path, "expected a video", "video", tmp_path / "no.mp4")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path, r"empty\.mp4 is empty", "video", tmp_path / "empty.mp4")
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "cut.mp4", noise, 12)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:-3000])
    refused(tmp_path, r"cut\.mp4 cannot be decoded to its end", "video", tmp_path / "cut.mp4")
    video.write_mp4(tmp_path / "one.mp4", noise[:1], 12)
    refused(tmp_path, "one frame, which is a picture", "video", tmp_path / "one.mp4")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"first": 6}, r"frames\.first is 6 but the source has frames 0 to 5"),
        ({"last": 6}, r"frames\.last is 6 but the source has frames 0 to 5"),
        ({"first": 4, "last": 2}, r"no frame is in range"),
        ({"stride": 6}, r"frames\.stride 6 leave 1 of 6 frames"),
        ({"key": 6}, r"frames\.key is 6 but the clip has frames 0 to 5 .* Type `frames\.key: middle`"),
        ({"key": 3, "stride": 2}, r"frames\.key is 3 but the clip has frames 0 to 2"),
        ({"key": -1}, r"frames\.key is -1"),
        ({"matte": "files"}, r"frames\.mask_path is null.* Type `frames\.mask_path: <folder>`"),
    ],
)
def test_bad_settings(tmp_path, changed, text):
    refused(tmp_path, text, "images", folder(tmp_path / "in", moving()), **changed)
    if "first" in changed or "last" in changed:
        clip = np.stack([images.to_uint8(images.over_white(p)) for p in moving()])
        video.write_mp4(tmp_path / "clip.mp4", clip, 12)
        refused(tmp_path, text, "video", tmp_path / "clip.mp4", **changed)


def test_one_frame(tmp_path):
    refused(tmp_path, "one frame, which is a picture; expected", "images", folder(tmp_path / "in", moving(1)))


def test_mixed_sizes(tmp_path):
    source = folder(tmp_path / "in", [*moving(3), square(10, 24, 64, 80)])
    refused(tmp_path, r"3\.png is 80 x 64 pixels but 0\.png is 64 x 64; expected one size", "images", source)


def test_alpha_in_some_files_only(tmp_path):
    source = folder(tmp_path / "in", [*moving(3), square(10)[..., :3]])
    refused(tmp_path, r"3\.png has no alpha but 0\.png has", "images", source)


def test_corrupt_png(tmp_path):
    source = folder(tmp_path / "in", moving())
    (source / "4.png").write_bytes((source / "4.png").read_bytes()[:60])
    refused(tmp_path, r"4\.png cannot be read as a picture", "images", source)


def test_no_matte(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8))
    source = folder(tmp_path / "in", noise)
    refused(tmp_path, r"no alpha and no plain background: only .*`frames\.matte: files`", "images", source)
    refused(tmp_path, r"frames\.matte is alpha but the source is opaque everywhere", "images", source, matte="alpha")


def test_wrong_masks(tmp_path):
    source = folder(tmp_path / "in", [picture[..., :3] for picture in moving()])
    masks = folder(tmp_path / "masks", [picture[..., 3] for picture in moving(5)])
    refused(tmp_path, r"holds 5 images for 6 frames; expected one mask a", "images", source, mask_path=str(masks))
    images.write_png(masks / "5.png", np.full((8, 8), 255, dtype=np.uint8))
    text = r"5\.png is 8 x 8 pixels but its frame is 64 x 64"
    refused(tmp_path, text, "images", source, mask_path=str(masks))


def test_absent_object(tmp_path):
    source = folder(tmp_path / "in", [*moving(3), np.zeros((64, 64, 4), dtype=np.uint8)])
    refused(tmp_path, r"the object is absent from 3\.png: 0 of 4096 pixels", "images", source)


def test_object_smaller_than_a_pixel(tmp_path):
    source = folder(tmp_path / "in", [square(30, 4, 256, 256)] * 2)
    refused(tmp_path, r"0\.png is smaller than a pixel at frames\.size 16", "images", source, size=16)
    out, _, _ = run(tmp_path, "images", source, size=16, recentre=True)
    assert (out.rgba[0, ..., 3] == 255).sum() > 50


def test_object_cut_by_the_border(tmp_path):
    source = folder(tmp_path / "in", [square(20), square(40)])
    text = r"leaves the picture at the right in 1\.png: it touches 9\.4% of the border, expected at most 5%"
    refused(tmp_path, text, "images", source)
    refused(tmp_path, text, "images", source, recentre=True)


def test_object_that_touches_the_border_a_little_is_kept_with_a_warning(tmp_path):
    source, terminal = folder(tmp_path / "in", [square(20, 10), square(54, 10)]), io.StringIO()
    out, _, log = run(tmp_path, "images", source, terminal=terminal)
    assert len(out.rgba) == 2
    for said in (log, terminal.getvalue()):
        assert "warning: the object touches the border in 1 of 2 frames, most in 1.png (right): 3.9% of it" in said


def test_recentring_that_truth_cannot_follow(tmp_path):
    source = folder(tmp_path / "in", moving(3), "front_frame{}.png")
    folder(source, moving(3), "multi_frame{}.png")
    refused(tmp_path, r"cameras cannot follow .* Type `frames\.recentre: false`", "diffusion4d", source, recentre=True)


def test_opaque_truth(tmp_path):
    source = folder(tmp_path / "in", moving(3), "front_frame{}.png")
    folder(source, [picture[..., :3] for picture in moving(3)], "multi_frame{}.png")
    refused(tmp_path, r"multi_frame0\.png is opaque, like every ground-truth picture", "diffusion4d", source)


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ([square(20)[..., :3]] * 3, r"eval_2/0\.png is opaque"),
        ([square(20, height=80, width=80)] * 3, r"eval_2/0\.png is 80 x 80 pixels but .*eval_0/0\.png is 64 x 64"),
        ([square(20), square(20)[..., :3], square(20)], r"eval_2/1\.png has no alpha but 0\.png has"),
        ([square(20), square(20), square(20, height=80)], r"eval_2/2\.png is 64 x 80 pixels but 0\.png is 64 x 64"),
    ],
)
def test_one_view_of_the_truth_unlike_the_others_is_named(tmp_path, odd, text):
    root = tmp_path / "set"
    folder(root / "input" / "skull", moving(3))
    for view in range(4):
        folder(root / "eval_gt" / "skull" / f"eval_{view}", odd if view == 2 else [square(10)] * 3)
    refused(tmp_path, text, "consistent4d", root / "skull")
