"""viewer: results in the browser, also those of fits that still run (extra [viewer]).

    python -m stages.viewer [results] [--host 127.0.0.1] [--port 8080]

Reads the folder of results: sequence.safetensors of every fit that is baked, the last checkpoint of one that runs, and
frames.npz and anchors.npz for the cameras. Writes nothing. The files are looked at every second, so a fit is seen to
grow and a fit that starts appears in the list.

viser draws the gaussians in the browser and sorts them there. Their colour is the constant part of the spherical
harmonics; for colour that depends on the view, and for pictures that equal our renders, there is player.html. One state
is shared by all who look; only the camera is each one's own.

Vocabulary: a *fit* is one folder <suite>/<scene>/<variant>/seed<k>; its *source* is the file that is shown of it.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.cli import StageError
from stages.contracts import Anchors, ContractError, Frames, Gaussians, Sequence
from stages.lib import baking
from stages.lib.cameras import orbit
from stages.lib.device import choose
from stages.lib.viewpoints import cameras
from stages.settings import Run

INSTALL = "pip install -c requirements/constraints.txt viser"
SH_C0 = 0.28209479177387814
# How often the folder is looked at, and how often a picture may change.
POLL_S = 1.0
TICK_S = 1 / 60
BACKGROUNDS = {"white": 255, "grey": 128, "black": 0}
# Reached by no file: mtime and size of what is not there.
ABSENT = (0, 0)


@dataclass(frozen=True)
class Fit:
    """One folder of results."""

    folder: Path

    @property
    def scene(self) -> str:
        suite, scene = self.folder.parts[-4:-2]
        return f"{suite} / {scene}"

    @property
    def name(self) -> str:
        return " ".join(self.folder.parts[-2:])

    @property
    def scene_folder(self) -> Path:
        return self.folder.parents[1]

    def sources(self) -> list[Path]:
        """What can be shown, newest first: the baked sequence, or the checkpoint of a fit that is made or repeated."""
        checkpoints = self.folder / "checkpoints"
        files = [self.folder / "sequence.safetensors", checkpoints / "dynamic.pt", checkpoints / "canonical.pt"]
        return sorted((file for file in files if stamp(file) != ABSENT), key=lambda file: stamp(file)[0], reverse=True)


def stamp(path: Path) -> tuple[int, int]:
    """Time of change and size of a file: another stamp, other contents; ABSENT where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ABSENT
    return status.st_mtime_ns, status.st_size


def fits_in(results: Path) -> list[Fit]:
    """Every fit below a folder of results that has something to show, sorted by suite, scene, variant and seed."""
    fits = [Fit(folder) for folder in sorted(results.glob("*/*/*/seed*"))]
    return [fit for fit in fits if fit.sources()]


def load(fit: Fit) -> tuple[Path, Sequence]:
    """What is shown of a fit, and its file: the newest that can be read; of a fit that has ended its baked sequence.

    Raises ContractError or StageError where none can be read.
    """
    failure = None
    sources = fit.sources()
    baked = any(source.suffix != ".pt" for source in sources)
    for source in sources:
        try:
            if source.suffix != ".pt":
                return source, Sequence.load(source)
            sequence = baking.live(source, choose(Run(device="cpu")).device)
            if sequence.record["step"] < sequence.record["steps"] or not baked:
                return source, sequence
        except (ContractError, StageError) as error:
            failure = failure or error
    raise failure or StageError(f"{fit.folder} is empty; expected a sequence or a checkpoint.")


def covariances(quats: np.ndarray, log_scales: np.ndarray) -> np.ndarray:
    """(N, 3, 3) R S S^T R^T of quaternions wxyz (N, 4) and log-scales (N, 3) (Kerbl et al. 2023, eq. 6)."""
    w, x, y, z = (quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)).T
    rotation = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=-1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], axis=-1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=-1),
        ],
        axis=-2,
    )
    scaled = rotation * np.exp(log_scales)[:, None]
    return scaled @ scaled.swapaxes(1, 2)


