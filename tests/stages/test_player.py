"""The player: its page holds what it should, and in a real browser it draws, plays, turns and compares.

The browser is the system's Chromium, drawing in software; without one these tests are skipped (`tests/browser.py`).
"""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from stages import compact as compact_stage
from stages import player
from stages.cli import StageError
from stages.contracts import ContractError, Sequence
from stages.lib import compact
from stages.lib.raster import render_numpy
from stages.settings import PlayerRun, PlayerSettings, Run
from tests import browser, readers
from tests.players import PARTS, page, scene, shell
from tests.slow_motion import insert

WHY = browser.missing()
in_browser = pytest.mark.skipif(WHY is not None, reason=str(WHY))
NO_SPARK = readers.missing("@sparkjsdev/spark")
SIZE = 160
FRAMES = 5


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    """5 frames of 400 gaussians; frame 2 has none, frame 3 has half of them."""
    made = shell(400, frames=FRAMES, seed=1)
    present = made.present.copy()
    present[2] = False
    present[3, ::2] = False
    return replace(made, present=present)


# ------------------------------------------------------------------ the page, without a browser


@pytest.fixture
def files(tmp_path, sequence):
    """The files of a scene with two variants, and the arguments of the stage."""
    frames, anchors = scene(FRAMES)
    frames.save(tmp_path / "cat" / "frames.npz")
    anchors.save(tmp_path / "cat" / "anchors.npz")
    places = []
    for variant in ("stag4d", "4dstr"):
        folder = tmp_path / "cat" / variant / "seed0"
        sequence.save(folder / "sequence.safetensors")
        places.append(folder / "sequence.4dgs")
        compact.write(places[-1], sequence)
    arguments = {name: tmp_path / "cat" / f"{name}.npz" for name in ("frames", "anchors")}
    return places, {**arguments, "parts": PARTS, "out": tmp_path / "player.html"}


def test_the_compact_stage(files, tmp_path, report):
    (place, _), _ = files
    compact_stage.main(place.with_name("sequence.safetensors"), tmp_path / "again.4dgs", Run(), report)
    assert (tmp_path / "again.4dgs").read_bytes() == place.read_bytes()
    assert "5 frames of 400 gaussians" in report.text


def test_the_page_is_one_file_that_names_no_other(files, report):
    places, arguments = files
    player.main(places, **arguments, settings=PlayerRun(fps=12), report=report)
    text = arguments["out"].read_text()
    assert "<title>cat · stag4d · 4dstr</title>" in text
    assert "{{" not in text
    assert not re.findall(r"https?://|<link[^>]*href=\"(?!data:)|\bsrc=|@import|url\(|\bfetch\(|XMLHttpRequest", text)
    held = re.findall(r'id="sequence\d">([^<]*)<', text)
    assert [base64.b64decode(one) for one in held] == [place.read_bytes() for place in places]


def test_the_cameras_are_the_input_six_anchors_and_four_evaluation_views():
    found = player.cameras(*scene(1))
    assert [camera["azimuth"] for camera in found] == [0, 30, 90, 150, 210, 270, 330, -75, 15, 105, 195]
    assert [camera["elevation"] for camera in found] == [0, 30, -20, 30, -20, 30, -20, 0, 0, 0, 0]


def test_slow_motion_begins_at_the_key_frames_time(files, sequence, report):
    """The key frame is a number among the fitted frames; the compact files hold three more between any two."""
    places, arguments = files
    whole = replace(sequence, present=np.ones_like(sequence.present))
    for place in places:
        compact.write(place, insert(whole, 3))
    frames = replace(scene(FRAMES)[0], key=2)
    frames.save(arguments["frames"])
    player.main(places, **arguments, settings=PlayerRun(), report=report)
    told = json.loads(re.search(r'id="about">([^<]*)<', arguments["out"].read_text())[1])
    assert told["frame"] == 8
    assert compact.read_header(places[0]).times[8] == frames.times[2]


def test_json_cannot_end_its_script():
    assert "</script>" not in player.in_script('{"a": "</script><b>"}')


def test_three_sequences_are_refused(files, report):
    places, arguments = files
    with pytest.raises(StageError, match="3 sequences were given; expected one, or two"):
        player.main([*places, places[0]], **arguments, settings=PlayerRun(), report=report)


def test_what_is_not_a_compact_file_is_refused_and_no_page_is_left(files, report):
    places, arguments = files
    places[1].write_bytes(b"something")
    with pytest.raises(ContractError, match="cannot be read as a compact sequence"):
        player.main(places, **arguments, settings=PlayerRun(), report=report)
    assert not arguments["out"].exists()


