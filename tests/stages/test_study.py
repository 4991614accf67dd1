"""The user study's page: blind, complete, and answered in a real browser up to the table.

The browser is the system's Chromium; without one those tests are skipped (`tests/browser.py`).
"""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from stages import preferences, study
from stages.cli import StageError
from stages.lib import video
from stages.lib.studies import QUESTIONS, orders, read_key
from stages.settings import Run
from tests import browser
from tests.stages.test_preferences import PAPERS
from tests.studies import FPS, LENGTH, METHODS, PARTS, SCENES, encoded, files, made, run

WHY = browser.missing()
in_browser = pytest.mark.skipif(WHY is not None, reason=str(WHY))
PREFERRED = {"quality": "4dstr", "consistency": "stag4d", "alignment": "theirs"}

# ------------------------------------------------------------------ the page, without a browser


def told(text: str) -> dict:
    return json.loads(re.search(r'id="about">(.*?)</script>', text, re.S)[1])


def strings(value) -> list[str]:
    """Every text in a JSON value, names of entries included."""
    if isinstance(value, dict):
        return [one for item in value.items() for part in item for one in strings(part)]
    if isinstance(value, list):
        return [one for item in value for one in strings(item)]
    return [str(value)]


@pytest.mark.parametrize("embed_mb", [15.0, 0.0])
def test_nothing_handed_out_names_a_method_or_scene(tmp_path, scene, report, embed_mb):
    out, key = made(tmp_path, scene[0], report, embed_mb)
    text = (out / "study.html").read_text()
    names = [*METHODS, *METHODS.values()]
    assert not [name for name in names if name.lower() in text.lower()]
    # Besides the words of the questions, the page is told ids, which are the digests of the key.
    ids = {key.study, *(one.id for one in key.scenes), *key.variants()}
    about = told(text)
    sources = set(about.pop("sources").values())
    assert set(strings(about)) - ids == {
        "study", "format", "1", "questions", "scenes", "prompts", *QUESTIONS, *QUESTIONS.values()
    }  # fmt: skip
    assert list(about["scenes"]) == sorted(about["scenes"])
    assert all(clips == sorted(clips) for clips in about["scenes"].values())
    given = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    beside = [] if embed_mb else sorted(f"clips/{name}.mp4" for name in [*sources, *key.variants()])
    assert given == [*beside, "study.html"]
    assert not (out / "study_key.json").exists()


def test_the_key_says_which_video_is_whose(tmp_path, scene, report):
    out, key = made(tmp_path, scene[0], report)
    held = dict(re.findall(r'id="clip-(\w+)">([^<]*)<', (out / "study.html").read_text()))
    assert len(held) == len(SCENES) * (len(METHODS) + 1)
    assert [one.scene for one in key.scenes] == list(SCENES)
    for one in key.scenes:
        assert {item.variant: item.title for item in one.clips} == METHODS
        for item in one.clips:
            (tmp_path / "held.mp4").write_bytes(base64.b64decode(held[item.id]))
            original = video.read(tmp_path / one.scene / item.variant / "orbit.mp4")
            np.testing.assert_array_equal(video.read(tmp_path / "held.mp4"), original)


def test_the_source_is_as_long_as_the_clips(tmp_path, scene, report):
    out, _ = made(tmp_path, scene[0], report, embed_mb=0)
    about = told((out / "study.html").read_text())
    source = video.decode(out / "clips" / f"{next(iter(about['sources'].values()))}.mp4")
    assert (source.frames.shape[0], source.fps) == (LENGTH, FPS)
    period = len(scene[0].rgba)
    np.testing.assert_allclose(source.frames[0].astype(int), source.frames[period].astype(int), atol=40)


def test_equal_videos_make_an_equal_study_and_others_another(tmp_path, scene, report):
    first, key = made(tmp_path / "a", scene[0], report)
    second, _ = made(tmp_path / "b", scene[0], report)
    assert told((first / "study.html").read_text()) == told((second / "study.html").read_text())
    arguments = files(tmp_path / "b", scene[0])
    arguments["clips"][0].write_bytes(encoded(999))
    study.main(**arguments, settings=run(), report=report)
    assert read_key(arguments["key"]).study != key.study
    # How large a page may be is no part of a study.
    assert made(tmp_path / "a", scene[0], report, embed_mb=0)[1].study == key.study


@pytest.mark.parametrize("odd", [{"length": LENGTH + 1}, {"size": 48}])
def test_videos_that_would_betray_their_method_are_refused(tmp_path, scene, report, odd):
    arguments = files(tmp_path, scene[0])
    arguments["clips"][4].write_bytes(encoded(1, **odd))
    with pytest.raises(StageError, match=r"dog/4dstr/orbit.mp4 has .*, .*dog/stag4d/orbit.mp4 has 12 frames of 32x32"):
        study.main(**arguments, settings=run(), report=report)
    assert not arguments["out"].exists() and not arguments["key"].exists()