def splats(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """What viser draws: centers (N, 3), covariances (N, 3, 3), rgbs (N, 3) and opacities (N, 1) in [0, 1]."""
    return {
        "centers": gaussians.means,
        "covariances": covariances(gaussians.quats, gaussians.log_scales),
        "rgbs": np.clip(0.5 + SH_C0 * gaussians.sh[:, 0], 0, 1),
        "opacities": 1 / (1 + np.exp(-gaussians.opacity_logits[:, None])),
    }


class Viewer:
    """Controls and picture of one server; `update` takes over what is chosen, on one thread."""

    def __init__(self, server, results: Path) -> None:
        self.server, self.results = server, results
        self.fits = fits_in(results)
        self.sequence: Sequence | None = None
        self.frames: Frames | None = None
        self._seen: list[tuple[Path, tuple[int, int]]] = []
        self._scene_shown: Path | None = None
        self._drawn: tuple[int, int] | None = None
        self._background = ""
        self._polled = self._last = float("-inf")
        self._position = 0.0
        self._jumps: list = []
        server.scene.set_up_direction("+y")
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        gui = server.gui
        self.scene = gui.add_dropdown("scene", self._scenes(), hint="suite / scene")
        self.fit = gui.add_dropdown("method", self._names(), hint="variant and seed")
        self.frame = gui.add_slider("frame", 0, 1, 1, 0)
        self.play = gui.add_checkbox("play", False)
        self.speed = gui.add_slider("frames a second", 1, 60, 1, 12)
        self.background = gui.add_dropdown("background", tuple(BACKGROUNDS))
        self.status = gui.add_markdown("")
        nothing = splats(Gaussians(*(np.zeros((0, *shape), np.float32) for shape in ((3,), (4,), (3,), (), (1, 3)))))
        self.splats = server.scene.add_gaussian_splats("/gaussians", **nothing, visible=False)

    def _scenes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fit.scene for fit in self.fits))

    def _names(self) -> tuple[str, ...]:
        return tuple(fit.name for fit in self.fits if fit.scene == self.scene.value)

    def chosen(self) -> Fit | None:
        """The fit that the two lists name; None for a moment after a scene without this method was chosen."""
        wanted = self.scene.value, self.fit.value
        return next((fit for fit in self.fits if (fit.scene, fit.name) == wanted), None)

    def update(self, now: float) -> None:
        """One turn: look for new files, take over the controls, draw what changed. now: seconds of any clock."""
        if now - self._polled >= POLL_S:
            self._polled = now
            # A folder that is emptied while it is looked at leaves the last picture.
            self.fits = fits_in(self.results) or self.fits
        for control, options in ((self.scene, self._scenes()), (self.fit, self._names())):
            if control.options != options:
                control.options = options
        if fit := self.chosen():
            self._load(fit)
        self._tick(now)
        if self.background.value != self._background:
            self._background = self.background.value
            self.server.scene.set_background_image(np.full((2, 2, 3), BACKGROUNDS[self._background], np.uint8), "png")

    def _load(self, fit: Fit) -> None:
        if fit.scene_folder != self._scene_shown:
            self._show_cameras(fit)
        now = [(source, stamp(source)) for source in fit.sources()]
        if now == self._seen:
            return
        self._seen = now
        try:
            source, self.sequence = load(fit)
        except (ContractError, StageError) as error:
            self.status.content = f"**{fit.name}** cannot be shown: {error}"
            return
        count = len(self.sequence.times)
        self.frame.max, self.frame.disabled = max(1, count - 1), count == 1
        self._drawn = None
        record = self.sequence.record
        reached = f"step {record['step']} of {record['steps']}" if source.suffix == ".pt" else "baked"
        present = self.sequence.present.sum(axis=1).mean()
        self.status.content = f"**{fit.name}**: {reached}, {count} frames, {present:.0f} gaussians a frame"

    def _tick(self, now: float) -> None:
        if self.sequence is None:
            return
        count = len(self.sequence.times)
        if self.frame.value != int(self._position) % count:
            self._position = float(self.frame.value)
        if self.play.value and self._last > float("-inf"):
            self._position = (self._position + (now - self._last) * self.speed.value) % count
        self._last = now
        frame = int(self._position) % count
        if self.frame.value != frame:
            self.frame.value = frame
        if self._drawn != (id(self.sequence), frame):
            self._drawn = id(self.sequence), frame
            gaussians = self.sequence.frame(frame)
            with self.server.atomic():
                self.splats.visible = len(gaussians.means) > 0
                if len(gaussians.means):
                    self.splats.set_gaussians(**splats(gaussians))

    def _show_cameras(self, fit: Fit) -> None:
        """The scene's cameras as buttons, and the input's for whoever comes later."""
        files = sorted((fit.scene_folder / "anchors").glob("*/seed*/anchors.npz"))
        try:
            self.frames = Frames.load(fit.scene_folder / "frames.npz", on_disk=True)
            anchors = Anchors.load(files[0], on_disk=True) if files else None
        except ContractError as error:
            self.status.content = str(error)
            return
        self._scene_shown = fit.scene_folder
        for control in self._jumps:
            control.remove()
        self._jumps = []
        views = cameras(self.frames, anchors)
        for kind in dict.fromkeys(view["kind"] for view in views):
            there = {f"{view['azimuth']:g} / {view['elevation']:g}": view for view in views if view["kind"] == kind}
            group = self.server.gui.add_button_group(kind, tuple(there))
            group.on_click(lambda event, there=there: self._jump(event.client.camera, there[event.target.value]))
            self._jumps.append(group)
        self._jump(self.server.initial_camera, views[0])

    def _jump(self, camera, view: dict) -> None:
        angles = view["azimuth"], view["elevation"]
        fovy_deg = float(self.frames.fovy_deg)
        camera.position = orbit(*angles, float(self.frames.radius), fovy_deg, 1, 1).positions[0]
        camera.look_at = (0.0, 0.0, 0.0)
        camera.fov = np.radians(fovy_deg)


