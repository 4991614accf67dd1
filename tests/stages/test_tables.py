"""The tables stage: averages by hand, reasons beside every absent number, ranking, and equal bytes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from stages import tables
from stages.cli import Reporter, StageError
from stages.lib import scores
from stages.settings import Run

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "reported" / "table1.csv"
PAPERS = SHIPPED.with_name("papers.csv")
HEADER = "suite,scene,variant,seed,view,azimuth_deg,frame,metric,value,reason"
TABLE_HEADER = (
    "method,variant,suite,source,supervision,anchors,n_scenes,n_seeds,frames,size,device,"
    "psnr,psnr_se,psnr_reason,psnr_masked,psnr_masked_se,psnr_masked_reason,ssim,ssim_se,ssim_reason,iou,iou_se,iou_reason,"
    "tof,tof_se,tof_reason,dtssd,dtssd_se,dtssd_reason,warp_gap,warp_gap_se,warp_gap_reason,"
    "flicker_gap,flicker_gap_se,flicker_gap_reason,clip,clip_se,clip_reason,lpips_vgg,lpips_vgg_se,lpips_vgg_reason,"
    "fvd_clip,fvd_clip_se,fvd_clip_reason,fvd_set,fvd_set_se,fvd_set_reason,fid_frame,fid_frame_se,fid_frame_reason,"
    "fid_vid3d,fid_vid3d_se,fid_vid3d_reason"
)


class Bench:
    """Writes metrics files into a folder and makes the table of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        self.networks: list[Path] = []

    def add(
        self, scene="bird", variant="stag4d", seed=0, values=(), title=None, method=None, scoring=None, **about
    ) -> Path:
        """One metrics.csv; values: (view, frame, metric, value or reason)."""
        settings = {"suite": "toys", "scene": scene, "variant": variant, "seed": seed}
        settings |= {"title": title or variant, "method": method or variant}
        settings["metrics"] = scoring or {"mask_threshold": 0.5, "skip_ends": 2}
        record = {"settings": settings, "frames": 24, "size": "128x128", "anchors": "rendered", "device": "cpu"}
        record |= {"backend": "numba", "supervision": "photometric", "machine": "x86_64", "python": "3.11.7"}
        record |= {"opencv": "5.0.0", "versions": {"numpy": "2.4.6"}, **about}
        lines = ["# " + json.dumps(record), HEADER]
        for view, frame, metric, value in values:
            cells = (str(value), "") if isinstance(value, float) else ("", value)
            lines.append(",".join(["toys", scene, variant, str(seed), view, "15", frame, metric, *cells]))
        path = self.folder / f"metrics{len(self.paths)}.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.paths.append(path)
        return path

    def table(self, paths: list[Path] | None = None, reported: Path = SHIPPED) -> tuple[list[dict], str]:
        out, markdown = self.folder / "table1.csv", self.folder / "table1.md"
        report = Reporter("tables", "", io.StringIO(), io.StringIO())
        tex = self.folder / "table1.tex"
        tables.main(paths or self.paths, reported, out, markdown, tex, PAPERS, Run(), report, self.networks)
        with open(out, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)), markdown.read_text(encoding="utf-8")


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def frames_of(metric: str, *values: float, view: str = "evaluation") -> list[tuple]:
    return [(view, str(frame), metric, value) for frame, value in enumerate(values)]


def test_header_is_the_agreed_one(bench):
    bench.add(values=frames_of("psnr", 20.0))
    bench.table()
    assert (bench.folder / "table1.csv").read_text(encoding="utf-8").splitlines()[0] == TABLE_HEADER


def test_mean_over_frames_then_seeds_then_scenes(bench):
    bench.add("bird", seed=0, values=frames_of("psnr", 10.0, 20.0, 30.0))
    bench.add("bird", seed=1, values=frames_of("psnr", 30.0))
    bench.add("frog", seed=0, values=frames_of("psnr", 31.0) + frames_of("psnr", 99.0, view="input"))
    bench.add("frog", seed=1, values=frames_of("psnr", 31.0) + frames_of("psnr", 99.0, view="anchor"))
    row = bench.table()[0][0]
    assert float(row["psnr"]) == pytest.approx((25.0 + 31.0) / 2)
    assert float(row["psnr_se"]) == pytest.approx(3.0)
    assert (row["n_scenes"], row["n_seeds"], row["psnr_reason"], row["source"]) == ("2", "2", "", "measured")


