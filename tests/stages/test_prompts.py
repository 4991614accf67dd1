"""Stages picture, clip and frames on a prompt and on a still picture, with tiny networks; one error for bad input."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import tiny_prompts as tiny

from stages import clip, frames, picture, weights
from stages.cli import Reporter, StageError
from stages.contracts import Clip, Frames
from stages.lib import images
from stages.lib import weights as lib
from stages.lib.diffusion import image_to_video, text_to_image
from stages.settings import (
    CameraSettings,
    ClipRun,
    ClipSettings,
    FramesRun,
    FramesSettings,
    PictureRun,
    PictureSettings,
    SceneSource,
    WeightsRun,
    WeightsSettings,
)

NAMES = ("sdxl_base", "svd_xt")


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """Tiny networks under the public names in a folder of the user's own, and their manifest."""
    root = tmp_path_factory.mktemp("networks")
    tiny.manifest(root)
    return root


@pytest.fixture
def receipts(networks, monkeypatch, tmp_path) -> SimpleNamespace:
    """The receipts of both, linked from that folder by stage weights, without any download."""
    monkeypatch.setattr(lib, "MANIFEST", networks / "weights.yaml")
    found = {}
    for name in NAMES:
        settings = WeightsRun(name=name, weights=WeightsSettings(folder=str(networks)))
        log = io.StringIO()
        found[name] = tmp_path / "weights" / name / "receipt.json"
        weights.main(found[name], settings, Reporter("weights", name, log, log))
    return SimpleNamespace(**found)


def draw(tmp_path: Path, receipts, report, prompt: str = "a frog", **changed) -> Path:
    chosen = PictureSettings(**{"size": tiny.SIDE, "steps": 2, **changed})
    out = tmp_path / "out" / "picture.png"
    run = PictureRun(prompt=prompt, picture=chosen)
    picture.main([receipts.sdxl_base], out, out.with_suffix(".json"), run, report)
    return out


def animate(tmp_path: Path, receipts, report, still: Path, **changed) -> Path:
    chosen = ClipSettings(**{**tiny.CANVAS, "steps": 2, "matte": "colour", **changed})
    out = tmp_path / "out" / "clip.npz"
    clip.main(still, [receipts.svd_xt], out, ClipRun(clip=chosen), report)
    return out


def framed(tmp_path: Path, report, kind: str, clips: list[Path], **changed) -> Frames:
    run = FramesRun(
        scene=SceneSource(kind=kind, source="a frog", n_frames=24),
        camera=CameraSettings(),
        frames=FramesSettings(**{"size": 32, **changed}),
    )
    out = tmp_path / "out" / "frames.npz"
    frames.main(out, out.with_name("truth.npz"), run, report, clips)
    return Frames.load(out)


def disc_file(path: Path, alpha: bool = True, background: int = 255) -> Path:
    """A red disc in the middle of a picture, with alpha or on a plain background."""
    x = np.arange(48)
    inside = ((x[:, None] - 24) ** 2 + (x - 24) ** 2 <= 15**2)[..., None]
    rgb = np.where(inside, [200, 40, 30], background)
    rgba = np.concatenate([rgb, inside * 255], axis=-1).astype(np.uint8)
    images.write_png(path, rgba if alpha else rgba[..., :3])
    return path


# ------------------------------------------------------------------ what comes out


def test_from_a_prompt_to_frames(tmp_path, receipts, report):
    still = draw(tmp_path, receipts, report, "a frog", suffix="plain background")
    about = json.loads(still.with_suffix(".json").read_text())
    assert about["settings"]["prompt"] == "a frog" and len(about["weights"]) == 64
    assert (about["dtype"], about["device"], about["stage"]) == ("float32", "cpu", "picture")
    assert "'a frog, plain background'" in report.text
    made = animate(tmp_path, receipts, report, still)
    content = Clip.load(made)
    assert content.rgba.shape == (tiny.N_FRAMES, 64, 128, 4)
    assert (content.record["picture_matte"], content.record["matte"]) == ("colour", "colour")
    assert content.record["picture"] == lib.sha256(still)
    out = framed(tmp_path, report, "prompt", [made])
    assert out.rgba.shape == (tiny.N_FRAMES, 32, 32, 4) and out.key == 1
    assert out.times.tolist() == [0, 0.5, 1] and out.rgba[0, 16, 16, 3] == 255
    assert out.record["settings"]["scene"]["source"] == "a frog"
    assert out.record["clip"] == content.record
    assert out.record["source_frames"][2] == "frame 2 of clip.npz"


