"""The small priors from pictures to scores and promotion, at toy size; the training loss against its pipeline."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, EulerAncestralDiscreteScheduler

from stages import autoencoder, corpus, denoiser, holdout, promote
from stages.cli import Reporter, StageError
from stages.contracts import Corpus
from stages.lib import answers, checkpoint, objects, suite, weights
from stages.lib.diffusion import micro, six_views, zero123, zero123plus
from stages.lib.diffusion.reference import Tokens, attach
from stages.settings import (
    PRIORS,
    AutoencoderRun,
    AutoencoderSettings,
    CorpusRun,
    CorpusSettings,
    DenoiserRun,
    DenoiserSettings,
    HoldoutRun,
    MicroSettings,
    PriorsSettings,
    PromoteRun,
)

FAMILIES = ["train_ball", "train_egg"]
CORPUS = CorpusSettings(
    objects=1,
    times=2,
    view_size=16,
    condition_size=24,
    random_views=2,
    leave_out=[name for name in suite.TRAINING_FAMILIES if name not in FAMILIES],
)
AUTOENCODER = AutoencoderSettings(channels=[8, 8], latent_channels=4, steps=30, batch=4, ema_decay=0.9)
DENOISER = DenoiserSettings(channels=[16, 16], embedding=16, steps=4, batch=2, ema_decay=0.5)
CPU = {"device": "cpu"}


def quiet() -> Reporter:
    return Reporter("test", "", io.StringIO(), io.StringIO())


def train_denoiser(folder: Path, name: str, prior: str, report: Reporter | None = None, **more) -> Path:
    place = folder / name
    denoiser.main(
        folder / "corpus.npz",
        folder / "autoencoder" / "config.json",
        place / prior / "receipt.json",
        place / "curves" / prior / "denoiser_curve.csv",
        place / "curves" / prior / "denoiser_curve.png",
        place / "checkpoints" / prior,
        DenoiserRun(**CPU, prior=prior, denoiser=DENOISER, **more),
        report or quiet(),
    )
    return place / prior


def same_files(first: Path, second: Path) -> bool:
    names = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Corpus, autoencoder and networks of a toy recipe."""
    place = tmp_path_factory.mktemp("priors")
    corpus.main(place / "corpus.npz", place / "mean_views.png", CorpusRun(corpus=CORPUS), quiet())
    autoencoder.main(
        place / "corpus.npz",
        place / "autoencoder" / "config.json",
        place / "autoencoder_curve.csv",
        place / "autoencoder_curve.png",
        place / "checkpoints",
        AutoencoderRun(**CPU, autoencoder=AUTOENCODER),
        quiet(),
    )
    for prior in PRIORS:
        train_denoiser(place, "first", prior)
    return place


# ------------------------------------------------------------------ training


def test_the_corpus_holds_the_chosen_families(folder):
    found = Corpus.load(folder / "corpus.npz")
    assert found.rgba.shape == (4, 6, 16, 16, 4) and found.condition.shape == (4, 24, 24, 4)
    assert found.random.shape == (4, 2, 16, 16, 4) and found.random_azimuth_deg.shape == (4, 2)
    assert set(found.name) == set(FAMILIES)


