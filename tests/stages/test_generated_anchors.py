"""Stage anchors with Zero123++: tiny random networks through the whole path, and one clear error for each bad input."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import tiny

from stages import anchors, weights
from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames
from stages.experiment import TRAINED_ON, Experiment
from stages.lib import images, matting, suite
from stages.lib import weights as lib
from stages.lib.diffusion import normals, zero123plus
from stages.settings import (
    AnchorsRun,
    AnchorsSettings,
    Config,
    FramesSettings,
    SceneSource,
    SettingsError,
    WeightsRun,
    WeightsSettings,
)

NORMALS = "zero123plus_v12_normals"


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A folder of networks that holds tiny ones under the public names, and their manifest."""
    root = tmp_path_factory.mktemp("networks")
    abouts = {
        "zero123plus_v11": {"cameras": "v1.1"},
        "zero123plus_v12": {"cameras": "v1.2", "normals": NORMALS},
        NORMALS: {},
    }
    manifest = {}
    for name, about in abouts.items():
        place = tiny.make_controlnet(root / name) if name == NORMALS else tiny.make(root / name)
        files = {str(file.relative_to(place)): {} for file in sorted(place.rglob("*")) if file.is_file()}
        manifest[name] = {"licence": "none", "hub": "nobody/nothing", "files": files, **about}
    (root / "weights.yaml").write_text(yaml.safe_dump(manifest))
    return root


@pytest.fixture
def receipts(network, monkeypatch, tmp_path) -> Path:
    """The same networks, linked from that folder by stage weights, without any download."""
    monkeypatch.setattr(lib, "MANIFEST", network / "weights.yaml")
    for name in ("zero123plus_v11", "zero123plus_v12", NORMALS):
        settings = WeightsRun(name=name, weights=WeightsSettings(folder=str(network)))
        log = io.StringIO()
        weights.main(tmp_path / "weights" / name / "receipt.json", settings, Reporter("weights", name, log, log))
    return tmp_path / "weights"


def run(tmp_path: Path, receipts: Path, opaque: bool = False, fovy_deg: float = 49.1, **changed):
    """Run the stage; returns its anchors and its log."""
    rgba = np.zeros((3, 24, 24, 4), np.uint8)
    for index in range(3):
        rgba[index, 6:18, 4 + 2 * index : 16 + 2 * index] = (200, 80 * index, 30, 255)
    if opaque:
        rgba[..., 3] = 255
    frames = Frames(rgba=rgba, times=np.linspace(0, 1, 3), key=0, fovy_deg=fovy_deg, radius=2.0, elevation_deg=0.0)
    frames.save(tmp_path / "frames.npz")
    chosen = AnchorsSettings(
        **{"steps": 2, "view_size": tiny.VIEW, "matte": "colour", "matte_tolerance": 0.02, **changed}
    )
    source = chosen.source if chosen.source == "micro" else "zero123plus"
    scene = SceneSource(kind="images", source="x", n_frames=3)
    settings = AnchorsRun(scene=scene, source=source, frames=FramesSettings(size=24), device="cpu", anchors=chosen)
    log = io.StringIO()
    names = [lib.MICRO if source == "micro" else chosen.model, *([NORMALS] if chosen.matte == "normals" else [])]
    given = [receipts / name / "receipt.json" for name in names]
    anchors.main(tmp_path / "frames.npz", tmp_path / "out" / "a.npz", settings, Reporter("a", "", log, log), given)
    return Anchors.load(tmp_path / "out" / "a.npz"), log.getvalue()


def refused(tmp_path: Path, receipts: Path, text: str, **changed) -> None:
    with pytest.raises(StageError, match=text):
        run(tmp_path, receipts, **changed)
    assert not (tmp_path / "out").exists()


def test_views_and_angles(tmp_path, receipts):
    out, _ = run(tmp_path, receipts)
    assert out.rgba.shape == (3, 6, 24, 24, 4) and out.source == "zero123plus" and out.frame.tolist() == [0, 1, 2]
    assert out.azimuth_deg.tolist() == [30, 90, 150, 210, 270, 330]
    assert out.elevation_deg.tolist() == [30, -20, 30, -20, 30, -20]
    assert out.record["matte"] == "colour" and len(out.record["weights"]) == 64 and out.record["dtype"] == "float32"


