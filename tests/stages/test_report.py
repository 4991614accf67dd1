"""report: a second Snakemake makes the page while the first one still runs; where it fails nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import report as report_stage
from stages import videos
from stages.cli import StageError
from stages.lib import video
from stages.settings import ReportRun, Run
from tests import browser
from tests.players import page, shell

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


SHOWN = """
rule shown:
    output:
        report("{name}.html", category="Results", labels={"what": "{name}"}),
    shell:
        "cp made/{wildcards.name}.html {output}"


rule page:
    input:
        "player.html",
        "videos.html",
        "large.html",
    output:
        "report.html",
    log:
        "report.log",
    shell:
        "python -m stages.report --files {input} --workflow Snakefile --out {output} --log {log} --settings '{{}}'"
"""
WHY = browser.missing()


@pytest.mark.skipif(WHY is not None, reason=str(WHY))
def test_a_browser_shows_videos_and_players_inside_the_report_without_a_network(tmp_path, report):
    made = tmp_path / "made"
    made.mkdir()
    page(made, shell(50, frames=3))
    picture = np.full((64, 64, 3), 255, np.uint8)
    for name in ("input", "orbit"):
        video.write_mp4(tmp_path / f"{name}.mp4", [picture, picture // 2, picture // 3], 8)
    videos.main([tmp_path / "input.mp4", tmp_path / "orbit.mp4"], made / "videos.html", Run(), report)
    # Chromium leaves a frame of a longer data: address than two megabytes empty.
    (made / "large.html").write_text(f"<!doctype html><!--{'x' * 3_000_000}--><p>the end</p>")
    (tmp_path / "Snakefile").write_text(SHOWN)
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "report.html"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "built otherwise" not in (tmp_path / "report.log").read_text()
    with browser.launched() as chromium:
        tab = chromium.new_page(viewport={"width": 1200, "height": 800})
        asked, errors = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto((tmp_path / "report.html").as_uri())

        def shown(what: str):
            tab.locator("tr", has_text=what).locator("a").first.click()
            return tab.locator("iframe").element_handle().content_frame()

        tab.get_by_text("Results", exact=True).first.click()
        frame = shown("videos")
        frame.wait_for_function("[...document.querySelectorAll('video')].every((one) => one.readyState >= 2)")
        assert frame.evaluate("[...document.querySelectorAll('video')].map((one) => one.videoWidth)") == [64, 64]
        assert "The source, and our picture" in frame.locator("figcaption").first.text_content()
        frame = shown("player")
        frame.wait_for_function("globalThis.player")
        frame.evaluate("player.ready")
        assert frame.evaluate("player.items[0].sequence.frames") == 3
        assert frame.evaluate("document.fullscreenEnabled") and frame.locator("#full").is_visible()
        assert shown("large").locator("p").text_content() == "the end"
    assert errors == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_a_report_that_is_built_otherwise_is_left_as_it_is():
    assert report_stage.in_frames("<head></head><script>another way</script>") is None


def test_a_workflow_that_cannot_be_read_leaves_nothing(tmp_path, report, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").write_text("rule broken\n")
    with pytest.raises(StageError, match=r"snakemake --report failed .* its whole output is in the log"):
        report_stage.main([Path("table.csv")], Path("Snakefile"), tmp_path / "report.html", ReportRun(), report)
    assert "SyntaxError" in report.text or "syntax" in report.text.lower()
    assert not list(tmp_path.glob("*report*"))
