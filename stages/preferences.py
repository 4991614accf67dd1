"""preferences: what the participants of a user study chose, as 4DSTR's Table 6 has it.

Reads the files that participants saved and the study's key; writes results/table6.csv and its twins.

Conventions
-----------
- A *share*, in percent, is the mean over participants of the part of the scenes in which each chose the method; chance
  is 100 / methods. Every participant answers all scenes, so this is the share of all answers too.
- *Intervals*, 95 %, are over participants (`statistics.share_interval`): a participant's answers have one taste in
  common, so it is participants, and not answers, that are drawn at random. Scenes are the study's own and stay as they
  are: the interval says what other people would choose on these scenes.
- Rows reported by 4DSTR are copied as printed (the sign % apart) and never ranked with ours: it studied text-to-4D.
- A file that is malformed, incomplete, of another study, or the second one of a participant stops everything; none is
  left out in silence. Equal files give equal bytes, in whatever order they come.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.lib import latex
from stages.lib import reported as papers_reported
from stages.lib.scores import Metric, grid_lines, number_text, ranked, write_csv
from stages.lib.statistics import share_interval
from stages.lib.studies import QUESTIONS, Answers, Key, read_all, read_key
from stages.settings import Run

PERCENT = Metric("↑", ".1f")
METRICS = {question: f"user_{question}" for question in QUESTIONS}
COUNTS = ["n_scenes", "n_participants", "n_answers"]
HEADER = ["method", "variant", "suite", "source", "setting", *COUNTS]
HEADER += [name + end for name in METRICS.values() for end in ("", "_low", "_high", "_reason")]
PAPER = ("4DSTR", "6")
# 4, 10, 16; 6, 9, 15; 5, 11, 14 of 30: with a choice for each of 14 scenes all nine would be so by rare chance only.
PAPER_NOTE = (
    "- all nine shares are thirtieths to the printed digit, as if each of the 30 raters had one choice a question over "
    "all scenes; the paper does not say. Ours has one a question and scene."
)
ONE_PARTICIPANT = "one participant: no interval"
UNANIMOUS = "every participant has the same share: interval by the rule of three"


def choices(answers: list[Answers], key: Key) -> pd.DataFrame:
    """One line per participant, scene and question: columns participant, scene, question, variant, place (from 0)."""
    variants, names = key.variants(), {scene.id: scene.scene for scene in key.scenes}
    lines = []
    for one in answers:
        for answer in one.answers:
            for question in QUESTIONS:
                chosen = getattr(answer, question)
                place = answer.order.index(chosen)
                lines.append((one.participant, names[answer.scene], question, variants[chosen], place))
    return pd.DataFrame(lines, columns=["participant", "scene", "question", "variant", "place"])


def shares(chosen: pd.DataFrame, question: str, variant: str) -> np.ndarray:
    """(P,) in [0, 1]: the part of the scenes in which each participant, sorted, chose the variant."""
    asked = chosen[chosen["question"] == question]
    return (asked["variant"] == variant).groupby(asked["participant"], sort=True).mean().to_numpy(np.float64)


def unanimous(chosen: pd.DataFrame, question: str, variant: str) -> bool:
    """Whether several participants all have the same share."""
    own = shares(chosen, question, variant)
    return len(own) > 1 and bool((own == own[0]).all())


def measured_rows(key: Key, chosen: pd.DataFrame) -> list[dict]:
    """One dictionary per method, sorted by variant: HEADER's columns, numbers as float or None."""
    n_participants = chosen["participant"].nunique()
    counts = {"n_scenes": len(key.scenes), "n_participants": n_participants}
    counts["n_answers"] = len(key.scenes) * n_participants
    table = []
    for variant, title in key.titles().items():
        row = {"method": title, "variant": variant, "suite": key.suite, "source": "measured", "setting": "video-to-4D"}
        row |= {name: str(count) for name, count in counts.items()}
        for question, name in METRICS.items():
            own = shares(chosen, question, variant)
            low, high = (100 * end for end in share_interval(own) or (np.nan, np.nan))
            reason = ONE_PARTICIPANT if len(own) < 2 else UNANIMOUS if unanimous(chosen, question, variant) else ""
            row |= {name: 100 * float(own.mean()), f"{name}_low": low, f"{name}_high": high, f"{name}_reason": reason}
        table.append(row)
    return table


def reported_rows(papers: pd.DataFrame) -> list[dict]:
    """One dictionary per method of 4DSTR's Table 6, numbers as printed without their sign %."""
    printed = papers[(papers["paper"] == PAPER[0]) & (papers["table"] == PAPER[1])]
    table = []
    for (setting, method), lines in printed.groupby(["setting", "method"], sort=False):
        row = dict.fromkeys(HEADER, "") | {"method": method, "source": "reported", "setting": setting}
        for _, line in lines.iterrows():
            row |= {line["metric"]: line["value"].removesuffix("%"), f"{line['metric']}_reason": line["source"]}
        table.append(row)
    return table


# ------------------------------------------------------------------ Markdown and LaTeX


def participants(rows: list[dict]) -> str:
    """How many answered, in words."""
    count = rows[0]["n_participants"]
    return f"{count} participant{'' if count == '1' else 's'}"


