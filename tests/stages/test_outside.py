"""Pictures of another system: our numbers bit for bit, and one clear error for each thing that is wrong."""

from __future__ import annotations

import csv
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import metrics, outside
from stages.cli import StageError
from stages.contracts import Anchors, Sequence, Views
from stages.lib import images, quality
from stages.settings import MetricsRun, MetricsSettings, OutsideRun, OutsideSettings

NAMES = ("eval_0", "eval_1", "eval_2", "eval_3")
NAMED = {"suite": "toys", "scene": "ball", "variant": "theirs", "title": "theirs", "method": "outside"}


def thing(frames, truth):
    """The ground truth's cameras on an object without any symmetry: every side has its own silhouette."""
    rows, columns = np.mgrid[:32, :32]
    rgba = np.zeros_like(truth.rgba)
    for view in range(4):
        for t in range(rgba.shape[1]):
            inside = np.hypot((rows - 16) / (4 + 3 * view), (columns - 10 - t) / (13 - 3 * view)) < 1
            rim = np.hypot((rows - 16) / (5 + 3 * view), (columns - 10 - t) / (14 - 3 * view)) < 1
            rgba[view, t, ..., :3] = np.where(rim[..., None], [230, 120 + 10 * view, 200 - 20 * t], 0)
            rgba[view, t, ..., 3] = np.where(inside, 255, np.where(rim, 90, 0))
    return replace(truth, rgba=rgba)


@pytest.fixture
def made(scene, tmp_path):
    """Frames, ground truth, our views of it, and our evaluation views as Consistent4D writes them."""
    frames, anchors, truth = scene
    truth = thing(frames, truth)
    noisy = truth.rgba.copy()
    noisy[..., :3] = np.where(noisy[..., 3:] > 0, np.clip(noisy[..., :3].astype(int) - 9, 0, 255), 0)
    noisy[:, :, 12, 10:14] = (1, 250, 3, 128)
    count = len(frames.times)
    ours = Views(
        np.concatenate([frames.rgba[None], noisy]),
        np.array(["input"] + ["truth"] * 4),
        np.concatenate([np.zeros((1, count)), truth.azimuth_deg]),
        np.concatenate([np.full((1, count), frames.elevation_deg), truth.elevation_deg]),
        {"device": "cpu", "backend": "numba"},
    )
    folder = tmp_path / "theirs" / "ball"
    for view, name in enumerate(NAMES):
        for t in range(count):
            images.write_png(folder / name / f"{t}.png", noisy[view, t])
    return frames, anchors, truth, ours, folder


def settings(**about) -> OutsideRun:
    return OutsideRun(**NAMED, outside=OutsideSettings(path="theirs", **about))


def convert(made, report, folder: Path | None = None, **about) -> Views:
    frames, _, truth, _, theirs = made
    place = theirs.parent.parent
    frames.save(place / "frames.npz")
    truth.save(place / "truth.npz")
    outside.main(
        folder or theirs, place / "frames.npz", place / "truth.npz", place / "out.npz", settings(**about), report
    )
    return Views.load(place / "out.npz")


def evaluation(file: Path) -> list[tuple]:
    lines = file.read_text().splitlines()[1:]
    return [
        tuple(row[name] for name in ("azimuth_deg", "frame", "metric", "value", "reason"))
        for row in csv.DictReader(lines)
        if row["view"] == "evaluation"
    ]