@pytest.mark.parametrize(("alpha", "word"), [(True, "alpha"), (False, "colour")])
def test_from_a_still_picture_to_frames(tmp_path, receipts, report, alpha, word):
    made = animate(tmp_path, receipts, report, disc_file(tmp_path / "disc.png", alpha))
    assert Clip.load(made).record["picture_matte"] == word
    assert framed(tmp_path, report, "image", [made], stride=2).rgba.shape == (2, 32, 32, 4)


def test_a_seed_of_its_own_is_another_picture_and_another_motion(tmp_path, receipts, report):
    stills = [images.read(draw(tmp_path, receipts, report, seed=seed)) for seed in (0, 0, 1)]
    assert (stills[0] == stills[1]).all() and (stills[0] != stills[2]).any()
    still = disc_file(tmp_path / "disc.png")
    clips = [Clip.load(animate(tmp_path, receipts, report, still, seed=seed)).rgba for seed in (0, 0, 1)]
    assert (clips[0] == clips[1]).all() and (clips[0] != clips[2]).any()


def test_a_long_prompt_says_what_is_not_read(tmp_path, receipts, report):
    draw(tmp_path, receipts, report, prompt="a frog " * 20, suffix="white")
    assert "warning: the prompt is too long, its end is not read: " in report.text and "white'" in report.text


# ------------------------------------------------------------------ frames of a generated clip


def wide(tmp_path: Path, lefts: list[int], side: int = 16) -> Path:
    """A generated clip 64 x 128 of a square whose left column is given frame by frame, in its middle rows."""
    rgba = np.zeros((len(lefts), 64, 128, 4), np.uint8)
    for frame, left in zip(rgba, lefts, strict=True):
        top = (64 - side) // 2
        frame[top : top + side, max(left, 0) : left + side] = (200, 40, 30, 255)
    Clip(rgba, {"stage": "clip"}).save(tmp_path / "wide.npz")
    return tmp_path / "wide.npz"


def columns(out: Frames) -> list[tuple[int, int]]:
    spans = [np.flatnonzero((frame[..., 3] > 127).any(axis=0)) for frame in out.rgba]
    return [(int(span[0]), int(span[-1])) for span in spans]


def test_the_middle_square_is_cut_out(tmp_path, report):
    out = framed(tmp_path, report, "prompt", [wide(tmp_path, [56, 60])], size=64)
    # Columns 32 to 95 of 128 remain.
    assert columns(out) == [(24, 39), (28, 43)]


def test_an_object_that_moves_out_of_the_middle_is_not_cut(tmp_path, report):
    out = framed(tmp_path, report, "prompt", [wide(tmp_path, [56, 96])], size=96)
    # Its last column is 48 pixels from the middle: 96 pixels around the middle are taken, from column 16 on.
    assert columns(out) == [(40, 55), (80, 95)]
    assert framed(tmp_path, report, "prompt", [wide(tmp_path, [56, 96, 60])], size=64, stride=2).rgba.shape[0] == 2
    assert columns(Frames.load(tmp_path / "out" / "frames.npz")) == [(24, 39), (28, 43)]


def test_an_object_that_leaves_the_canvas_is_refused(tmp_path, report):
    with pytest.raises(StageError, match=r"leaves the picture at the left in frame 1 of wide.npz"):
        framed(tmp_path, report, "prompt", [wide(tmp_path, [20, -10], side=40)])
    with pytest.raises(StageError, match=r"the object is absent from frame 1 of wide.npz"):
        framed(tmp_path, report, "prompt", [wide(tmp_path, [20, 128])])
    assert framed(tmp_path, report, "prompt", [wide(tmp_path, [20, 24, 128])], last=1).rgba.shape[0] == 2


