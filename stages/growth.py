"""growth: how quality, time and memory of the methods grow with the length of the clip.

Reads what the ablations stage reads, for the same variants on suites of different numbers of frames; writes one row
a length and variant, the Markdown and LaTeX twins and a picture.

Conventions
-----------
- All lengths render equally many images during a fit, so a longer clip shows each frame less often.
- `fit_cpu_s_growth` and `fit_mb_growth` are a fit's processor time and peak memory over those of the same variant on
  the shortest clip.
- What networks say has columns in the CSV file, and in the twins where there is a number.
- Times and memory are measurements of this machine: they alone differ between equal runs.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.lib import charts, latex
from stages.lib.comparisons import GrowthRun
from stages.lib.scores import (
    EXTRA_METRICS,
    METRICS,
    Metric,
    absent_lines,
    grid_lines,
    heading,
    measured_rows,
    network_lines,
    number_text,
    provenance_lines,
    read_compared,
    read_networks,
    scene_scores,
    with_sets,
    write_csv,
)

SHOWN = ("psnr_masked", "ssim", "tof", "dtssd", "psnr_sudden", "gaussians", "fit_s", "fit_cpu_s", "fit_mb")
GROWN = ("fit_cpu_s", "fit_mb")
DRAWN = ("psnr_masked", "fit_cpu_s", "fit_mb")
NETWORKS = tuple(name for name, metric in METRICS.items() if metric.network)
METRIC = {name: (METRICS | EXTRA_METRICS)[name] for name in (*SHOWN, *NETWORKS)}
GROWTH_METRIC = Metric("", ".2f")
ABOUT = ["frames", "variant", "method", "suite", "n_scenes", "n_seeds"]
HEADER = (
    ABOUT + [name + end for name in METRIC for end in ("", "_se", "_reason")] + [f"{name}_growth" for name in GROWN]
)


def growth_rows(measured: list[dict], order: list[str]) -> list[dict]:
    """Rows by variant in `order`, then by number of frames, with the growth columns; numbers as float or None."""
    table = sorted(measured, key=lambda row: (order.index(row["variant"]), int(row["frames"])))
    shortest: dict[str, dict] = {}
    for row in table:
        first = shortest.setdefault(row["variant"], row)
        for name in GROWN:
            known = row[name] is not None and first[name]
            row[f"{name}_growth"] = row[name] / first[name] if known else None
    return table


def grid(table: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the twins: what is always shown, and what networks gave a number for."""
    shown = [*SHOWN, *(name for name in NETWORKS if any(row[name] is not None for row in table))]
    titles = ["frames", "variant", "scenes", "seeds", *(heading(name, METRIC[name]) for name in shown)]
    titles += [f"{name}, times the shortest" for name in GROWN]
    lines = []
    for row in table:
        cells = [number_text(row[name], METRIC[name].digits) for name in shown]
        cells += [number_text(row[f"{name}_growth"], GROWTH_METRIC.digits) for name in GROWN]
        lines.append([row["frames"], row["variant"], row["n_scenes"], row["n_seeds"], *cells])
    return titles, lines


TITLE = "How quality, time and memory grow with the clip"
EQUALLY_MANY = "Equally many images are rendered during every fit, whatever the length of its clip."


def markdown_text(table: list[dict], records: list[dict], scored: list[dict], plot: Path) -> str:
    """The Markdown twin; `scored`: records of the networks.csv files."""
    titles, lines = grid(table)
    absent = [name for name in NETWORKS if scored and all(row[name] is None for row in table)]
    text = [
        f"# {TITLE}",
        "",
        EQUALLY_MANY,
        "",
        f"![masked PSNR, processor time and memory]({plot.name})",
        "",
        *grid_lines(titles, [[frames, f"`{variant}`", *cells] for frames, variant, *cells in lines]),
        "",
        *absent_lines(table, absent),
        *provenance_lines(records),
        *network_lines(scored),
    ]
    return "\n".join(text) + "\n"


def latex_text(table: list[dict]) -> str:
    """The LaTeX twin."""
    return "\n".join([f"% {EQUALLY_MANY}", *latex.table(TITLE, *grid(table), texts=2)]) + "\n"


def main(
    metrics: list[Path],
    out: Path,
    markdown: Path,
    tex: Path,
    plot: Path,
    settings: GrowthRun,
    report: Reporter,
    networks: list[Path] = (),
) -> None:
    """Collect the fits of all lengths into one table."""
    records, rows = read_compared(sorted(metrics), settings.comparisons)
    scored, network_rows = read_networks(sorted(networks), records)
    rows = pd.concat([rows, network_rows], ignore_index=True) if scored else rows
    order = [variant.name for variant in settings.comparisons[0].variants]
    measured = measured_rows(rows, scene_scores(rows), METRIC)
    table = growth_rows(with_sets(measured, networks, records, scored), order)
    write_csv(out, HEADER, table)
    for path, text in ((markdown, markdown_text(table, records, scored, plot)), (tex, latex_text(table))):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    panels: dict[str, charts.Lines] = {}
    for name in DRAWN:
        values: dict[str, dict[int, float]] = {}
        for row in table:
            if row[name] is not None:
                values.setdefault(row["variant"], {})[int(row["frames"])] = row[name]
        if values:
            panels[heading(name, METRIC[name])] = values
    amounts = {heading(name, METRIC[name]) for name in GROWN}
    charts.write_lines(plot, "Longer clips, equally many images a fit", panels, "frames of the clip", amounts)
    report.say(f"wrote {out}: {len(table)} rows from {len(records)} fits")


if __name__ == "__main__":
    cli.run(main, "growth")
