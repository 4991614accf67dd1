"""One's own files through the real workflow, small: a clip on white, and a folder with imported anchors."""

from __future__ import annotations

import csv

import numpy as np

from stages.contracts import Anchors, Frames, Gaussians
from stages.lib import images, video


def chosen(project, path: str) -> None:
    """Put one's own files in the place of the suite, and fit them with one method."""
    settings = project.folder / "smoke.yaml"
    settings.write_text(settings.read_text().replace("suite: smoke", f"path: {path}\nvariants: [stag4d]"))


def test_one_line_of_config_gives_an_asset(make_workplace, scene):
    project, (ball, _, _) = make_workplace("clip"), scene
    on_white = images.to_uint8(images.over_white(ball.rgba))
    video.write_mp4(project.folder / "clip.mp4", on_white, 24)
    chosen(project, "clip.mp4")
    project.run("--cores", "1", "asset")
    fit = project.folder / "results/own/clip/stag4d/seed0"
    assets = fit / "assets"
    assert video.read(assets / "orbit.mp4").shape == (6, 32, 32, 3)
    beside = video.read(assets / "input.mp4")
    assert beside.shape == (4, 32, 64, 3)
    # The source stands left; H.264 moves its colours a little, the matte its edge.
    assert np.abs(beside[:, :, :32].astype(int) - on_white).mean() < 8
    assert (assets / "sheet.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    files = sorted((assets / "ply").glob("*.ply"))
    assert [path.name for path in files] == [f"frame{index:04d}.ply" for index in range(4)]
    assert all(len(Gaussians.load(path).means) for path in files)
    assert (fit / "player.html").exists()
    assert (fit.parent.parent / "anchors/inflated/seed0/anchors.npz").exists()


def test_imported_anchors_are_fitted_and_scored(make_workplace, scene):
    project, (ball, made, _) = make_workplace("imported"), scene
    for index, picture in enumerate(ball.rgba):
        images.write_png(project.folder / f"toy/ref/{index}_rgba.png", picture)
        for view, anchor in enumerate(made.rgba[index]):
            # STAG4D's files have alpha 1 outside the object.
            anchor = anchor.copy()
            anchor[..., 3] = np.maximum(anchor[..., 3], images.NOISE_ALPHA)
            images.write_png(project.folder / f"toy/zero123/{index}_rgba/{view}.png", anchor)
    chosen(project, "toy")
    project.run("--cores", "1", "results/own/table1.csv")
    results = project.folder / "results/own"
    frames = Frames.load(results / "toy/frames.npz")
    np.testing.assert_array_equal(frames.rgba[..., 3], images.without_noise(ball.rgba)[..., 3])
    read = Anchors.load(results / "toy/anchors/imported/seed0/anchors.npz")
    assert read.source == "imported"
    np.testing.assert_array_equal(read.rgba[..., 3], images.without_noise(made.rgba)[..., 3])
    with open(results / "table1.csv", newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["source"] == "measured"]
    assert (row["variant"], row["suite"], row["anchors"]) == ("stag4d", "own", "imported")
    # Nothing is known of other views than the six, and the table says so.
    assert row["psnr_masked"] == "" and row["psnr_masked_reason"]
    with open(results / "toy/stag4d/seed0/metrics.csv", newline="") as file:
        next(file)
        scored = [row for row in csv.DictReader(file) if (row["view"], row["metric"]) == ("anchor", "psnr_masked")]
    assert len(scored) == made.rgba.shape[0] * made.rgba.shape[1]
