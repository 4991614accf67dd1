"""The benchmark at full size: its path with tiny networks on a CPU, and that its networks are the published ones; and
that of the small Zero123's guidance."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks import full_size, micro_guidance
from tests.benchmarks.full_size import Place

TINY = ["--tiny", "--device", "cpu", "--frames", "3", "--size", "32", "--steps", "2", "--sds-steps", "2"]


def cells(printed: str, columns: tuple[str, ...] = full_size.COLUMNS) -> list[list[str]]:
    """The table's rows below its head."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert lines[0] == "| " + " | ".join(columns) + " |"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_rows_with_tiny_networks(capsys):
    full_size.main(TINY)
    printed = capsys.readouterr().out
    rows = cells(printed)
    assert [row[0] for row in rows] == [
        "anchors, 2 steps, 16 pixels, guidance 4.0, 2 frames a batch: 3 frames",
        "score distillation, vae 16, view of 32 pixels: 2 steps",
        "score distillation, vae 8, view of 32 pixels: 2 steps",
        "score distillation, linear, view of 32 pixels: 2 steps",
    ]
    for number, (_, preparation, work, each, *memory) in enumerate(rows):
        assert float(each) == pytest.approx(float(work) / (2 if number else 3), abs=0.01)
        assert (preparation == "") == (number == 0) and memory == ["", ""]
    assert f"tiny networks in float32, torch {torch.__version__}" in printed


def test_parts_and_encoders_are_chosen(capsys):
    full_size.main([*TINY, "--parts", "sds", "--encoders", "linear"])
    assert [row[0].split(",")[1].strip() for row in cells(capsys.readouterr().out)] == ["linear"]


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (full_size.anchor_model, 865_910_724 + 83_653_863 + 340_387_840 + 632_076_800),
        (full_size.posed_model, 859_532_484 + 83_653_863 + 303_966_208 + 593_664),
    ],
)
def test_the_networks_are_the_published_ones_in_half_precision(make, parameters):
    before = torch.get_default_dtype()
    model = make(Place(torch.device("meta"), torch.float16, tiny=False))
    networks = [part for part in vars(model).values() if isinstance(part, torch.nn.Module)]
    each = [parameter for network in networks for parameter in network.parameters()]
    assert sum(parameter.numel() for parameter in each) == parameters
    assert {(parameter.dtype, parameter.device.type) for parameter in each} == {(torch.float16, "meta")}
    assert torch.get_default_dtype() == before


def test_without_a_gpu_it_says_what_to_add(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        full_size.main([])
    assert "add `--tiny --device cpu`" in capsys.readouterr().err


def test_the_rows_of_the_small_zero123(capsys):
    micro_guidance.main(["--steps", "1", "--frames", "2"])
    rows = cells(capsys.readouterr().out, micro_guidance.COLUMNS)
    assert [row[0] for row in rows] == ["drawing alone", "vae 64", "vae 32", "linear"]
    assert rows[0][2:] == ["", "", ""] and float(rows[0][1]) > 0
    assert all(float(cell) > 0 for row in rows[1:] for cell in row[1:4])
    assert [row[4] for row in rows[:3]] == ["", "", ""] and 50 < float(rows[3][4].split()[0]) < 100
