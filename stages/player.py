"""player: one HTML file that shows a sequence, or two against each other, without a network or a server.

Reads sequence.4dgs of one or two variants, frames.npz and anchors.npz of their scene, and the page's parts in
`workflow/player/`; writes the page with everything inside: the compact files as base64 text, the parts as they are.

The parts: player.html (the frame that the others fill), player.css, four scripts in the order of SCRIPTS, two
shaders. Placeholders are written {{name}}. What the page is told besides the sequences is one JSON object, `about`.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames, nearest_frame, replacing
from stages.lib import compact
from stages.lib.viewpoints import cameras
from stages.settings import PlayerRun

SCRIPTS = ("compact.js", "camera.js", "renderer.js", "player.js")
SHADERS = ("splat.vert", "splat.frag")
STYLE = "player.css"
PAGE = "player.html"
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def about(
    titles: list[str], scene: str, times: np.ndarray, frames: Frames, anchors: Anchors, settings: PlayerRun
) -> dict:
    """What the page is told: names, cameras, where playing begins.

    times (T,) are those of the first sequence, which may hold frames between the fitted ones.
    """
    return {
        "scene": scene,
        "sequences": [{"title": title} for title in titles],
        "camera": {"radius": float(frames.radius), "fovy": float(frames.fovy_deg)},
        "cameras": cameras(frames, anchors),
        "frame": nearest_frame(times, frames.times[frames.key]),
        "fps": settings.fps,
        "loop": settings.player.loop,
        "background": settings.player.background,
    }


def in_script(text: str) -> str:
    """JSON text that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def assemble(parts: Mapping[str, str], told: dict, sequences: list[bytes]) -> str:
    """The whole page from the texts of its parts by file name, `about`, and one or two compact files.

    Raises StageError if the page has a placeholder that nothing fills.
    """
    values = {
        "title": html.escape(" · ".join([told["scene"], *(one["title"] for one in told["sequences"])])),
        "style": parts[STYLE],
        "about": in_script(json.dumps(told, sort_keys=True)),
        "shaders": "\n".join(
            f'<script type="text/plain" data-shader="{name}">\n{parts[name]}</script>' for name in SHADERS
        ),
        "sequences": "\n".join(
            f'<script type="text/plain" id="sequence{index}">{base64.b64encode(data).decode("ascii")}</script>'
            for index, data in enumerate(sequences)
        ),
        "code": "\n".join(parts[name] for name in SCRIPTS),
    }
    unknown = set(PLACEHOLDER.findall(parts[PAGE])) ^ set(values)
    if unknown:
        raise StageError(f"{PAGE} and stages/player.py disagree about the placeholders {sorted(unknown)}.")
    return PLACEHOLDER.sub(lambda found: values[found[1]], parts[PAGE])


def read_parts(files: list[Path]) -> dict[str, str]:
    """The texts of the page's parts by file name; raises StageError naming those that are missing."""
    missing = {PAGE, STYLE, *SCRIPTS, *SHADERS} - {path.name for path in files if path.is_file()}
    if missing:
        raise StageError(f"--parts lacks {sorted(missing)}; expected the files of workflow/player/.")
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def main(
    compacts: list[Path],
    frames: Path,
    anchors: Path,
    parts: list[Path],
    out: Path,
    settings: PlayerRun,
    report: Reporter,
) -> None:
    """Write the page."""
    if len(compacts) > 2:
        raise StageError(f"{len(compacts)} sequences were given; expected one, or two to compare.")
    headers = [compact.read_header(path) for path in compacts]
    told = about(
        titles(compacts), frames.parent.name, headers[0].times, Frames.load(frames), Anchors.load(anchors), settings
    )
    page = assemble(read_parts(parts), told, [path.read_bytes() for path in compacts])
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    held = ", ".join(f"{header.frames} frames of {header.gaussians} gaussians" for header in headers)
    report.say(f"wrote {out}: {len(page) / 1e6:.2f} MB, {held}")


def titles(compacts: list[Path]) -> list[str]:
    """The variant of each file, from its place .../<variant>/seed<k>/sequence.4dgs; the seed too where seeds differ."""
    places = [path.absolute().parent for path in compacts]
    several = len({place.name for place in places}) > 1
    return [f"{place.parent.name} {place.name}" if several else place.parent.name for place in places]


if __name__ == "__main__":
    cli.run(main, "player")
