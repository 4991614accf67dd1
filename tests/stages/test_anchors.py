"""Stage anchors: imported, rendered and inflated views, and one clear error for each bad input."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import stages.lib
from stages import anchors
from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames
from stages.lib import images
from stages.settings import AnchorsRun, FramesSettings, SceneSource, SettingsError

SIZE = 48


def disc(size: int = SIZE, radius: float = 12.0, centre: float | None = None, colour=(200, 40, 30)) -> np.ndarray:
    """A disc in a transparent picture, (size, size, 4) uint8."""
    x = np.arange(size) + 0.5
    middle = size / 2
    inside = (x[:, None] - middle) ** 2 + (x - (middle if centre is None else centre)) ** 2 < radius**2
    return (inside[..., None] * np.array([*colour, 255])).astype(np.uint8)


def clip(pictures: list[np.ndarray], **changed) -> Frames:
    times = np.linspace(0, 1, len(pictures))
    values = {"key": 0, "fovy_deg": 49.1, "radius": 2.0, "elevation_deg": 0.0, **changed}
    return Frames(rgba=np.stack(pictures), times=times, **values)


def stag4d(folder: Path, n_frames: int = 4) -> Path:
    """STAG4D's layout; view v of frame i is a disc of green 10 (6 i + v), with alpha 1 outside, as its files have."""
    for index in range(n_frames):
        images.write_png(folder / "ref" / f"{index}_rgba.png", disc())
        for view in range(6):
            picture = disc(96, 24.0, colour=(0, 10 * (6 * index + view), 0))
            picture[picture[..., 3] == 0] = (128, 128, 128, 1)
            images.write_png(folder / "zero123" / f"{index}_rgba" / f"{view}.png", picture)
    return folder


def run(tmp_path: Path, source: str, scene: SceneSource, frames: Frames, **changed) -> tuple[Anchors, str]:
    """Run the stage and load what it wrote; the second value is its log."""
    frames.save(tmp_path / "frames.npz")
    settings = AnchorsRun(scene=scene, source=source, frames=FramesSettings(size=SIZE, **changed))
    log = io.StringIO()
    anchors.main(tmp_path / "frames.npz", tmp_path / "out" / "a.npz", settings, Reporter("anchors", "", log, log))
    return Anchors.load(tmp_path / "out" / "a.npz"), log.getvalue()


def imported(tmp_path: Path, folder: Path, n_frames: int, **changed) -> tuple[Anchors, str]:
    scene = SceneSource(kind="stag4d", source=str(folder), n_frames=n_frames)
    return run(tmp_path, "imported", scene, clip([disc()] * n_frames), **changed)


def refused(tmp_path: Path, text: str, *args, **changed) -> None:
    with pytest.raises((StageError, SettingsError), match=text):
        imported(tmp_path, *args, **changed)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ imported