def test_v12_has_its_own_cameras_and_says_what_to_type(tmp_path, receipts):
    out, log = run(tmp_path, receipts, model="zero123plus_v12")
    assert out.elevation_deg.tolist() == [20, -10, 20, -10, 20, -10]
    assert "Type `camera: {fovy_deg: 30.0, radius: 4.0}`" in log


def test_equal_bytes_for_a_seed(tmp_path, receipts):
    first = run(tmp_path, receipts)[0].rgba
    assert (run(tmp_path, receipts)[0].rgba == first).all()


def test_micro_reads_the_small_prior_at_its_own_size(tmp_path, monkeypatch):
    """The settings of the public network (75 steps, 320 pixels) stay with it."""
    place = tiny.make(tmp_path / "priors" / lib.MICRO)
    files = {str(file.relative_to(place)): {} for file in sorted(place.rglob("*")) if file.is_file()}
    (tmp_path / "weights.yaml").write_text(
        yaml.safe_dump({lib.MICRO: {"licence": "none", "cameras": "v1.1", "trained_by": "a command", "files": files}})
    )
    monkeypatch.setattr(lib, "MANIFEST", tmp_path / "weights.yaml")
    about = {name: {"size": (place / name).stat().st_size, "sha256": lib.sha256(place / name)} for name in files}
    (place / "receipt.json").write_text(json.dumps({"files": about}))
    chosen = {"micro": {"steps": 2, "frames_per_batch": 3}, "matte_tolerance": 0.02}
    out, log = run(tmp_path, tmp_path / "priors", source="micro", **chosen)
    assert out.source == "micro" and out.rgba.shape == (3, 6, 24, 24, 4)
    assert f"steps=2, guidance=1.0, fusion=0.5, view_size={tiny.VIEW}, frames_per_batch=3" in log
    (place / "unet" / "config.json").unlink()
    shutil.rmtree(tmp_path / "out")
    refused(tmp_path, tmp_path / "priors", r"unet/config.json is missing. Type `a command`", source="micro", **chosen)


