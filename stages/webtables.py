"""webtables: a table's Markdown as a page for the report and for reading without tools.

Reads <table>.md, which a table's own stage wrote; writes <table>.html. It holds the same numbers and nothing else.
"""

from __future__ import annotations

import html
from pathlib import Path

from markdown_it import MarkdownIt

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.settings import Run

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #111; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }
td:not(:first-child) { white-space: nowrap; }
thead th { border-bottom: 2px solid #111; }
@media print { body { margin: 0; font-size: 9pt; } }
"""


def page(title: str, markdown: str) -> str:
    """The HTML text of CommonMark with tables; raw HTML in it is shown as text, but for <u>."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    # Markdown has no underline, so our tables mark the second best with this one tag.
    body = body.replace("&lt;u&gt;", "<u>").replace("&lt;/u&gt;", "</u>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


def main(markdown: Path, out: Path, settings: Run, report: Reporter) -> None:
    """Write the page of one table."""
    with replacing(out) as temporary:
        temporary.write_text(page(out.stem, markdown.read_text(encoding="utf-8")), encoding="utf-8")
    report.say(f"wrote {out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    cli.run(main, "webtables")
