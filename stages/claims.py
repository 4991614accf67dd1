"""claims: which directions of 4DSTR's tables our measurements agree with.

Reads the metrics.csv of every fit of the comparison and of tables 2 to 5 (and what lies beside them), networks.csv
where there are any, and the list of claims in config/reported/claims.csv; writes claims.csv and its Markdown and LaTeX
twins.

Vocabulary
----------
- A *claim* says that one variant is better than another by metrics of the paper; it is tested by one *proxy*, a
  metric of ours, since the networks behind the paper's metrics may be absent. `direction` says which proxy is better.
  Where networks have scored the fits, each claim is tested by the paper's own metrics as well.
- *Difference*: the better variant's proxy minus the worse one's, paired by scene and seed; its interval is
  that of `stages.lib.statistics`.
- *Verdict*: `agrees` or `disagrees` when the interval does not cover 0, else `not significant`; `not run` without a
  single pair. Nothing but the numbers decides it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib import latex
from stages.lib.comparisons import ClaimsRun, Comparison
from stages.lib.scores import (
    EXTRA_METRICS,
    METRICS,
    SPEED_METRICS,
    fit_scores,
    grid_lines,
    network_lines,
    provenance_lines,
    read_compared,
    read_csv,
    read_networks,
    signed,
    write_csv,
)
from stages.lib.statistics import (
    AGREES,
    DIRECTIONS,
    DISAGREES,
    NO_PAIR,
    NOT_RUN,
    NOT_SIGNIFICANT,
    ONE_OBJECT,
    VERDICTS,
    Estimate,
    estimate,
    paired_differences,
    verdict,
)

# The paper's table, and the comparison whose fits test it.
TABLES = {"1": "comparison", "2": "table2", "3": "table3", "4": "table4", "5": "table5"}
CLAIMS_COLUMNS = [
    "claim",
    "table",
    "better",
    "worse",
    "paper_metric",
    "paper_better",
    "paper_worse",
    "proxy",
    "direction",
]
HEADER = [*CLAIMS_COLUMNS, "suite", "n_objects", "n_seeds", "n_pairs", "difference", "low", "high", "verdict", "reason"]
# The paper's metrics that networks compute, by our names: FID-VID most likely is frame FID, FVD most likely the
# one-clip formula (config/reported/papers.csv).
OWN_METRICS = {"FID-VID": "fid_frame", "FVD": "fvd_clip", "CLIP": "clip", "LPIPS": "lpips_vgg"}
ARROWS = {"↑": "higher", "↓": "lower"}
PROXIES = METRICS | EXTRA_METRICS | SPEED_METRICS


def read_claims(path: Path, comparisons: dict[str, Comparison]) -> list[dict]:
    """The list of claims; raises StageError on an unknown table, variant, proxy or direction."""
    rows = read_csv(path)
    if list(rows.columns) != CLAIMS_COLUMNS:
        raise StageError(f"{path} has columns {list(rows.columns)}; expected {CLAIMS_COLUMNS}.")
    for line, row in enumerate(rows.to_dict("records"), start=2):
        variants = [one.name for one in comparisons[TABLES[row["table"]]].variants] if row["table"] in TABLES else []
        allowed = {"table": TABLES, "better": variants, "worse": variants, "proxy": PROXIES, "direction": DIRECTIONS}
        for name, values in allowed.items():
            if row[name] not in values:
                raise StageError(f"{path}, line {line}: {name} is {row[name]!r}; expected one of {', '.join(values)}.")
    return rows.to_dict("records")


def by_own_metrics(listed: list[dict]) -> list[dict]:
    """The claims once more, each once by every metric of the paper that networks compute."""
    found: dict[tuple, dict] = {}
    for claim in listed:
        printed = (claim[name].split("; ") for name in ("paper_metric", "paper_better", "paper_worse"))
        for metric, better, worse in zip(*printed, strict=True):
            word, arrow = metric.split()
            if word in OWN_METRICS:
                about = {"paper_metric": metric, "paper_better": better, "paper_worse": worse}
                about |= {"proxy": OWN_METRICS[word], "direction": ARROWS[arrow]}
                found.setdefault((*(claim[name] for name in ("table", "better", "worse")), word), claim | about)
    return list(found.values())


def _within(scores: dict[tuple[str, str], float], comparison: Comparison) -> dict[tuple[str, str], float]:
    """The scores of the comparison's own scenes and seeds; another comparison may share the variant."""
    seeds = {str(seed) for seed in comparison.seeds}
    return {(s, k): value for (s, k), value in scores.items() if s in comparison.scenes and k in seeds}


