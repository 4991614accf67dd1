"""A headless Chromium for tests and benchmarks of the player: the system's own, driven by Playwright.

Drawing is done by SwiftShader, Chromium's software renderer, so that pictures do not depend on a GPU.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
# A container's root user has no sandbox; the pages are our own.
ARGUMENTS = (*SOFTWARE, "--no-sandbox", "--disable-dev-shm-usage")


def find() -> str | None:
    """Path of a Chromium: $CHROMIUM, else the first of NAMES on the path."""
    return os.environ.get("CHROMIUM") or next((path for path in map(shutil.which, NAMES) if path), None)


def missing() -> str | None:
    """Why no browser can be driven here; None if one can."""
    try:
        import playwright  # noqa: F401
    except ModuleNotFoundError:
        return "playwright is not installed; type `pip install playwright` (no browser download needed)"
    if find() is None:
        return "no Chromium found; type `apt-get install chromium` or set CHROMIUM to one"
    return None


@contextmanager
def launched(*arguments: str) -> Iterator:
    """A running Playwright browser, closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=[*ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()