def cells(rows: list[dict]) -> list[list[str]]:
    """Share and interval of each question by row, best in bold, second underlined."""
    columns = []
    for name in METRICS.values():
        ends = [[number_text(row[name + end], PERCENT.digits) for end in ("_low", "_high")] for row in rows]
        texts = ranked([row[name] for row in rows], PERCENT)
        columns.append(
            [f"{text} [{low}, {high}]" if low else text for text, (low, high) in zip(texts, ends, strict=True)]
        )
    return [list(line) for line in zip(*columns, strict=True)]


def scene_lines(key: Key, chosen: pd.DataFrame) -> list[str]:
    """A Markdown table: every scene and method, share of participants by question."""
    body = []
    for scene in key.scenes:
        for variant, title in key.titles().items():
            own = chosen[chosen["scene"] == scene.scene]
            parts = [100 * float((own.loc[own["question"] == name, "variant"] == variant).mean()) for name in QUESTIONS]
            body.append([scene.scene, title, *(number_text(part, ".0f") for part in parts)])
    return grid_lines(["scene", "method", *METRICS.values()], body)


def note_lines(key: Key, answers: list[Answers], chosen: pd.DataFrame) -> list[str]:
    """How it was asked and averaged, and what shows whether answers were given with care."""
    methods = len(key.titles())
    places = [f"{100 * float((chosen['place'] == place).mean()):.0f}" for place in range(methods)]
    seconds = [float(np.median([answer.seconds for answer in one.answers])) for one in answers]
    alike = [
        f"{METRICS[q]} of {title}" for q in QUESTIONS for v, title in key.titles().items() if unanimous(chosen, q, v)
    ]
    questions = [f"- user_{name}: “{text}”" for name, text in key.questions.items()]
    return [
        *questions,
        f"- shares in percent of answers, one choice of {methods} a question and scene; chance is {100 / methods:.1f}",
        "- intervals: 95 %, over participants, whose answers are not independent of each other; percentile bootstrap, "
        "Student's t with fewer than six; the scenes are taken as given",
        *([f"- {UNANIMOUS} (Hanley and Lippman-Hand 1983): {'; '.join(alike)}"] if alike else []),
        f"- choices by place, left to right, all questions, percent: {', '.join(places)} (places are drawn at random)",
        f"- median seconds a scene: {np.median(seconds):.0f}; the quickest participant took {min(seconds):.0f}",
        f"- study {key.study}; {len(answers)} files of answers",
    ]


def markdown_text(
    key: Key, answers: list[Answers], chosen: pd.DataFrame, measured: list[dict], papers: pd.DataFrame
) -> str:
    """The Markdown twin: measured block, reported block, per scene, notes."""
    names = ", ".join(scene.scene for scene in key.scenes)
    body = [[row["method"], *line] for row, line in zip(measured, cells(measured), strict=True)]
    printed = papers_reported.markdown_lines(papers, *PAPER)
    lines = [
        "# Table 6: user study",
        "",
        "Share of preferences, percent, with 95 % intervals; best in bold, second underlined.",
        "",
        f"## Measured: {key.suite}, {len(key.scenes)} scenes, {participants(measured)}",
        "",
        *grid_lines(["method", *(f"{name} ↑" for name in METRICS.values())], body),
        "",
        "## Reported by the paper (not measured here, not comparable)",
        "",
        *printed[:-1],
        PAPER_NOTE,
        "",
        "## Scene by scene, percent of participants",
        "",
        *scene_lines(key, chosen),
        "",
        "## Notes",
        "",
        f"- scenes: {names}",
        *note_lines(key, answers, chosen),
    ]
    return "\n".join(lines) + "\n"


def latex_text(key: Key, measured: list[dict], papers: pd.DataFrame) -> str:
    """The LaTeX twin: measured rows with best and second best marked, then the paper's own table, without marks."""
    body = [[row["method"], *line] for row, line in zip(measured, cells(measured), strict=True)]
    caption = f"User study, measured: {key.suite}, {len(key.scenes)} scenes, {participants(measured)}, percent"
    lines = ["% Best in bold, second underlined among measured rows; reported rows are copied and not ranked.", ""]
    lines += latex.table(caption, ["method", *(f"{name} ↑" for name in METRICS.values())], body)
    return "\n".join([*lines, *papers_reported.latex_lines(papers, *PAPER)]) + "\n"


def main(
    answers: list[Path],
    key: Path,
    papers: Path,
    out: Path,
    markdown: Path,
    tex: Path,
    settings: Run,
    report: Reporter,
) -> None:
    """Collect all answers into the table."""
    the_key = read_key(key)
    found = read_all(answers, the_key)
    copied = papers_reported.read(papers)
    chosen = choices(found, the_key)
    measured, printed = measured_rows(the_key, chosen), reported_rows(copied)
    write_csv(out, HEADER, measured + printed)
    for path, text in (
        (markdown, markdown_text(the_key, found, chosen, measured, copied)),
        (tex, latex_text(the_key, measured, copied)),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    report.say(
        f"wrote {out}: {len(measured)} measured and {len(printed)} reported rows from {len(found)} files of answers"
    )


if __name__ == "__main__":
    cli.run(main, "preferences")