def test_what_is_no_video_is_refused(tmp_path, scene, report):
    arguments = files(tmp_path, scene[0])
    arguments["clips"][3].write_bytes(b"nothing")
    with pytest.raises(StageError, match=r"dog/stag4d/orbit.mp4 cannot be read as a video"):
        study.main(**arguments, settings=run(), report=report)
    assert not arguments["out"].exists()


def test_a_prompt_stands_in_the_page(tmp_path, scene, report):
    arguments = files(tmp_path, scene[0])
    prompt = "a corgi, <running>"
    about = {"settings": {"scene": {"kind": "prompt", "source": prompt}}}
    replace(scene[0], record=about).save(arguments["frames"][1])
    study.main(**arguments, settings=run(), report=report)
    key = read_key(arguments["key"])
    text = (arguments["out"] / "study.html").read_text()
    assert told(text)["prompts"] == {key.scenes[1].id: prompt} and prompt not in text


def test_fourteen_scenes_by_three_methods_are_one_page(tmp_path, scene, report):
    """As many as in 4DSTR's study; `pytest -s` shows the size, of toy videos."""
    scenes = tuple(f"scene{index}" for index in range(14))
    arguments = files(tmp_path, scene[0], scenes)
    study.main(**arguments, settings=run(scenes=scenes), report=report)
    page = (arguments["out"] / "study.html").read_bytes()
    held = re.findall(rb'id="clip-\w+">([^<]*)<', page)
    key = read_key(arguments["key"])
    assert len(key.scenes) == 14 and len(held) == 14 * (len(METHODS) + 1) and len(key.variants()) == 14 * len(METHODS)
    videos, rest = sum(map(len, held)), len(page) - sum(map(len, held))
    print(f"14 scenes by 3 methods: {len(page) / 1e6:.2f} MB, of which videos {videos / 1e6:.2f} MB as text")
    # What is not video must stay small, or the limit of `embed_mb` would not keep a page below what mail takes.
    assert rest < 60_000
    assert sorted(path.name for path in arguments["out"].iterdir()) == ["study.html"]


def test_one_method_is_no_study(tmp_path, scene, report):
    arguments = files(tmp_path, scene[0], methods=["stag4d"])
    with pytest.raises(StageError, match="a study of 1 methods was asked for; expected 2 to 9"):
        study.main(**arguments, settings=run(methods=["stag4d"]), report=report)


def test_a_scene_that_lacks_a_method_is_refused(tmp_path, scene, report):
    arguments = files(tmp_path, scene[0])
    settings = run()
    settings = settings.model_copy(update={"clips": settings.clips[:-1]})
    with pytest.raises(StageError, match=r"scene owl has videos of stag4d, 4dstr; expected one of each method"):
        study.main(**arguments | {"clips": arguments["clips"][:-1]}, settings=settings, report=report)


def test_missing_parts_and_unknown_placeholders_are_named():
    with pytest.raises(StageError, match=r"--parts lacks \['study.css'\]"):
        study.read_parts([path for path in PARTS if path.name != "study.css"])
    parts = study.read_parts(PARTS)
    with pytest.raises(StageError, match=r"disagree about the placeholders .*'more'"):
        study.assemble({**parts, "study.html": parts["study.html"] + "{{more}}"}, {}, {})


# ------------------------------------------------------------------ in the browser


@pytest.fixture(scope="module")
def chromium():
    with browser.launched() as running:
        yield running


@pytest.fixture
def open_page(chromium):
    """A function from a file to a tab that is a browser of its own; every request and error of the page is kept."""
    tabs = []

    def opened(path, **options):
        tab = chromium.new_page(viewport={"width": 1280, "height": 800}, **options)
        tabs.append(tab)
        tab.asked, tab.errors = [], []
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on("console", lambda line: tab.errors.append(line.text) if line.type == "error" else None)
        tab.goto(path.as_uri())
        return tab

    yield opened
    for tab in tabs:
        tab.close()


def shown(tab) -> list[str]:
    """The ids of the clips in view, by place."""
    return tab.locator("fieldset >> nth=0").locator("input").evaluate_all("all => all.map((one) => one.value)")


