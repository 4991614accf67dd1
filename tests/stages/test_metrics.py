"""The metrics stage: pairing by angle and time, the file it writes, and what it says where nothing can be scored."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import metrics
from stages.cli import Reporter, StageError
from stages.contracts import Anchors, ContractError, Frames, Sequence, Truth, Views
from stages.lib.pairing import HEADER
from stages.lib.quality import CHANGE_METRICS, CLIP_METRICS, FRAME_METRICS, JITTER_METRICS, SUDDEN_METRIC
from stages.settings import MetricsRun, MetricsSettings

T, SIDE = 5, 32
SETTINGS = MetricsRun(
    seed=3,
    suite="toys",
    scene="ball",
    variant="stag4d",
    title="stag4d (toy)",
    method="stag4d",
    metrics=MetricsSettings(),
)


def clip(view: int) -> np.ndarray:
    """(T, H, W, 4) uint8, another one for every view."""
    rng = np.random.default_rng(view)
    frames = np.zeros((T, SIDE, SIDE, 4), np.uint8)
    for t in range(T):
        frames[t, 8:24, 4 + 2 * t : 16 + 2 * t] = rng.integers(0, 256, 4, dtype=np.uint8)
        frames[t, 8:24, 4 + 2 * t : 16 + 2 * t, 3] = 255
    return frames


AZIMUTH = np.array([0.0, 30.0, 90.0, -75.0, 15.0])
ELEVATION = np.array([10.0, 30.0, -20.0, 10.0, 10.0])
KIND = np.array(["input", "anchor", "anchor", "truth", "truth"])


@pytest.fixture
def files() -> dict:
    """A perfect reconstruction: one input view, two anchors at frames 1 and 4, two ground-truth views."""
    truth = np.stack([clip(view) for view in range(5)])
    azimuth, elevation = (np.repeat(angles[:, None], T, axis=1) for angles in (AZIMUTH, ELEVATION))
    frame = np.array([1, 4])
    n = 4
    return {
        "views": Views(truth, KIND, azimuth, elevation),
        "frames": Frames(truth[0], np.linspace(0, 1, T), 2, 49.1, 2.0, 10.0),
        "anchors": Anchors(truth[1:3, frame].swapaxes(0, 1), frame, AZIMUTH[1:3], ELEVATION[1:3], "rendered"),
        "truth": Truth(truth[3:], azimuth[3:], elevation[3:]),
        "sequence": Sequence(
            np.zeros((T, n, 3), np.float32),
            np.ones((T, n, 4), np.float32),
            np.zeros((T, n, 3), np.float32),
            np.zeros((T, n), np.float32),
            np.zeros((n, 1, 3), np.float32),
            np.ones((T, n), bool),
            np.linspace(0, 1, T),
            {"device": "cpu", "backend": "numba", "supervision": "sds"},
        ),
    }


def run(files: dict, folder: Path) -> tuple[dict, list[dict]]:
    """Record and rows of metrics.csv made from the files."""
    paths = {name: folder / f"{name}.{'safetensors' if name == 'sequence' else 'npz'}" for name in files}
    for name, path in paths.items():
        files[name].save(path)
    report = Reporter("metrics", "", io.StringIO(), io.StringIO())
    several = {name: [paths.pop(name)] for name in ("anchors", "sequence") if name in paths}
    metrics.main(**paths, **several, out=folder / "metrics.csv", settings=SETTINGS, report=report)
    first, *lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# {")
    return json.loads(first[2:]), list(csv.DictReader(lines))


def chosen(rows: list[dict], **wanted: str) -> list[dict]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_the_record_says_where_the_numbers_come_from(files, tmp_path):
    about, _ = run(files, tmp_path)
    assert about["settings"]["title"] == "stag4d (toy)" and about["settings"]["variant"] == "stag4d"
    expected = {"frames": 5, "size": "32x32", "anchors": "rendered", "device": "cpu", "backend": "numba"}
    assert {name: about[name] for name in expected} == expected
    assert about["supervision"] == "sds" and "wall_s" not in about


def test_supervision_is_photometric_unless_the_sequence_says_otherwise(files, tmp_path):
    files["sequence"] = replace(files["sequence"], record={})
    about, _ = run(files, tmp_path)
    assert (about["supervision"], about["device"], about["backend"]) == ("photometric", "unknown", "unknown")


def test_rows_of_a_perfect_reconstruction(files, tmp_path):
    _, rows = run(files, tmp_path)
    assert tuple(rows[0]) == HEADER
    assert {(r["suite"], r["scene"], r["variant"], r["seed"]) for r in rows} == {("toys", "ball", "stag4d", "3")}
    counted = {view: len(chosen(rows, view=view, metric="psnr")) for view in ("input", "anchor", "evaluation")}
    assert counted == {"input": 5, "anchor": 4, "evaluation": 10}
    assert {float(r["value"]) for r in chosen(rows, metric="psnr")} == {100.0}
    assert {float(r["value"]) for r in chosen(rows, metric="iou")} == {1.0}
    assert {float(r["value"]) for r in chosen(rows, metric="tof")} == {0.0}
    assert [r["frame"] for r in chosen(rows, view="anchor", azimuth_deg="30", metric="ssim")] == ["1", "4"]
    assert [r["azimuth_deg"] for r in chosen(rows, metric="dtssd")] == ["-75", "15"]
    assert all(r["frame"] == "" for metric in CLIP_METRICS for r in chosen(rows, metric=metric))
    assert {r["metric"] for r in chosen(rows, view="")} == set(JITTER_METRICS)
    assert not [r for r in rows if r["value"] == "" or r["reason"]]


def test_the_sudden_region_has_one_number_a_camera(files, tmp_path):
    _, rows = run(files, tmp_path)
    found = chosen(rows, metric=SUDDEN_METRIC)
    evaluation = [r for r in found if r["view"] == "evaluation"]
    assert [(r["azimuth_deg"], r["frame"]) for r in evaluation] == [("-75", ""), ("15", "")]
    assert {r["view"] for r in found} == {"input", "anchor", "evaluation"}
    assert {(float(r["value"]), r["reason"]) for r in evaluation} == {(100.0, "")}


def test_the_largest_change_is_followed_frame_by_frame(files, tmp_path):
    truth = files["truth"].rgba.copy()
    # One camera changes most towards frame 1, both together towards frame 3.
    truth[0, :, :, :] = truth[0, :1]
    truth[0, 1:, :20, :20] = (10, 10, 10, 255)
    truth[:, 3:, 20:, :] = (0, 0, 0, 255)
    files["truth"] = replace(files["truth"], rgba=truth)
    views = files["views"].rgba.copy()
    views[3:] = truth
    views[3, 3, 20:, :] = (51, 51, 51, 255)
    files["views"] = replace(files["views"], rgba=views)
    _, rows = run(files, tmp_path)
    pixels = [chosen(rows, view="evaluation", azimuth_deg="-75", metric=name) for name in CHANGE_METRICS]
    assert [r["frame"] for r in pixels[0]] == ["1", "2", "3", "4"]
    assert [r["frame"] for r in pixels[1]] == ["0", "1", "2", "3", "4"]
    assert float(pixels[0][2]["value"]) == 12 * 32
    assert [float(r["value"]) for r in pixels[1]] == pytest.approx([100, 100, 100, 20 * np.log10(5), 100], abs=1e-4)
    assert {r["view"] for r in rows if r["metric"] in CHANGE_METRICS} == {"input", "evaluation"}


def test_a_still_camera_view_has_no_sudden_region(files, tmp_path):
    still = files["truth"].rgba.copy()
    still[1] = still[1, :1]
    files["truth"] = replace(files["truth"], rgba=still)
    _, rows = run(files, tmp_path)
    _, row = chosen(rows, metric=SUDDEN_METRIC, view="evaluation")
    assert (row["value"], row["reason"]) == ("", "no pixel changes by more than 0.1 between two frames")


def test_views_are_paired_by_angle_and_not_by_position(files, tmp_path):
    views, swapped = files["views"], [0, 2, 1, 4, 3]
    files["views"] = Views(
        views.rgba[swapped], views.kind[swapped], views.azimuth_deg[swapped] + 360, views.elevation_deg[swapped]
    )
    _, rows = run(files, tmp_path)
    assert {float(r["value"]) for r in chosen(rows, metric="psnr")} == {100.0}


def test_anchors_are_paired_by_frame(files, tmp_path):
    files["anchors"] = replace(files["anchors"], frame=np.array([2, 3]))
    _, rows = run(files, tmp_path)
    assert max(float(r["value"]) for r in chosen(rows, view="anchor", metric="psnr")) < 30
    assert {float(r["value"]) for r in chosen(rows, view="input", metric="psnr")} == {100.0}


@pytest.mark.parametrize("name", ["azimuth_deg", "elevation_deg"])
@pytest.mark.parametrize("view", [0, 1, 4])
def test_a_view_at_another_angle_is_refused(files, tmp_path, name, view):
    angles = getattr(files["views"], name).copy()
    angles[view, -1] += 0.01
    files["views"] = replace(files["views"], **{name: angles})
    with pytest.raises(StageError, match=rf"no rendered {KIND[view]} view .* expected one within 0.001 degrees, found"):
        run(files, tmp_path)
    angles[view, -1] -= 0.0095
    assert run(files, tmp_path)[1]


def test_a_render_without_counterpart_is_refused(files, tmp_path):
    truth = files["truth"]
    files["truth"] = Truth(truth.rgba[:1], truth.azimuth_deg[:1], truth.elevation_deg[:1])
    with pytest.raises(StageError, match="without a counterpart: truth at azimuth 15"):
        run(files, tmp_path)


def test_files_of_another_clip_are_refused(files, tmp_path):
    shorter = replace(files["sequence"], times=np.linspace(0, 0.5, T))
    with pytest.raises(ContractError, match=r"none at time 1\.0000"):
        run({**files, "sequence": shorter}, tmp_path)
    other = replace(files["anchors"], frame=np.array([1, 5]))
    with pytest.raises(StageError, match="anchors name frame 5; expected 0 to 4"):
        run({**files, "anchors": other}, tmp_path)
    small = replace(files["anchors"], rgba=files["anchors"].rgba[:, :, ::2, ::2])
    with pytest.raises(StageError, match="anchors are 16x16 pixels; expected 32x32"):
        run({**files, "anchors": small}, tmp_path)


def test_a_scene_without_ground_truth_says_so(files, tmp_path):
    views = files["views"]
    empty = np.zeros((0, T))
    files["truth"] = Truth(np.zeros((0, T, SIDE, SIDE, 4), np.uint8), empty, empty)
    files["views"] = Views(views.rgba[:3], views.kind[:3], views.azimuth_deg[:3], views.elevation_deg[:3])
    _, rows = run(files, tmp_path)
    evaluation = chosen(rows, view="evaluation")
    assert [row["metric"] for row in evaluation] == [*FRAME_METRICS, *CLIP_METRICS, SUDDEN_METRIC]
    assert {(row["value"], row["reason"]) for row in evaluation} == {("", "no ground-truth views")}
    assert len(chosen(rows, view="input", metric="psnr")) == 5


def test_a_single_frame_has_no_motion(files, tmp_path):
    def first(name: str, *axes: str) -> dict:
        return {axis: getattr(files[name], axis)[:, :1] for axis in axes}

    sequence = files["sequence"]
    one = {f: getattr(sequence, f)[:1] for f in ("means", "quats", "log_scales", "opacity_logits", "present", "times")}
    anchors = files["anchors"]
    files = {
        "views": replace(files["views"], **first("views", "rgba", "azimuth_deg", "elevation_deg")),
        "frames": replace(files["frames"], rgba=files["frames"].rgba[:1], times=np.zeros(1), key=0),
        "anchors": replace(anchors, rgba=anchors.rgba[:1], frame=np.array([0])),
        "truth": replace(files["truth"], **first("truth", "rgba", "azimuth_deg", "elevation_deg")),
        "sequence": replace(sequence, **one),
    }
    _, rows = run(files, tmp_path)
    assert {(r["value"], r["reason"]) for r in chosen(rows, metric="tof")} == {("", "one frame; needs at least 2")}
    assert {r["reason"] for r in chosen(rows, metric=SUDDEN_METRIC)} == {"one frame; needs at least 2"}
    assert {r["reason"] for r in chosen(rows, view="")} == {"no gaussian is present in 3 frames in a row"}
    assert {float(r["value"]) for r in chosen(rows, view="evaluation", metric="psnr")} == {100.0}


def test_equal_inputs_give_equal_bytes(files, tmp_path):
    run(files, tmp_path)
    first = (tmp_path / "metrics.csv").read_bytes()
    run(files, tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == first
