"""renders, assets, gallery and curves draw what the sequence holds, and nothing half-written stays."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from stages import assets, curves, gallery, moments, renders
from stages.cli import StageError
from stages.contracts import ContractError, Gaussians, Sequence, Truth, Views
from stages.lib import quality, video
from stages.lib.drawing import draw_rgba, white
from stages.settings import AssetsRun, AssetsSettings, MomentsRun, MomentsSettings, RendersRun, RendersSettings, Run
from tests.slow_motion import insert

RUN = RendersRun(renders=RendersSettings(size=48, orbit_frames=5, sheet_times=3))


@pytest.fixture
def sequence(scene) -> Sequence:
    """One round red gaussian that moves as the ball does; a second, green one exists in frame 1 only."""
    frames = len(scene[0].times)
    means = np.zeros((frames, 2, 3), np.float32)
    means[:, 0, 0] = np.linspace(-0.15, 0.15, frames)
    means[:, 1, 1] = 0.3
    present = np.zeros((frames, 2), bool)
    present[:, 0] = True
    present[1, 1] = True
    red, green = (np.array(colour) / 0.28209479177387814 for colour in ([0.4, -0.4, -0.4], [-0.4, 0.4, -0.4]))
    return Sequence(
        means,
        np.tile(np.array([1, 0, 0, 0], np.float32), (frames, 2, 1)),
        np.full((frames, 2, 3), np.log(0.15), np.float32),
        np.full((frames, 2), 5.0, np.float32),
        np.stack([red, green])[:, None].astype(np.float32),
        present,
        scene[0].times,
        {"device": "cpu"},
    )


@pytest.fixture
def files(tmp_path, scene, sequence):
    for name, item in zip(("frames", "anchors", "truth"), scene, strict=True):
        item.save(tmp_path / f"{name}.npz")
    sequence.save(tmp_path / "sequence.safetensors")
    return tmp_path


def centre_column(picture: np.ndarray) -> float:
    weight = picture[..., 3].astype(float)
    return float((weight * (np.arange(picture.shape[1]) + 0.5)).sum() / weight.sum())


def test_views_are_input_anchors_truth_in_this_order(files, report):
    inputs = [files / name for name in ("sequence.safetensors", "frames.npz", "anchors.npz", "truth.npz")]
    renders.main(*inputs, files / "views.npz", RUN, report)
    views = Views.load(files / "views.npz")
    assert views.kind.tolist() == ["input"] + ["anchor"] * 6 + ["truth"] * 4
    assert views.azimuth_deg[:, 0].tolist() == [0, 30, 90, 150, 210, 270, 330, -75, 15, 105, 195]
    assert views.record == {"device": "cpu"}
    # focal = 16 / tan(24.55 deg) = 35.03; at x = 0.15 and distance 2 the gaussian is 2.63 pixels right of the centre.
    assert centre_column(views.rgba[0, 3]) == pytest.approx(16 + 2.63, abs=0.1)
    assert centre_column(views.rgba[0, 0]) == pytest.approx(16 - 2.63, abs=0.1)
    # From azimuth 90 the motion is along the line of sight.
    assert centre_column(views.rgba[2, 0]) == pytest.approx(16, abs=0.1)


def test_an_absent_gaussian_is_not_drawn(files, report):
    inputs = [files / name for name in ("sequence.safetensors", "frames.npz", "anchors.npz", "truth.npz")]
    renders.main(*inputs, files / "views.npz", RUN, report)
    rgba = Views.load(files / "views.npz").rgba[0]
    green = ((rgba[..., 1] > 150) & (rgba[..., 3] > 150)).sum(axis=(1, 2))
    assert green[1] > 5
    assert green[[0, 2, 3]].sum() == 0


def test_another_clips_sequence_is_refused(scene, sequence, report):
    frames, anchors, truth = scene
    short = Sequence(*(getattr(sequence, name)[:2] for name in ("means", "quats", "log_scales", "opacity_logits")),
                     sequence.sh, sequence.present[:2], sequence.times[:2])  # fmt: skip
    with pytest.raises(ContractError, match="the sequence has 2 frames, the input 4"):
        renders.draw(short, frames, anchors, truth, report)


def test_assets(files, report):
    out = {"orbit_path": "orbit.mp4", "source": "input.mp4", "sheet_path": "sheet.png", "ply": "ply"}
    paths = {name: files / file for name, file in out.items()}
    run = AssetsRun(renders=RUN.renders)
    assets.main(files / "sequence.safetensors", files / "frames.npz", **paths, settings=run, report=report)
    assert video.read(files / "orbit.mp4").shape == (5, 48, 48, 3)
    beside = video.read(files / "input.mp4")
    assert beside.shape == (4, 32, 64, 3)
    assert np.asarray(Image.open(files / "sheet.png")).shape == (7 * 32, 3 * 32, 3)
    assert [len(Gaussians.load(files / f"ply/frame000{i}.ply").means) for i in range(4)] == [1, 2, 1, 1]


def test_assets_of_slow_motion_stand_beside_the_source_at_its_times(files, report, sequence):
    """Frames between the fitted ones are in the orbit and the PLY sequence, not in what is compared with the source."""
    names = {"orbit_path": "orbit.mp4", "source": "input.mp4", "sheet_path": "sheet.png", "ply": "ply"}
    inputs = files / "sequence.safetensors", files / "frames.npz"
    run = AssetsRun(renders=RUN.renders)
    for between in (0, 3):
        insert(sequence, between).save(inputs[0])
        out = {name: files / str(between) / file for name, file in names.items()}
        assets.main(*inputs, **out, settings=run, report=report)
    for file in ("input.mp4", "sheet.png"):
        assert (files / "0" / file).read_bytes() == (files / "3" / file).read_bytes()
    assert len(list((files / "3/ply").iterdir())) == 13
    same = [Gaussians.load(files / name).means for name in ("0/ply/frame0002.ply", "3/ply/frame0008.ply")]
    assert np.array_equal(*same)
    assert video.read(files / "3/orbit.mp4").shape == (5, 48, 48, 3)


@pytest.mark.parametrize(("up", "sign"), [("-y", -1), ("+y", 1)])
def test_the_gaussian_above_is_up_as_the_setting_says(files, report, sequence, up, sign):
    paths = {name: files / name for name in ("orbit_path", "source", "sheet_path")}
    paths = {name: path.with_suffix(".mp4" if name != "sheet_path" else ".png") for name, path in paths.items()}
    run = AssetsRun(renders=RUN.renders, assets=AssetsSettings(ply_up=up))
    inputs = files / "sequence.safetensors", files / "frames.npz"
    assets.main(*inputs, **paths, ply=files / "ply", settings=run, report=report)
    green = Gaussians.load(files / "ply/frame0001.ply").means[1]
    assert green.tolist() == pytest.approx([0, sign * 0.3, 0])
    assert f'comment {{"up": "{up}"}}'.encode() in (files / "ply/frame0001.ply").read_bytes()[:200]


def test_an_interrupted_ply_sequence_leaves_no_folder(tmp_path, sequence, monkeypatch):
    saved = Gaussians.save

    def fail_at_the_third(self, path, record=None):
        if path.name == "frame0002.ply":
            raise OSError("disk full")
        saved(self, path, record)

    monkeypatch.setattr(Gaussians, "save", fail_at_the_third)
    with pytest.raises(OSError, match="disk full"):
        assets.write_ply(sequence, tmp_path / "ply", "-y")
    assert list(tmp_path.iterdir()) == []


def test_gallery(files, report):
    again = [files / "frames.npz"] * 2, [files / "sequence.safetensors"] * 2
    gallery.main(*again, files / "g.webp", files / "g.png", RUN, report)
    moving = Image.open(files / "g.webp")
    assert moving.n_frames == 4
    assert moving.size == (64, 64)
    assert Image.open(files / "g.png").size == (64, 192)


@pytest.mark.parametrize("shown", [True, False])
def test_gallery_of_one_frame_with_and_without_gaussians(tmp_path, scene, sequence, report, shown):
    frames = replace(scene[0], rgba=scene[0].rgba[:1], times=scene[0].times[:1], key=0)
    frames.save(tmp_path / "frames.npz")
    place = tmp_path / "stag4d" / "seed0" / "sequence.safetensors"
    replace(sequence, present=sequence.present & shown).at(frames.times).save(place)
    gallery.main([tmp_path / "frames.npz"], [place], tmp_path / "g.webp", tmp_path / "g.png", RUN, report)
    drawn = np.asarray(Image.open(tmp_path / "g.png"))
    assert (drawn[32:64] < 200).any() == shown


def show_moments(files: Path, report, truth: bool = True, **settings) -> list[dict]:
    """Rows of moments.csv of two variants whose sequences are equal; the picture is m.png."""
    places = []
    for variant in ("stag4d", "4dstr"):
        place = files / variant / "seed0" / "sequence.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((files / "sequence.safetensors").read_bytes())
        places.append(place)
    run = MomentsRun(moments=MomentsSettings(**settings))
    truth = files / ("truth.npz" if truth else "none.npz")
    moments.main(files / "frames.npz", truth, places, files / "m.png", files / "m.csv", run, report)
    with open(files / "m.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_moments_show_and_score_every_variant_before_and_after(files, report, scene, sequence):
    rows = show_moments(files, report, frames=[3, 1])
    # Two changes of two frames, each with its part; source and two variants, then truth and the same two.
    assert Image.open(files / "m.png").size == (moments.LABEL_WIDTH + 8 * moments.SIDE, 6 * moments.SIDE)
    assert "frames 0, 1, 2, 3 of stag4d, 4dstr" in report.text
    assert [(row["variant"], row["change"], row["moment"], row["frame"]) for row in rows[:5]] == [
        ("stag4d", "1", "before", "0"),
        ("stag4d", "1", "after", "1"),
        ("stag4d", "3", "before", "2"),
        ("stag4d", "3", "after", "3"),
        ("4dstr", "1", "before", "0"),
    ]
    assert len(rows) == 8
    source = quality.on_white(scene[0].rgba[2])[0]
    drawn = quality.on_white(draw_rgba(sequence.frame(2), scene[0].cameras(0.0, 0.0))[0])[0]
    assert float(rows[2]["psnr_picture"]) == pytest.approx(quality.psnr(drawn, source), rel=1e-5)
    top, left, side = (int(rows[2][name]) for name in ("row", "column", "side"))
    here = drawn[top : top + side, left : left + side].copy(), source[top : top + side, left : left + side].copy()
    assert float(rows[2]["psnr"]) == pytest.approx(quality.psnr(*here), rel=1e-5)


def test_moments_show_a_camera_that_no_fit_was_given(files, report):
    show_moments(files, report, frames=[1, 3])
    side, left = moments.SIDE, moments.LABEL_WIDTH
    shown = np.asarray(Image.open(files / "m.png"))
    truth = white(Truth.load(files / "truth.npz").rgba[0, 0])
    first = shown[3 * side : 4 * side, left : left + side]
    assert np.array_equal(first, cv2.resize(truth, (side, side), interpolation=cv2.INTER_NEAREST))
    # From the side the red gaussian stays in the middle, in every column of frames; the input camera sees it move.
    columns = [left + 2 * frame * side for frame in range(4)]
    middles = [
        [np.argwhere(shown[top : top + side, place : place + side, 1] < 128)[:, 1].mean() for place in columns]
        for top in (side, 4 * side)
    ]
    assert np.ptp(middles[0]) > 2 * np.ptp(middles[1])
    nothing = Truth(np.zeros((0, 4, 32, 32, 4), np.uint8), *(np.zeros((0, 4)) for _ in range(2)))
    nothing.save(files / "none.npz")
    show_moments(files, report, truth=False, frames=[1, 3])
    assert Image.open(files / "m.png").size == (left + 8 * side, 3 * side)


def test_the_region_of_moments_may_be_chosen_by_hand(files, report):
    rows = show_moments(files, report, region=(4, 6, 20))
    assert {(row["row"], row["column"], row["side"]) for row in rows} == {("4", "6", "20")}
    with pytest.raises(StageError, match=r"moments.region \[4, 6, 28\] leaves the picture of 32x32 pixels"):
        show_moments(files, report, region=(4, 6, 28))
    with pytest.raises(StageError, match=r"moments.frames names frame 4 of a clip of 4; expected .* 1 to 3"):
        show_moments(files, report, frames=[4])
    with pytest.raises(ValidationError, match="first row and column from 0 on"):
        MomentsSettings(region=(0, -1, 5))


def test_moments_are_the_frames_after_the_largest_changes():
    pictures = np.zeros((9, 4, 4, 3), np.float32)
    pictures[2:], pictures[3:], pictures[6:], pictures[8:] = 0.5, 0.6, 0.9, 0.92
    # Towards frame 3 it changes more than towards 8, but beside a larger change.
    assert moments.changes(pictures) == [2, 6, 8]
    assert moments.changes(pictures[:2]) == [1]


def test_the_magnified_square_is_where_the_pair_changes_whatever_else_the_clip_does():
    pictures = np.ones((6, 40, 40, 3), np.float32)
    pictures[2:, 30:34, 5:12] = 0.0
    # A blob far away, two frames later; and something faint moves everywhere.
    pictures[4, 2:8, 34:38] = 0.0
    pictures[2:] *= 0.95
    part = moments.chosen(pictures, MomentsSettings(frames=[2]))[2]
    assert part.side == 12 < 40 / 2
    assert part.row <= 30 and part.row + part.side >= 34
    assert part.column <= 5 and part.column + part.side >= 12
    away = moments.chosen(pictures, MomentsSettings(frames=[2, 4]))[4]
    assert away.row < 8 and away.column + away.side > 34
    with pytest.raises(StageError, match="the clip has one frame"):
        moments.chosen(pictures[:1], MomentsSettings())


def test_curves(tmp_path, report):
    paths, counts = [], []
    for scene in ("cat", "dog"):
        path = tmp_path / scene / "stag4d" / "seed0" / "dynamic_curve.csv"
        path.parent.mkdir(parents=True)
        rows = [f"{step},{1 / step:.6g},0.1,0.1,{100 + step}" for step in range(10, 200, 10)]
        path.write_text("step,loss,rgb,mask,gaussians\n" + "\n".join(rows) + "\n")
        paths.append(path)
        counts.append(path.with_name("gaussians.csv"))
        counts[-1].write_text("step,frame,gaussians\n0,0,5\n0,1,6\n90,0,7\n90,1,8\n")
    for name in ("curves", "again"):
        curves.main(paths, counts, tmp_path / f"{name}.png", tmp_path / f"{name}_counts.png", Run(), report)
    assert (tmp_path / "curves.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert (tmp_path / "curves_counts.png").read_bytes() == (tmp_path / "again_counts.png").read_bytes()
    assert min(Image.open(tmp_path / "curves.png").size) > 250
    step, loss, gaussians = curves.read(paths[0])
    assert (step[-1], loss[0], gaussians[0]) == (190, 0.1, 110)
    assert [column.tolist() for column in curves.read_counts(counts[0])] == [[0, 1], [7, 8]]


def test_a_method_has_one_line_in_every_panel_and_both_pictures():
    folder = Path("results/s/cat")
    made = [folder / "stag4d/seed0/canonical_curve.csv"]
    made += [folder / f"{variant}/seed0/dynamic_curve.csv" for variant in ("stag4d", "4dstr")]
    curve = curves.styles(made)
    count = curves.styles([folder / f"{variant}/seed0/gaussians.csv" for variant in ("stag4d", "4dstr")])
    assert curve["dynamic 4dstr seed0"] == count["gaussians 4dstr seed0"]
    assert curve["dynamic stag4d seed0"] == count["gaussians stag4d seed0"] != curve["dynamic 4dstr seed0"]
    assert curve["canonical stag4d seed0"]["color"] == "black"


def test_lines_differ_without_colour():
    dashes = [str(curves.style(index)["linestyle"]) for index in range(6)]
    assert len(set(dashes)) == 6


def test_a_fit_without_steps_has_an_empty_curve(tmp_path):
    (tmp_path / "c.csv").write_text("step,loss,rgb,mask,gaussians\n")
    assert all(len(column) == 0 for column in curves.read(tmp_path / "c.csv"))


def test_a_suite_of_static_fits_has_curves(tmp_path, report):
    place = tmp_path / "cat" / "static" / "seed0"
    place.mkdir(parents=True)
    (place / "dynamic_curve.csv").write_text("step,loss,rgb,mask,gaussians\n")
    (place / "gaussians.csv").write_text("step,frame,gaussians\n")
    inputs = [place / "dynamic_curve.csv"], [place / "gaussians.csv"]
    curves.main(*inputs, tmp_path / "c.png", tmp_path / "n.png", Run(), report)
    assert min(Image.open(tmp_path / "n.png").size) > 100


def test_smoothing_by_hand():
    assert curves.smooth(np.array([1.0, 3.0, 5.0, 7.0, 9.0, 11.0])).tolist() == [1, 2, 3, 4, 5, 7]
