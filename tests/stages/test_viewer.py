"""The live viewer: it finds fits, follows their files, and in a real browser its picture is ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import viewer
from stages.cli import StageError
from stages.contracts import Gaussians, Sequence
from stages.lib import checkpoint
from stages.lib.drawing import draw_rgba, white
from tests import browser
from tests.players import scene as cameras_of
from tests.players import shell
from tests.reference.raster_twin import rotation_matrix

ROOT = Path(__file__).resolve().parents[2]
SIZE = 128
FRAMES = 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    """4 frames of 400 gaussians, of one colour from every side; frame 2 has none."""
    made = shell(400, frames=FRAMES)
    present = made.present.copy()
    present[2] = False
    return replace(made, sh=made.sh[:, :1], present=present)


@pytest.fixture
def results(tmp_path, sequence) -> Path:
    """Two scenes; the second one is being fitted and has a checkpoint of step 5 of 10."""
    for name in ("cat", "dog"):
        frames, anchors = cameras_of(FRAMES)
        frames.save(tmp_path / "toys" / name / "frames.npz")
        anchors.save(tmp_path / "toys" / name / "anchors" / "rendered" / "seed0" / "anchors.npz")
    for variant in ("stag4d", "4dstr"):
        sequence.save(tmp_path / "toys" / "cat" / variant / "seed0" / "sequence.safetensors")
    save_checkpoint(tmp_path / "toys" / "dog" / "stag4d" / "seed0", sequence.frame(0), 5)
    return tmp_path


def save_checkpoint(folder: Path, gaussians: Gaussians, step: int) -> Path:
    """The checkpoint of a fit without motion, as a canonical fit writes it."""
    params = {name: torch.from_numpy(array) for name, array in vars(gaussians).items()}
    state = {"params": params, "present": torch.ones(1, len(gaussians.means), dtype=torch.bool), "step": step}
    path = folder / "checkpoints" / "canonical.pt"
    checkpoint.save(path, "some fit", state, {"dynamic": None, "times": [0.0], "steps": 10})
    return path


@pytest.fixture
def served(results):
    """A viewer on a free port, after its first look."""
    pytest.importorskip("viser", reason=f"viser is not installed; type `{viewer.INSTALL}`")
    made = viewer.start(results, "127.0.0.1", free_port())
    made.update(0.0)
    yield made
    made.server.stop()


def test_without_viser_it_says_what_to_type(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(StageError, match=r"type `pip install -c requirements/constraints\.txt viser`"):
        viewer.start(results, "127.0.0.1", free_port())


def test_a_folder_without_fits_is_refused_by_the_command(tmp_path):
    pytest.importorskip("viser", reason="viser is not installed")
    command = [sys.executable, "-m", "stages.viewer", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error in viewer: {tmp_path} holds no fit") and "snakemake --cores 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_refused(results):
    pytest.importorskip("viser", reason="viser is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StageError, match=rf"port {port} of 127.0.0.1 cannot be used .* Type `--port {port + 1}`"):
            viewer.start(results, "127.0.0.1", port)


def test_covariances_are_those_of_the_definition(sequence):
    gaussians = sequence.frame(0)
    axes = rotation_matrix(torch.from_numpy(gaussians.quats).double()).numpy()
    expected = axes @ (np.exp(2 * gaussians.log_scales)[:, :, None] * axes.swapaxes(1, 2))
    assert np.abs(viewer.covariances(gaussians.quats, gaussians.log_scales) - expected).max() < 1e-6


def test_scenes_methods_and_cameras_can_be_chosen(served):
    assert served.scene.options == ("toys / cat", "toys / dog")
    assert served.fit.options == ("4dstr seed0", "stag4d seed0")
    assert [len(group.options) for group in served._jumps] == [1, 6, 4]
    assert served.frame.max == FRAMES - 1
    assert "baked, 4 frames" in served.status.content


def test_the_slider_and_the_clock_move_time(served, sequence):
    served.frame.value = 1
    served.update(0.1)
    assert np.allclose(served.splats.centers, sequence.means[1])
    served.play.value, served.speed.value = True, 10
    served.update(0.2)
    # 0.2 s at 10 frames a second, from frame 1: over the empty frame 2 to frame 3, and then to the start.
    served.update(0.25)
    assert served.frame.value == 2 and not served.splats.visible
    served.update(0.35)
    assert served.frame.value == 3 and served.splats.visible
    served.update(0.45)
    assert served.frame.value == 0


def test_a_running_fit_is_followed(served, results, sequence):
    served.scene.value = "toys / dog"
    served.update(2.0)
    served.update(2.1)
    assert "step 5 of 10, 1 frames" in served.status.content and served.frame.disabled
    path = save_checkpoint(results / "toys" / "dog" / "stag4d" / "seed0", sequence.frame(1), 7)
    served.update(2.2)
    assert "step 7 of 10" in served.status.content
    assert np.allclose(served.splats.centers, sequence.means[1])
    path.write_bytes(b"torn")
    served.update(2.3)
    assert "cannot be shown" in served.status.content and "cannot be read" in served.status.content
    assert np.allclose(served.splats.centers, sequence.means[1])
    sequence.save(path.parents[1] / "sequence.safetensors")
    served.update(2.4)
    assert "baked, 4 frames" in served.status.content
    # A fit that has ended shows its sequence, whatever the files' times say; one that is repeated shows itself.
    save_checkpoint(path.parents[1], sequence.frame(1), 10)
    served.update(2.5)
    assert "baked" in served.status.content
    save_checkpoint(path.parents[1], sequence.frame(1), 8)
    served.update(2.6)
    assert "step 8 of 10" in served.status.content


def test_a_fit_that_starts_appears_and_a_deleted_one_leaves(served, results, sequence):
    sequence.save(results / "toys" / "dog" / "4dstr" / "seed1" / "sequence.safetensors")
    served.update(2.0)
    assert [fit.name for fit in served.fits if fit.scene == "toys / dog"] == ["4dstr seed1", "stag4d seed0"]
    (results / "toys" / "cat" / "4dstr" / "seed0" / "sequence.safetensors").unlink()
    served.update(4.0)
    assert served.fit.options == ("stag4d seed0",) and served.fit.value == "stag4d seed0"


WHY = browser.missing()


@pytest.mark.skipif(WHY is not None, reason=str(WHY))
def test_its_picture_in_a_browser_is_ours(served, sequence):
    """Loads the page, waits for a client, and asks it for its drawing from the input camera."""

    def shown() -> tuple[np.ndarray, list[str]]:
        with browser.launched() as chromium:
            tab = chromium.new_page(viewport={"width": SIZE, "height": SIZE})
            asked = []
            tab.on("request", lambda request: asked.append(request.url))
            tab.goto(f"http://127.0.0.1:{served.server.get_port()}")
            for _ in range(100):
                tab.wait_for_timeout(100)
                clients = served.server.get_clients().values()
                if clients:
                    break
            tab.wait_for_timeout(1500)
            (client,) = clients
            with ThreadPoolExecutor(1) as pool:
                drawing = pool.submit(client.get_render, SIZE, SIZE)
                while not drawing.done():
                    tab.wait_for_timeout(50)
                return drawing.result()[..., :3], asked

    # Playwright's loop and pytest's do not share a thread.
    with ThreadPoolExecutor(1) as pool:
        picture, asked = pool.submit(shown).result()
    camera = cameras_of(FRAMES)[0].cameras(0.0, 0.0, SIZE)
    ours = white(draw_rgba(sequence.frame(0), camera)[0]).astype(float)
    error = np.mean((picture.astype(float) - ours) ** 2)
    print(f"PSNR of viser's picture against ours: {10 * np.log10(255**2 / error):.1f} dB")
    assert ours.min() < 100
    assert error < 255**2 / 10**2.5
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {f"127.0.0.1:{served.server.get_port()}"}