def test_missing_parts_and_unknown_placeholders_are_named():
    with pytest.raises(StageError, match=r"--parts lacks \['camera.js'\]"):
        player.read_parts([path for path in PARTS if path.name != "camera.js"])
    parts = player.read_parts(PARTS)
    told = player.about(["a"], "s", np.zeros(1), *scene(1), PlayerRun())
    with pytest.raises(StageError, match=r"disagree about the placeholders .*'more'"):
        player.assemble({**parts, "player.html": parts["player.html"] + "{{more}}"}, told, [b""])


def test_seeds_are_named_where_they_differ(tmp_path):
    places = [tmp_path / "stag4d" / seed / "sequence.4dgs" for seed in ("seed0", "seed1")]
    assert player.titles(places) == ["stag4d seed0", "stag4d seed1"]
    assert player.titles(places[:1]) == ["stag4d"]


# ------------------------------------------------------------------ in the browser


@pytest.fixture(scope="module")
def chromium():
    with browser.launched() as running:
        yield running


@pytest.fixture
def open_page(chromium):
    """A function from a file to an open tab, at SIZE pixels; every error and request of the page is kept."""
    tabs = []

    def opened(path, ready: bool = True, width: int = SIZE, height: int = SIZE, before: str = "", **options):
        tab = chromium.new_page(viewport={"width": width, "height": height}, **options)
        tabs.append(tab)
        tab.asked, tab.errors = [], []
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        if before:
            tab.add_init_script(before)
        tab.goto(path.as_uri())
        if ready:
            tab.evaluate("player.ready")
        return tab

    yield opened
    for tab in tabs:
        tab.close()


PIXELS = """() => {
  const found = player.draw().pixels();
  let text = "";
  for (let i = 0; i < found.length; i += 4096) text += String.fromCharCode(...found.subarray(i, i + 4096));
  return btoa(text);
}"""


def pixels(tab, size: int = SIZE) -> np.ndarray:
    """What the player draws now, premultiplied RGBA in [0, 1], row 0 above."""
    return np.frombuffer(base64.b64decode(tab.evaluate(PIXELS)), np.uint8).reshape(-1, size, 4) / 255


def ours(sequence: Sequence, frame: int, azimuth_deg: float, elevation_deg: float, size: int = SIZE) -> np.ndarray:
    """The Numba renderer's picture of the same moment, premultiplied."""
    gaussians = sequence.frame(frame)
    drawn = render_numpy(
        gaussians.means,
        gaussians.quats,
        np.exp(gaussians.log_scales),
        1 / (1 + np.exp(-gaussians.opacity_logits)),
        gaussians.sh,
        scene(1)[0].cameras(azimuth_deg, elevation_deg, size),
        np.zeros(3, np.float32),
    )
    return np.clip(np.concatenate([drawn.image[0], drawn.alpha[0][..., None]], axis=-1), 0, 1)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


def show(tab, frame: int, azimuth: float, elevation: float) -> None:
    """One moment and camera, without names and controls, so that the picture fills the canvas."""
    tab.evaluate(
        "([frame, azimuth, elevation]) => {"
        " player.set('bare', true); player.setFrame(frame); player.look({ azimuth, elevation }); }",
        [frame, azimuth, elevation],
    )


@in_browser
def test_it_opens_from_disk_without_any_request(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence))
    tab.keyboard.press("Space")
    tab.wait_for_timeout(300)
    assert tab.asked == [(tmp_path / "player.html").as_uri()]
    assert tab.errors == []
    assert tab.locator("#loading.done").count() == 1
    assert tab.evaluate("document.getElementById('loading-bar').value") == 1
    assert tab.locator("#name0").text_content() == "firstshell"


@in_browser
@pytest.mark.parametrize(
    ("bases", "frame", "azimuth", "elevation"), [(1, 0, 0, 0), (4, 1, 30, 30), (9, 3, -75, -20), (16, 4, 195, 80)]
)
def test_its_picture_is_our_renderers(tmp_path, sequence, open_page, bases, frame, azimuth, elevation):
    generator = np.random.default_rng(2)
    sh = np.concatenate([sequence.sh[:, :1], generator.normal(0, 0.15, (400, bases - 1, 3))], axis=1).astype(np.float32)
    coloured = replace(sequence, sh=sh)
    tab = open_page(page(tmp_path, coloured))
    show(tab, frame, azimuth, elevation)
    # 8 bits a blend and the quantisation of the compact file are what differs.
    assert psnr(pixels(tab), ours(coloured, frame, azimuth, elevation)) > 40


