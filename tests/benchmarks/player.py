"""How fast the player draws in a headless Chromium with software rendering, beside Spark in the same run.

    python -m tests.benchmarks.player                                   # 5,000, 10,000, 50,000 gaussians at 512x512
    mkdir spark && cp tests/node/*.json spark && npm ci --ignore-scripts --prefix spark
    python -m tests.benchmarks.player --spark spark                     # the same beside Spark, and both pictures

`.venv/node`, which `bootstrap.py pytest` makes, is such a folder. tests/node pins Spark 2.2.0 and three 0.187.0.

The object is `tests.players.shell`; the camera turns 3 degrees a picture, so that every picture is sorted and drawn
anew. "turn" is one frame of the clip, the only thing Spark is asked for; "playing" also changes the frame with every
picture; "adaptive" lets the player draw fewer pixels while it moves, as it does for its users. A round counts the
pictures of each contender for `--seconds` in turn; reported are medians and ranges over `--rounds` rounds. Spark sorts
in a worker while it draws, we sort before drawing. CPU time is that of all of the browser's processes; on a machine
that does other work as well it says more than pictures a second.

The pictures of one frame and camera are compared too: ours, Spark's and the Numba renderer's, PSNR over white.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import tempfile
from pathlib import Path

import numpy as np
import psutil

from stages.contracts import Sequence
from stages.lib.drawing import draw_rgba
from stages.lib.images import over_white
from tests.benchmarks.raster import _summary, machine
from tests.browser import launched
from tests.players import FOVY_DEG, RADIUS, page, scene, shell

FRAMES = 8
# The browser may still be drawing what the contender before asked for.
SETTLE_MS = 2000
VIEW_DEG = (40.0, 25.0)

SPARK_PAGE = """<!doctype html><body style="margin:0">
<script type="importmap">{"imports": {
  "three": "./node_modules/three/build/three.module.js",
  "three/addons/": "./node_modules/three/examples/jsm/",
  "@sparkjsdev/spark": "./node_modules/@sparkjsdev/spark/dist/spark.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
const { ply, size, radius, fovy } = TOLD;
const renderer = new THREE.WebGLRenderer({ antialias: false, alpha: true, preserveDrawingBuffer: true });
renderer.setSize(size, size);
renderer.setClearColor(0, 0);
document.body.append(renderer.domElement);
const scene = new THREE.Scene();
// The classic dilation and depth order of gsplat, instead of Spark's defaults.
const spark = new SparkRenderer({ renderer, preBlurAmount: 0.3, blurAmount: 0.0, sortRadial: false,
  maxStdDev: Math.sqrt(2 * Math.log(255)), minAlpha: 1 / 255 });
scene.add(spark);
const mesh = new SplatMesh({ fileBytes: Uint8Array.from(atob(ply), (c) => c.charCodeAt(0)), fileType: "ply" });
scene.add(mesh);
const camera = new THREE.PerspectiveCamera(fovy, 1, 0.01, 100);
const look = (azimuth, elevation) => {
  const [a, e] = [azimuth, elevation].map((x) => (x * Math.PI) / 180);
  camera.position.set(Math.cos(e) * Math.sin(a), Math.sin(e), Math.cos(e) * Math.cos(a)).multiplyScalar(radius);
  camera.lookAt(0, 0, 0);
};
globalThis.ready = mesh.initialized;
globalThis.turn = (index) => { look(3 * index, 0); renderer.render(scene, camera); };
globalThis.picture = async (azimuth, elevation) => {
  look(azimuth, elevation);
  // Its sort is asynchronous: the picture is final some frames later.
  for (let i = 0; i < 20; i++) {
    renderer.render(scene, camera);
    await new Promise((done) => setTimeout(done, 50));
  }
  const gl = renderer.getContext();
  const found = new Uint8Array(4 * size * size);
  gl.readPixels(0, 0, size, size, gl.RGBA, gl.UNSIGNED_BYTE, found);
  let text = "";
  for (let i = 0; i < found.length; i += 4096) text += String.fromCharCode(...found.subarray(i, i + 4096));
  return btoa(text);
};
</script>"""

# Pictures a second over `seconds`, called once a screen refresh.
COUNT = """([seconds, name]) => new Promise((done) => {
  const draw = globalThis[name];
  let count = 0, start = 0;
  const tick = (now) => {
    if (!start) start = now;
    else if (now - start > 1000 * seconds) return done((1000 * count) / (now - start));
    draw(count++);
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})"""
OURS = """() => {
  player.set("bare", true);
  player.set("adaptive", false);
  globalThis.turn = (index) => { player.look({ azimuth: 3 * index, elevation: 0 }); };
  globalThis.adaptive = (index) => { player.set("adaptive", true); turn(index); };
  globalThis.playing = (index) => { player.setFrame(index % player.items[0].sequence.frames); turn(index); };
  globalThis.picture = (azimuth, elevation) => {
    player.setFrame(0);
    player.look({ azimuth, elevation });
    const found = player.draw().pixels();
    let text = "";
    for (let i = 0; i < found.length; i += 4096) text += String.fromCharCode(...found.subarray(i, i + 4096));
    return btoa(text);
  };
}"""


def spark_page(sequence: Sequence, modules: Path, size: int) -> Path:
    """A page that draws the first frame with Spark; beside node_modules, where its imports are found."""
    place = modules / "benchmark.ply"
    sequence.frame(0).save(place)
    ply = base64.b64encode(place.read_bytes()).decode("ascii")
    told = json.dumps({"ply": ply, "size": size, "radius": RADIUS, "fovy": FOVY_DEG})
    (modules / "benchmark.html").write_text(SPARK_PAGE.replace("TOLD", told), encoding="utf-8")
    return modules / "benchmark.html"


def white(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied RGBA in [0, 1] over white."""
    return rgba[..., :3] + 1 - rgba[..., 3:]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


def picture(tab, size: int, turned: bool) -> np.ndarray:
    """What a page draws from VIEW_DEG, over white; `turned` if its rows come from the bottom."""
    raw = base64.b64decode(tab.evaluate("angles => picture(...angles)", list(VIEW_DEG)))
    rgba = np.frombuffer(raw, np.uint8).reshape(size, size, 4) / 255
    return white(rgba[::-1] if turned else rgba)


def cpu_seconds() -> float:
    """User and system time of every process below this one: the browser's."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    return total


def measure(count: int, size: int, spark: Path | None, seconds: float, rounds: int) -> dict:
    """Pictures a second and CPU milliseconds a picture of every contender, lists over rounds; PSNR of the pictures."""
    sequence = shell(count, FRAMES)
    frames, _ = scene(FRAMES)
    truth = over_white(draw_rgba(sequence.frame(0), frames.cameras(*VIEW_DEG, size))[0])
    with tempfile.TemporaryDirectory() as folder, launched("--allow-file-access-from-files") as browser:
        tabs = {"ours": browser.new_page(viewport={"width": size, "height": size})}
        tabs["ours"].goto(page(Path(folder), sequence).as_uri())
        tabs["ours"].evaluate("player.ready")
        tabs["ours"].evaluate(OURS)
        runs = [("ours", "turn"), ("ours", "playing"), ("ours", "adaptive")]
        if spark:
            tabs["Spark"] = browser.new_page(viewport={"width": size, "height": size})
            tabs["Spark"].goto(spark_page(sequence, spark, size).as_uri())
            tabs["Spark"].wait_for_function("globalThis.ready")
            tabs["Spark"].evaluate("ready")
            runs.insert(1, ("Spark", "turn"))
        pictures = {name: picture(tab, size, name == "Spark") for name, tab in tabs.items()}
        speeds: dict[str, list[float]] = {}
        costs: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, what in runs:
                # A page in the background draws nothing.
                tabs[name].bring_to_front()
                tabs[name].wait_for_timeout(SETTLE_MS)
                before = cpu_seconds()
                speed = tabs[name].evaluate(COUNT, [seconds, what])
                speeds.setdefault(f"{name}, {what}", []).append(speed)
                costs.setdefault(f"{name}, {what}", []).append(1000 * (cpu_seconds() - before) / (speed * seconds))
                if name == "ours":
                    tabs[name].evaluate("player.set('adaptive', false)")
    agreement = {f"{name} and Numba": psnr(shown, truth) for name, shown in pictures.items()}
    if spark:
        agreement["ours and Spark"] = psnr(pictures["ours"], pictures["Spark"])
    return {"speeds": speeds, "costs": costs, "agreement": agreement}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gaussians", type=int, nargs="+", default=[5_000, 10_000, 50_000])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--spark", type=Path, help="folder with node_modules/@sparkjsdev/spark and three")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.spark and not (chosen.spark / "node_modules" / "@sparkjsdev" / "spark").is_dir():
        parser.error(
            f"{chosen.spark} holds no Spark; type `mkdir -p {chosen.spark} && cp tests/node/*.json {chosen.spark} && "
            f"npm ci --ignore-scripts --prefix {chosen.spark}`"
        )
    print(machine())
    print(
        f"{chosen.size}x{chosen.size}, median (range) of {chosen.rounds} rounds: pictures a second | CPU ms a picture"
    )
    for count in chosen.gaussians:
        found = measure(count, chosen.size, chosen.spark, chosen.seconds, chosen.rounds)
        for name, speeds in found["speeds"].items():
            print(f"{count:7,d} gaussians | {name:14s} | {_summary(speeds, 1)} | {_summary(found['costs'][name], 0)}")
        print(f"{count:7,d} gaussians | " + ", ".join(f"{pair} {db:.1f} dB" for pair, db in found["agreement"].items()))


if __name__ == "__main__":
    main()
