"""page: every scene by every method on one page that opens at once, from disk, without a network.

Reads frames.npz of every scene and the orbit.webp of every fit; writes gallery.html and gallery/<scene>.webp, the
source clips. The page refers to the pictures by relative paths and lets the browser load them when they come into view,
so it stays a few kilobytes however many fits there are; it works in a copied suite folder.
"""

from __future__ import annotations

import html
import os
from pathlib import Path

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, replacing, replacing_folder
from stages.lib import video
from stages.lib.drawing import white
from stages.settings import RendersRun

STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #111; background: #fff; }
table { border-collapse: collapse; }
th { padding: 0.3rem 0.6rem; text-align: left; font-weight: 600; }
thead th { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #999; }
td { padding: 0.3rem; }
img { display: block; width: 192px; height: 192px; object-fit: contain; background: #fff; border: 1px solid #ddd; }
a:focus img, a:hover img { border-color: #0072B2; }
@media (prefers-color-scheme: dark) {
  body, thead th { color: #eee; background: #161616; }
}
"""


def picture(source: str, text: str, size: int, link: str | None = None) -> str:
    """One cell: a picture that is loaded when it comes into view, with its description."""
    image = (
        f'<img src="{html.escape(source)}" alt="{html.escape(text)}" width="{size}" height="{size}" '
        'loading="lazy" decoding="async">'
    )
    return f'<td><a href="{html.escape(link)}">{image}</a></td>' if link else f"<td>{image}</td>"


def page(title: str, scenes: list[str], methods: list[str], cells: dict[tuple[str, str], str], size: int) -> str:
    """The HTML text: a row a scene, a column a method; cells holds the path of each picture from the page."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("scene", "source", *methods))
    rows = []
    for scene in scenes:
        row = [f'<th scope="row">{html.escape(scene)}</th>', picture(f"gallery/{scene}.webp", f"{scene}, source", size)]
        for method in methods:
            path = cells[scene, method]
            # The folder of the fit, where meshes, videos and gaussians are.
            row.append(picture(path, f"{scene} by {method}, turning", size, os.path.dirname(path) + "/"))
        rows.append(f"<tr>{''.join(row)}</tr>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n<p>The clip plays once while the camera turns. A picture leads to its "
        f"files.</p>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></body></html>\n"
    )


def main(
    frames: list[Path], orbits: list[Path], out: Path, sources: Path, settings: RendersRun, report: Reporter
) -> None:
    """Write the page and the source clips."""
    scenes = [path.parts[-2] for path in frames]
    cells = {}
    for path in orbits:
        # <scene>/<variant>/seed<k>/exports/orbit.webp
        scene, variant = path.parts[-5], path.parts[-4]
        cells[scene, variant] = Path(os.path.relpath(path, out.parent)).as_posix()
    methods = list(dict.fromkeys(variant for _, variant in cells))
    size = 0
    with replacing_folder(sources) as partial:
        for done, (scene, path) in enumerate(zip(scenes, frames, strict=True), 1):
            clip = Frames.load(path)
            size = max(size, clip.rgba.shape[1])
            video.write_webp(partial / f"{scene}.webp", (white(rgba) for rgba in clip.rgba), settings.renders.fps)
            report.progress(done, len(scenes))
    with replacing(out) as temporary:
        temporary.write_text(page(f"4D gaussians, suite {out.parent.name}", scenes, methods, cells, size), "utf-8")
    report.say(f"wrote {out}: {len(scenes)} scenes by {len(methods)} methods, {out.stat().st_size} bytes")


if __name__ == "__main__":
    cli.run(main, "page")