def test_imported(tmp_path):
    out, _ = imported(tmp_path, stag4d(tmp_path / "in"), 4)
    assert out.rgba.shape == (4, 6, SIZE, SIZE, 4) and out.source == "imported"
    assert out.frame.tolist() == [0, 1, 2, 3]
    assert out.azimuth_deg.tolist() == [30, 90, 150, 210, 270, 330]
    assert out.elevation_deg.tolist() == [30, -20, 30, -20, 30, -20]
    middle = out.rgba[:, :, SIZE // 2, SIZE // 2]
    assert middle[..., 1].tolist() == [[10 * (6 * i + v) for v in range(6)] for i in range(4)]
    assert (middle[..., 3] == 255).all() and not out.rgba[:, :, 0, 0].any()


def test_imported_follows_the_frame_range(tmp_path):
    folder = stag4d(tmp_path / "in")
    frames = clip([disc()] * 2)
    scene = SceneSource(kind="stag4d", source=str(folder), n_frames=4)
    out, _ = run(tmp_path, "imported", scene, frames, first=1, stride=2)
    assert out.frame.tolist() == [0, 1]
    assert out.rgba[:, 0, SIZE // 2, SIZE // 2, 1].tolist() == [60, 180]


def test_imported_with_another_field_of_view_is_said(tmp_path):
    scene = SceneSource(kind="stag4d", source=str(stag4d(tmp_path / "in", 2)), n_frames=2)
    _, log = run(tmp_path, "imported", scene, clip([disc()] * 2, fovy_deg=39.6))
    assert "warning: camera.fovy_deg is 39.6, Zero123++ v1.1 draws anchors with 49.13" in log


def test_a_frame_without_anchors(tmp_path):
    folder = stag4d(tmp_path / "in")
    for path in (folder / "zero123" / "2_rgba").iterdir():
        path.unlink()
    (folder / "zero123" / "2_rgba").rmdir()
    text = r"no anchors for frame 2: 3 of 4 frames have them; expected zero123/2_rgba/0\.png to 5\.png"
    refused(tmp_path, text, folder, 4)
    out, _ = imported(tmp_path, folder, 2, last=1)
    assert len(out.rgba) == 2


def test_a_missing_anchor_file(tmp_path):
    folder = stag4d(tmp_path / "in")
    (folder / "zero123" / "1_rgba" / "4.png").unlink()
    refused(tmp_path, r"1_rgba/4\.png is missing; expected 6 files, 0\.png to 5\.png, found 5", folder, 4)


def test_bad_anchor_files(tmp_path):
    folder = stag4d(tmp_path / "in")
    path = folder / "zero123" / "3_rgba" / "5.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:80])
    refused(tmp_path, r"5\.png cannot be read as a picture", folder, 4)
    images.write_png(path, disc()[..., :3])
    refused(tmp_path, r"5\.png has no alpha; expected an RGBA anchor", folder, 4)
    images.write_png(path, np.ones((8, 8, 4), dtype=np.uint8))
    refused(tmp_path, r"5\.png shows no object", folder, 4)


def test_imported_anchors_cannot_follow_a_recentring(tmp_path):
    refused(tmp_path, r"frames\.recentre is true but imported anchors", stag4d(tmp_path / "in", 2), 2, recentre=True)


# ------------------------------------------------------------------ rendered


def test_rendered(tmp_path, monkeypatch):
    """A stand-in for the suite writes the time and the height of the camera into the colour."""

    def render(name, times, cameras):
        assert name == "walk" and (cameras.height, cameras.width) == (SIZE, SIZE)
        rgba = np.full((len(times), len(cameras), SIZE, SIZE, 4), 255, dtype=np.uint8)
        rgba[..., 0] = np.round(np.asarray(times) * 200)[:, None, None, None]
        rgba[..., 1] = np.round(100 + 50 * cameras.positions[:, 1])[None, :, None, None]
        return rgba

    monkeypatch.setattr(stages.lib, "suite", SimpleNamespace(render=render), raising=False)
    scene = SceneSource(kind="procedural", source="walk", n_frames=5)
    out, _ = run(tmp_path, "rendered", scene, clip([disc()] * 3), stride=2)
    assert out.rgba[:, 0, 0, 0, 0].tolist() == [0, 100, 200]
    # y of a camera at radius 2 is 2 sin(elevation): 1 at 30 degrees, -0.684 at -20.
    assert out.rgba[0, :, 0, 0, 1].tolist() == [150, 66, 150, 66, 150, 66]


def test_only_procedural_scenes_can_be_rendered(tmp_path):
    scene = SceneSource(kind="images", source="somewhere", n_frames=2)
    with pytest.raises(StageError, match=r"kind images, which cannot be drawn .* Type `anchors\.source: auto`"):
        run(tmp_path, "rendered", scene, clip([disc()] * 2))


# ------------------------------------------------------------------ inflated


def test_heights_of_a_disc_are_those_of_a_ball():
    x = np.arange(65) - 32.0
    radius = np.sqrt(x[:, None] ** 2 + x**2)
    height = anchors.heights(radius < 20)
    inside = radius < 18
    ball = anchors.ROUNDNESS * np.sqrt(20**2 - radius[inside] ** 2)
    assert np.abs(height[inside] - ball).max() < 1.0
    assert (height[radius >= 20] == 0).all() and height.dtype == np.float32


def test_heights_agree_with_the_definition_by_brute_force(monkeypatch):
    monkeypatch.setattr(anchors, "SMOOTHING", 0.0)
    mask = np.zeros((14, 20), dtype=bool)
    mask[2:12, 3:9] = True
    mask[5:8, 9:18] = True
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    pixels = np.argwhere(mask)
    distance2 = ((pixels[:, None] - outside) ** 2).sum(-1).min(axis=1)
    reach = (distance2 - ((pixels[:, None] - pixels) ** 2).sum(-1)).max(axis=1)
    expected = np.zeros(mask.shape)
    expected[mask] = anchors.ROUNDNESS * np.sqrt(reach)
    assert np.allclose(anchors.heights(mask), expected, atol=1e-3)


def test_a_thin_part_is_thin():
    mask = np.zeros((64, 64), dtype=bool)
    mask[12:52, 8:40] = True
    mask[30:34, 40:60] = True
    height = anchors.heights(mask)
    assert height[32, 24] > 12 and 1 < height[32, 52] < 3


def test_inflated_disc_is_a_ball_from_everywhere(tmp_path):
    scene = SceneSource(kind="video", source="x.mp4", n_frames=2)
    out, log = run(tmp_path, "inflated", scene, clip([disc(), disc()]))
    assert np.array_equal(out.rgba[0], out.rgba[1])
    areas = (out.rgba[0, ..., 3] > 127).sum(axis=(1, 2)) / (disc()[..., 3] > 0).sum()
    # From the side it is as flat as ROUNDNESS makes it; one pixel of a radius of 12 is 17 % of the area.
    assert areas.min() > 0.85 and areas.max() < 1.15
    middle = out.rgba[0, :, SIZE // 2, SIZE // 2]
    assert np.abs(middle.astype(int) - (200, 40, 30, 255)).max() < 6
    assert "stand in for generated views" in log


def test_inflated_left_is_left(tmp_path):
    """Red left and blue right in the input view: from azimuth 90 blue (+x) is near, from 210 the halves are swapped."""
    picture = disc()
    picture[:, SIZE // 2 :, :3] = (30, 40, 200) * (picture[:, SIZE // 2 :, 3:] > 0)
    out, _ = run(tmp_path, "inflated", SceneSource(kind="images", source="x", n_frames=2), clip([picture] * 2))
    row = SIZE // 2
    assert out.rgba[0, 1, row, row, 2] > out.rgba[0, 1, row, row, 0] + 60
    behind = out.rgba[0, 3, row].astype(int)
    assert behind[row - 10, 2] > behind[row - 10, 0] and behind[row + 10, 0] > behind[row + 10, 2]


def test_the_input_view_of_the_shell_is_the_frame():
    """For a raised camera too: what lies in front is on its pixel's ray, what lies behind is hidden."""
    frames = clip([disc(centre=30.0)], elevation_deg=20.0)
    means, scales, colours = anchors.shell(frames.rgba[0], frames)
    camera = frames.cameras(0.0, 20.0)
    depth = (means @ camera.world_to_camera[0, :3, :3].T + camera.world_to_camera[0, :3, 3])[:, 2]
    x, y = camera.project(means[depth < 2 + 1e-9])[0].T - 0.5
    assert np.allclose(x.round(), x, atol=1e-6) and np.allclose(y.round(), y, atol=1e-6)
    seen = np.zeros((SIZE, SIZE), dtype=bool)
    seen[y.round().astype(int), x.round().astype(int)] = True
    mask = frames.rgba[0, ..., 3] > 127
    assert not (seen & ~mask).any() and seen[20:28, 26:34].all() and seen.sum() > 0.75 * mask.sum()
    assert (scales > 0).all() and np.abs(means).max() < 1 and colours.shape == means.shape


def test_a_moving_object_does_not_flicker(tmp_path):
    """A disc that moves by one pixel moves its anchors by about one pixel: no view changes by more than its rim."""
    out, _ = run(
        tmp_path,
        "inflated",
        SceneSource(kind="images", source="x", n_frames=4),
        clip([disc(centre=22.0 + t) for t in range(4)]),
    )
    changed = np.abs(np.diff(out.rgba[..., 3].astype(float), axis=0)).mean(axis=(2, 3)) / 255
    # One pixel on both flanks of a disc of radius 12 is 2 * 24 of 48 * 48 pixels.
    assert changed.max() < 1.3 * 48 / SIZE**2
