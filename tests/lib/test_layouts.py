"""Layouts: which files are found, in which order, and what is said when one is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib import layouts
from stages.settings import SettingsError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def stag4d(folder: Path, n_frames: int, anchored: range) -> Path:
    touch(folder, *(f"ref/{i}_rgba.png" for i in range(n_frames)))
    return touch(folder, *(f"zero123/{i}_rgba/{v}.png" for i in anchored for v in range(6)))


def consistent4d(root: Path, n_frames: int = 3) -> Path:
    touch(root, *(f"input/skull/{t}.png" for t in range(n_frames)))
    return touch(root, *(f"eval_gt/skull/eval_{v}/{t}.png" for v in range(4) for t in range(n_frames)))


def test_import_is_light():
    code = "import sys, stages.lib.layouts; print([m for m in ('numpy', 'PIL', 'cv2', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_images_are_in_numeric_order(tmp_path):
    touch(tmp_path, "f10.png", "f9.png", "f2.jpg", "notes.txt", "._f2.png")
    assert layouts.detect_kind(tmp_path) == "images"
    assert [p.name for p in layouts.layout("images", tmp_path).frames] == ["f2.jpg", "f9.png", "f10.png"]


def test_the_same_frame_twice_is_refused(tmp_path):
    touch(tmp_path, "1.png", "01.png")
    with pytest.raises(SettingsError, match=r"same frame twice.*Remove one"):
        layouts.image_files(tmp_path)


def test_stag4d(tmp_path):
    found = layouts.layout("auto", stag4d(tmp_path, 12, range(0, 12)))
    assert layouts.detect_kind(tmp_path) == "stag4d"
    assert [p.name for p in found.frames[8:]] == ["8_rgba.png", "9_rgba.png", "10_rgba.png", "11_rgba.png"]
    assert [p.relative_to(tmp_path).as_posix() for p in found.anchors[11]] == [
        f"zero123/11_rgba/{v}.png" for v in range(6)
    ]
    assert len(found.files) == 12 + 72 and list(found.files) == sorted(found.files)
    assert found.truth == ()


def test_stag4d_frames_without_anchors_are_left_to_the_stage(tmp_path):
    assert sorted(layouts.layout("stag4d", stag4d(tmp_path, 5, range(1, 3))).anchors) == [1, 2]


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("ref/4_rgba.png", r"ref/4_rgba\.png is missing; expected 12 files, 0_rgba\.png to 11_rgba\.png, found 11"),
        ("zero123/7_rgba/2.png", r"zero123/7_rgba/2\.png is missing; expected 6 files, 0\.png to 5\.png, found 5"),
    ],
)
def test_stag4d_names_the_missing_file(tmp_path, missing, text):
    (stag4d(tmp_path, 12, range(12)) / missing).unlink()
    with pytest.raises(SettingsError, match=text):
        layouts.layout("stag4d", tmp_path)


@pytest.mark.parametrize("source", ["skull", "input/skull"])
def test_consistent4d(tmp_path, source):
    consistent4d(tmp_path)
    assert layouts.detect_kind(tmp_path / source) == "consistent4d"
    found = layouts.layout("consistent4d", tmp_path / source)
    assert [p.relative_to(tmp_path).as_posix() for p in found.frames] == [f"input/skull/{t}.png" for t in range(3)]
    assert [track.azimuth_deg for track in found.truth] == [(-75.0,) * 3, (15.0,) * 3, (105.0,) * 3, (195.0,) * 3]
    assert [track.name for track in found.truth] == ["eval_0", "eval_1", "eval_2", "eval_3"]
    assert found.truth[2].files[1] == tmp_path / "eval_gt/skull/eval_2/1.png"
    assert len(found.files) == 15


def test_consistent4d_names_the_missing_file(tmp_path):
    (consistent4d(tmp_path) / "eval_gt/skull/eval_2/1.png").unlink()
    with pytest.raises(SettingsError, match=r"eval_2/1\.png is missing; expected 3 files.*found 2"):
        layouts.layout("consistent4d", tmp_path / "skull")


def test_more_ground_truth_than_input_is_refused_by_name(tmp_path):
    touch(consistent4d(tmp_path), "eval_gt/skull/eval_1/3.png", "eval_gt/skull/eval_1/4.png")
    with pytest.raises(SettingsError, match=r"eval_1/3\.png has no input frame: the input holds 3, .* truth 5"):
        layouts.layout("consistent4d", tmp_path / "skull")
    folder = tmp_path / "orbit"
    touch(folder, *(f"{name}_frame{i}.png" for name in ("front", "multi") for i in range(4)), "multi_frame4.png")
    # The orbit's angles depend on how many pictures there are: cutting it would misplace every camera.
    with pytest.raises(SettingsError, match=r"multi_frame4\.png has no input frame"):
        layouts.layout("diffusion4d", folder)


def test_consistent4d_unknown_object(tmp_path):
    with pytest.raises(SettingsError, match=r"Type <root>/<object>"):
        layouts.layout("consistent4d", consistent4d(tmp_path) / "skul")


def test_diffusion4d_orbit_closes_at_the_last_frame(tmp_path):
    touch(tmp_path, *(f"{name}_frame{i}.png" for name in ("front", "multi", "multi_static") for i in range(24)))
    assert layouts.detect_kind(tmp_path) == "diffusion4d"
    found = layouts.layout("diffusion4d", tmp_path)
    (orbit,) = found.truth
    assert [p.name for p in orbit.files[9:11]] == ["multi_frame9.png", "multi_frame10.png"]
    assert orbit.azimuth_deg[0] == 0.0 and orbit.azimuth_deg[23] == 360.0
    assert orbit.azimuth_deg[1] == pytest.approx(15.652, abs=1e-3)
    assert len(found.files) == 48


def test_diffusion4d_without_orbit_has_no_truth(tmp_path):
    assert layouts.layout("auto", touch(tmp_path, "front_frame0.png", "front_frame1.png")).truth == ()


def test_video_and_procedural(tmp_path):
    touch(tmp_path, "clip.MP4")
    assert layouts.detect_kind(tmp_path / "clip.MP4") == "video"
    assert layouts.layout("video", tmp_path / "clip.MP4").files == (tmp_path / "clip.MP4",)
    assert layouts.layout("procedural", "walk").files == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing", "does not exist; expected one of: a video file"),
        ("notes.txt", r"suffix '\.txt'; expected one of: a video file"),
        ("one.png", "is one picture; expected a clip of at least 2 frames"),
        ("empty", r"holds no image; expected one of: .*STAG4D.*Diffusion4D.*Consistent4D"),
    ],
)
def test_nothing_fits(tmp_path, name, text):
    touch(tmp_path, "notes.txt", "one.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=text):
        layouts.detect_kind(tmp_path / name)


def test_a_missing_folder(tmp_path):
    with pytest.raises(SettingsError, match=r"scene/ref is no folder; expected one with 0_rgba\.png in it"):
        layouts.layout("stag4d", tmp_path / "scene")
    with pytest.raises(SettingsError, match=r"scene is not a folder; expected files such as 0\.png"):
        layouts.layout("images", tmp_path / "scene")


def test_a_still_picture_and_a_prompt_are_no_clip(tmp_path):
    still = touch(tmp_path, "cat.png") / "cat.png"
    assert layouts.layout("image", still).frames == (still,)
    assert layouts.layout("prompt", "~nobody jumps").files == ()
    with pytest.raises(
        SettingsError, match=r"cat.png is one picture; .* or `image: .*cat.png` to have a clip generated"
    ):
        layouts.detect_kind(still)
    with pytest.raises(SettingsError, match=r"cat.mp4 is no picture; expected one still picture \(png, jpg"):
        layouts.layout("image", touch(tmp_path, "cat.mp4") / "cat.mp4")


def test_unknown_kind():
    with pytest.raises(SettingsError, match=r"kind 'movie' is unknown; expected one of procedural, video"):
        layouts.layout("movie", "x")


@pytest.mark.parametrize(
    ("total", "first", "last", "stride", "text"),
    [
        (1, 0, None, 1, "one frame, which is a picture; expected a clip of at least 2"),
        (32, 32, None, 1, r"frames\.first is 32 but the source has frames 0 to 31"),
        (32, 0, 40, 1, r"frames\.last is 40 but the source has frames 0 to 31. Type `frames\.last: 31`"),
        (32, 9, 3, 1, r"no frame is in range: frames\.first is 9 and frames\.last is 3"),
        (32, 0, None, 32, r"frames\.stride 32 leave 1 of 32 frames.*Lower frames\.stride"),
    ],
)
def test_bad_ranges(total, first, last, stride, text):
    with pytest.raises(SettingsError, match=text):
        layouts.chosen_frames(total, first, last, stride)


@given(total=st.integers(2, 60), data=st.data())
def test_range_is_pythons_inclusive(total, data):
    first = data.draw(st.integers(0, total - 2))
    last = data.draw(st.integers(first + 1, total - 1))
    stride = data.draw(st.integers(1, last - first))
    chosen = layouts.chosen_frames(total, first, last, stride)
    assert list(chosen) == list(range(total))[first : last + 1 : stride]