def _reason(found: Estimate | None, own: dict, base: dict, claim: dict, comparison: Comparison) -> str:
    """Why a claim was not run, or what its estimate lacks."""
    if found is None:
        lacking = [claim[side] for side, scores in (("better", own), ("worse", base)) if not scores]
        return f"no {claim['proxy']} of {' and '.join(lacking)}" if lacking else NO_PAIR
    if found.low is None:
        return ONE_OBJECT
    wanted = len(comparison.scenes) * len(comparison.seeds)
    return f"{found.n_pairs} of {wanted} pairs" if found.n_pairs < wanted else ""


def judge(claim: dict, comparison: Comparison, scores: dict) -> dict:
    """One row of claims.csv, numbers as float or None."""
    own, base = (
        _within(scores.get((comparison.suite, claim[side], claim["proxy"]), {}), comparison)
        for side in ("better", "worse")
    )
    pairs = paired_differences(own, base)
    found = estimate(pairs)
    numbers = {"difference": found.mean, "low": found.low, "high": found.high} if found else {}
    return {
        **claim,
        "suite": comparison.suite,
        "n_objects": str(found.n_objects if found else 0),
        "n_seeds": str(len({seed for _, seed in pairs})),
        "n_pairs": str(len(pairs)),
        **dict.fromkeys(("difference", "low", "high")),
        **numbers,
        "verdict": verdict(found, claim["direction"]),
        "reason": _reason(found, own, base, claim, comparison),
    }


# ------------------------------------------------------------------ Markdown

ABSENT = "need networks that are absent here"
PRESENT = "are tested themselves, as fid_frame, fvd_clip, clip and lpips_vgg, beside the proxies"
NOTES = [
    "- The paper's FID-VID, FVD, CLIP and LPIPS {networks}, and its objects are others. What "
    "is tested is the direction, by a proxy: FID-VID and FVD by tof, dtssd and warp_gap (how the clip moves), CLIP "
    "and LPIPS by psnr_masked, ssim and, for sudden changes, psnr_sudden (how each frame looks), fps by fps_network.",
    "- Difference: proxy of the better variant minus that of the worse, evaluation views, same scene and seed; mean "
    "over objects of the mean over seeds. Interval: 95 %, percentile bootstrap over objects, Student's t with "
    "fewer than six. An interval that covers 0, and a single object, are not significant.",
    "- With seven objects the bootstrap covers the true mean in about 87 % of cases. The tests are not independent, "
    "and none is corrected for their number.",
    "- Table 2's check marks are lost in the text of the paper. Its sentence that removing the temporal part raises "
    "FID-VID and FVD by 22.1 % fits the row 55.32 / 970.65 alone: that row is the spatial part without the temporal.",
    "- Left out: T = 15 against T = 10, which the paper calls stable (an interval that covers 0 does not show "
    "equality), and orders that it prints and does not claim (attention against GRU, temporal against spatial).",
]