def test_pngs_of_our_own_renders_score_the_same_bit_for_bit(made, report, tmp_path):
    frames, anchors, _, ours, _ = made
    theirs = convert(made, report)
    assert np.array_equal(theirs.rgba, ours.rgba[1:])
    n = 3
    arrays = [np.zeros((len(frames.times), n, k), np.float32) for k in (3, 4, 3)]
    sequence = Sequence(
        arrays[0], arrays[1] + 1, arrays[2], arrays[0][..., 0], np.zeros((n, 1, 3), np.float32),
        np.ones((len(frames.times), n), bool), frames.times,
    )  # fmt: skip
    sequence.save(tmp_path / "sequence.safetensors")
    Anchors(anchors.rgba[:0], anchors.frame[:0], anchors.azimuth_deg, anchors.elevation_deg, "rendered").save(
        tmp_path / "anchors.npz"
    )
    ours.save(tmp_path / "views.npz")
    run = MetricsRun(**NAMED, metrics=MetricsSettings())
    shared = {"frames": tmp_path / "frames.npz", "truth": tmp_path / "truth.npz", "settings": run, "report": report}
    inside = {"anchors": [tmp_path / "anchors.npz"], "sequence": [tmp_path / "sequence.safetensors"]}
    metrics.main(views=tmp_path / "views.npz", out=tmp_path / "ours.csv", **inside, **shared)
    metrics.main(views=tmp_path / "out.npz", out=tmp_path / "theirs.csv", **shared)
    assert evaluation(tmp_path / "ours.csv") == evaluation(tmp_path / "theirs.csv")
    a_frame = len(quality.FRAME_METRICS) + len(quality.CHANGE_METRICS)
    a_clip = len(quality.CLIP_METRICS) + 1  # and the sudden region; before the first frame nothing changes
    assert len(evaluation(tmp_path / "theirs.csv")) == 4 * (a_frame * len(frames.times) - 1 + a_clip)
    text = (tmp_path / "theirs.csv").read_text()
    assert "no gaussians: pictures from outside" in text and "input" not in {
        r.split(",")[4] for r in text.splitlines()[2:]
    }


def test_camera_named_folders_are_read_in_any_order(made, report):
    folder = made[4]
    for name, azimuth in zip(NAMES, ("az-75", "az15.0", "az105_el0", "az195"), strict=True):
        (folder / name).rename(folder / azimuth)
    assert np.array_equal(convert(made, report).rgba, made[3].rgba[1:])


def test_swapped_views_are_refused_with_the_azimuths_that_fit(made, report):
    folder = made[4]
    (folder / "eval_0").rename(folder / "x")
    (folder / "eval_2").rename(folder / "eval_0")
    (folder / "x").rename(folder / "eval_2")
    with pytest.raises(StageError, match=r"eval_0 was taken for azimuth -75 .* fits 105 .*rename it az105") as error:
        convert(made, report)
    assert "eval_2 was taken for azimuth 105" in str(error.value) and "rename it az-75" in str(error.value)


def test_views_of_something_else_fit_nowhere(made, report):
    folder = made[4]
    empty = np.zeros((32, 32, 4), np.uint8)
    empty[:4, :4] = 255
    images.write_png(folder / "eval_1" / "0.png", empty)
    with pytest.raises(StageError, match=r"eval_1 fits no view \(best IoU 0\.00\)"):
        convert(made, report)


def test_unequal_frame_counts_name_folder_and_counts(made, report):
    folder = made[4]
    images.write_png(folder / "eval_3" / "4.png", np.zeros((32, 32, 4), np.uint8))
    named = r"eval_3 holds 5 frames, .* has 4; expected 0.png to 3.png; .*eval_3/4.png has no frame in the ground truth"
    with pytest.raises(StageError, match=named):
        convert(made, report)


def test_leading_zeros_and_other_names(made, report):
    folder = made[4] / "eval_0"
    (folder / "3.png").rename(folder / "0003.png")
    assert np.array_equal(convert(made, report).rgba, made[3].rgba[1:])
    images.write_png(folder / "mask.png", np.zeros((32, 32, 4), np.uint8))
    with pytest.raises(StageError, match=r"eval_0 holds 5 frames, .*eval_0/mask.png has no frame in the ground truth"):
        convert(made, report)


def test_a_missing_frame_is_named(made, report):
    (made[4] / "eval_2" / "1.png").unlink()
    with pytest.raises(StageError, match=r"eval_2/1.png is missing"):
        convert(made, report)


