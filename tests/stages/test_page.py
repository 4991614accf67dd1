"""The gallery page names every fit, refers only to files beside it, and shows them in a browser without a network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import page
from stages.lib import video
from stages.settings import RendersRun
from tests import browser

RUN = RendersRun(renders={"fps": 8})


@pytest.fixture
def suite(tmp_path, scene, report) -> Path:
    """results/toys with two scenes by two methods, their players, and its page."""
    folder = tmp_path / "toys"
    orbits, players = [], []
    for name in ("cat", "dog"):
        scene[0].save(folder / name / "frames.npz")
        for variant in ("stag4d", "4dstr"):
            fit = folder / name / variant / "seed0"
            orbits.append(fit / "exports" / "orbit.webp")
            orbits[-1].parent.mkdir(parents=True)
            pictures = np.full((2, 32, 32, 3), 120, np.uint8)
            pictures[1] = 20
            video.write_webp(orbits[-1], pictures, 8)
            players.append(fit / "player.html")
        players.append(folder / name / "compare_stag4d_4dstr.html")
    for player in players:
        player.write_text("<!doctype html>")
    frames = [folder / name / "frames.npz" for name in ("cat", "dog")]
    page.main(frames, orbits, players, folder / "gallery.html", folder / "gallery", RUN, report)
    return folder


def test_every_picture_and_player_exists_beside_the_page(suite):
    text = (suite / "gallery.html").read_text()
    moving = re.findall(r'data-moving="([^"]+)"', text)
    assert moving[:3] == [
        "gallery/cat.webp",
        "cat/stag4d/seed0/exports/orbit.webp",
        "cat/4dstr/seed0/exports/orbit.webp",
    ]
    still = re.findall(r'<img src="([^"]+)"', text)
    assert len(moving) == len(still) == text.count('loading="lazy"') == 6
    links = re.findall(r'href="([^"]+)"', text)
    assert {link for link in links if "cat/" in link} == {
        "cat/stag4d/seed0/player.html",
        "cat/stag4d/seed0/",
        "cat/4dstr/seed0/player.html",
        "cat/4dstr/seed0/",
        "cat/compare_stag4d_4dstr.html",
    }
    assert all((suite / path).exists() for path in [*moving, *still, *links])
    assert "://" not in text
    assert len(text) < 10_000


def test_thumbnails_are_still_small_and_show_the_first_moment(suite):
    for path in sorted((suite / "gallery").glob("*_still.webp")):
        with Image.open(path) as picture:
            assert not getattr(picture, "is_animated", False)
            assert path.stat().st_size < 4000
    with Image.open(suite / "gallery" / "cat_4dstr_still.webp") as picture:
        assert abs(np.asarray(picture).astype(int) - 120).max() < 4


WHY = browser.missing()


@pytest.mark.skipif(WHY is not None, reason=str(WHY))
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_browser_moves_what_is_in_view_without_a_network(suite, motion):
    moved = suite.rename(suite.with_name("copied"))
    wanted = "moving" if motion == "no-preference" else "still"
    with browser.launched() as chromium:
        # One row of pictures fits.
        tab = chromium.new_page(viewport={"width": 900, "height": 200}, reduced_motion=motion)
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((moved / "gallery.html").as_uri())
        for here, away in ((1, 4), (4, 1)):
            image = tab.locator("img").nth(here)
            image.evaluate("one => one.scrollIntoView()")
            tab.wait_for_function(
                f"n => document.images[n].src.endsWith(document.images[n].dataset.{wanted})", arg=here
            )
            tab.wait_for_function("n => document.images[n].src.endsWith('_still.webp')", arg=away)
            assert image.evaluate("async one => { await one.decode(); return one.naturalWidth }") == 32
    assert all(url.startswith("file://") for url in asked)
    assert any("orbit.webp" in url for url in asked) == (motion == "no-preference")
