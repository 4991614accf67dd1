"""sudden: what each variant does where a scene changes suddenly: gaussians and error, frame by frame.

Reads the metrics.csv of every fit of table 2, and gaussians.csv beside each; writes sudden.csv and its Markdown twin.
4DSTR's own example is a mouth that opens: densified frame by frame, a fit should have more gaussians there and then.

Vocabulary and conventions
--------------------------
- The *largest change* of a scene is between two consecutive frames, the one in which most pixels of all cameras change
  suddenly (`quality.changed`), by the ground truth alone. Frame `at` is the one after it; `offset` counts from there.
- `gaussians`: in that frame at the end of the fit. `psnr_sudden_frame`: of that frame over the pixels of the largest
  change, mean over cameras. Both are means over seeds; a row without an offset is the mean over the clip.
- Cameras are the evaluation views, or the input view where a suite has none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib import fit_files
from stages.lib.comparisons import AblationsRun, Comparison
from stages.lib.scores import (
    grid_lines,
    number_text,
    provenance_lines,
    read_compared,
    views_compared,
    write_csv,
)

# Frames shown before and after the largest change: a mouth opens within three.
REACH = 4
PIXELS, SCORE = "sudden_pixels", "psnr_sudden_frame"
COLUMNS = ["suite", "scene", "variant", "method", "view", "n_seeds", "frame", "offset"]
HEADER = [*COLUMNS, PIXELS, "gaussians", SCORE]


def by_frame(rows: pd.DataFrame, view: str, metric: str, cameras: str) -> pd.DataFrame:
    """A metric of every fit (scene, variant, seed) and frame: `cameras` is how they are joined, mean or sum."""
    chosen = rows[(rows["view"] == view) & (rows["metric"] == metric) & rows["value"].notna()]
    chosen = chosen.assign(frame=pd.to_numeric(chosen["frame"]))
    return chosen.groupby(["scene", "variant", "seed", "frame"])["value"].agg(cameras).unstack("frame")


def counts_by_frame(records: list[dict], metrics: list[Path]) -> pd.DataFrame:
    """Gaussians of every fit (scene, variant, seed) and frame."""
    found = {}
    for about, path in zip(records, metrics, strict=True):
        settings = about["settings"]
        key = settings["scene"], settings["variant"], str(settings["seed"])
        found[key] = fit_files.gaussian_counts(path.parent)
    index = pd.MultiIndex.from_tuples(list(found), names=["scene", "variant", "seed"])
    return pd.DataFrame(list(found.values()), index=index)


def changes(pixels: pd.DataFrame, scene: str) -> pd.Series:
    """Pixels that change towards every frame of a scene; raises StageError where fits had different ground truths."""
    tables = pixels.loc[scene]
    if (tables.nunique() > 1).any():
        raise StageError(
            f"the fits of {scene} were scored against different ground truths; expected one. Delete the metrics.csv "
            "files of this scene and run the same command again."
        )
    return tables.iloc[0]


def scene_rows(
    comparison: Comparison, scene: str, view: str, pixels: pd.Series, counts: pd.DataFrame, scores: pd.DataFrame
) -> list[dict]:
    """Rows of one scene: every variant over the clip and in the frames around the largest change."""
    at = int(pixels.idxmax())
    # Nothing changes towards the first frame.
    frames = [frame for frame in range(at - REACH, at + REACH + 1) if frame == 0 or frame in pixels.index]
    found = []
    for variant in comparison.variants:
        if (scene, variant.name) not in counts.index.droplevel("seed"):
            continue
        if (scene, variant.name) not in scores.index.droplevel("seed"):
            raise StageError(
                f"the metrics of {variant.name} on {scene} have no {SCORE}, those of other variants have; expected "
                f"files of one version. Delete results/{comparison.suite}/{scene}/{variant.name}/seed*/metrics.csv "
                "and run the same command again."
            )
        own, score = (table.loc[(scene, variant.name)] for table in (counts, scores))
        about = {"suite": comparison.suite, "scene": scene, "variant": variant.name, "method": variant.title}
        about |= {"view": view, "n_seeds": str(len(score))}
        means = own.mean(), score.mean()
        whole = dict(zip(("gaussians", SCORE), (float(table.mean()) for table in means), strict=True))
        found.append(about | {"frame": "", "offset": "", PIXELS: None} | whole)
        for frame in frames:
            here = {"frame": str(frame), "offset": str(frame - at), PIXELS: float(pixels.get(frame, np.nan))}
            values = (float(table.get(frame, np.nan)) for table in means)
            found.append(about | here | dict(zip(("gaussians", SCORE), values, strict=True)))
    return found


def table_rows(
    comparison: Comparison, rows: pd.DataFrame, records: list[dict], metrics: list[Path]
) -> dict[str, list[dict]]:
    """HEADER's columns by scene, in the comparison's order; scenes that were not run are left out."""
    views = views_compared(rows)
    view = views[0] if views else "evaluation"
    pixels, scores = (by_frame(rows, view, name, how) for name, how in ((PIXELS, "sum"), (SCORE, "mean")))
    if scores.empty:
        raise StageError(
            f"no metrics file has {SCORE} of {view} views; expected clips in which something changes suddenly, scored "
            "by this version. Delete the metrics.csv files and run the same command again."
        )
    counts = counts_by_frame(records, metrics)
    scenes = [scene for scene in comparison.scenes if scene in scores.index.unique("scene")]
    return {scene: scene_rows(comparison, scene, view, changes(pixels, scene), counts, scores) for scene in scenes}


def _scene_block(scene: str, rows: list[dict]) -> list[str]:
    """One scene's two tables."""
    about = next(row for row in rows if row["offset"] == "0")
    own = [row for row in rows if row["variant"] == about["variant"]]
    towards = [number_text(row[PIXELS], ".0f") for row in own]
    titles = ["", "seeds", "clip", *(f"frame {row['frame']}" for row in own[1:])]
    lines = [f"## {scene}", "", f"The largest change is towards frame {about['frame']}.", ""]
    for name, digits, what in (("gaussians", ".0f", "gaussians"), (SCORE, ".2f", "PSNR ↑, dB")):
        cells = [["pixels that change", "", *towards]]
        for variant in dict.fromkeys(row["variant"] for row in rows):
            of_it = [row for row in rows if row["variant"] == variant]
            values = [number_text(row[name], digits) for row in of_it]
            cells.append([f"`{variant}`", of_it[0]["n_seeds"], *values])
        lines += [*grid_lines([what, *titles[1:]], cells), ""]
    return lines