@in_browser
@pytest.mark.skipif(NO_SPARK is not None, reason=str(NO_SPARK))
def test_its_picture_is_sparks():
    """Spark reads the PLY of the same moment; both are compared with the Numba renderer, and with each other."""
    from tests.benchmarks.player import measure

    # A thread of its own: Playwright drives one browser a thread, and this one needs another argument.
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(measure, 2_000, 256, readers.FOLDER, seconds=0.2, rounds=1).result()
    assert min(found["agreement"].values()) > 40


@in_browser
def test_its_reader_reads_what_ours_reads(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence))
    back = compact.read(tmp_path / "0.4dgs")
    for name in ("means", "quats", "log_scales", "opacity_logits"):
        theirs = np.array(tab.evaluate(f"[...player.items[0].sequence.values('{name}', 4)]"))
        np.testing.assert_allclose(theirs.reshape(-1, 400).T, getattr(back, name)[4].reshape(400, -1), atol=1e-6)
    assert tab.evaluate("[...player.items[0].sequence.shown]") == [400, 400, 0, 200, 400]


@in_browser
def test_the_order_is_right_wherever_the_camera_is(tmp_path, open_page):
    """Two opaque sheets, red before blue from the front: the nearer one hides the other from either side."""
    made = shell(2, frames=1)
    means = np.array([[[0, 0, 0.3], [0, 0, -0.3]]], np.float32)
    sh = (np.array([[[0.5, -0.5, -0.5]], [[-0.5, -0.5, 0.5]]]) / 0.28209479177387814).astype(np.float32)
    sheets = replace(made, means=means, sh=sh, log_scales=np.full((1, 2, 3), -2, np.float32))
    sheets = replace(sheets, opacity_logits=np.full((1, 2), 7, np.float32))
    tab = open_page(page(tmp_path, sheets))
    for azimuth, nearer in ((0, 0), (180, 2)):
        show(tab, 0, azimuth, 0)
        middle = pixels(tab)[SIZE // 2, SIZE // 2]
        assert middle[nearer] > 0.95
        assert middle[2 - nearer] < 0.05


@in_browser
def test_the_counting_sort_is_a_sort(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence))
    axis, position = np.array([0.6, 0.0, -0.8]), np.array([-0.3, 0.1, 0.4])
    found = tab.evaluate(
        """([axis, position]) => {
          player.setFrame(3);
          const item = (player.draw(), player.items[0]);
          return [...item.order.subarray(0, player.draw().constructor.sort(item, axis, position))];
        }""",
        [axis.tolist(), position.tolist()],
    )
    depths = (compact.read(tmp_path / "0.4dgs").means[3] - position) @ axis
    drawn = sequence.present[3] & (sequence.opacity_logits[3] > np.log(1 / 254))
    wanted = np.flatnonzero(drawn & (depths > 0.01))
    assert 50 < len(wanted) < 200
    assert sorted(found) == wanted.tolist()
    # Gaussians of one of 65,536 levels of depth may stand in any order.
    assert np.diff(depths[found]).max() <= 1.01 * np.ptp(depths[wanted]) / 65535


@in_browser
def test_the_slider_moves_time_and_the_clip_plays(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=700, height=500)
    assert tab.locator("#frame").text_content() == "1 / 5"
    slider = tab.locator("#time").bounding_box()
    tab.mouse.click(slider["x"] + slider["width"] - 8, slider["y"] + slider["height"] / 2)
    tab.wait_for_function("player.state.frame === 4")
    tab.wait_for_function("document.getElementById('frame').textContent === '5 / 5'")
    tab.locator("#play").click()
    # It wraps from the last frame to the first.
    tab.wait_for_function("player.state.playing && player.state.frame < 4")
    tab.locator("#play").click()
    assert not tab.evaluate("player.state.playing")


@in_browser
def test_what_happens_at_the_end(tmp_path, sequence, open_page):
    run = PlayerRun(fps=10, player=PlayerSettings(loop="once", background="white"))
    tab = open_page(page(tmp_path, sequence, run=run))
    assert tab.evaluate("document.getElementById('stage').dataset.background") == "white"
    walk = """(loop) => {
      player.set("loop", loop); player.setFrame(0); player.state.playing = true;
      const seen = [];
      for (let i = 0; i < 11; i++) { player.advance(0.101); seen.push(player.state.frame); }
      const playing = player.state.playing;
      player.play(false);
      return [seen, playing];
    }"""
    assert tab.evaluate(walk, "once") == [[1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4], False]
    assert tab.evaluate(walk, "loop") == [[1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1], True]
    assert tab.evaluate(walk, "pingpong") == [[1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3], True]
    tab.evaluate("player.set('speed', 2)")
    assert tab.evaluate(walk, "loop")[0][:4] == [2, 4, 1, 3]


