"""The page of a table holds its rows, and shows what looks like HTML as text."""

from __future__ import annotations

from stages import webtables
from stages.settings import Run


def test_a_table_becomes_a_table(tmp_path, report):
    text = "# Scores\n\n| method | PSNR ↑ |\n| --- | --- |\n| **stag4d** | 28.1 ± 0.7 |\n| <i>x</i> | <u>27.9</u> |\n"
    (tmp_path / "table1.md").write_text(text)
    webtables.main(tmp_path / "table1.md", tmp_path / "table1.html", Run(), report)
    page = (tmp_path / "table1.html").read_text()
    assert "<title>table1</title>" in page and "<h1>Scores</h1>" in page
    assert "<td><strong>stag4d</strong></td>\n<td>28.1 ± 0.7</td>" in page
    assert "&lt;i&gt;x" in page and "<td><u>27.9</u></td>" in page
    assert page.count("<tr>") == 3