def test_provenance_columns_come_from_the_record(bench):
    bench.add(
        values=frames_of("psnr", 20.0), title="stag4d (photometric anchors, no SDS)", supervision="both", frames=32
    )
    row = bench.table()[0][0]
    expected = {"method": "stag4d (photometric anchors, no SDS)", "variant": "stag4d", "suite": "toys"}
    expected |= {
        "supervision": "both",
        "anchors": "rendered",
        "frames": "32",
        "size": "128x128",
        "device": "cpu (numba)",
    }
    assert {name: row[name] for name in expected} == expected


def test_one_scene_has_no_standard_error(bench):
    bench.add(values=frames_of("iou", 0.5))
    row = bench.table()[0][0]
    assert (row["iou"], row["iou_se"], row["iou_reason"]) == ("0.5", "", "one scene: no standard error")


def test_an_absent_number_has_its_reason(bench):
    bench.add(
        "bird", values=[("evaluation", "", "psnr", "no ground-truth views"), *frames_of("psnr", 33.0, view="input")]
    )
    rows, markdown = bench.table()
    assert (rows[0]["psnr"], rows[0]["psnr_reason"]) == ("", "no ground-truth views")
    assert (rows[0]["clip"], rows[0]["clip_reason"]) == ("", "needs network weights; not computed")
    assert (rows[0]["tof"], rows[0]["tof_reason"]) == ("", "not in the metrics files")
    assert "- without a value: psnr: no ground-truth views" in markdown
    measured = [row for row in rows if row["source"] == "measured"]
    assert all(row[name] or row[f"{name}_reason"] for row in measured for name in tables.METRICS)
    assert "| toys | bird | stag4d | rendered | – | 33.00 | 33.00 |" in markdown


def test_scenes_without_truth_are_left_out_and_counted(bench):
    bench.add("bird", values=frames_of("psnr", 20.0))
    bench.add("frog", values=frames_of("psnr", 30.0))
    bench.add("own", values=[("evaluation", "", "psnr", "no ground-truth views")])
    row = bench.table()[0][0]
    assert float(row["psnr"]) == 25.0 and row["n_scenes"] == "3"
    assert row["psnr_reason"] == "2 of 3 scenes: no ground-truth views"


def test_rows_do_not_mix_provenance(bench):
    bench.add("bird", values=frames_of("psnr", 20.0))
    bench.add("bird", values=frames_of("psnr", 30.0), device="cuda", backend="gsplat")
    found = {row["device"]: float(row["psnr"]) for row in bench.table()[0] if row["source"] == "measured"}
    assert found == {"cpu (numba)": 20.0, "cuda (gsplat)": 30.0}


def test_unequal_seeds_are_said(bench):
    for scene, seed in (("bird", 0), ("bird", 1), ("frog", 0)):
        bench.add(scene, seed=seed, values=frames_of("psnr", 20.0))
    assert bench.table()[0][0]["n_seeds"] == "1 to 2"


def test_equal_inputs_give_equal_bytes_in_any_order(bench):
    for scene in ("bird", "frog", "eel"):
        for variant in ("static", "stag4d"):
            values = frames_of("psnr", 20.1 + len(scene), 21.7) + frames_of("psnr_masked", 11.3, view="input")
            bench.add(scene, variant, values=values)
    bench.table()
    names = ("table1.csv", "table1.md")
    first = [(bench.folder / name).read_bytes() for name in names]
    bench.table(bench.paths[::-1])
    assert [(bench.folder / name).read_bytes() for name in names] == first