def wait(tab, condition: str) -> None:
    """Until a condition on `times` of the videos holds; the page's policy keeps Playwright's own from waiting."""
    times = "[...document.querySelectorAll('video')].map((one) => one.currentTime)"
    deadline = time.monotonic() + 20
    while not tab.evaluate(f"((times) => {condition})({times})"):
        assert time.monotonic() < deadline, (condition, tab.evaluate(times))
        time.sleep(0.02)


def table(folder, key_path, report) -> dict[str, dict]:
    out = {name: folder / f"table6.{end}" for name, end in (("out", "csv"), ("markdown", "md"), ("tex", "tex"))}
    answers = sorted((folder / "answers").glob("*.json"))
    preferences.main(answers, key_path, PAPERS, **out, settings=Run(), report=report)
    with open(out["out"], newline="") as file:
        return {row["variant"]: row for row in csv.DictReader(file) if row["source"] == "measured"}


def save(tab, folder, press) -> dict:
    with tab.expect_download() as waiting:
        press()
    path = folder / "answers" / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return json.loads(path.read_text())


@in_browser
def test_a_whole_study_by_keyboard_up_to_the_table(tmp_path, scene, report, open_page):
    out, key = made(tmp_path, scene[0], report)
    variants = key.variants()
    tab = open_page(out / "study.html")
    tab.keyboard.press("Enter")
    for index in range(len(SCENES)):
        assert tab.locator("#where").inner_text() == f"Scene {index + 1} of 3"
        places = [variants[one] for one in shown(tab)]
        for preferred in PREFERRED.values():
            tab.keyboard.press(str(places.index(preferred) + 1))
        tab.keyboard.press("ArrowRight")
    assert tab.locator("#end-title").inner_text() == "Thank you"
    saved = save(tab, tmp_path, lambda: tab.keyboard.press("Enter"))
    # The page's order is the one that Python draws from the seed in the file.
    assert [(one["scene"], one["order"]) for one in saved["answers"]] == orders(saved["seed"], key.shown())
    rows = table(tmp_path, tmp_path / "study_key.json", report)
    for question, preferred in PREFERRED.items():
        given = {name: float(row[f"user_{question}"]) for name, row in rows.items()}
        assert given == {name: 100.0 if name == preferred else 0.0 for name in METHODS}
    assert tab.errors == []


@in_browser
def test_a_whole_study_by_mouse_with_going_back_and_a_reload(tmp_path, scene, report, open_page):
    made(tmp_path, scene[0], report, embed_mb=0)
    # A folder that was handed on.
    moved = shutil.copytree(tmp_path / "study", tmp_path / "elsewhere" / "handed on")
    variants = read_key(tmp_path / "study_key.json").variants()
    tab = open_page(moved / "study.html")

    def choose(question: str, preferred: str) -> None:
        clips = shown(tab)
        place = [variants[one] for one in clips].index(preferred)
        tab.locator("fieldset").nth(list(QUESTIONS).index(question)).locator("label").nth(place).click()

    def checked() -> list[str]:
        found = tab.locator("input:checked").evaluate_all("all => all.map((one) => one.value)")
        return [variants[one] for one in found]

    tab.locator("#begin").click()
    for question in QUESTIONS:
        choose(question, "stag4d")
    tab.locator("#next").click()
    choose("quality", "theirs")
    tab.reload()
    assert tab.locator("#where").inner_text() == "Scene 2 of 3"
    assert checked() == ["theirs"]
    tab.locator("#next").click()
    assert tab.locator("#where").inner_text() == "Scene 2 of 3"
    assert tab.locator("#notice").inner_text() == "2 questions are still open."
    tab.locator("#back").click()
    assert checked() == ["stag4d"] * 3
    choose("alignment", "theirs")
    # The bar leads back, and not past an open scene.
    tab.locator("#steps button").nth(2).click()
    assert tab.locator("#where").inner_text() == "Scene 1 of 3"
    tab.locator("#steps button").nth(1).click()
    for index in (1, 2):
        assert tab.locator("#where").inner_text() == f"Scene {index + 1} of 3"
        for question in QUESTIONS:
            choose(question, "stag4d")
        tab.locator("#next").click()
    saved = save(tab, tmp_path, tab.locator("#save").click)
    assert tab.locator("#saved").inner_text().startswith(f"Saved as study_{saved['study']}_{saved['participant']}.json")
    rows = table(tmp_path, tmp_path / "study_key.json", report)
    assert float(rows["stag4d"]["user_quality"]) == 100
    assert float(rows["theirs"]["user_alignment"]) == pytest.approx(100 / 3, abs=1e-3)
    # The next person on this machine is another participant.
    tab.once("dialog", lambda dialog: dialog.accept())
    tab.locator("#another").click()
    tab.locator("#begin").click()
    assert checked() == []
    kept = tab.evaluate("JSON.parse(localStorage.getItem(localStorage.key(0)))")
    assert kept["participant"] != saved["participant"]
    assert tab.errors == []