def _summary(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: how often each verdict was given, by table."""
    counted = Counter((row["table"], row["verdict"]) for row in rows)
    tables = sorted({row["table"] for row in rows})
    lines = [[f"Table {table}", *(str(counted[table, one]) for one in VERDICTS)] for table in tables]
    return ["", *VERDICTS], lines


def _claims(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells: the claims of one table."""
    lines = []
    for row in rows:
        metric, arrow = PROXIES[row["proxy"]], "↑" if row["direction"] == "higher" else "↓"
        interval = f"[{signed(row['low'], metric)}, {signed(row['high'], metric)}]" if row["low"] is not None else ""
        printed = zip(*(row[name].split("; ") for name in ("paper_metric", "paper_better", "paper_worse")), strict=True)
        paper = ", ".join(f"{name} {better} against {worse}" for name, better, worse in printed)
        claim = f"{row['claim']} (`{row['better']}` over `{row['worse']}`)"
        numbers = [f"{row['n_objects']} × {row['n_seeds']}", signed(row["difference"], metric), interval]
        reason = f" ({row['reason']})" if row["reason"] else ""
        lines.append([claim, paper, f"{row['proxy']} {arrow}", *numbers, f"{row['verdict']}{reason}"])
    return ["claim", "paper", "our proxy", "objects × seeds", "mean difference", "95 % interval", "verdict"], lines


def markdown_text(records: list[dict], rows: list[dict], comparisons: dict[str, Comparison], scored: list[dict]) -> str:
    """The Markdown twin: summary, notes on the method, the claims table by table, provenance.

    scored: records of the networks.csv files.
    """
    counts = Counter(row["verdict"] for row in rows)
    lines = [
        "# What 4DSTR's tables claim, by our proxies",
        "",
        f"Of {len(rows)} tests, {counts[AGREES]} agree with the paper's direction, {counts[DISAGREES]} disagree, "
        f"{counts[NOT_SIGNIFICANT]} are not significant and {counts[NOT_RUN]} were not run.",
        "",
        *grid_lines(*_summary(rows)),
        "",
        "## Method",
        "",
        *(note.format(networks=PRESENT if scored else ABSENT) for note in NOTES),
    ]
    for table in sorted({row["table"] for row in rows}):
        comparison = comparisons[TABLES[table]]
        seeds = ", ".join(map(str, comparison.seeds))
        lines += ["", f"## Table {table}", ""]
        lines += [f"Suite {comparison.suite} ({', '.join(comparison.scenes)}), seeds {seeds}.", ""]
        lines += grid_lines(*_claims([row for row in rows if row["table"] == table]))
    lines += ["", "## Provenance", "", *provenance_lines(records), *network_lines(scored)]
    return "\n".join(lines) + "\n"


def latex_text(rows: list[dict]) -> str:
    """The LaTeX twin: the summary, then the claims table by table."""
    lines = latex.table("Directions of 4DSTR's tables by our proxies: verdicts", *_summary(rows))
    for table in sorted({row["table"] for row in rows}):
        titles, cells = _claims([row for row in rows if row["table"] == table])
        plain = [[cell.replace("`", "") for cell in line] for line in cells]
        lines += ["", *latex.table(f"Claims of 4DSTR's Table {table}", titles, plain, texts=3)]
    return "\n".join(lines) + "\n"


def main(
    metrics: list[Path],
    claims: Path,
    out: Path,
    markdown: Path,
    tex: Path,
    settings: ClaimsRun,
    report: Reporter,
    networks: list[Path] = (),
) -> None:
    """Hold every claim against the fits."""
    comparisons = {comparison.name: comparison for comparison in settings.comparisons}
    listed = read_claims(claims, comparisons)
    records, rows = read_compared(sorted(metrics), settings.comparisons)
    scored, network_rows = read_networks(sorted(networks), records)
    if scored:
        rows, listed = pd.concat([rows, network_rows], ignore_index=True), listed + by_own_metrics(listed)
    scores = fit_scores(rows)
    judged = [judge(claim, comparisons[TABLES[claim["table"]]], scores) for claim in listed]
    write_csv(out, HEADER, judged)
    for path, text in ((markdown, markdown_text(records, judged, comparisons, scored)), (tex, latex_text(judged))):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    counts = Counter(row["verdict"] for row in judged)
    report.say(f"wrote {out}: " + ", ".join(f"{counts[one]} {one}" for one in VERDICTS))


if __name__ == "__main__":
    cli.run(main, "claims")
