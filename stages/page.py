"""page: every scene by every method on one page that opens at once, from disk, without a network.

Reads frames.npz of every scene, the orbit.webp of every fit, and where the players are; writes gallery.html and
gallery/, which holds the source clips and a still thumbnail of every picture.

The page refers to files by relative paths, so that it stays a few kilobytes however many fits there are and works in a
copied suite folder. Still thumbnails come first, as they come into view; a picture in view is replaced by its moving
one, except for a reader who asked the system for less motion. Without scripts the thumbnails stay.
"""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

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
thead th { position: sticky; top: 0; z-index: 1; background: #fff; border-bottom: 1px solid #999; }
td { padding: 0.3rem; vertical-align: top; font-size: 0.85rem; }
img { display: block; width: 192px; height: 192px; object-fit: contain; background: #fff; border: 1px solid #ddd; }
a { color: #0072B2; }
a:focus img, a:hover img { border-color: #0072B2; }
@media (prefers-color-scheme: dark) {
  body, thead th { color: #eee; background: #161616; }
  a { color: #56B4E9; }
}
@media print { thead th { position: static; } }
"""

# Pictures move while they are in view; what has left it is forgotten, so that memory does not grow with the page.
SCRIPT = """
const still = matchMedia("(prefers-reduced-motion: reduce)");
const moving = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.src = isIntersecting && !still.matches ? target.dataset.moving : target.dataset.still;
  }
});
for (const image of document.querySelectorAll("img")) {
  image.dataset.still = image.getAttribute("src");
  moving.observe(image);
}
"""


@dataclass(frozen=True)
class Cell:
    """One picture: moving file, thumbnail, what it shows, and links (text, target) below it; all paths relative."""

    moving: str
    still: str
    text: str
    links: tuple[tuple[str, str], ...] = ()

    def html(self, size: int) -> str:
        """The table cell; the picture leads where its first link does."""
        image = (
            f'<img src="{html.escape(self.still)}" data-moving="{html.escape(self.moving)}" '
            f'alt="{html.escape(self.text)}" width="{size}" height="{size}" loading="lazy" decoding="async">'
        )
        if self.links:
            image = f'<a href="{html.escape(self.links[0][1])}">{image}</a>'
        links = " · ".join(f'<a href="{html.escape(target)}">{html.escape(text)}</a>' for text, target in self.links)
        return f"<td>{image}{links}</td>"


def page(title: str, methods: list[str], rows: dict[str, list[Cell]], pairs: dict[str, list], size: int) -> str:
    """The HTML text: a row a scene, the source and then a column a method; pairs holds a scene's comparing players."""
    columns = ["scene", "source", *methods]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = []
    for scene, cells in rows.items():
        compare = "".join(
            f'<br><a href="{html.escape(target)}">{html.escape(text)}</a>' for text, target in pairs.get(scene, [])
        )
        first = f'<th scope="row">{html.escape(scene)}<small>{compare}</small></th>'
        body.append(f"<tr>{first}{''.join(cell.html(size) for cell in cells)}</tr>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n<p>The clip plays once while the camera turns. A picture leads to its "
        f"player.</p>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + f"\n</tbody></table>\n<script>{SCRIPT}</script></body></html>\n"
    )


def thumbnail(path: Path, picture: Image.Image) -> None:
    """A still WebP of a picture's first moment, some kilobytes."""
    picture.convert("RGB").save(path, "WEBP", quality=80)


def comparing(players: list[Path], folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Scene to (text, relative path) of its players of two methods, <scene>/compare_<first>_<second>.html."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for path in players:
        if path.stem.startswith("compare_"):
            # Names of methods hold underscores too, so the two are not taken apart.
            text = path.stem.replace("_", " ", 1)
            pairs.setdefault(path.parent.name, []).append((text, Path(os.path.relpath(path, folder)).as_posix()))
    return pairs


def main(
    frames: list[Path],
    orbits: list[Path],
    players: list[Path],
    out: Path,
    sources: Path,
    settings: RendersRun,
    report: Reporter,
) -> None:
    """Write the page, the source clips and the thumbnails."""
    alone = {path.parent for path in players}
    rows: dict[str, list[Cell]] = {}
    methods: list[str] = []
    size = 0

    def relative(path: Path) -> str:
        return Path(os.path.relpath(path, out.parent)).as_posix()

    with replacing_folder(sources) as partial:
        for done, path in enumerate(frames, 1):
            scene, clip = path.parts[-2], Frames.load(path, on_disk=True)
            size = max(size, clip.rgba.shape[1])
            video.write_webp(partial / f"{scene}.webp", map(white, clip.rgba), settings.renders.fps)
            thumbnail(partial / f"{scene}_still.webp", Image.fromarray(white(clip.rgba[0])))
            names = f"{sources.name}/{scene}.webp", f"{sources.name}/{scene}_still.webp"
            rows[scene] = [Cell(*names, f"{scene}, source")]
            report.progress(done, len(frames))
        for path in orbits:
            # <scene>/<variant>/seed<k>/exports/orbit.webp
            scene, variant, fit = path.parts[-5], path.parts[-4], path.parents[1]
            with Image.open(path) as picture:
                thumbnail(partial / f"{scene}_{variant}_still.webp", picture)
            player = [("player", relative(fit / "player.html"))] if fit in alone else []
            links = (*player, ("files", relative(fit) + "/"))
            names = relative(path), f"{sources.name}/{scene}_{variant}_still.webp"
            rows[scene].append(Cell(*names, f"{scene} by {variant}, turning", links))
            methods += [variant] if variant not in methods else []
    text = page(f"4D gaussians, suite {out.parent.name}", methods, rows, comparing(players, out.parent), size)
    with replacing(out) as temporary:
        temporary.write_text(text, "utf-8")
    report.say(f"wrote {out}: {len(rows)} scenes by {len(methods)} methods, {out.stat().st_size} bytes")


if __name__ == "__main__":
    cli.run(main, "page")
