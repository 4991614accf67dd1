"""A checkpoint shows what its fit has reached: at the end the baked sequence itself, and no other code's leftovers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.cli import StageError
from stages.contracts import Sequence
from stages.lib import baking, checkpoint
from tests.stages.test_fits import MOVING, RECTIFIED, run_bake, run_canonical, run_dynamic
from tests.stages.test_fits import files as files

CPU = torch.device("cpu")
ARRAYS = ("means", "quats", "log_scales", "opacity_logits", "sh", "present", "times")


def equal(first: Sequence, second: Sequence) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ARRAYS)


@pytest.mark.parametrize(("settings", "steps"), [(MOVING, 60), (RECTIFIED, 70)])
def test_the_last_checkpoint_is_the_baked_sequence_and_the_first_is_not(files, report, monkeypatch, settings, steps):
    base = run_canonical(files, report)
    path, kept, save = files / "d" / "checkpoints" / "dynamic.pt", [], checkpoint.save

    def keep(*arguments):
        save(*arguments)
        kept.append(baking.live(path, CPU))

    monkeypatch.setattr(checkpoint, "save", keep)
    model = run_dynamic(files, report, base, settings, interval=1e-9)
    assert kept[-1].record == {"step": steps, "steps": steps}
    assert kept[0].record["step"] < steps
    assert equal(kept[-1], run_bake(model, report))
    assert not equal(kept[0], kept[-1])


def test_a_canonical_fit_has_one_frame(files, report):
    run_canonical(files, report)
    found = baking.live(files / "a_checkpoints" / "canonical.pt", CPU)
    assert found.means.shape[0] == 1 and found.present.all()


def test_a_checkpoint_of_other_code_says_so(files, report):
    run_dynamic(files, report, run_canonical(files, report))
    path = files / "d" / "checkpoints" / "dynamic.pt"
    content = torch.load(path, weights_only=True)
    content["state"]["motion"].popitem()
    torch.save(content, path)
    with pytest.raises(StageError, match="does not fit this code"):
        baking.live(path, CPU)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StageError, match="cannot be read"):
        baking.live(path, CPU)