@in_browser
def test_dragging_orbits_wheel_zooms_right_drag_pans(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=500, height=500)
    before = pixels(tab, 500)
    tab.mouse.move(200, 200)
    tab.mouse.down()
    tab.mouse.move(250, 220, steps=4)
    tab.mouse.up()
    assert tab.evaluate("[player.state.camera.azimuth, player.state.camera.elevation]") == pytest.approx([-20, 8])
    assert psnr(pixels(tab, 500), before) < 30
    tab.mouse.wheel(0, 300)
    tab.wait_for_function("player.state.camera.radius > 2.5")
    tab.mouse.move(200, 200)
    tab.mouse.down(button="right")
    tab.mouse.move(240, 200)
    tab.mouse.up(button="right")
    assert np.linalg.norm(tab.evaluate("player.state.camera.target")) > 0.05
    tab.mouse.dblclick(200, 200)
    tab.wait_for_function("player.state.camera.radius === 2 && player.state.camera.azimuth === 0")


@in_browser
@pytest.mark.parametrize(("frame", "may"), [('sandbox="allow-scripts"', False), ('allow="fullscreen *"', True)])
def test_where_a_page_may_not_fill_the_screen_it_does_not_offer_to(tmp_path, open_page, frame, may):
    page(tmp_path, shell(30, frames=2))
    (tmp_path / "around.html").write_text(f'<iframe src="player.html" {frame} width="600" height="500">')
    tab = open_page(tmp_path / "around.html", ready=False, width=700, height=600)
    inside = tab.locator("iframe").element_handle().content_frame()
    inside.wait_for_function("globalThis.player")
    inside.evaluate("player.ready")
    assert inside.evaluate("document.fullscreenEnabled") == may
    assert inside.locator("#full").is_visible() == may
    assert tab.errors == []


@in_browser
def test_two_fingers_zoom(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=400, height=400)
    tab.evaluate(
        """() => {
          const canvas = document.getElementById("canvas");
          canvas.setPointerCapture = () => {};
          const send = (kind, id, x, y) => canvas.dispatchEvent(new PointerEvent(kind,
            { pointerId: id, pointerType: "touch", clientX: x, clientY: y, buttons: 1, bubbles: true }));
          send("pointerdown", 1, 150, 200); send("pointerdown", 2, 250, 200);
          send("pointermove", 1, 100, 200); send("pointermove", 2, 300, 200);
          send("pointerup", 1, 100, 200); send("pointerup", 2, 300, 200);
        }"""
    )
    assert tab.evaluate("player.state.camera.radius") == pytest.approx(1.0)
    assert tab.evaluate("player.state.camera.target") == pytest.approx([0, 0, 0], abs=0.03)


@in_browser
def test_buttons_and_keys_reach_every_camera(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=700, height=600, reduced_motion="reduce")
    tab.locator("#cameras-button").click()
    buttons = tab.locator("#cameras button")
    assert buttons.count() == 11
    buttons.nth(1).click()
    assert tab.evaluate("[player.state.camera.azimuth, player.state.camera.elevation]") == [30, 30]
    tab.wait_for_function("document.querySelectorAll('#cameras button')[1].getAttribute('aria-pressed') === 'true'")
    tab.keyboard.press("7")
    assert tab.evaluate("player.state.camera.azimuth") == -75
    tab.keyboard.press(".")
    assert tab.evaluate("player.state.frame") == 1
    tab.keyboard.press("b")
    tab.keyboard.press("t")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    tab.keyboard.press("]")
    assert tab.evaluate("[player.state.background, player.state.speed]") == ["white", 1.5]


