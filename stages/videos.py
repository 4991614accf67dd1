"""videos: the videos of a fit on one page that plays them, since the report shows pages and only links to videos.

Reads input.mp4, orbit.mp4 and turntable.mp4; writes videos.html with all of them inside as base64 text. It opens from
disk, too, and asks for nothing.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.settings import Run

# By the file's name without its ending; a video of another name is called by that.
CAPTIONS = {
    "input": "The source, and our picture of the input view",
    "orbit": "The clip while the camera turns once",
    "turntable": "One moment while the camera turns once",
}
STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #111; background: #fff; }
main { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; }
video { display: block; height: min(70vh, 384px); max-width: 100%; background: #fff; border: 1px solid #ddd; }
figcaption { margin-top: 0.4rem; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616; } }
"""


def figure(stem: str, data: bytes) -> str:
    """One MP4 file with its caption; it repeats, silently, when it is started."""
    source = base64.b64encode(data).decode("ascii")
    return (
        f'<figure><video controls loop muted playsinline src="data:video/mp4;base64,{source}"></video>'
        f"<figcaption>{html.escape(CAPTIONS.get(stem, stem))}</figcaption></figure>"
    )


def page(title: str, videos: dict[str, bytes]) -> str:
    """The HTML text; videos by their files' names without ending, in the order in which they are shown."""
    figures = "\n".join(figure(stem, data) for stem, data in videos.items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n<main>\n{figures}\n</main></body></html>\n"
    )


def main(videos: list[Path], out: Path, settings: Run, report: Reporter) -> None:
    """Write the page of a fit's videos."""
    # <scene>/<variant>/seed<k>/videos.html
    title = " · ".join(out.absolute().parts[-4:-1])
    with replacing(out) as temporary:
        temporary.write_text(page(title, {path.stem: path.read_bytes() for path in videos}), encoding="utf-8")
    report.say(f"wrote {out}: {len(videos)} videos, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    cli.run(main, "videos")
