"""The claims stage: every verdict follows from synthetic numbers, and the shipped list is sound."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from stages import claims
from stages.cli import Reporter, StageError
from stages.lib.comparisons import DEFINITIONS, ClaimsRun, Comparison
from stages.lib.statistics import interval
from tests.stages.comparing import comparison, write_beside, write_fit, write_networks

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "reported" / "claims.csv"
SCENES = ("mouth", "propeller", "walk")


def all_comparisons(scenes=SCENES) -> list[Comparison]:
    """The real tables' variants on toy scenes."""
    return [
        comparison(
            *definition.variants, name=name, scenes=scenes, suite=definition.suite or "toys", speed=definition.speed
        )
        for name, definition in DEFINITIONS.items()
    ]


def make(
    folder: Path, listed: list[dict], gains: dict[str, list[float]], networks: tuple[str, ...] = (), **given
) -> tuple[list[dict], str]:
    """Judge claims on fits whose score is 20 plus the variant's gain on each scene; all metrics alike.

    networks: metrics that networks have scored alike.
    """
    comparisons = all_comparisons(**given)
    paths, scored = {}, []
    for fit in dict.fromkeys(fit for one in comparisons for fit in one.fits()):
        _, scene, variant, seed = fit
        if variant in gains:
            score = 20 + gains[variant][SCENES.index(scene)] + 0.5 * seed
            names = ("psnr_masked", "ssim", "tof", "dtssd", "warp_gap", "psnr_sudden")
            paths[fit] = write_fit(folder, fit, dict.fromkeys(names, score))
            write_beside(paths[fit], speed={"fps_network": score})
            scored += [write_networks(paths[fit], dict.fromkeys(networks, score))] if networks else []
    path = folder / "claims_listed.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, claims.CLAIMS_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    out, markdown, tex = (folder / f"claims.{end}" for end in ("csv", "md", "tex"))
    report = Reporter("claims", "", io.StringIO(), io.StringIO())
    claims.main(list(paths.values()), path, out, markdown, tex, ClaimsRun(comparisons=comparisons), report, scored)
    assert tex.read_text(encoding="utf-8").count(r"\begin{table}") == 1 + len({row["table"] for row in listed})
    with open(out, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), markdown.read_text(encoding="utf-8")


def claim(proxy="psnr_masked", direction="higher", table="2", better="4dstr", worse="neither") -> dict:
    sides = {"table": table, "better": better, "worse": worse, "proxy": proxy, "direction": direction}
    return {"claim": "toy", "paper_metric": "CLIP ↑", "paper_better": "0.9", "paper_worse": "0.8", **sides}


@pytest.mark.parametrize(
    ("gain", "higher", "lower"),
    [
        ([1.9, 2.0, 2.1], "agrees", "disagrees"),
        ([-1.9, -2.0, -2.1], "disagrees", "agrees"),
        ([1.0, 2.0, 9.0], "not significant", "not significant"),
        ([1.0, -2.0, 3.0], "not significant", "not significant"),
        ([0.0, 0.0, 0.0], "not significant", "not significant"),
    ],
)
def test_the_verdict_follows_the_numbers(tmp_path, gain, higher, lower):
    listed = [claim(), claim("tof", "lower"), claim("psnr_masked", "higher", better="neither", worse="4dstr")]
    rows, _ = make(tmp_path, listed, {"neither": [0, 0, 0], "4dstr": gain})
    assert [row["verdict"] for row in rows] == [higher, lower, lower]
    assert float(rows[0]["difference"]) == pytest.approx(sum(gain) / 3, rel=1e-5)
    assert (float(rows[0]["low"]), float(rows[0]["high"])) == pytest.approx(interval(np.array(gain)), rel=1e-4)
    assert (rows[0]["n_objects"], rows[0]["n_seeds"], rows[0]["n_pairs"]) == ("3", "2", "6")


