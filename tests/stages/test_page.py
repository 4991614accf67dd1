"""The gallery page names every fit, refers only to files beside it, and shows them in a browser without a network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages import page
from stages.lib import video
from stages.settings import RendersRun

RUN = RendersRun(renders={"fps": 8})


@pytest.fixture
def suite(tmp_path, scene, report) -> Path:
    """results/toys with two scenes by two methods, and its page."""
    folder = tmp_path / "toys"
    orbits = []
    for name in ("cat", "dog"):
        scene[0].save(folder / name / "frames.npz")
        for variant in ("stag4d", "4dstr"):
            orbits.append(folder / name / variant / "seed0" / "exports" / "orbit.webp")
            orbits[-1].parent.mkdir(parents=True)
            video.write_webp(orbits[-1], np.full((2, 32, 32, 3), 120, np.uint8), 8)
    frames = [folder / name / "frames.npz" for name in ("cat", "dog")]
    page.main(frames, orbits, folder / "gallery.html", folder / "gallery", RUN, report)
    return folder


def test_every_picture_exists_beside_the_page_and_is_loaded_late(suite):
    text = (suite / "gallery.html").read_text()
    sources = re.findall(r'<img src="([^"]+)"', text)
    assert sources[:3] == [
        "gallery/cat.webp",
        "cat/stag4d/seed0/exports/orbit.webp",
        "cat/4dstr/seed0/exports/orbit.webp",
    ]
    assert len(sources) == text.count('loading="lazy"') == 6
    assert all((suite / source).is_file() for source in sources)
    assert "://" not in text
    assert len(text) < 10_000


def test_a_browser_shows_every_picture_without_a_network(suite):
    browsers = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not on PATH")
    moved = suite.rename(suite.with_name("copied"))
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 900, "height": 300})
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((moved / "gallery.html").as_uri())
        for image in tab.locator("img").all():
            image.scroll_into_view_if_needed()
            assert image.evaluate("async one => { await one.decode(); return one.naturalWidth }") == 32
        browser.close()
    assert len(asked) == 7
    assert all(url.startswith("file://") for url in asked)