def test_best_is_bold_second_underlined_and_diagnostics_are_not_ranked(bench):
    for variant, psnr, tof, gap in (("a", 20.0, 0.5, 0.1), ("b", 22.0, 0.25, 0.2), ("c", 21.0, 0.75, 0.3)):
        values = [*frames_of("psnr", psnr), ("evaluation", "", "tof", tof), ("evaluation", "", "warp_gap", gap)]
        bench.add(variant=variant, values=values)
    markdown = bench.table()[1]
    assert "| 20.00 | <u>0.5000</u> | 0.1 |" in markdown
    assert "| **22.00** | **0.2500** | 0.2 |" in markdown
    assert "| <u>21.00</u> | 0.7500 | 0.3 |" in markdown
    assert "psnr ↑ | tof ↓ | warp_gap (diagnostic) |" in markdown


def test_a_row_of_fewer_scenes_is_not_ranked_and_named(bench):
    for scene in ("bird", "frog"):
        bench.add(scene, "a", values=frames_of("psnr", 20.0))
        bench.add(scene, "b", values=frames_of("psnr", 21.0))
    bench.add("bird", "theirs", values=frames_of("psnr", 30.0), title="Theirs (2025)")
    markdown = bench.table()[1]
    assert "- not ranked, since of other scenes than the rest: Theirs (2025) (1 of 2)" in markdown
    assert "**21.00**" in markdown and "<u>20.00</u>" in markdown and "| 30.00 |" in markdown
    text = (bench.folder / "table1.tex").read_text(encoding="utf-8")
    assert "% - not ranked" in text and r"\textbf{21.00}" in text and r"\textbf{30.00}" not in text


def test_distances_between_sets_are_ranked_at_the_largest_n_alone():
    rows = [
        {"scenes": frozenset("ab"), "fvd_set": value, "fvd_set_se": None, "fvd_set_count": count}
        for value, count in ((5.0, 4), (7.0, 8), (9.0, 8))
    ]
    shown, cells = scores.metric_columns(rows, {"fvd_set": scores.METRICS["fvd_set"]})
    assert shown == ["fvd_set"] and cells == [["5.0"], ["**7.0**"], ["<u>9.0</u>"]]


def test_what_prints_alike_ranks_alike(bench):
    bench.add(variant="a", values=frames_of("psnr", 20.001))
    bench.add(variant="b", values=frames_of("psnr", 20.002))
    bench.add(variant="c", values=frames_of("psnr", 19.0))
    markdown = bench.table()[1]
    assert markdown.count("**20.00**") == 2 and markdown.count("<u>19.00</u>") == 1


def test_worst_frame_of_the_training_views(bench):
    bench.add(seed=0, values=frames_of("psnr", 30.0, 10.0, view="input"))
    bench.add(seed=1, values=frames_of("psnr", 30.0, 20.0, view="input"))
    assert "| toys | bird | stag4d | rendered | – | 22.50 | 15.00 | – |" in bench.table()[1]


def test_difference_to_the_floor(bench):
    for scene, floor, fit in (("bird", 20.0, 23.0), ("frog", 18.0, 17.0)):
        bench.add(scene, "static", values=[*frames_of("psnr_masked", floor), ("evaluation", "", "tof", 0.5)])
        bench.add(scene, "stag4d", values=[*frames_of("psnr_masked", fit), ("evaluation", "", "tof", 0.25)])
    markdown = bench.table()[1]
    assert "| toys | bird | stag4d | +3.00 | -0.2500 |" in markdown
    assert "| toys | frog | stag4d | -1.00 | -0.2500 |" in markdown
    assert "| toys | mean of 2 | stag4d | +1.00 | -0.2500 |" in markdown


def test_the_floor_must_share_anchors(bench):
    bench.add(variant="static", values=frames_of("psnr", 20.0), anchors="inflated")
    bench.add(variant="stag4d", values=frames_of("psnr", 21.0))
    assert "Nothing to compare" in bench.table()[1]