@in_browser
@pytest.mark.parametrize("embed_mb", [15.0, 0.0])
def test_videos_play_in_step_and_nothing_is_asked_of_a_network(tmp_path, scene, report, open_page, embed_mb):
    out, _ = made(tmp_path, scene[0], report, embed_mb)
    tab = open_page(out / "study.html")
    tab.keyboard.press("Enter")
    wait(tab, "times.filter((time) => time > 0).length === 4")
    tab.keyboard.press(" ")
    assert tab.evaluate("[...document.querySelectorAll('video')].every((one) => one.paused)")
    # From their ends all start over together.
    tab.evaluate("for (const one of document.querySelectorAll('video')) one.currentTime = 0.4")
    tab.keyboard.press(" ")
    wait(tab, "times.every((time) => time < 0.35)")
    places = {url.split(":")[0] for url in tab.asked}
    assert places == ({"file", "blob"} if embed_mb else {"file"})
    assert all(url.startswith((out.as_uri(), "blob:")) for url in tab.asked)
    assert tab.errors == []
    # The page's own policy refuses a request, whoever makes it.
    refused = """new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        fetch("https://example.org").finally(() => setTimeout(() => resolve("nothing"), 1000));
    })"""
    assert tab.evaluate(refused) == "connect-src"


@in_browser
def test_participants_see_other_orders_and_no_name(tmp_path, scene, report, open_page):
    out, key = made(tmp_path, scene[0], report)
    tabs = [open_page(out / "study.html") for _ in range(3)]
    kept = [tab.evaluate("JSON.parse(localStorage.getItem(localStorage.key(0)))") for tab in tabs]
    assert len({one["participant"] for one in kept}) == len({one["seed"] for one in kept}) == 3
    # Scenes and places have 6^4 orders: three equal ones come once in 1.7 million.
    assert len({str(orders(one["seed"], key.shown())) for one in kept}) > 1
    tabs[0].keyboard.press("Enter")
    assert shown(tabs[0]) == orders(kept[0]["seed"], key.shown())[0][1]
    content = tabs[0].evaluate("document.documentElement.outerHTML").lower()
    assert not [name for name in [*METHODS, *METHODS.values(), "study_key"] if name.lower() in content]


@in_browser
def test_keys_move_between_questions_and_a_choice_can_be_changed(tmp_path, scene, report, open_page):
    out, _ = made(tmp_path, scene[0], report)
    tab = open_page(out / "study.html")
    tab.keyboard.press("Enter")
    clips = shown(tab)

    def chosen() -> list[str]:
        groups = tab.locator("fieldset").evaluate_all(
            "all => all.map((group) => group.querySelector('input:checked')?.value ?? '')"
        )
        return [clips.index(one) + 1 if one else 0 for one in groups]

    for key in ("ArrowDown", "ArrowDown", "3", "ArrowUp", "2", "ArrowUp", "ArrowUp", "ArrowUp", "1", "9", "r", "s"):
        tab.keyboard.press(key)
    assert chosen() == [1, 2, 3]
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("3")
    assert chosen() == [3, 2, 3]
    assert tab.evaluate("[...document.querySelectorAll('video')].map((one) => one.playbackRate)") == [0.5] * 4


@in_browser
@pytest.mark.parametrize("kept", ["{", "null", '{"participant": "x"}', '{"participant": 3, "seed": 1, "place": 99}'])
def test_what_another_program_kept_is_not_resumed(tmp_path, scene, report, open_page, kept):
    out, key = made(tmp_path, scene[0], report)
    tab = open_page(out / "study.html")
    tab.evaluate("([name, text]) => localStorage.setItem(name, text)", [f"study {key.study}", kept])
    tab.reload()
    assert tab.locator("#begin").is_visible()
    assert tab.errors == []


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_in_view(tmp_path, scene, report, open_page, width, scheme):
    out, _ = made(tmp_path, scene[0], report)
    tab = open_page(out / "study.html", color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 800})
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [tab.locator("video").nth(index).bounding_box() for index in range(4)]
    assert all(box["width"] > 120 for box in boxes)
    assert len({round(box["y"]) for box in boxes}) == (1 if width > 700 else 2)
    if width > 700:
        assert tab.evaluate("document.documentElement.scrollHeight") <= 800
        options = [tab.locator("fieldset >> nth=0").locator("label").nth(place).bounding_box() for place in range(3)]
        assert [option["x"] for option in options] == pytest.approx([box["x"] for box in boxes[1:]], abs=1)
