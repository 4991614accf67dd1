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
from stages.lib import answers, objects, suite
from stages.lib.diffusion import micro, zero123plus
from stages.lib.diffusion.reference import Tokens, attach
from stages.settings import (
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
    leave_out=[name for name in suite.TRAINING_FAMILIES if name not in FAMILIES],
)
AUTOENCODER = AutoencoderSettings(channels=[8, 8], latent_channels=4, steps=30, batch=4, ema_decay=0.9)
DENOISER = DenoiserSettings(channels=[16, 16], embedding=16, steps=4, batch=2, ema_decay=0.5)
CPU = {"device": "cpu"}


def quiet() -> Reporter:
    return Reporter("test", "", io.StringIO(), io.StringIO())


def train_denoiser(folder: Path, name: str) -> Path:
    place = folder / name
    denoiser.main(
        folder / "corpus.npz",
        folder / "autoencoder" / "config.json",
        place / "zero123plus" / "receipt.json",
        place / "denoiser_curve.csv",
        place / "denoiser_curve.png",
        place / "checkpoints",
        DenoiserRun(**CPU, denoiser=DENOISER),
        quiet(),
    )
    return place / "zero123plus"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Corpus, autoencoder and network of a toy recipe."""
    place = tmp_path_factory.mktemp("priors")
    corpus.main(place / "corpus.npz", CorpusRun(corpus=CORPUS), quiet())
    autoencoder.main(
        place / "corpus.npz",
        place / "autoencoder" / "config.json",
        place / "autoencoder_curve.csv",
        place / "autoencoder_curve.png",
        place / "checkpoints",
        AutoencoderRun(**CPU, autoencoder=AUTOENCODER),
        quiet(),
    )
    train_denoiser(place, "first")
    return place


# ------------------------------------------------------------------ training


def test_the_corpus_holds_the_chosen_families(folder):
    found = Corpus.load(folder / "corpus.npz")
    assert found.rgba.shape == (4, 6, 16, 16, 4) and found.condition.shape == (4, 24, 24, 4)
    assert set(found.name) == set(FAMILIES)


def test_the_autoencoder_learns(folder):
    with open(folder / "autoencoder_curve.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:2])


def test_equal_trainings_are_equal_files(folder):
    first, second = folder / "first" / "zero123plus", train_denoiser(folder, "second")
    names = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_a_sheet_is_laid_out_as_the_pipeline_cuts_it():
    views = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(zero123plus.views_of(denoiser.sheets_of(views)), views)


def test_examples_are_encoded_as_the_pipeline_encodes(folder):
    """The reference and the image encoder's picture of a moment, against the pipeline's own preparation."""
    pictures = Corpus.load(folder / "corpus.npz")
    model = zero123plus.load(folder / "first" / "zero123plus", torch.device("cpu"), torch.float32)
    vae = AutoencoderKL.from_pretrained(folder / "autoencoder").eval()
    data = denoiser.examples(pictures, vae, 2, quiet())
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
    networks = denoiser.Networks(
        unet, text, vision, torch.tensor([micro.PROMPT]), torch.tensor(micro.ramp()), DDPMScheduler(), tokens
    )
    conditions = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    kept = denoiser.prompts(networks, conditions, torch.tensor([False, False]))
    dropped = denoiser.prompts(networks, conditions, torch.tensor([True, True]))
    assert torch.equal(dropped[0], dropped[1]) and not torch.equal(kept[0], kept[1])


# ------------------------------------------------------------------ scores


def holdout_run(**changed) -> HoldoutRun:
    chosen = {"corpus": CORPUS.model_copy(update={"leave_out": CORPUS.leave_out[:1]}), "date": "2026-01-31"}
    priors = PriorsSettings(**chosen, holdout={"objects": 1, **changed})
    return HoldoutRun(**CPU, priors=priors, micro=MicroSettings(steps=2))


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


def test_holdout_writes_scores_pictures_card_and_the_mean_views(folder, tmp_path):
    names = ("quality.csv", "quality_views.csv", "quality.png", "mean_views.png", "model_card.md")
    network = folder / "first" / "zero123plus" / "receipt.json"
    holdout.main(network, folder / "corpus.npz", *(tmp_path / name for name in names), holdout_run(), quiet())
    table = pd.read_csv(tmp_path / "quality.csv").set_index(["group", "answer"])
    assert table.loc[("development", "white"), "n_views"] == 6 * len(suite.DEVELOPMENT)
    mean = answers.mean_views(Corpus.load(folder / "corpus.npz").rgba)
    assert (answers.read_mean(tmp_path / "mean_views.png", 6, 16) == mean).all()
    assert "| development | generated |" in (tmp_path / "model_card.md").read_text()


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


# ------------------------------------------------------------------ promotion


def promoted(folder: Path, out: Path, date: str = "2026-01-31") -> None:
    receipt = folder / "first" / "zero123plus" / "receipt.json"
    beside = [folder / "first" / "denoiser_curve.csv"]
    promote.main(receipt, beside, out, PromoteRun(date=date), quiet())


def test_promotion_copies_everything(folder, tmp_path):
    promoted(folder, tmp_path / "micro")
    assert (tmp_path / "micro" / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert (tmp_path / "micro" / "denoiser_curve.csv").is_file()
    promote.check_whole(tmp_path / "micro")


@pytest.mark.parametrize("date", ["", "yesterday", "2026-13-01"])
def test_promotion_wants_a_day(folder, tmp_path, date):
    with pytest.raises(StageError, match=r"expected the day of the training .*priors=\{date:"):
        promoted(folder, tmp_path / "micro", date)
    assert not (tmp_path / "micro").exists()


def test_promotion_refuses_what_is_not_whole_or_too_large(folder, tmp_path, monkeypatch):
    promoted(folder, tmp_path / "micro")
    monkeypatch.setattr(promote, "FILE_BYTES", 1000)
    with pytest.raises(StageError, match=r"expected at most 1000 a file"):
        promote.check_whole(tmp_path / "micro")
    (tmp_path / "micro" / "unet" / "config.json").unlink()
    with pytest.raises(StageError, match=r"unet/config.json is not what was trained: it is missing"):
        promote.check_whole(tmp_path / "micro")