def test_reported_rows_of_4dstr(bench):
    bench.add(values=frames_of("psnr", 20.0))
    rows, markdown = bench.table()
    reported = {row["method"]: row for row in rows if row["source"] == "reported"}
    assert list(reported) == ["DG4D", "Consistent4D", "4DGen", "SC4D", "STAG4D", "4Diffusion", "MVTokenFlow", "4DSTR"]
    columns = ("fid_frame", "fvd_clip", "clip", "lpips_vgg")
    assert [reported["4DSTR"][name] for name in columns] == ["45", "795", "0.92", "0.12"]
    assert [reported["STAG4D"][name] for name in columns] == ["53", "992", "0.91", "0.13"]
    assert [reported["SC4D"][name] for name in columns] == ["", "880", "0.90", "0.14"]
    assert reported["SC4D"]["fid_frame_reason"] == "4DSTR Table 1 prints no value"
    assert reported["4DSTR"]["psnr"] == "" and reported["4DSTR"]["psnr_reason"] == "not reported"
    assert all(row["suite"] == "consistent4d" and row["n_scenes"] == "7" for row in reported.values())
    assert "| 4DSTR | – | consistent4d | 7 | 0.92 | 0.12 | 795 | 45 |" in markdown
    assert "**0.92**" not in markdown


def test_one_fit_given_twice_is_refused(bench):
    bench.add(values=frames_of("psnr", 20.0))
    bench.add(values=frames_of("psnr", 21.0))
    with pytest.raises(StageError, match="describe the same fit; expected each once"):
        bench.table()


def test_files_scored_with_other_settings_are_refused(bench):
    bench.add("bird", values=frames_of("psnr", 20.0))
    bench.add("frog", values=frames_of("psnr", 21.0), scoring={"mask_threshold": 0.3, "skip_ends": 2})
    with pytest.raises(StageError, match="expected one `metrics` section for all"):
        bench.table()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "# {}\na,b\n", "# not json\n"])
def test_another_file_is_refused(bench, text):
    path = bench.folder / "metrics.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StageError, match="does not open with the record"):
        bench.table([path])


def test_a_truncated_file_is_refused(bench):
    path = bench.add(values=frames_of("psnr", 20.0))
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(StageError, match="cannot be read as a table"):
        bench.table()


def test_unknown_metrics_in_the_reported_file_are_refused(bench):
    bench.add(values=frames_of("psnr", 20.0))
    path = bench.folder / "reported.csv"
    path.write_text("method,reference,suite,n_scenes,metric,value,source\nX,,s,7,fvd,1,paper\n", encoding="utf-8")
    with pytest.raises(StageError, match=r"names metrics \['fvd'\]; expected some of"):
        bench.table(reported=path)
    path.write_text("method,value\nX,1\n", encoding="utf-8")
    with pytest.raises(StageError, match="has columns"):
        bench.table(reported=path)


# ------------------------------------------------------------------ LaTeX, and the papers' other tables


def test_latex_marks_measured_rows_only(bench):
    bench.add("bird", "stag4d", values=frames_of("psnr", 20.0), title="100 % & more_a")
    bench.add("bird", "4dstr", values=frames_of("psnr", 21.0))
    bench.add("bird", "static", values=frames_of("psnr", 10.0))
    bench.table()
    text = (bench.folder / "table1.tex").read_text(encoding="utf-8")
    measured, reported = text.split("Reported by papers", 1)
    assert r"\textbf{21.00}" in measured and r"\underline{20.00}" in measured
    assert r"100 \% \& more\_a" in measured
    assert r"\textbf" not in reported and r"\underline" not in reported
    assert reported.count(r"\begin{tabular}") == 1 + 4 and "795" in reported
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}")


def test_the_papers_tables_are_on_the_page_and_never_in_the_csv(bench):
    bench.add(values=frames_of("psnr", 20.0))
    rows, text = bench.table()
    assert "Orster Table 3, as printed:" in text and "| without Orster (L_orster) | 0.40 |" in text
    assert "4DSTR Table 6, as printed:" in text and not [row for row in rows if "Orster" in row["method"]]