def test_a_claim_without_fits_is_not_run_and_says_why(tmp_path):
    listed = [claim(), claim(worse="no_spatial"), claim("clip"), claim(better="no_temporal", worse="no_spatial")]
    rows, markdown = make(tmp_path, listed, {"neither": [0, 0, 0], "4dstr": [1.9, 2, 2.1]})
    assert [row["verdict"] for row in rows] == ["agrees", "not run", "not run", "not run"]
    assert [row["reason"] for row in rows] == [
        "",
        "no psnr_masked of no_spatial",
        "no clip of 4dstr and neither",
        "no psnr_masked of no_temporal and no_spatial",
    ]
    assert (rows[1]["difference"], rows[1]["low"], rows[1]["n_objects"]) == ("", "", "0")
    assert "Of 4 tests, 1 agree with the paper's direction, 0 disagree, 0 are not significant and 3 were not run." in (
        markdown
    )
    assert "| Table 2 | 1 | 0 | 0 | 3 |" in markdown


def test_with_networks_claims_are_tested_by_the_papers_own_metrics_too(tmp_path):
    gains = {"neither": [0, 0, 0], "4dstr": [1.9, 2, 2.1]}
    listed = [
        claim(),
        claim("ssim") | {"paper_metric": "CLIP ↑; FVD ↓", "paper_better": "0.9; 7", "paper_worse": "0.8; 9"},
    ]
    rows, markdown = make(tmp_path, listed, gains)
    assert len(rows) == 2 and "need networks that are absent here" in markdown
    rows, markdown = make(tmp_path, listed, gains, networks=("clip", "fvd_clip"))
    assert [(row["proxy"], row["paper_metric"], row["verdict"]) for row in rows[2:]] == [
        ("clip", "CLIP ↑", "agrees"),
        ("fvd_clip", "FVD ↓", "disagrees"),
    ]
    assert "absent here" not in markdown and "sha of clip_vit_b32" in markdown


def test_one_object_is_not_significant(tmp_path):
    rows, _ = make(tmp_path, [claim()], {"neither": [0, 0, 0], "4dstr": [1, 2, 3]}, scenes=("mouth",))
    assert (rows[0]["verdict"], rows[0]["reason"]) == ("not significant", "one object: no interval")


def test_frame_rates_and_the_60_frame_suite(tmp_path):
    listed = [claim("fps_network", table="4", worse="gru"), claim(table="3", worse="stag4d")]
    rows, markdown = make(tmp_path, listed, {"4dstr": [2.1, 2, 1.9], "gru": [0, 0, 0], "stag4d": [4, 4, 4]})
    assert [(row["suite"], row["verdict"]) for row in rows] == [("toys", "agrees"), ("embedded60", "disagrees")]
    assert "Suite embedded60 (mouth, propeller, walk), seeds 0, 1." in markdown


def test_the_shipped_list_is_sound():
    comparisons = {one.name: one for one in all_comparisons()}
    listed = claims.read_claims(SHIPPED, comparisons)
    assert {row["table"] for row in listed} == set(claims.TABLES)
    assert len({(row["table"], row["better"], row["worse"], row["proxy"]) for row in listed}) == len(listed)
    for row in listed:
        # Each printed pair must have the direction that its arrow and the claim say.
        for name, better, worse in zip(
            *(row[column].split("; ") for column in ("paper_metric", "paper_better", "paper_worse")), strict=True
        ):
            sign = 1 if name.endswith("↑") else -1
            assert sign * (float(better) - float(worse)) > 0, row
        assert row["direction"] == ("lower" if row["proxy"] in ("tof", "dtssd", "warp_gap") else "higher")


def test_the_shipped_list_is_judged_as_a_whole(tmp_path):
    listed = claims.read_claims(SHIPPED, {one.name: one for one in all_comparisons()})
    names = {variant for definition in DEFINITIONS.values() for variant in definition.variants}
    rows, _ = make(tmp_path, listed, {name: [i, i + 1, i] for i, name in enumerate(sorted(names))})
    assert len(rows) == len(listed)
    assert {row["verdict"] for row in rows} <= {"agrees", "disagrees", "not significant"}


def test_a_bad_list_is_refused(tmp_path):
    for change, message in (
        ({"table": "6"}, "line 2: table is '6'; expected one of 1, 2"),
        ({"better": "gru"}, "line 2: better is 'gru'; expected one of neither"),
        ({"proxy": "fvd"}, "line 2: proxy is 'fvd'; expected one of psnr"),
        ({"direction": "up"}, "line 2: direction is 'up'; expected one of higher, lower"),
    ):
        with pytest.raises(StageError, match=message):
            make(tmp_path, [claim() | change], {"4dstr": [1, 1, 1]})