def test_the_autoencoder_learns(folder):
    with open(folder / "autoencoder_curve.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:2])


@pytest.mark.parametrize("prior", PRIORS)
def test_equal_trainings_are_equal_files(folder, prior):
    assert same_files(folder / "first" / prior, train_denoiser(folder, "second", prior))


@pytest.mark.parametrize("prior", PRIORS)
def test_a_killed_training_ends_in_equal_files(folder, report, monkeypatch, prior):
    saved = checkpoint.save

    def save_then_die(path, identity, state, about):
        saved(path, identity, state, about)
        if state["step"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        train_denoiser(folder, "killed", prior, checkpoint_interval_s=1e-9)
    monkeypatch.setattr(checkpoint, "save", saved)
    again = train_denoiser(folder, "killed", prior, report)
    assert "resumed at step 2 of 4" in report.text and same_files(folder / "first" / prior, again)


def test_zero123_is_read_by_the_real_loader_and_has_learned_something(folder):
    model = zero123.load(folder / "first" / "zero123", micro.POSE, None, torch.device("cpu"), torch.float32)
    assert (model.side, model.prediction) == (16, "v_prediction")
    with torch.random.fork_rng():
        torch.manual_seed(denoiser.training.generator(0, denoiser.INITIAL).initial_seed())
        unet, _, _ = micro.make_pose_denoiser(DENOISER, 4, 16, 8)
    assert not torch.equal(unet.conv_in.weight.half().float(), model.unet.conv_in.weight)


def test_views_that_cannot_be_halved_so_often(folder):
    run = DenoiserRun(**CPU, prior="zero123", denoiser=DENOISER.model_copy(update={"channels": [16] * 5}))
    paths = [folder / "bad" / name for name in ("receipt.json", "curve.csv", "curve.png", "checkpoints")]
    with pytest.raises(StageError, match=r"view_size is 16; expected a multiple of 32 .* Type `view_size: 32`"):
        denoiser.main(folder / "corpus.npz", folder / "autoencoder" / "config.json", *paths, run, quiet())
    assert not (folder / "bad").exists()


def test_a_sheet_is_laid_out_as_the_pipeline_cuts_it():
    views = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(zero123plus.views_of(six_views.sheets_of(views)), views)


def test_examples_are_encoded_as_the_pipeline_encodes(folder):
    """The reference and the image encoder's picture of a moment, against the pipeline's own preparation."""
    pictures = Corpus.load(folder / "corpus.npz")
    model = zero123plus.load(folder / "first" / "zero123plus", torch.device("cpu"), torch.float32)
    vae = AutoencoderKL.from_pretrained(folder / "autoencoder").eval()
    data = six_views.examples(pictures, vae, 2, quiet())
    assert data.sheets.shape == (4, 2, 4, 24, 16) and data.references.shape == (4, 2, 4, 8, 8)
    picture = model.for_vae(zero123plus.over_grey(pictures.condition[1]))
    assert torch.allclose(data.conditions[1, 0], picture, atol=1e-6)
    assert torch.allclose(data.conditions[1, 1], picture[[0, 2, 1]], atol=1e-6)
    expected = vae.encode(picture[None]).latent_dist.mean[0].detach()
    assert torch.allclose(data.references[1, 0], expected, atol=1e-3)
    assert torch.allclose(model.for_clip(zero123plus.over_grey(pictures.condition[1])), picture)


def test_noise_and_target_are_those_of_the_sampler():
    """One exact v at the first timestep brings the sampler's clean estimate to the sheet."""
    ddpm = DDPMScheduler.from_config({**micro.SCHEDULER, "_class_name": "DDPMScheduler"})
    euler = EulerAncestralDiscreteScheduler.from_config(micro.SCHEDULER)
    euler.set_timesteps(8)
    generator = torch.Generator().manual_seed(0)
    sheet, noise = (torch.randn(1, 4, 6, 4, generator=generator) for _ in range(2))
    step = euler.timesteps[2]
    noisy = euler.add_noise(sheet, noise, step[None])
    assert torch.allclose(
        euler.scale_model_input(noisy, step), ddpm.add_noise(sheet, noise, step[None].long()), atol=1e-3
    )
    v = ddpm.get_velocity(sheet, noise, step[None].long())
    assert torch.allclose(euler.step(v, step, noisy).pred_original_sample, sheet, atol=1e-2)


def test_a_dropped_condition_leaves_no_trace():
    unet, text, vision = micro.make_denoiser(DENOISER, 4, 16)
    tokens = Tokens(fusion=0.0, branches=1)
    attach(unet, tokens)
    networks = six_views.Networks(
        unet, text, vision, torch.tensor([micro.PROMPT]), torch.tensor(micro.ramp()), DDPMScheduler(), tokens
    )
    conditions = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    kept = six_views.prompts(networks, conditions, torch.tensor([False, False]))
    dropped = six_views.prompts(networks, conditions, torch.tensor([True, True]))
    assert torch.equal(dropped[0], dropped[1]) and not torch.equal(kept[0], kept[1])


# ------------------------------------------------------------------ scores


def holdout_run(prior: str = "zero123plus", **changed) -> HoldoutRun:
    chosen = {"corpus": CORPUS.model_copy(update={"leave_out": CORPUS.leave_out[:1]}), "date": "2026-01-31"}
    priors = PriorsSettings(**chosen, holdout={"objects": 1, "pose_steps": 2, **changed})
    return HoldoutRun(**CPU, prior=prior, priors=priors, micro=MicroSettings(steps=2))


def test_the_seven_are_scored_only_when_asked_for():
    groups = holdout.moments(holdout_run())
    assert list(groups) == ["held_out", "left_out", "development"]
    assert {moment.object_seed for moment in groups["held_out"]} == {objects.HELD_OUT}
    assert [moment.name for moment in holdout.moments(holdout_run(reporting=True))["reporting"]] == list(
        suite.REPORTING
    )


def test_constant_answers():
    condition = np.zeros((8, 8, 4), np.uint8)
    condition[:, :4] = (200, 0, 0, 255)
    mean = np.full((6, 4, 4, 4), 7, np.uint8)
    found = answers.constant_answers(condition, 6, 4, mean)
    assert (found["copied"][3, :, :2] == (200, 0, 0, 255)).all() and (found["copied"][3, :, 2:] == 0).all()
    assert (found["mirrored"][3, :, 2:] == (200, 0, 0, 255)).all() and (found["white"] == 0).all()
    assert found["mean"] is mean and set(answers.constant_answers(condition, 6, 4)) == {"copied", "mirrored", "white"}


def test_the_corpus_leaves_its_mean_views(folder):
    mean = answers.mean_views(Corpus.load(folder / "corpus.npz").rgba)
    assert (answers.read_mean(folder / "mean_views.png", 6, mean.shape[1]) == mean).all()


def test_a_right_answer_beats_the_constants():
    truth = np.zeros((16, 16, 4), np.uint8)
    truth[4:12, 4:12] = (90, 160, 40, 255)
    near = truth.copy()
    near[4:12, 4:12, 0] += 10
    assert holdout.score(near, truth)[1] > 25 > holdout.score(np.zeros_like(truth), truth)[1]


def test_the_margin_is_against_the_best_constant():
    rows = [
        ("g", "a", 0, 0.0, 0, answer, 0.0, value)
        for answer, value in (("generated", 12.0), ("copied", 9.0), ("mirrored", 10.0), ("white", 5.0), ("mean", 8.0))
    ]
    table = holdout.summary(pd.DataFrame(rows, columns=holdout.VIEW_COLUMNS)).set_index("answer")
    assert table.loc["generated", "margin"] == pytest.approx(2.0) and table["margin"].notna().sum() == 1


@pytest.mark.parametrize(("prior", "views"), [("zero123plus", 6), ("zero123", len(holdout.POSES))])
def test_scores_and_a_card_of_each_prior(folder, tmp_path, monkeypatch, prior, views):
    """The whole stage on two objects: a new one of a trained family and a development object."""
    chosen = {"held_out": "train_ball", "development": next(iter(suite.DEVELOPMENT))}
    found = holdout.moments

    def fewer(settings):
        groups = found(settings)
        return {group: [next(m for m in groups[group] if m.name == name)] for group, name in chosen.items()}

    monkeypatch.setattr(holdout, "moments", fewer)
    paths = [tmp_path / name for name in ("quality.csv", "quality_views.csv", "quality.png", "model_card.md")]
    holdout.main(folder / "first" / prior / "receipt.json", folder / "corpus.npz", *paths, holdout_run(prior), quiet())
    table = pd.read_csv(paths[0]).set_index(["group", "answer"])
    assert table.loc[("held_out", "generated"), "n_views"] == views
    assert np.isfinite(table["psnr_masked"]).all() and set(table.index.get_level_values("group")) == set(chosen)
    assert ("held_out", "mean") in table.index if prior == "zero123plus" else ("held_out", "mean") not in table.index
    card = paths[3].read_text()
    assert card.startswith(f"# micro {denoiser.TITLES[prior]}\n") and "| development | generated |" in card


def test_poses_are_asked_of_objects_that_were_drawn_from_there():
    (moment, *_) = holdout.moments(holdout_run("zero123"))["held_out"]
    assert moment.around == holdout.POSES and len(set(holdout.POSES)) == len(holdout.POSES)
    assert max(abs(elevation) for _, elevation in holdout.POSES) <= CORPUS.random_elevation_deg


# ------------------------------------------------------------------ promotion


def promoted(folder: Path, out: Path, date: str = "2026-01-31") -> None:
    trained = folder / "first"
    beside = [trained / "curves" / prior / "denoiser_curve.csv" for prior in PRIORS]
    beside.append(folder / "autoencoder_curve.csv")
    promote.main([trained / prior / "receipt.json" for prior in PRIORS], beside, out, PromoteRun(date=date), quiet())


def test_promotion_copies_everything(folder, tmp_path):
    promoted(folder, tmp_path / "priors")
    for prior, name in weights.TRAINED.items():
        place = tmp_path / "priors" / name
        assert (place / "unet" / "diffusion_pytorch_model.safetensors").is_file()
        curve = folder / "first" / "curves" / prior / "denoiser_curve.csv"
        assert (place / "denoiser_curve.csv").read_bytes() == curve.read_bytes()
        assert (place / "autoencoder_curve.csv").is_file()
        promote.check_whole(place)
        weights.find(name, tmp_path / "priors")


@pytest.mark.parametrize("date", ["", "yesterday", "2026-13-01"])
def test_promotion_wants_a_day(folder, tmp_path, date):
    with pytest.raises(StageError, match=r"expected the day of the training .*priors=\{date:"):
        promoted(folder, tmp_path / "priors", date)
    assert not (tmp_path / "priors").exists()


@pytest.mark.parametrize(("limit", "text"), [("FILE_BYTES", "at most 1000 a file"), ("TOTAL_BYTES", "1000 together")])
def test_promotion_refuses_what_is_too_large_alone_or_together(folder, tmp_path, monkeypatch, limit, text):
    monkeypatch.setattr(promote, limit, 1000)
    with pytest.raises(StageError, match=text):
        promoted(folder, tmp_path / "priors")
    assert not (tmp_path / "priors").exists()


def test_promotion_refuses_what_is_not_whole(folder, tmp_path):
    promoted(folder, tmp_path)
    (tmp_path / weights.MICRO_POSE / "unet" / "config.json").unlink()
    with pytest.raises(StageError, match=r"unet/config.json is not what was trained: it is missing"):
        promote.check_whole(tmp_path / weights.MICRO_POSE)
