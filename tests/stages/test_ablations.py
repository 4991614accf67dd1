"""The ablations stage: rows in the comparison's order, figures of the fits, paired differences, and what is refused."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from stages import ablations
from stages.cli import Reporter, StageError
from stages.lib import fit_files
from stages.lib.comparisons import AblationsRun, Comparison
from stages.lib.scores import HEADER
from tests.stages.comparing import add_rows, comparison, write_beside, write_fit

PAPERS = Path(__file__).resolve().parents[2] / "config" / "reported" / "papers.csv"
GAIN = {("mouth", 0): 1.0, ("mouth", 1): 3.0, ("walk", 0): 4.0, ("walk", 1): 4.0}


def fill(folder: Path, chosen: Comparison, **given) -> list[Path]:
    """Every fit of a comparison: the base at 20 dB, the others above it by GAIN, tof the lower the better."""
    paths = []
    for fit in chosen.fits():
        _, scene, variant, seed = fit
        gain = 0.0 if variant == chosen.base else GAIN[scene, seed]
        scores = {"psnr_masked": 20 + gain, "psnr": 25 + gain, "ssim": 0.9, "tof": 0.5 - gain / 100, "dtssd": 0.01}
        paths.append(write_fit(folder, fit, scores | {"warp_gap": 0.1, "psnr_sudden": 15 + gain}, **given))
    return paths


def make(folder: Path, paths: list[Path], chosen: Comparison) -> tuple[list[dict], str]:
    """Rows and Markdown of the table."""
    report = Reporter("ablations", "", io.StringIO(), io.StringIO())
    outputs = [folder / f"{chosen.name}{end}" for end in (".csv", ".md", ".tex", ".png")]
    ablations.main(paths, PAPERS, *outputs, AblationsRun(comparison=chosen), report)
    with open(outputs[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert outputs[3].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return rows, outputs[1].read_text(encoding="utf-8")


def test_the_header_extends_that_of_table_1(tmp_path):
    chosen = comparison("neither", "4dstr")
    rows, _ = make(tmp_path, fill(tmp_path, chosen), chosen)
    extra = [
        name + end
        for name in ("psnr_sudden", "gaussians", "fit_s", "fit_cpu_s", "fit_mb")
        for end in ("", "_se", "_reason")
    ]
    assert list(rows[0]) == HEADER + extra
    assert ablations.header(comparison("T2", axis="length"))[-1] == "length"
    assert "encoder_parameters" in ablations.header(comparison("a", speed=True))


def test_rows_stand_in_the_comparisons_order_with_means_over_seeds_then_scenes(tmp_path):
    chosen = comparison("neither", "4dstr", "b")
    rows, _ = make(tmp_path, fill(tmp_path, chosen)[::-1], chosen)
    assert [row["variant"] for row in rows] == ["neither", "4dstr", "b"]
    assert rows[1]["method"] == "4dstr (toy)"
    assert (rows[1]["n_scenes"], rows[1]["n_seeds"], rows[1]["source"]) == ("2", "2", "measured")
    assert [float(rows[1][name]) for name in ("psnr_masked", "psnr_masked_se", "psnr_sudden")] == [23.0, 1.0, 18.0]


def test_differences_are_paired_and_have_an_interval_over_objects(tmp_path):
    chosen = comparison("neither", "4dstr")
    _, markdown = make(tmp_path, fill(tmp_path, chosen), chosen)
    assert "## Difference to `neither`" in markdown
    assert "| `4dstr` | 2 | 4 | +3.00 [-9.71, +15.71] | +0.0000 [+0.0000, +0.0000] | -0.0300" in markdown
    assert "| `4dstr` | mouth | 1 | +3.00 | +0.0000 | -0.0300 |" in markdown


def test_a_difference_is_bold_when_its_interval_leaves_0_out(tmp_path, monkeypatch):
    for fit in GAIN:
        monkeypatch.setitem(GAIN, fit, 3.0)
    chosen = comparison("neither", "4dstr")
    _, markdown = make(tmp_path, fill(tmp_path, chosen), chosen)
    assert "| `4dstr` | 2 | 4 | **+3.00 [+3.00, +3.00]** | +0.0000 [+0.0000, +0.0000] | **-0.0300" in markdown


def test_one_object_has_no_interval(tmp_path):
    chosen = comparison("neither", "4dstr", scenes=("mouth",))
    _, markdown = make(tmp_path, fill(tmp_path, chosen), chosen)
    assert "| `4dstr` | 1 | 2 | +2.00, one object: no interval |" in markdown


def test_figures_of_the_fits(tmp_path):
    chosen = comparison("4dstr", "gru", speed=True, counts=True)
    paths = fill(tmp_path, chosen)
    for path, (_, _, variant, seed) in zip(paths, chosen.fits(), strict=True):
        counts = [(100, 0, 7), (100, 1, 7), (200, 0, 1000 + seed), (200, 1, 2000 + seed)]
        measured = {"encoder_parameters": 9920, "model_parameters": 1e5, "fps_network": 30 + seed, "fps_baked": 90}
        write_beside(
            path, counts if variant == "4dstr" else None, {"s": 10 + seed, "max_rss": 500, "cpu_time": None}, measured
        )
    rows, markdown = make(tmp_path, paths, chosen)
    names = ("gaussians", "fit_s", "fit_mb", "encoder_parameters", "fps_network", "fps_baked")
    assert [float(rows[0][name]) for name in names] == [1500.5, 10.5, 500, 9920, 30.5, 90]
    assert (rows[1]["gaussians"], rows[1]["gaussians_reason"]) == ("", "no gaussians.csv, or none counted")
    assert "fps_network: renders per second" in markdown


def test_the_time_of_a_shared_beginning_is_counted_in(tmp_path):
    chosen = comparison("4dstr", "gru", speed=True)
    paths = fill(tmp_path, chosen)
    for path, (_, _, variant, _) in zip(paths, chosen.fits(), strict=True):
        write_beside(path, benchmark={"s": 12.0, "cpu_time": 20.0, "max_rss": 500})
        if variant == "gru":
            (path.parent / fit_files.BEGINNING).write_text('{"s": 30.5, "cpu_time": 31}')
    alone, shared = make(tmp_path, paths, chosen)[0]
    names = ("fit_s", "fit_cpu_s", "fit_mb")
    assert [float(alone[name]) for name in names] == [12, 20, 500]
    assert [float(shared[name]) for name in names] == [42.5, 51, 500]


def test_absent_figures_have_a_reason(tmp_path):
    chosen = comparison("neither", "4dstr", speed=True)
    paths = fill(tmp_path, chosen)
    write_beside(paths[0], benchmark={"s": 12.0, "max_rss": "NA"})
    row = make(tmp_path, paths, chosen)[0][0]
    assert (row["fit_s"], row["fit_mb"]) == ("12", "")
    assert "no benchmark of the fit" in row["fit_s_reason"]
    assert "has no max_rss" in row["fit_mb_reason"]
    assert row["fps_baked_reason"] == "no speed.csv: frame rates are taken on the first seed"
    assert row["gaussians_reason"]


def test_a_variant_and_a_scene_that_were_not_run_are_said(tmp_path):
    chosen = comparison("neither", "4dstr", "gru")
    paths = [path for path in fill(tmp_path, chosen) if "gru" not in path.parts]
    paths.remove(tmp_path / "toys/walk/4dstr/seed1/metrics.csv")
    rows, markdown = make(tmp_path, paths, chosen)
    assert (rows[2]["psnr"], rows[2]["n_scenes"], rows[2]["psnr_reason"]) == ("", "0", "not run: no metrics of gru")
    assert (float(rows[1]["psnr"]), rows[1]["psnr_reason"]) == (28.0, "not run: walk seed 1")
    assert (rows[1]["clip"], rows[1]["clip_reason"]) == ("", "needs network weights; not computed")
    assert "- `gru` not run: no metrics of gru" in markdown and "- `4dstr` not run: walk seed 1" in markdown
    assert "| `gru` | 0 | 0 | no object and seed that both sides have |" in markdown


def test_a_missing_base_leaves_the_means(tmp_path):
    chosen = comparison("neither", "4dstr")
    paths = [path for path in fill(tmp_path, chosen) if "4dstr" in path.parts]
    rows, markdown = make(tmp_path, paths, chosen)
    assert rows[0]["psnr_reason"] == "not run: no metrics of neither" and float(rows[1]["psnr"]) == 28.0
    assert "| `4dstr` | 0 | 0 | no object" in markdown


def test_an_undefined_metric_keeps_its_reason(tmp_path):
    chosen = comparison("neither", "4dstr")
    paths = fill(tmp_path, chosen)
    for seed in (0, 1):
        write_fit(tmp_path, ("toys", "walk", "4dstr", seed), {"psnr": 20.0, "psnr_sudden": "no pixel changes"})
    rows, markdown = make(tmp_path, paths, chosen)
    assert rows[1]["psnr_sudden_reason"] == "1 of 2 scenes: no pixel changes; one scene: no standard error"
    assert "| +2.00, one object: no interval |" in markdown


@pytest.mark.parametrize("given", [{"device": "cuda"}, {"frames": 60}, {"anchors": "inflated"}, {"size": "64x64"}])
def test_mixed_provenance_is_refused(tmp_path, given):
    chosen = comparison("neither", "4dstr")
    paths = fill(tmp_path, chosen)
    write_fit(tmp_path, ("toys", "walk", "4dstr", 1), {"psnr": 20.0}, **given)
    with pytest.raises(StageError, match=f"the fits of suite toys were made with {next(iter(given))} .*expected one"):
        make(tmp_path, paths, chosen)


def test_only_a_comparison_of_supervisions_mixes_them(tmp_path):
    chosen = comparison("stag4d", "stag4d_sds")
    paths = fill(tmp_path, chosen)
    for scene, seed in GAIN:
        write_fit(tmp_path, ("toys", scene, "stag4d_sds", seed), {"psnr": 20.0}, supervision="both")
    with pytest.raises(StageError, match="the fits of suite toys were made with supervision both and photometric"):
        make(tmp_path, paths, chosen)
    rows, markdown = make(tmp_path, paths, chosen.model_copy(update={"differ": ("supervision",)}))
    assert [row["supervision"] for row in rows] == ["photometric", "both"]
    assert "rendered anchors, both and photometric supervision." in markdown


def test_a_fit_of_no_comparison_is_refused(tmp_path):
    chosen = comparison("neither", "4dstr")
    other = write_fit(tmp_path, ("toys", "walk", "static", 0), {"psnr": 20.0})
    with pytest.raises(StageError, match="variant static, seed 0, which the settings do not name"):
        make(tmp_path, [*fill(tmp_path, chosen), other], chosen)


def test_equal_inputs_give_equal_bytes_in_any_order(tmp_path):
    chosen = comparison("neither", "4dstr", "b", counts=True)
    paths = fill(tmp_path, chosen)
    for path in paths:
        write_beside(path, [(1, 0, 10), (1, 1, 20)])
    names = [f"table2{end}" for end in (".csv", ".md", ".png")]
    make(tmp_path, paths, chosen)
    first = [(tmp_path / name).read_bytes() for name in names]
    make(tmp_path, paths[::-1], chosen)
    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_pictures_over_length_and_frames(tmp_path):
    for axis in ("length", "frame"):
        chosen = comparison("T2", "T10x", axis=axis)
        rows, markdown = make(tmp_path, fill(tmp_path, chosen), chosen)
        assert ("| T |" in markdown) == (axis == "length")
    assert "length" not in rows[0]


def test_counts_are_the_last_steps(tmp_path):
    path = write_fit(tmp_path, ("toys", "mouth", "a", 0), {"psnr": 1.0})
    assert fit_files.gaussian_counts(path.parent) == {}
    write_beside(path, [(9, 0, 5), (10, 0, 6), (10, 1, 8)])
    assert fit_files.gaussian_counts(path.parent) == {0: 6.0, 1: 8.0}
    shutil.copy(path, path.parent / "gaussians.csv")
    with pytest.raises(StageError, match="expected rows of"):
        fit_files.gaussian_counts(path.parent)


def test_log_normality_is_tested_over_all_rounds_and_frames(tmp_path):
    chosen = comparison("neither", "4dstr", counts=True, scenes=("mouth",))
    paths = fill(tmp_path, chosen)
    assert "log-normal" not in make(tmp_path, paths, chosen)[1]
    for path, distances in zip(paths, ((0.05, 0.01), (0.03, 0.06), (), (0.02,)), strict=True):
        rows = "".join(f"9,{frame},500,{distance},0.025\n" for frame, distance in enumerate(distances))
        (path.parent / "gradients.csv").write_text("step,row,count,ks_distance,ks_bound\n" + rows)
    _, markdown = make(tmp_path, paths, chosen)
    assert "in 3 of 5 rounds x frames of 3 fits; median Kolmogorov-Smirnov distance 0.030, where 0.025" in markdown
    assert "log-normal" not in make(tmp_path, paths, chosen.model_copy(update={"counts": False}))[1]
    (paths[0].parent / "gradients.csv").write_text("step,frame\n1,2\n")
    with pytest.raises(StageError, match="has no numbers in ks_distance and ks_bound"):
        make(tmp_path, paths, chosen)


def test_the_papers_table_stands_apart_and_latex_marks_ours_only(tmp_path):
    chosen = comparison("neither", "4dstr")
    _, text = make(tmp_path, fill(tmp_path, chosen), chosen)
    assert "## Reported by the paper" in text and "| both | 45.31 | 795.21 | 0.918 | 0.121 |" in text
    ours, theirs = (tmp_path / "table2.tex").read_text(encoding="utf-8").split("Reported: 4DSTR Table 2")
    assert r"\textbf{" in ours and "795.21" not in ours
    assert "795.21" in theirs and r"\textbf" not in theirs


def test_a_suite_without_ground_truth_is_compared_on_each_training_view(tmp_path):
    chosen = comparison("stag4d", "4dstr", scenes=("minions",), name="comparison")
    base = {"input": 30.0, "anchor": 25.0}
    gain = {"input": 0.5, "anchor": -0.25}
    paths = []
    for fit in chosen.fits():
        scores = {"psnr": "no ground-truth views", "tof": "no ground-truth views"}
        path = write_fit(tmp_path, fit, scores, anchors="imported")
        for view, value in base.items():
            add_rows(path, fit, view, "0", 0, {"psnr_masked": value + gain[view] * (fit[2] == "4dstr") + fit[3]})
        write_beside(path, [(9, 0, 100)])
        paths.append(path)
    rows, markdown = make(tmp_path, paths, chosen)
    found = [(row["variant"], row["view"], float(row["psnr_masked"])) for row in rows]
    assert found == [
        ("stag4d", "input", 30.5),
        ("4dstr", "input", 31.0),
        ("stag4d", "anchor", 25.5),
        ("4dstr", "anchor", 25.25),
    ]
    assert {row["gaussians"] for row in rows} == {"100"}
    assert {(row["tof"], row["tof_reason"]) for row in rows} == {("", "scored on evaluation views only")}
    assert list(rows[0]) == ablations.header(chosen, ("input", "anchor"))
    assert "## Means, input view" in markdown and "## Difference to `stag4d`, anchors" in markdown
    assert "| `4dstr` | minions | 1 | +0.50 | – |" in markdown and "| `4dstr` | minions | 1 | -0.25 | – |" in markdown
    assert "| `4dstr` | 1 | 2 | +0.50, one object: no interval |" in markdown
    assert "This suite has no ground truth of other views" in markdown and "| tof" not in markdown
    ours = (tmp_path / "comparison.tex").read_text(encoding="utf-8").split("Toys, anchors")
    assert len(ours) == 2 and "Toys, input view" in ours[0]
    # Best on the input view by the method, on the anchors by its base.
    assert [part.count(r"\textbf{31.00") for part in ours] == [1, 0]
    assert [part.count(r"\textbf{25.50") for part in ours] == [0, 1]


def test_two_pairs_of_anchors_are_each_held_against_their_own(tmp_path):
    """A method on generated anchors is compared with itself on rendered ones, never with the other method."""
    chosen = comparison("stag4d", "stag4d_micro", "4dstr", "4dstr_micro", name="anchor_cost", differ=("anchors",))
    own = {"4dstr": "4dstr", "4dstr_micro": "4dstr"}
    variants = [one.model_copy(update={"base": own.get(one.name)}) for one in chosen.variants]
    chosen = chosen.model_copy(update={"variants": variants})
    cost = {"stag4d": 20.0, "stag4d_micro": 14.0, "4dstr": 30.0, "4dstr_micro": 28.0}
    paths = []
    for fit in chosen.fits():
        source = "micro" if fit[2].endswith("micro") else "rendered"
        paths.append(write_fit(tmp_path, fit, {"psnr_masked": cost[fit[2]], "iou": 0.5}, anchors=source))
    rows, markdown = make(tmp_path, paths, chosen)
    assert [row["anchors"] for row in rows] == ["rendered", "micro", "rendered", "micro"]
    assert "micro and rendered anchors, photometric supervision." in markdown
    assert "## Difference to `stag4d` and `4dstr`" in markdown
    assert "| `stag4d_micro` to `stag4d` | 2 | 4 | **-6.00 [-6.00, -6.00]** |" in markdown
    assert "| `4dstr_micro` to `4dstr` | 2 | 4 | **-2.00 [-2.00, -2.00]** |" in markdown
    assert "`4dstr` to" not in markdown
    with pytest.raises(StageError, match="were made with anchors micro and rendered; expected one anchors"):
        make(tmp_path, paths, chosen.model_copy(update={"differ": ()}))