def test_out_of_gpu_memory_names_what_micro_reads(tmp_path, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(zero123plus, "sample", full)
    text = r"Lower anchors.micro.frames_per_batch \(now 8\), or type `anchors.precision: float16`"
    refused(tmp_path, lib.ROOT / "resources" / "priors", text, source="micro")


def test_opaque_input(tmp_path, receipts):
    refused(tmp_path, receipts, "opaque everywhere; expected RGBA with the object cut out", opaque=True)


def test_weights_that_are_not_there(tmp_path, receipts):
    (receipts / "zero123plus_v11" / "unet" / "config.json").unlink()
    refused(
        tmp_path, receipts, r"unet/config.json is missing. Type `snakemake --cores 1 resources/weights/zero123plus_v11"
    )


def test_weights_that_changed_since_the_receipt(tmp_path, receipts):
    place = receipts / "zero123plus_v11" / "model_index.json"
    place.unlink()
    place.write_text("{}")
    refused(tmp_path, receipts, "model_index.json is not the file that was meant")


def test_out_of_gpu_memory_says_what_to_lower(tmp_path, receipts, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(zero123plus, "sample", full)
    refused(tmp_path, receipts, r"out of GPU memory .* Lower anchors.frames_per_batch \(now 2\)")


# ------------------------------------------------------------------ normals

BY_NORMALS = {"model": "zero123plus_v12", "matte": "normals", "fovy_deg": 30.0}


def sphere(size: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A shaded sphere on grey and its normal picture, both uint8 (size, size, 3), and its alpha; edges are averaged."""
    y, x = (np.mgrid[: 4 * size, : 4 * size] + 0.5) / 4 - size / 2
    squared = (x**2 + y**2) / radius**2
    inside = (squared < 1)[..., None]
    vectors = np.stack([x / radius, -y / radius, np.sqrt(np.maximum(1 - squared, 0))], axis=-1)
    colours = np.clip(0.25 + 0.6 * vectors[..., :1] + np.array([0.3, 0.0, -0.1]), 0, 1)

    def averaged(values: np.ndarray) -> np.ndarray:
        return values.reshape(size, 4, size, 4, -1).mean(axis=(1, 3))

    pictures = (averaged(np.where(inside, values, 127 / 255)) for values in (colours, vectors / 2 + 0.5))
    view, normal = (np.round(255 * picture).astype(np.uint8) for picture in pictures)
    return view, normal, averaged(inside.astype(float))[..., 0]


def test_a_sphere_is_cut_out_where_its_normals_are():
    view, normal, alpha = sphere(96, 33.0)
    cut = matting.normals_matte(view, normal)
    found = cut[..., 3] / 255
    assert np.minimum(found, alpha).sum() / np.maximum(found, alpha).sum() > 0.985
    assert (found[alpha == 1] > 0.98).mean() > 0.99 and (found[alpha == 0] < 0.02).mean() > 0.99
    # On its own grey the cut-out is the view again.
    behind = 127 * (1 - found[..., None]) + cut[..., :3] * found[..., None]
    assert np.abs(behind - view).mean() < 1


def test_colours_that_are_the_backgrounds_are_still_object():
    """What sets this matte apart: the inside of the sphere is as grey as what is behind it."""
    view, normal, _ = sphere(96, 33.0)
    view[30:60, 30:60] = 127
    found = matting.normals_matte(view, normal)[..., 3] / 255
    assert (found[30:60, 30:60] == 1).all()
    colour, _, _ = matted("colour", view)
    assert (colour[0, 0, 35:55, 35:55, 3] == 0).all()


def test_grey_is_background_and_a_full_picture_object():
    grey = np.full((24, 24, 3), 127, np.uint8)
    assert not matting.normals_matte(np.full((24, 24, 3), 90, np.uint8), grey).any()
    facing = np.broadcast_to(np.array([128, 128, 255], np.uint8), (24, 24, 3))
    assert (matting.normals_matte(grey, facing)[3:-3, 3:-3] == (127, 127, 127, 255)).all()


def with_spheres(monkeypatch) -> None:
    """Drawn normals become those of a sphere: a random network draws none."""
    _, normal, _ = sphere(tiny.VIEW, 6.0)
    real = normals.draw

    def draw(*args):
        pictures = real(*args)
        assert pictures.shape == (3, 6, tiny.VIEW, tiny.VIEW, 3)
        return np.broadcast_to(normal, pictures.shape)

    monkeypatch.setattr(normals, "draw", draw)


def test_a_matte_from_normals_and_what_is_recorded(tmp_path, receipts, monkeypatch):
    kept = {}
    real = matting.matte
    monkeypatch.setattr(matting, "matte", lambda views, *rest: kept.update(views=views) or real(views, *rest))
    run(tmp_path, receipts, model="zero123plus_v12", fovy_deg=30.0)
    colours = kept["views"]
    with_spheres(monkeypatch)
    out, log = run(tmp_path, receipts, **BY_NORMALS, normals={"steps": 1, "guidance": 1.0})
    assert (kept["views"] == colours).all(), "the colours depend on the choice of matte"
    assert out.record["matte"] == "normals" and out.record["settings"]["anchors"]["normals"]["steps"] == 1
    assert len(out.record["matte_weights"]) == 64 != out.record["weights"]
    assert f"zero123plus_v12 and {NORMALS} on cpu" in log and "normals: steps=1, guidance=1.0" in log and "3/3" in log
    opaque = (out.rgba[..., 3] > 127).mean(axis=(2, 3))
    assert np.abs(opaque - np.pi * 36 / tiny.VIEW**2).max() < 0.12


def test_normals_of_a_network_without_them_say_what_to_type(tmp_path, receipts):
    text = (
        r"anchors.matte is normals but zero123plus_v11 has no normal generator; expected one of: zero123plus_v12. Type "
        r"`anchors: {source: zero123plus, model: zero123plus_v12, matte: normals}`"
    )
    refused(tmp_path, receipts, text, matte="normals")


def test_normals_need_both_receipts(receipts):
    with pytest.raises(
        StageError, match=rf"names 1 files; expected the receipt of zero123plus_v12 and that of {NORMALS}"
    ):
        anchors._places("zero123plus_v12", "normals", [receipts / "zero123plus_v12" / "receipt.json"])


def test_a_broken_normal_generator_is_found_before_anything_is_drawn(tmp_path, receipts, monkeypatch):
    monkeypatch.setattr(zero123plus, "sample", lambda *args: pytest.fail("drew first"))
    (receipts / NORMALS / "config.json").unlink()
    refused(tmp_path, receipts, rf"config.json is missing. Type `snakemake .*{NORMALS}", **BY_NORMALS)


def test_out_of_gpu_memory_while_normals_are_drawn(tmp_path, receipts, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    grey = np.full((3, 6, tiny.VIEW, tiny.VIEW, 3), 127, np.uint8)
    monkeypatch.setattr(zero123plus, "sample", lambda *args: grey)
    monkeypatch.setattr(normals, "draw", full)
    refused(tmp_path, receipts, r"out of GPU memory .* Lower anchors.frames_per_batch \(now 2\)", **BY_NORMALS)


def test_a_view_without_normals_names_another_matte(tmp_path, receipts, monkeypatch):
    grey = np.full((3, 6, tiny.VIEW, tiny.VIEW, 3), 127, np.uint8)
    monkeypatch.setattr(zero123plus, "sample", lambda *args: grey)
    monkeypatch.setattr(normals, "draw", lambda *args: grey)
    refused(tmp_path, receipts, r"view 0 of frame 0 shows no object .* Type `anchors.matte: colour`", **BY_NORMALS)


# ------------------------------------------------------------------ no object


def test_a_view_without_an_object(tmp_path, receipts, monkeypatch):
    grey = np.full((3, 6, tiny.VIEW, tiny.VIEW, 3), 127, np.uint8)
    monkeypatch.setattr(zero123plus, "sample", lambda *args: grey)
    refused(tmp_path, receipts, r"view 0 of frame 0 shows no object \(18 views in all\)")


# ------------------------------------------------------------------ matte


def matted(choice: str, picture: np.ndarray) -> tuple[np.ndarray, str, str]:
    log = io.StringIO()
    rgba, word = matting.matte(np.stack([picture] * 6)[None], choice, 0.12, "anchors", Reporter("a", "", log, log))
    return rgba, word, log.getvalue()


def test_a_disc_is_cut_from_grey():
    x = np.arange(64)
    disc = (x[:, None] - 32) ** 2 + (x - 32) ** 2 < 300
    noise = np.random.default_rng(0).integers(-4, 5, (64, 64, 1))
    picture = (np.where(disc[..., None], [220, 60, 40], 127) + noise).clip(0, 255).astype(np.uint8)
    rgba, word, _ = matted("colour", picture)
    cut = rgba[0, 0, ..., 3] > 127
    assert word == "colour" and (cut & disc).sum() / (cut | disc).sum() > 0.97


def test_auto_falls_back_to_colour_and_says_why(monkeypatch):
    monkeypatch.setattr(matting, "_rembg_lacks", lambda: "it is not here")
    _, word, log = matted("auto", np.full((32, 32, 3), 127, np.uint8))
    assert word == "colour" and "rembg: it is not here" in log


def test_rembg_without_its_model_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    with pytest.raises(StageError, match=r"anchors.matte is rembg but .*; type `(pip install|rembg d u2net)"):
        matted("rembg", np.full((32, 32, 3), 127, np.uint8))


@pytest.fixture
def rembg(monkeypatch, tmp_path) -> SimpleNamespace:
    """rembg and its model as if they were here, with a network whose mask is red; keeps what it is asked for.

    As the real one (2.0.86), it gives colours times alpha unless only the mask is wanted.
    """
    asked = SimpleNamespace(models=[], pictures=[], sessions=[])

    def new_session(model: str) -> str:
        asked.models.append(model)
        return f"session {len(asked.models)}"

    def remove(picture: np.ndarray, session: str, only_mask: bool = False) -> np.ndarray:
        asked.pictures.append(picture)
        asked.sessions.append(session)
        mask, nothing = Image.fromarray(picture[..., 0]), Image.new("RGBA", picture.shape[1::-1], 0)
        return np.asarray(mask if only_mask else Image.composite(Image.fromarray(picture), nothing, mask))

    for name, content in (("rembg", {"new_session": new_session, "remove": remove}), ("onnxruntime", {})):
        module = ModuleType(name)
        module.__dict__.update(content, __spec__=ModuleSpec(name, None))
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "u2net.onnx").write_bytes(b"")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    return asked


@pytest.mark.parametrize("choice", ["rembg", "auto"])
def test_rembg_cuts_out_each_view_by_one_session(rembg, choice):
    views = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    log = io.StringIO()
    rgba, word = matting.matte(views, choice, 0.12, "anchors", Reporter("a", "", log, log))
    assert word == "rembg" and "anchors.matte: rembg\n" in log.getvalue()
    assert rembg.models == ["u2net"] and rembg.sessions == ["session 1"] * 6
    np.testing.assert_array_equal(rembg.pictures, views.reshape(6, 8, 8, 3))
    assert rgba.shape == (2, 3, 8, 8, 4) and rgba.dtype == np.uint8
    # Alpha is the network's and colours are the view's own, straight, but for what is as good as transparent.
    alpha = views[..., 0]
    seen = alpha > images.NOISE_ALPHA
    assert 0.5 < seen.mean() < 1
    np.testing.assert_array_equal(rgba[seen], np.concatenate([views, alpha[..., None]], axis=-1)[seen])
    assert not rgba[~seen].any()


def test_auto_takes_the_colour_where_a_part_of_rembg_is_missing(rembg, monkeypatch, tmp_path):
    plain = np.full((32, 32, 3), 127, np.uint8)
    assert matted("auto", plain)[1] == "rembg"
    (tmp_path / "u2net.onnx").rename(tmp_path / "u2netp.onnx")
    _, word, log = matted("auto", plain)
    assert word == "colour" and "type `rembg d u2net`" in log
    (tmp_path / "u2netp.onnx").rename(tmp_path / "u2net.onnx")
    for name in ("rembg", "onnxruntime"):
        with monkeypatch.context() as without:
            without.setattr(importlib.util, "find_spec", lambda asked, name=name: None if asked == name else object())
            _, word, log = matted("auto", plain)
        assert word == "colour" and 'type `pip install "rembg[cpu]"`' in log


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("U2NET_HOME", "u2net.onnx"),
        ("U2NET_HOME", "models/u2net/u2net.onnx"),
        ("REMBG_HOME", "models/u2net/u2net.onnx"),
        ("XDG_DATA_HOME", "rembg/models/u2net/u2net.onnx"),
        ("XDG_DATA_HOME", ".u2net/u2net.onnx"),
        ("HOME", ".rembg/models/u2net/u2net.onnx"),
        ("HOME", ".u2net/u2net.onnx"),
    ],
)
def test_rembgs_model_is_found_where_its_versions_keep_it(rembg, monkeypatch, tmp_path, variable, file):
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(variable, str(tmp_path / "home"))
    plain, path = np.full((32, 32, 3), 127, np.uint8), tmp_path / "home" / file
    assert matted("auto", plain)[1] == "colour"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert matted("auto", plain)[1] == "rembg"


def test_a_busy_background_is_said():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert "expected a plain one" in matted("colour", noise)[2]


# ------------------------------------------------------------------ what the rules ask


def experiment(**anchors_settings) -> Experiment:
    return Experiment({**Config().model_dump(mode="json"), "anchors": anchors_settings})


def test_the_rule_asks_for_the_receipt_of_its_network_only():
    chosen = experiment(source="zero123plus", model="zero123plus_v12")
    assert chosen.anchors_weights("zero123plus") == ["resources/weights/zero123plus_v12/receipt.json"]
    assert chosen.anchors_weights("rendered") == []


def test_the_rule_asks_for_the_normal_generator_only_when_it_is_chosen():
    both = [f"resources/weights/{name}/receipt.json" for name in ("zero123plus_v12", NORMALS)]
    assert experiment(model="zero123plus_v12", matte="normals").anchors_weights("zero123plus") == both
    for matte in ("auto", "rembg", "colour"):
        assert experiment(model="zero123plus_v12", matte=matte).anchors_weights("zero123plus") == both[:1]
    assert experiment(model="zero123plus_v12", matte="normals").anchors_weights("inflated") == []


@pytest.mark.parametrize(("source", "name"), [("zero123plus", "zero123plus_v11"), ("micro", lib.MICRO)])
def test_normals_of_another_network_stop_before_the_first_job(source, name):
    with pytest.raises(SettingsError, match=rf"{name} has no normal generator; expected one of: zero123plus_v12"):
        experiment(matte="normals").anchors_weights(source)


def test_the_normal_generator_is_listed_with_its_licence():
    listed = lib.entry(NORMALS)
    assert listed["hub"] == "sudo-ai/controlnet-zp12-normal-gen-v1" and len(listed["revision"]) == 40
    assert listed["non_commercial"] and "NC" in listed["licence"] and listed["total"] == "1.46 GB"
    assert set(listed["files"]) == {"config.json", "diffusion_pytorch_model.safetensors"}


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(SettingsError, match=r"no network 'zero123plus_v13'; did you mean 'zero123plus_v1"):
        experiment(model="zero123plus_v13").anchors_weights("zero123plus")


def test_only_generated_anchors_are_told_their_settings():
    chosen = experiment(source="zero123plus", fusion=0.25)
    told = json.loads(chosen.anchors_json("embedded", "mouth", "zero123plus", 3))
    assert told["anchors"]["fusion"] == 0.25 and told["seed"] == 3
    assert json.loads(chosen.anchors_json("embedded", "mouth", "rendered", 0))["anchors"] is None
    assert chosen.anchors_seed("zero123plus", 3) == 3


# ------------------------------------------------------------------ what the table of fusion weights asks


def test_every_weight_of_fusion_has_its_place():
    chosen, where = experiment(), ("embedded", "mouth", "micro")
    folder = "results/embedded/mouth/anchors/micro"
    assert chosen.fused_anchors(*where, "fusion0.25", 1) == f"{folder}/fusion0.25/seed1/anchors.npz"
    # The configuration's own weight: the fits use the same file.
    assert chosen.fused_anchors(*where, "fusion0.5", 1) == f"{folder}/seed1/anchors.npz"
    told, usual = (json.loads(chosen.anchors_json(*where, 1, *fusion)) for fusion in (["fusion0.25"], []))
    assert (told["anchors"].pop("fusion"), usual["anchors"].pop("fusion")) == (0.25, 0.5)
    assert told == usual


def test_no_object_of_the_training_is_scored():
    assert {name for name in suite.names() if name.startswith(TRAINED_ON)} == set(suite.TRAINING_FAMILIES)
    chosen = Experiment({})
    scenes = chosen.suite_settings("development").scenes
    assert {scenes[scene] for scene in chosen.likeness_block("development", list(scenes)).scenes} == set(
        suite.DEVELOPMENT
    )
    with pytest.raises(SettingsError, match=r"chosen scenes of 'development' \(snake\) are all of families"):
        chosen.likeness_block("development", ["snake"])


def test_only_a_suite_that_can_be_drawn_has_truth():
    with pytest.raises(SettingsError, match=r"'minions' has no truth .* Type `likeness: \{suites:"):
        Experiment({}).likeness_block("minions", ["minions"])


@pytest.mark.parametrize("fusions", [[0.5], [], [0.0, 1.5]])
def test_weights_of_fusion_are_from_0_to_1_with_0_among_them(fusions):
    with pytest.raises(SettingsError, match="expected numbers from 0 to 1, and 0 among them"):
        Experiment({"likeness": {"fusions": fusions}})