def start(results: Path, host: str, port: int) -> Viewer:
    """A server that shows a folder of results; raises StageError without viser, without fits, or on a taken port."""
    try:
        import viser
    except ImportError:
        raise StageError(f"the viewer needs viser, which is not installed; type `{INSTALL}` and run again.") from None
    if not fits_in(results):
        raise StageError(
            f"{results} holds no fit, neither <suite>/<scene>/<variant>/seed<k>/sequence.safetensors nor the "
            "checkpoint of one that runs. Start a fit (`snakemake --cores 2 asset`), or give the folder of another: "
            "`python -m stages.viewer /path/to/results`."
        )
    # viser would take the next free port in silence.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise StageError(
                f"port {port} of {host} cannot be used ({error}); expected a free one. Type `--port {port + 1}`."
            ) from None
    return Viewer(viser.ViserServer(host=host, port=port, label="4D gaussians", verbose=False), results)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.viewer", description="Results in the browser, as they grow."
    )
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="folder of results")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 = also for others in the network")
    parser.add_argument("--port", type=int, default=8080, help="port of the page")
    arguments = parser.parse_args()
    try:
        viewer = start(arguments.results, arguments.host, arguments.port)
    except StageError as error:
        sys.exit(f"error in viewer: {error}")
    print(f"{len(viewer.fits)} fits; open http://{arguments.host}:{arguments.port} (Ctrl-C ends)", flush=True)
    try:
        while True:
            viewer.update(time.monotonic())
            time.sleep(TICK_S)
    except KeyboardInterrupt:
        viewer.server.stop()


if __name__ == "__main__":
    main()
