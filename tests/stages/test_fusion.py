"""Stage fusion: means, differences to weight 0 and margins over constants by hand; blocks stay apart; bad input."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from stages import fusion
from stages.cli import Reporter, StageError
from stages.lib.pairing import Row, write
from stages.settings import CONSTANT_ANSWERS, FusionBlock, FusionRun, LikenessRun, MetricsSettings, fusion_name

BLOCKS = [FusionBlock(suite="development", scenes=["robot", "snail"]), FusionBlock(suite="embedded", scenes=["walk"])]
RUN = FusionRun(source="micro", fusions=[0.0, 0.5], seeds=[0, 1], blocks=BLOCKS)
# Masked PSNR of weight 0 by object and seed; weight 0.5 is GAIN above.
OWN = {
    ("robot", 0): 12.0,
    ("robot", 1): 14.0,
    ("snail", 0): 20.0,
    ("snail", 1): 20.0,
    ("walk", 0): 9.0,
    ("walk", 1): 9.0,
}
GAIN = {"robot": 1.0, "snail": 2.0, "walk": -3.0}
CONSTANTS = {"copied": 10.0, "mirrored": 11.0, "white": 5.0, "mean": 8.0}


def write_scores(folder: Path, suite: str, scene: str, variant: str, seed: int, scores: dict, **about) -> Path:
    """One likeness.csv; a text is the reason of a missing score."""
    answer = "generated" if variant.startswith("fusion") else variant
    named = {"suite": suite, "scene": scene, "variant": variant, "title": variant, "method": "micro", "seed": seed}
    run = LikenessRun(**named, answer=answer, metrics=MetricsSettings())
    told = {"settings": run.model_dump(mode="json"), "frames": 24, "size": "32x32", "supervision": "none"}
    source = {"anchors": "micro", "weights": "abc", "device": "cuda"} if answer == "generated" else {}
    told |= {"anchors": "constant", "weights": None, "device": "cpu", "backend": "numba", **source}
    told |= {"machine": "x86_64", "python": "3.11", "opencv": "5.0", "versions": {"numpy": "2.4"}, **about}
    rows = [
        Row("evaluation", 30.0, None, metric, *((None, value) if isinstance(value, str) else (value, "")))
        for metric, value in scores.items()
    ]
    path = folder / suite / scene / variant / f"seed{seed}.csv"
    write(path, told, run, rows)
    return path


def fill(folder: Path, **about) -> list[Path]:
    """Every file of RUN."""
    paths = []
    for block in BLOCKS:
        for scene in block.scenes:
            rest = {"iou": 0.5, "tof": 0.3}
            for value in RUN.fusions:
                for seed in RUN.seeds:
                    psnr = OWN[scene, seed] + (GAIN[scene] if value else 0)
                    gap = {"warp_gap": 0.02 - value / 100, "warp_signed": 0.02 - value / 100}
                    where = (folder, block.suite, scene, fusion_name(value), seed)
                    paths.append(write_scores(*where, {"psnr_masked": psnr, **gap, **rest}, **about))
            for answer in CONSTANT_ANSWERS:
                gap = {"warp_gap": 0.01, "warp_signed": -0.01}
                where = (folder, block.suite, scene, answer, 0)
                paths.append(write_scores(*where, {"psnr_masked": CONSTANTS[answer], **gap, **rest}))
    return paths


def make(folder: Path, paths: list[Path]) -> tuple[dict, str]:
    """Rows by suite and label, and the Markdown twin."""
    outputs = [folder / f"anchors{end}" for end in (".csv", ".md", ".tex", ".png")]
    fusion.main(paths, *outputs, RUN, Reporter("fusion", "", io.StringIO(), io.StringIO()))
    with open(outputs[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == fusion.HEADER and outputs[3].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return {(row["suite"], row["fusion"] or row["answer"]): row for row in rows}, outputs[1].read_text(encoding="utf-8")


def numbers(row: dict, *names: str) -> list[float | str]:
    return [float(row[name]) if row[name] else "" for name in names]


def test_means_are_over_seeds_then_objects_of_one_suite(tmp_path):
    rows, markdown = make(tmp_path, fill(tmp_path))
    assert list(rows) == [(b.suite, label) for b in BLOCKS for label in ("0", "0.5", *CONSTANT_ANSWERS)]
    first = rows["development", "0"]
    assert numbers(first, "psnr_masked", "psnr_masked_se", "iou") == [16.5, 3.5, 0.5]
    assert [first[name] for name in ("n_scenes", "n_seeds", "frames", "device")] == ["2", "2", "24", "cuda (numba)"]
    assert numbers(rows["embedded", "0"], "psnr_masked", "psnr_masked_se") == [9.0, ""]
    assert "## Suite development (robot, snail)" in markdown and "## Suite embedded (walk)" in markdown


def test_differences_are_paired_to_weight_0(tmp_path):
    rows, markdown = make(tmp_path, fill(tmp_path))
    found = numbers(rows["development", "0.5"], *(f"psnr_masked_difference{end}" for end in ("", "_low", "_high")))
    # Student's t with two objects: 1.5 -+ 12.706 * 0.5.
    assert found == pytest.approx([1.5, -4.853, 7.853])
    assert numbers(rows["development", "0.5"], "warp_gap_difference", "warp_signed_difference") == [-0.005, -0.005]
    assert numbers(rows["development", "0"], "psnr_masked_difference") == [""]
    assert rows["development", "0.5"]["verdict"] == "agrees" and rows["development", "0"]["verdict"] == ""
    alone = rows["embedded", "0.5"]
    assert alone["verdict"] == "not significant"
    assert numbers(alone, "psnr_masked_difference", "psnr_masked_difference_low") == [-3.0, ""]
    assert "| fusion 0.5 | 4 | +1.50 [-4.85, +7.85] | +0.0000" in markdown
    assert "| fusion 0.5 | 2 | -3.00, one object: no interval |" in markdown


def test_the_margin_is_over_the_best_constant_answer_of_the_block(tmp_path):
    rows, markdown = make(tmp_path, fill(tmp_path))
    assert numbers(rows["development", "0"], "margin") == [5.5]
    assert numbers(rows["embedded", "0.5"], "margin") == [-5.0]
    assert numbers(rows["development", "copied"], "psnr_masked", "margin") == [10.0, ""]
    assert "masked PSNR over `mirrored`" in markdown


def test_an_unknown_mean_is_empty_with_its_reason(tmp_path):
    paths = fill(tmp_path)
    for block in BLOCKS:
        for scene in block.scenes:
            write_scores(tmp_path, block.suite, scene, "mean", 0, {"psnr_masked": "not kept", "iou": "not kept"})
    rows, markdown = make(tmp_path, paths)
    row = rows["development", "mean"]
    assert (row["psnr_masked"], row["psnr_masked_reason"]) == ("", "not kept")
    assert "- mean: not kept" in markdown and numbers(rows["development", "0"], "margin") == [5.5]


def test_equal_inputs_give_equal_bytes_in_any_order(tmp_path):
    paths = fill(tmp_path)
    names = [f"anchors{end}" for end in (".csv", ".md", ".tex", ".png")]
    make(tmp_path, paths)
    first = [(tmp_path / name).read_bytes() for name in names]
    make(tmp_path, paths[::-1])
    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_latex_has_a_table_a_block(tmp_path):
    make(tmp_path, fill(tmp_path))
    text = (tmp_path / "anchors.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{table}") == 2 and "suite embedded" in text and r"\textbf{18.00" in text


def test_a_missing_and_a_foreign_file_are_named(tmp_path):
    paths = fill(tmp_path)
    with pytest.raises(StageError, match="the files lack fusion0 of robot in development, seed 0, and 0 more"):
        make(tmp_path, paths[1:])
    foreign = write_scores(tmp_path, "embedded", "swim", "white", 0, {"iou": 0.0})
    with pytest.raises(StageError, match="the files hold white of swim in embedded"):
        make(tmp_path, [*paths, foreign])
    assert not (tmp_path / "anchors.csv").exists()


@pytest.mark.parametrize(
    ("about", "text"),
    [({"weights": "def"}, "drawn by 2 networks"), ({"size": "64x64"}, "made with size 32x32 and 64x64")],
)
def test_two_networks_or_sizes_are_refused(tmp_path, about, text):
    paths = fill(tmp_path)
    write_scores(tmp_path, "embedded", "walk", "fusion0", 0, {"psnr_masked": 9.0}, **about)
    with pytest.raises(StageError, match=text):
        make(tmp_path, paths)