ANGLES = "[player.state.camera.azimuth, player.state.camera.elevation]"
OPEN = "['cameras', 'help'].filter((id) => !document.getElementById(id).hidden)"
# Pressed one after the other: key, what to look at, what it is then.
KEYS = (
    ("ArrowRight", ANGLES, [5, 0]),
    ("ArrowUp", ANGLES, [5, 5]),
    ("ArrowLeft", ANGLES, [0, 5]),
    ("ArrowDown", ANGLES, [0, 0]),
    ("End", "player.state.frame", FRAMES - 1),
    (".", "player.state.frame", 0),
    (",", "player.state.frame", FRAMES - 1),
    ("Home", "player.state.frame", 0),
    ("l", "player.state.loop", "pingpong"),
    ("l", "player.state.loop", "once"),
    ("l", "player.state.loop", "loop"),
    ("v", "player.state.mode", "beside"),
    ("v", "player.state.mode", "first"),
    ("v", "player.state.mode", "second"),
    ("v", "player.state.mode", "wipe"),
    ("+", "player.state.camera.radius", 2 / 1.1),
    ("=", "player.state.camera.radius", 2 / 1.1**2),
    ("-", "player.state.camera.radius", 2 / 1.1),
    ("]", "player.state.speed", 1.5),
    ("[", "player.state.speed", 1),
    ("[", "player.state.speed", 0.5),
    ("c", OPEN, ["cameras"]),
    ("?", OPEN, ["help"]),
    ("Escape", OPEN, []),
    ("h", "player.state.bare", True),
    ("h", "player.state.bare", False),
    (" ", "player.state.playing", True),
    (" ", "player.state.playing", False),
)


@in_browser
def test_every_key_does_what_the_help_says(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence, sequence), width=700, height=600)
    for key, what, expected in KEYS:
        tab.keyboard.press(key)
        found = tab.evaluate(what)
        assert found == (pytest.approx(expected) if isinstance(expected, float) else expected), (key, what)
    assert tab.errors == []


@in_browser
def test_arrows_with_shift_pan_as_a_drag_does(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=500, height=500)
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1)):
        before = tab.evaluate("player.state.camera.target")
        tab.keyboard.press(f"Shift+{key}")
        moved = np.subtract(tab.evaluate("player.state.camera.target"), before)
        assert sign * moved[axis] > 0.02
        assert np.abs(np.delete(moved, axis)).max() < 1e-9
    assert tab.evaluate(ANGLES) == [0, 0]


@in_browser
def test_the_speed_is_chosen_from_a_list(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=700, height=500)
    tab.locator("#speed").select_option("0.25")
    assert tab.evaluate("player.state.speed") == 0.25
    # While the list has the focus it keeps the keys that work it.
    tab.locator("#speed").focus()
    tab.keyboard.press("End")
    assert tab.evaluate("player.state.frame") == 0


@in_browser
def test_it_fills_the_screen_and_comes_back(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=700, height=500)
    tab.locator("#full").click()
    tab.wait_for_function("document.fullscreenElement === document.documentElement")
    tab.locator("#canvas").focus()
    tab.keyboard.press("f")
    tab.wait_for_function("document.fullscreenElement === null")


@in_browser
def test_one_finger_orbits(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence), width=500, height=500, has_touch=True)
    finger = tab.context.new_cdp_session(tab)

    def touch(kind: str, *at: int) -> None:
        points = [{"x": at[0], "y": at[1]}] if at else []
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 200, 200)
    for step in range(1, 6):
        touch("touchMove", 200 + 10 * step, 200 + 4 * step)
    touch("touchEnd")
    tab.wait_for_function("player.state.camera.azimuth === -20")
    assert tab.evaluate(ANGLES) == pytest.approx([-20, 8])


@in_browser
def test_loading_shows_how_far_it_is(tmp_path, open_page):
    watch = """
      globalThis.seen = [];
      new MutationObserver((changes) => {
        for (const { target } of changes) if (target.id === "loading-bar") seen.push(target.value);
      }).observe(document, { subtree: true, attributes: true, attributeFilter: ["value"] });
    """
    tab = open_page(page(tmp_path, shell(200, frames=24), shell(200, frames=24)), before=watch)
    seen = tab.evaluate("seen")
    # Three groups of eight frames in each of two sequences.
    assert len(set(seen)) >= 4
    assert seen == sorted(seen) and 0 < seen[0] < 0.5 and seen[-1] == 1


