"""A sequence that stays in its file is the sequence, and what is wrong with it is found when it is read."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from stages.contracts import ContractError, Sequence, save_tensors
from stages.lib.rows import sequence_on_disk

T, N = 5, 7


@pytest.fixture
def sequence() -> Sequence:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    moving = (drawn(T, N, 3), drawn(T, N, 4), drawn(T, N, 3), drawn(T, N))
    return Sequence(*moving, drawn(N, 1, 3), rng.random((T, N)) > 0.3, np.linspace(0, 1, T), {"device": "cpu"})


def test_every_frame_is_the_one_that_was_saved(sequence, tmp_path):
    path = tmp_path / "sequence.safetensors"
    sequence.save(path)
    found = sequence_on_disk(path)
    assert found.record == sequence.record and len(found.means) == T
    chosen = found.at(sequence.times[[0, 2, 4]])
    for index, frame in enumerate((0, 2, 4)):
        ours, expected = chosen.frame(index), sequence.frame(frame)
        for part in fields(expected):
            assert np.array_equal(getattr(ours, part.name), getattr(expected, part.name))
    assert [row.tolist() for row in found.present] == sequence.present.tolist()


def test_what_is_not_finite_is_named_with_its_frame(sequence, tmp_path):
    path = tmp_path / "sequence.safetensors"
    means = sequence.means.copy()
    means[3, 2, 1] = np.nan
    save_tensors(path, {f.name: getattr(replace(sequence, means=means), f.name) for f in fields(sequence)[:-1]}, {})
    found = sequence_on_disk(path)
    found.frame(2)
    with pytest.raises(ContractError, match=rf"{path} holds NaN or infinity in means of frame 3"):
        found.frame(3)


def test_another_file_is_refused(sequence, tmp_path):
    path = tmp_path / "sequence.safetensors"
    path.write_bytes(b"\0" * 30)
    with pytest.raises(ContractError, match=rf"{path} cannot be read as a Sequence"):
        sequence_on_disk(path)
    arrays = {f.name: getattr(sequence, f.name) for f in fields(sequence)[:-1]}
    for wrong in ({"quats": arrays["quats"][:-1]}, {"quats": arrays["quats"][:, :-1]}, {"present": arrays["means"]}):
        save_tensors(path, arrays | wrong, {})
        with pytest.raises(ContractError, match=rf"{path} cannot be read as a Sequence"):
            sequence_on_disk(path)
    save_tensors(path, {name: array for name, array in arrays.items() if name != "sh"}, {})
    with pytest.raises(ContractError, match="sh"):
        sequence_on_disk(path)
