"""The training loop: it learns, resumes bitwise equal, keeps the average, and stops at a loss that is no number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stages.cli import StageError
from stages.lib import checkpoint, training

PLAN = training.Plan(steps=40, lr=0.2, ema_decay=0.9, precision="float32", seed=3, checkpoint_interval_s=1e9)


def network() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(2, 1)


def trained(path, report, plan=PLAN, stop_at: int | None = None) -> tuple[nn.Linear, list]:
    """Train to y = x_0 - 2 x_1; `stop_at` kills the run in that step's loss."""
    line, calls = network(), [0]

    def loss(generator):
        if calls[0] == stop_at:
            raise KeyboardInterrupt
        calls[0] += 1
        x = torch.randn(16, 2, generator=generator)
        return {"squared": (line(x)[:, 0] - x[:, 0] + 2 * x[:, 1]).square().mean()}

    return line, training.train([line], loss, plan, path, "me", report)


def test_it_learns(tmp_path, report):
    line, curve = trained(tmp_path / "c.pt", report)
    assert curve[-1][1] < 0.1 * curve[0][1]
    assert not line.weight.requires_grad


def test_a_killed_run_ends_bitwise_equal(tmp_path, report, monkeypatch):
    whole, whole_curve = trained(tmp_path / "whole.pt", report)
    monkeypatch.setattr(checkpoint.Clock, "due", lambda self: True)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed.pt", report, stop_at=17)
    again, curve = trained(tmp_path / "killed.pt", report)
    assert "resumed at step 17 of 40" in report.text
    assert torch.equal(again.weight, whole.weight) and torch.equal(again.bias, whole.bias) and curve == whole_curve


def test_what_is_kept_is_the_average(tmp_path, report):
    plain, _ = trained(tmp_path / "a.pt", report, training.Plan(**{**vars(PLAN), "ema_decay": 0.0}))
    kept, _ = trained(tmp_path / "b.pt", report)
    assert not torch.equal(plain.weight, kept.weight)


def test_the_seed_matters(tmp_path, report):
    other, _ = trained(tmp_path / "a.pt", report, training.Plan(**{**vars(PLAN), "seed": 4}))
    assert not torch.equal(other.weight, trained(tmp_path / "b.pt", report)[0].weight)


def test_a_loss_that_is_no_number(tmp_path, report):
    line = network()
    with pytest.raises(StageError, match=r"the loss is nan at step 0 of 40; expected a number. Lower `lr`"):
        training.train([line], lambda g: {"x": line.weight.sum() * float("nan")}, PLAN, tmp_path / "c.pt", "me", report)


def test_the_rate_rises_and_falls():
    plan = training.Plan(**{**vars(PLAN), "steps": 1000})
    rates = [training.rate(step, plan) for step in range(1000)]
    assert int(np.argmax(rates)) in (29, 30) and max(rates) == pytest.approx(plan.lr)
    assert rates[-1] == pytest.approx(training.LAST_RATE * plan.lr, rel=0.01)


def test_generators_of_neighbours_differ_and_repeat():
    draw = [torch.randn(4, generator=training.generator(*numbers)).tolist() for numbers in ((0, 1), (0, 2), (1, 1))]
    assert draw[0] != draw[1] != draw[2] != draw[0]
    assert draw[0] == torch.randn(4, generator=training.generator(0, 1)).tolist()


def test_curve_files(tmp_path):
    training.write_curve(tmp_path / "c.csv", tmp_path / "c.png", [[0.0, 0.5, 1e-3], [1.0, 0.25, 1e-4]], "x")
    assert (tmp_path / "c.csv").read_text() == "step,loss,lr\n0,0.5,0.001\n1,0.25,0.0001\n"
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