@in_browser
def test_two_sequences_share_camera_and_time(tmp_path, sequence, open_page):
    black = replace(sequence, sh=np.where(np.arange(4)[None, :, None] == 0, -2, 0 * sequence.sh).astype(np.float32))
    tab = open_page(page(tmp_path, sequence, black))
    show(tab, 1, 30, 0)
    both, first, second = pixels(tab), ours(sequence, 1, 30, 0), ours(black, 1, 30, 0)
    half = SIZE // 2
    assert psnr(both[:, :half], first[:, :half]) > 40
    assert psnr(both[:, half:], second[:, half:]) > 40
    tab.evaluate("player.set('wipe', 0.25)")
    assert psnr(pixels(tab)[:, half // 2 :], second[:, half // 2 :]) > 40
    tab.evaluate("player.set('mode', 'second')")
    assert psnr(pixels(tab), second) > 40
    tab.evaluate("player.set('mode', 'beside')")
    beside = pixels(tab)
    assert psnr(beside[half // 2 : -half // 2, :half], ours(sequence, 1, 30, 0, half)) > 40
    assert psnr(beside[half // 2 : -half // 2, half:], ours(black, 1, 30, 0, half)) > 40


@in_browser
def test_the_wipe_can_be_dragged(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence, sequence), width=600, height=400)
    tab.mouse.move(300, 100)
    tab.mouse.down()
    tab.mouse.move(150, 100)
    tab.mouse.up()
    assert tab.evaluate("player.state.wipe") == pytest.approx(0.25)
    assert tab.evaluate("player.state.camera.azimuth") == 0


@in_browser
def test_clips_of_different_lengths_meet_at_equal_times(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence, shell(30, frames=3)))
    tab.evaluate("player.setFrame(4); player.draw()")
    assert tab.evaluate("player.items.map((item) => item.frame)") == [4, 2]


@in_browser
def test_a_frame_without_gaussians_says_so(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence))
    show(tab, 2, 0, 0)
    assert pixels(tab).max() == 0
    tab.wait_for_function("!document.getElementById('notice').hidden")
    show(tab, 3, 0, 0)
    assert pixels(tab).max() > 0.5
    tab.wait_for_function("document.getElementById('notice').hidden")


@in_browser
def test_one_frame_has_no_time_bar(tmp_path, open_page):
    tab = open_page(page(tmp_path, shell(30, frames=1)), width=500, height=500)
    assert not tab.locator("#time").is_visible()
    tab.keyboard.press("Space")
    assert not tab.evaluate("player.state.playing")
    assert tab.locator("#cameras-button").is_visible()


@in_browser
def test_without_webgl2_it_says_what_to_do(tmp_path, sequence, open_page):
    without = "HTMLCanvasElement.prototype.getContext = () => null"
    tab = open_page(page(tmp_path, sequence), ready=False, before=without)
    tab.wait_for_function("document.getElementById('loading').classList.contains('failed')")
    assert "needs WebGL2" in tab.locator("#loading-text").text_content()


@in_browser
def test_a_truncated_sequence_says_so(tmp_path, sequence, open_page):
    path = page(tmp_path, sequence)
    data = base64.b64encode((tmp_path / "0.4dgs").read_bytes()[:-9]).decode()
    path.write_text(re.sub(r'(id="sequence0">)[^<]*', lambda found: found[1] + data, path.read_text()))
    tab = open_page(path, ready=False)
    tab.wait_for_function("document.getElementById('loading').classList.contains('failed')")
    assert "truncated" in tab.locator("#loading-text").text_content()


@in_browser
def test_a_lost_context_comes_back(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence))
    show(tab, 1, 30, 0)
    before = pixels(tab)
    tab.evaluate(
        """() => new Promise((done) => {
          const gl = player.draw().gl;
          const lose = gl.getExtension("WEBGL_lose_context");
          gl.canvas.addEventListener("webglcontextrestored", () => setTimeout(done, 50));
          gl.canvas.addEventListener("webglcontextlost", () => setTimeout(() => lose.restoreContext(), 50));
          lose.loseContext();
        })"""
    )
    np.testing.assert_array_equal(pixels(tab), before)


@in_browser
def test_a_slow_machine_draws_fewer_pixels_while_moving_and_all_at_rest(tmp_path, sequence, open_page):
    tab = open_page(page(tmp_path, sequence))
    # A screen that refreshes every 120 ms is what a slow machine looks like to the page.
    tab.evaluate(
        """() => {
          const refresh = requestAnimationFrame;
          globalThis.requestAnimationFrame = (next) => setTimeout(() => refresh(next), 120);
          globalThis.turning = setInterval(() => player.look({ azimuth: performance.now() / 50, elevation: 0 }), 10);
        }"""
    )
    tab.wait_for_function(f"document.getElementById('canvas').width < 0.6 * {SIZE}")
    tab.evaluate("clearInterval(turning)")
    tab.wait_for_function(f"document.getElementById('canvas').width === {SIZE}")
