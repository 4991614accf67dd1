"""report: a second Snakemake makes the page while the first one still runs; where it fails nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages import report as report_stage
from stages.cli import StageError
from stages.settings import ReportRun

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = """
rule table:
    output:
        report("table.csv", category="Tables", labels={"table": config["title"]}),
    shell:
        "echo number > {output}; echo 7 >> {output}"


rule page:
    input:
        "table.csv",
    output:
        "report.html",
    log:
        "report.log",
    shell:
        "python -m stages.report --files {input} --workflow Snakefile --out {output} --log {log}"
        ''' --settings '{{"config": {{"title": "seventh table"}}}}' '''
"""


def test_the_page_is_made_from_within_a_running_workflow(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "report.html", "--config", "title=eighth_table"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "table.csv" in page and "seventh table" in page and "eighth_table" not in page
    log = (tmp_path / "report.log").read_text()
    assert "Report created" in log and "Missing metadata" not in log
    assert not list((tmp_path / ".snakemake" / "locks").glob("*"))
    assert not list(tmp_path.glob(".report*"))


def test_a_workflow_that_cannot_be_read_leaves_nothing(tmp_path, report, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").write_text("rule broken\n")
    with pytest.raises(StageError, match=r"snakemake --report failed .* its whole output is in the log"):
        report_stage.main([Path("table.csv")], Path("Snakefile"), tmp_path / "report.html", ReportRun(), report)
    assert "SyntaxError" in report.text or "syntax" in report.text.lower()
    assert not list(tmp_path.glob("*report*"))