def test_mixed_sizes_name_the_file(made, report):
    images.write_png(made[4] / "eval_1" / "2.png", np.zeros((16, 16, 4), np.uint8))
    with pytest.raises(StageError, match=r"eval_1/2.png is 16x16 pixels; expected 32x32 as the ground truth"):
        convert(made, report)


def test_a_corrupt_picture_in_the_middle_is_named_and_nothing_is_left(made, report, tmp_path):
    file = made[4] / "eval_1" / "2.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(StageError, match=r"eval_1/2.png cannot be read as a picture"):
        convert(made, report)
    assert not (tmp_path / "out.npz").exists()


def test_premultiplied_alpha_is_noticed_and_can_be_said(made, report):
    for file in made[4].rglob("*.png"):
        rgba = np.asarray(Image.open(file)).astype(np.uint16)
        rgba[..., :3] = rgba[..., :3] * rgba[..., 3:] // 255
        images.write_png(file, rgba.astype(np.uint8))
    with pytest.raises(StageError, match=r"eval_0/0.png looks premultiplied, .*Type `alpha: premultiplied`"):
        convert(made, report)
    straight = convert(made, report, alpha="premultiplied").rgba
    seen = made[3].rgba[1:][..., 3] > 0
    assert np.abs(straight.astype(int) - made[3].rgba[1:])[seen].max() <= 3


def test_rgb_on_white_keeps_every_pixel_on_white(made, report):
    for file in made[4].rglob("*.png"):
        images.write_png(file, images.to_uint8(images.over_white(np.asarray(Image.open(file)))))
    views = convert(made, report)
    white = images.to_uint8(images.over_white(made[3].rgba[1:]))
    assert np.array_equal(images.to_uint8(images.over_white(views.rgba)), white)


def test_other_cameras_and_other_names_are_refused(made, report):
    folder = made[4]
    (folder / "eval_3").rename(folder / "az200")
    with pytest.raises(StageError, match=r"az200 is at azimuth 200, .*expected one of the azimuths -75, 15, 105, 195"):
        convert(made, report)
    (folder / "az200").rename(folder / "back")
    with pytest.raises(StageError, match=r"back names no camera; expected eval_0 to eval_3"):
        convert(made, report)
    (folder / "back").rename(folder.parent / "back")
    with pytest.raises(StageError, match=r"0 views at azimuth 195 \(none\); expected one"):
        convert(made, report)
    with pytest.raises(StageError, match="is no folder"):
        convert(made, report, folder / "nowhere")


def test_memory_does_not_grow_with_the_length_of_a_clip(made, report, tmp_path):
    """Rows grow with a clip, pictures must not: 160 frames more cost less than half of their pictures."""
    frames, _, truth, ours, _ = made
    outside_views = Views(ours.rgba[1:], ours.kind[1:], truth.azimuth_deg, truth.elevation_deg, {"stage": "outside"})
    peaks = {}
    for count in (40, 200):
        index = np.arange(count) % len(frames.times)
        long = {
            "frames": replace(frames, rgba=frames.rgba[index], times=np.linspace(0, 1, count)),
            "truth": replace(
                truth, **{n: getattr(truth, n)[:, index] for n in ("rgba", "azimuth_deg", "elevation_deg")}
            ),
            "views": replace(
                outside_views,
                **{n: getattr(outside_views, n)[:, index] for n in ("rgba", "azimuth_deg", "elevation_deg")},
            ),
        }
        for name, file in long.items():
            file.save(tmp_path / f"{name}.npz")
        del long
        paths = {name: tmp_path / f"{name}.npz" for name in ("frames", "truth", "views")}
        tracemalloc.start()
        run = MetricsRun(**NAMED, metrics=MetricsSettings())
        metrics.main(**paths, out=tmp_path / "m.csv", settings=run, report=report)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    pictures = 160 * 4 * 2 * 32 * 32 * 4
    assert peaks[200] - peaks[40] < pictures / 2, peaks
