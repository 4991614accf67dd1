"""Stage likeness: the truth is perfect, frozen, shuffled and flickering clips are not; constant answers; bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stages import likeness
from stages.cli import StageError
from stages.lib import answers
from stages.lib.scores import read_metrics
from stages.settings import LikenessRun, MetricsSettings


def settings(answer: str = "generated") -> LikenessRun:
    named = {"suite": "toys", "scene": "ball", "variant": "fusion0.5", "title": "toy", "method": "micro"}
    return LikenessRun(**named, answer=answer, metrics=MetricsSettings())


@pytest.fixture
def score(scene, tmp_path, report):
    """A function from pictures of the six cameras (A, V, H, W, 4), or a constant answer, to mean scores and record."""
    frames, truth, _ = scene
    frames.save(tmp_path / "frames.npz")
    truth.save(tmp_path / "truth.npz")

    def scored(rgba=None, answer="generated", mean=(), **changed) -> tuple[pd.Series, dict]:
        given = []
        if rgba is not None:
            about = {"device": "cpu", "backend": "numba", "weights": "abc"}
            replace(truth, **{"rgba": rgba, "source": "micro", "record": about, **changed}).save(tmp_path / "a.npz")
            given = [tmp_path / "a.npz"]
        out = tmp_path / "likeness.csv"
        inputs = (tmp_path / "frames.npz", tmp_path / "truth.npz", out)
        likeness.main(*inputs, settings(answer), report, given, list(mean))
        told, rows = read_metrics(out)
        assert set(rows["view"]) == {"evaluation"}
        return rows.groupby("metric")["value"].mean(), told

    return scored


def test_the_truth_itself_is_perfect(scene, score):
    found, told = score(scene[1].rgba)
    assert found["iou"] == 1 and found["psnr_masked"] == 100 and found["ssim"] > 0.9999
    assert (found[["warp_gap", "warp_signed", "tof", "dtssd"]] == 0).all()
    assert (told["anchors"], told["weights"], told["frames"], told["size"]) == ("micro", "abc", 4, "32x32")


def test_a_frozen_clip_is_not_still_where_the_object_moves(scene, score):
    truth = scene[1].rgba
    found, _ = score(np.repeat(truth[:1], len(truth), axis=0))
    assert found["iou"] < 0.95 and found["psnr_masked"] < 40
    assert found["warp_gap"] > 1e-3 and found["tof"] > 0.1


def test_a_shuffled_clip_is_worse_than_a_frozen_one(scene, score):
    truth = scene[1].rgba
    frozen, _ = score(np.repeat(truth[:1], len(truth), axis=0))
    shuffled, _ = score(truth[[3, 0, 2, 1]])
    assert shuffled["warp_signed"] > 1.5 * frozen["warp_signed"] > 0
    assert shuffled["tof"] > frozen["tof"]


def test_a_flicker_is_a_gap_in_time_and_no_other_silhouette(scene, score):
    flickering = scene[1].rgba.copy()
    flickering[1::2, ..., :3] //= 2
    found, _ = score(flickering)
    assert found["iou"] == 1 and found["warp_signed"] == found["warp_gap"] > 1e-3


def test_views_in_another_order_do_not_fit(scene, score):
    """A pose that turns with the camera must not pass: views are paired by their cameras."""
    marked = scene[1].rgba.copy()
    marked[:, 0, :4] = (0, 200, 0, 255)
    perfect, wrong = score(scene[1].rgba)[0], score(marked[:, ::-1])[0]
    assert wrong["iou"] < perfect["iou"] - 0.01


# ------------------------------------------------------------------ constant answers


def test_the_input_copied_is_scored_as_it_is(scene, score):
    frames, truth, _ = scene
    by_hand, _ = score(np.repeat(frames.rgba[truth.frame][:, None], 6, axis=1))
    found, told = score(answer="copied")
    pd.testing.assert_series_equal(found, by_hand)
    assert told["anchors"] == "constant" and told["weights"] is None
    mirrored, _ = score(np.repeat(frames.rgba[truth.frame][:, None, :, ::-1], 6, axis=1))
    pd.testing.assert_series_equal(score(answer="mirrored")[0], mirrored)


def test_nothing_at_all_covers_nothing(score):
    assert score(answer="white")[0]["iou"] == 0


def test_the_mean_comes_from_its_file_at_any_size(scene, score, tmp_path):
    mean = np.ascontiguousarray(scene[1].rgba[0])
    answers.write_mean(tmp_path / "mean.png", mean)
    assert (answers.read_mean(tmp_path / "mean.png", 6, 32) == mean).all()
    frozen, _ = score(np.repeat(mean[None], 4, axis=0))
    pd.testing.assert_series_equal(score(answer="mean", mean=[tmp_path / "mean.png"])[0], frozen)
    assert answers.read_mean(tmp_path / "mean.png", 6, 64).shape == (6, 64, 64, 4)
    with pytest.raises(StageError, match=r"is 32x160 with 4 channels; expected 6 square"):
        answers.write_mean(tmp_path / "mean.png", mean[:, :, :16].repeat(2, axis=2)[:5])
        score(answer="mean", mean=[tmp_path / "mean.png"])


def test_an_unknown_mean_has_its_reason(score, tmp_path):
    found, _ = score(answer="mean")
    assert found.isna().all() and {"psnr_masked", "iou", "warp_gap", "tof"} <= set(found.index)
    reasons = read_metrics(tmp_path / "likeness.csv")[1]["reason"]
    assert reasons.str.contains("no mean_views.png").all()


# ------------------------------------------------------------------ bad input


def test_other_cameras_are_refused(scene, score, tmp_path):
    with pytest.raises(StageError, match=r"from elevations \[20.0, -10.0.*zero123plus_v11"):
        score(scene[1].rgba, elevation_deg=np.array([20.0, -10] * 3))
    assert not (tmp_path / "likeness.csv").exists()


def test_other_frames_are_refused(scene, score):
    with pytest.raises(StageError, match=r"shape \(4, 6, 16, 32, 4\), the truth \(4, 6, 32, 32, 4\)"):
        score(np.ascontiguousarray(scene[1].rgba[:, :, :16]))


def test_only_rendered_anchors_are_truth(scene, score, tmp_path):
    replace(scene[1], source="inflated").save(tmp_path / "truth.npz")
    with pytest.raises(StageError, match="--truth holds inflated anchors; expected rendered ones"):
        score(answer="white")


def test_generated_anchors_have_to_be_given(score):
    with pytest.raises(StageError, match="--anchors names 0 files"):
        score()
