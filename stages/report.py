"""report: `snakemake --report` as a stage, so that one target makes the results and the page that shows them.

Reads files that rules have made; writes report.html, one file that holds every one of them that a rule marks with
`report()`, with its caption, labels and the rule behind it.

The page is made by a second Snakemake in the same folder, with the caller's configuration and the given files as its
targets. That is safe while the caller still runs: it starts no job, takes no lock, and asks for no file of this rule,
so nothing that it looks at is unfinished; the caller writes down what is known of a file as soon as its job ends.

Snakemake shows a page inside its own from a `data:` address. Chromium leaves such a frame empty above two megabytes,
and a player inside may not fill the screen. `in_frames` mends both in the finished report.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.settings import ReportRun

# How the page shows a page inside itself (Snakemake 9), and how it does here.
FRAME = "{ src: this.props.app.state.contentPath, className:"
MENDED = '{ src: addressOf(this.props.app.state.contentPath), allow: "fullscreen *", className:'
# From the text of a data: address to an address of the same bytes, the same one when it is asked again.
ADDRESS = """<script>
const addresses = new Map();
function addressOf(path) {
  if (!path.startsWith("data:")) return path;
  if (!addresses.has(path)) {
    const comma = path.indexOf(",");
    const bytes = Uint8Array.from(atob(path.slice(comma + 1)), (character) => character.charCodeAt(0));
    const type = path.slice("data:".length, path.indexOf(";"));
    addresses.set(path, URL.createObjectURL(new Blob([bytes], { type })));
  }
  return addresses.get(path);
}
</script>
</head>"""


def in_frames(page: str) -> str | None:
    """The report with pages of any size in its frames, allowed to fill the screen; None if it is built otherwise."""
    if page.count(FRAME) != 1 or page.count("</head>") < 1:
        return None
    return page.replace(FRAME, MENDED).replace("</head>", ADDRESS, 1)


def command(workflow: Path, config: Path, out: Path, files: list[Path]) -> list[str]:
    """The call of Snakemake; no profile of the machine, which could ask for another executor."""
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow), "--profile", "none", "--nolock"]
    return [*snakemake, "--report", str(out), "--configfile", str(config), "--", *map(str, files)]


def main(files: list[Path], workflow: Path, out: Path, settings: ReportRun, report: Reporter) -> None:
    """Make the report of some results."""
    with tempfile.TemporaryDirectory() as folder, replacing(out) as temporary:
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(settings.config), encoding="utf-8")
        done = subprocess.run(command(workflow, config, temporary, files), capture_output=True, text=True)
        report.say(done.stdout + done.stderr)
        if done.returncode or not temporary.exists():
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise StageError(
                f"snakemake --report failed ({last}); its whole output is in the log. The results themselves are made: "
                f"`snakemake --report {out} everything` tries again by hand."
            )
        mended = in_frames(temporary.read_text(encoding="utf-8"))
        if mended is None:
            report.say("this Snakemake's report is built otherwise: pages above 2 MB stay empty in Chromium")
        else:
            temporary.write_text(mended, encoding="utf-8")
    report.say(f"wrote {out}: {out.stat().st_size / 1e6:.1f} MB of {len(files)} files")


if __name__ == "__main__":
    cli.run(main, "report")