def markdown_text(comparison: Comparison, found: dict[str, list[dict]], records: list[dict]) -> str:
    """The Markdown twin: two tables a scene, then what the numbers are."""
    view = next(iter(found.values()))[0]["view"]
    lines = [
        "# Before and after the largest change",
        "",
        f"Suite {comparison.suite}, {view} views, mean over seeds. Variants without spatial rectification "
        "(`neither`, `no_spatial`, `stag4d`) have equally many gaussians in every frame.",
        "",
        *(line for scene, rows in found.items() for line in _scene_block(scene, rows)),
        "## Notes",
        "",
        "- pixels that change: by more than 0.1 in a channel since the frame before, in the ground truth, all cameras.",
        "- PSNR: over the pixels of the largest change alone, the same ones in every frame; mean over cameras.",
        "- clip: mean over all frames.",
        *provenance_lines(records),
    ]
    return "\n".join(lines) + "\n"


def main(metrics: list[Path], out: Path, markdown: Path, settings: AblationsRun, report: Reporter) -> None:
    """Collect gaussians and errors around the largest change of every scene."""
    comparison, metrics = settings.comparison, sorted(metrics)
    records, rows = read_compared(metrics, [comparison])
    found = table_rows(comparison, rows, records, metrics)
    write_csv(out, HEADER, [row for scene in found.values() for row in scene])
    with replacing(markdown) as temporary:
        temporary.write_text(markdown_text(comparison, found, records), encoding="utf-8")
    report.say(f"wrote {out}: {', '.join(found)}")


if __name__ == "__main__":
    cli.run(main, "sudden")
