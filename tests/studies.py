"""Toy user studies: three scenes by three methods, and the answers of made-up participants."""

from __future__ import annotations

import functools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages import study
from stages.contracts import Frames
from stages.lib import video
from stages.lib.studies import FORMAT, QUESTIONS, Key, orders, read_key
from stages.settings import StudyClip, StudyRun

PARTS = sorted((Path(__file__).resolve().parent.parent / "workflow" / "study").iterdir())
SCENES = ("cat", "dog", "owl")
# Words that occur nowhere else, so that a page which holds one has told it.
METHODS = {"stag4d": "Stagmethod (photometric)", "4dstr": "Strmethod, ours", "theirs": "Theirmethod (2025)"}
LENGTH, SIZE, FPS = 12, 32, 24
SAVED = "2026-01-01T00:00:00.000Z"


def clip(seed: int, length: int = LENGTH, size: int = SIZE) -> np.ndarray:
    """(T, H, W, 3) uint8: one plain colour a frame."""
    colours = np.random.default_rng(seed).integers(0, 256, (length, 1, 1, 3), np.uint8)
    return np.broadcast_to(colours, (length, size, size, 3))


@functools.cache
def encoded(seed: int, length: int = LENGTH, size: int = SIZE) -> bytes:
    """The clip as an MP4, encoded once: x264 gives other bytes for pictures as small as these now and then."""
    with tempfile.TemporaryDirectory() as folder:
        video.write_mp4(Path(folder) / "clip.mp4", clip(seed, length, size), FPS)
        return (Path(folder) / "clip.mp4").read_bytes()


def run(embed_mb: float = 15.0, scenes=SCENES, methods=METHODS) -> StudyRun:
    """The settings of a study."""
    clips = [StudyClip(scene=scene, variant=name, title=METHODS[name]) for scene in scenes for name in methods]
    return StudyRun(suite="toys", embed_mb=embed_mb, clips=clips)


def files(folder: Path, frames: Frames, scenes=SCENES, methods=METHODS) -> dict:
    """Write the inputs of a study; the arguments of the stage."""
    clips = []
    for shift, scene in enumerate(scenes):
        replace(frames, rgba=np.roll(frames.rgba, 2 * shift, axis=2)).save(folder / scene / "frames.npz")
        for index, name in enumerate(methods):
            clips.append(folder / scene / name / "orbit.mp4")
            clips[-1].parent.mkdir(parents=True, exist_ok=True)
            clips[-1].write_bytes(encoded(10 * len(clips) + index))
    given = [folder / scene / "frames.npz" for scene in scenes]
    key = folder / "study_key.json"
    return {"clips": clips, "frames": given, "parts": PARTS, "out": folder / "study", "key": key}


def made(folder: Path, frames: Frames, report, embed_mb: float = 15.0) -> tuple[Path, Key]:
    """A study written into a folder: what is handed out, and the key."""
    arguments = files(folder, frames)
    study.main(**arguments, settings=run(embed_mb), report=report)
    return arguments["out"], read_key(arguments["key"])


def filled(key: Key, seed: int, prefer: dict[str, str], participant: str | None = None) -> dict:
    """The answers of a participant who prefers, in every scene, one variant by question."""
    variants = key.variants()
    answers = []
    for scene, clips in orders(seed, key.shown()):
        by_variant = {variants[one]: one for one in clips}
        chosen = {question: by_variant[prefer[question]] for question in QUESTIONS}
        answers.append({"scene": scene, "order": clips, **chosen, "seconds": 10.0})
    named = participant or f"{seed:016x}"
    about = {"kind": "study answers", "format": FORMAT, "study": key.study, "participant": named}
    return {**about, "seed": seed, "saved": SAVED, "answers": answers}


def write(folder: Path, content: dict, name: str | None = None) -> Path:
    """Save answers as the page would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"study_{content['study']}_{content['participant']}.json")
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