def test_a_generated_clip_recentred(tmp_path, report):
    out = framed(tmp_path, report, "prompt", [wide(tmp_path, [20, 24])], size=40, recentre=True, fill=0.5)
    assert columns(out) == [(10, 25), (14, 29)]


def test_frames_without_their_clip(tmp_path, report):
    with pytest.raises(StageError, match=r"--clip names 0 files; expected one, the clip of this prompt"):
        framed(tmp_path, report, "prompt", [])


# ------------------------------------------------------------------ bad input


def refused(tmp_path: Path, text: str, call, *arguments, **changed) -> None:
    """The call raises an error that matches and writes nothing."""
    with pytest.raises(StageError, match=text):
        call(tmp_path, *arguments, **changed)
    assert not (tmp_path / "out").exists()


def test_no_prompt(tmp_path, receipts, report):
    refused(tmp_path, "the prompt is empty; expected what to show", draw, receipts, report, "  ")


def test_weights_that_are_not_there(tmp_path, receipts, report):
    (receipts.sdxl_base.parent / "unet" / "config.json").unlink()
    (receipts.svd_xt.parent / "unet" / "config.json").unlink()
    command = r"unet/config.json is missing. Type `snakemake --cores 1 resources/weights/{}/receipt.json`"
    refused(tmp_path, command.format("sdxl_base"), draw, receipts, report)
    still = disc_file(tmp_path / "disc.png")
    refused(tmp_path, command.format("svd_xt"), animate, receipts, report, still)


def test_no_receipt(tmp_path, receipts, report):
    still = disc_file(tmp_path / "disc.png")
    with pytest.raises(StageError, match="--weights names 0 files; expected the receipt of svd_xt"):
        clip.main(still, [], tmp_path / "out" / "clip.npz", ClipRun(clip=ClipSettings()), report)


def test_another_network_in_the_folder(tmp_path, receipts, report, monkeypatch):
    """Somebody's files under a name that they do not belong to, checked in by their receipt."""
    monkeypatch.setattr(lib, "find", lambda name, folder: folder / "svd_xt")
    refused(tmp_path, r"svd_xt/tokenizer cannot be read as CLIPTokenizer", draw, receipts, report)


def test_out_of_gpu_memory_says_what_to_lower(tmp_path, receipts, report, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(text_to_image, "draw", full)
    monkeypatch.setattr(image_to_video, "animate", full)
    refused(tmp_path, r"out of GPU memory .* lower picture.size \(now 64\)", draw, receipts, report)
    still = disc_file(tmp_path / "disc.png")
    refused(
        tmp_path, r"out of GPU memory .* Lower clip.decode_frames \(now 8\), then", animate, receipts, report, still
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (np.zeros((32, 32, 4), np.uint8), r"still.png shows no object: .*; expected one object"),
        (np.full((32, 32, 3), 90, np.uint8), r"still.png shows no object: .* more than clip.matte_tolerance \(0.12\)"),
        (
            np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8),
            r"still.png has no alpha and no plain background: only \d+% of its border .*type `clip.matte: rembg`",
        ),
    ],
    ids=["transparent", "plain", "busy"],
)
def test_a_picture_without_an_object(tmp_path, receipts, report, content, text):
    images.write_png(tmp_path / "still.png", content)
    refused(tmp_path, text, animate, receipts, report, tmp_path / "still.png")


def test_a_file_that_is_no_picture(tmp_path, receipts, report):
    (tmp_path / "still.png").write_bytes(b"\x89PNG but not really")
    refused(tmp_path, "still.png cannot be read as a picture", animate, receipts, report, tmp_path / "still.png")


def test_rembg_asked_for_in_vain(tmp_path, receipts, report, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "nowhere"))
    still = disc_file(tmp_path / "disc.png", alpha=False)
    text = r"clip.matte is rembg but .*; type `(pip install|rembg d u2net)"
    refused(tmp_path, text, animate, receipts, report, still, matte="rembg")
