"""Tables as LaTeX: plain `tabular`, no package needed, so that one can be pasted into a paper.

Best and second best are marked by whoever makes the cells (`scores.ranked`); measured and reported rows never share
a table, and reported ones carry no marks.
"""

from __future__ import annotations

# Characters that LaTeX reads as commands, and those of our tables that its fonts lack without packages.
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
    "–": "--",
}


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(ESCAPES.get(character, character) for character in text)


def marked(cell: str) -> str:
    """A cell of a Markdown table, whose bold and underline become LaTeX's."""
    found = escaped(cell)
    for markdown, end, command in (("**", "**", "textbf"), ("<u>", "</u>", "underline")):
        start = found.find(markdown)
        if start >= 0:
            stop = found.index(end, start + len(markdown))
            inner = found[start + len(markdown) : stop]
            found = f"{found[:start]}\\{command}{{{inner}}}{found[stop + len(end) :]}"
    return found


def table(caption: str, header: list[str], rows: list[list[str]], texts: int = 1) -> list[str]:
    """Lines of a floating table, its first `texts` columns flush left, numbers flush right; an empty cell is a dash."""
    columns = "l" * texts + "r" * (len(header) - texts)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escaped(caption)}}}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\hline", " & ".join(map(escaped, header)) + r" \\", r"\hline"]
    lines += [" & ".join(marked(cell) or "--" for cell in row) + r" \\" for row in rows]
    return [*lines, r"\hline", r"\end{tabular}", r"\end{table}"]
