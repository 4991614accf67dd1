"""study: a blind comparison of videos that people answer in a browser, without a server or a network.

Reads every method's video of every scene, frames.npz of each scene for the source beside them, and the page's parts in
workflow/study/; writes a folder to hand out, study.html and if need be clips/<id>.mp4, and study_key.json outside it.

Conventions
-----------
- Blind: the page, the names of its files and the order in it know ids alone (stages/lib/studies.py); videos are copied
  without their titles and dates, and those of one scene must be equally long and large, or one could tell them apart.
- Videos go into the page when all of them together are small (`study.embed_mb`): one file is mailed and opened more
  easily than a folder. The default limit stays below the 25 MB that mail takes, as text is a third larger than what it
  encodes. Above it a browser would hold all videos in memory at once, so it reads them from beside the page.
- The source is repeated until it is as long as the scene's videos, so that all play in step.
- Equal videos make an equal study, whatever the page looks like: its id says whether answers belong to a key.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Frames, replacing, replacing_folder
from stages.lib import images, video
from stages.lib.images import ImageError
from stages.lib.studies import FORMAT, QUESTIONS, Key, KeyClip, KeyScene, digest, study_id
from stages.settings import StudyClip, StudyRun

PAGE, STYLE, SCRIPT = "study.html", "study.css", "study.js"
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
# Keys 1 to 9 choose a clip.
MOST_CLIPS = 9
MEGABYTE = 1e6


def source_pictures(frames: Frames, count: int) -> Iterator[np.ndarray]:
    """`count` pictures (H, W, 3) uint8 on white: the input view, repeated."""
    for index in range(count):
        yield images.to_uint8(images.over_white(frames.rgba[index % len(frames.rgba)]))


def by_scene(clips: list[Path], named: list[StudyClip]) -> dict[str, list[tuple[Path, StudyClip]]]:
    """The clips of each scene; raises StageError unless every scene has the same 2 to MOST_CLIPS methods."""
    if len(clips) != len(named):
        raise StageError(f"--clips are {len(clips)} and the settings name {len(named)}; expected one name a clip.")
    scenes: dict[str, list[tuple[Path, StudyClip]]] = {}
    for path, clip in zip(clips, named, strict=True):
        scenes.setdefault(clip.scene, []).append((path, clip))
    methods = [clip.variant for _, clip in next(iter(scenes.values()), [])]
    for scene, items in scenes.items():
        own = [clip.variant for _, clip in items]
        if sorted(own) != sorted(methods) or len(set(own)) != len(own):
            raise StageError(
                f"scene {scene} has videos of {', '.join(own)}; expected one of each method, {', '.join(methods)}."
            )
    if not 2 <= len(methods) <= MOST_CLIPS:
        raise StageError(
            f"a study of {len(methods)} methods was asked for; expected 2 to {MOST_CLIPS}. Leave some out."
        )
    return scenes


def copy_scene(items: list[tuple[Path, StudyClip]], frames: Frames, folder: Path) -> tuple[str, KeyScene]:
    """Put a scene's source and clips into the folder as <id>.mp4; return the source's id and the scene's key.

    Raises StageError when its clips differ in length, size or rate, or when one is no video.
    """
    shapes, clips = {}, []
    for path, clip in items:
        copied = folder / "copied.mp4"
        try:
            shapes[path] = video.write_copy(copied, path)
        except ImageError as error:
            raise StageError(str(error)) from None
        name = digest("clip", clip.scene, clip.variant, copied.read_bytes())
        copied.rename(folder / f"{name}.mp4")
        clips.append(KeyClip(id=name, variant=clip.variant, title=clip.title))
    first, *others = shapes.items()
    for path, shape in others:
        if shape != first[1]:
            raise StageError(
                f"{path} has {shape}, {first[0]} has {first[1]}; expected videos alike, or one could tell the methods "
                "apart by them. Convert one, or set `renders: {size: ..., orbit_frames: ..., fps: ...}`."
            )
    # Named by its pictures: x264's code for small ones reads memory that nobody wrote, so bytes may differ.
    source = digest("source", repr(first[1]), frames.rgba.tobytes())
    video.write_mp4(folder / f"{source}.mp4", source_pictures(frames, first[1].frames), first[1].fps)
    scene = items[0][1].scene
    return source, KeyScene(id=digest("scene", scene, source), scene=scene, clips=sorted(clips, key=lambda one: one.id))


def prompt_of(frames: Frames) -> str | None:
    """The text that a scene's clip was generated of; None for scenes that have a clip."""
    scene = frames.record.get("settings", {}).get("scene", {})
    return scene["source"] if scene.get("kind") == "prompt" else None


def assemble(parts: Mapping[str, str], told: dict, embedded: Mapping[str, bytes]) -> str:
    """The page from the texts of its parts by file name, what it is told, and the videos it holds by id.

    Raises StageError if the page has a placeholder that nothing fills.
    """
    values = {
        "style": parts[STYLE],
        # Text that cannot end the script element it stands in.
        "about": json.dumps(told).replace("<", "\\u003c"),
        "clips": "\n".join(
            f'<script type="text/plain" id="clip-{html.escape(name)}">{base64.b64encode(data).decode("ascii")}</script>'
            for name, data in sorted(embedded.items())
        ),
        "code": parts[SCRIPT],
    }
    unknown = set(PLACEHOLDER.findall(parts[PAGE])) ^ set(values)
    if unknown:
        raise StageError(f"{PAGE} and stages/study.py disagree about the placeholders {sorted(unknown)}.")
    return PLACEHOLDER.sub(lambda found: values[found[1]], parts[PAGE])


def read_parts(files: list[Path]) -> dict[str, str]:
    """The texts of the page's parts by file name; raises StageError naming those that are missing."""
    missing = {PAGE, STYLE, SCRIPT} - {path.name for path in files if path.is_file()}
    if missing:
        raise StageError(f"--parts lacks {sorted(missing)}; expected the files of workflow/study/.")
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def main(
    clips: list[Path],
    frames: list[Path],
    parts: list[Path],
    out: Path,
    key: Path,
    settings: StudyRun,
    report: Reporter,
) -> None:
    """Write the folder to hand out, and the key."""
    scenes, texts = by_scene(clips, settings.clips), read_parts(parts)
    if len(frames) != len(scenes):
        raise StageError(f"--frames are {len(frames)} for {len(scenes)} scenes; expected one a scene, in their order.")
    sources, prompts, keys = {}, {}, []
    with TemporaryDirectory() as temporary:
        made = Path(temporary)
        for done, (items, path) in enumerate(zip(scenes.values(), frames, strict=True), 1):
            clip = Frames.load(path)
            source, found = copy_scene(items, clip, made)
            sources[found.id], prompts[found.id] = source, prompt_of(clip)
            keys.append(found)
            report.progress(done, len(scenes))
        # In the order of ids: that of the scenes' names and of the methods is the key's.
        shown = {scene.id: [clip.id for clip in scene.clips] for scene in sorted(keys, key=lambda one: one.id)}
        study = study_id(shown)
        told = {"study": study, "format": FORMAT, "questions": QUESTIONS, "scenes": shown}
        told["sources"] = {scene: sources[scene] for scene in shown}
        told["prompts"] = {scene: prompts[scene] for scene in shown if prompts[scene]}
        videos = {path.stem: path.read_bytes() for path in sorted(made.iterdir())}
    size = sum(map(len, videos.values())) / MEGABYTE
    inside = size <= settings.embed_mb
    page = assemble(texts, told, videos if inside else {})
    with replacing_folder(out) as partial:
        (partial / PAGE).write_text(page, encoding="utf-8")
        if not inside:
            (partial / "clips").mkdir()
            for name, data in videos.items():
                (partial / "clips" / f"{name}.mp4").write_bytes(data)
    record = cli.record(settings, "study")
    the_key = Key(study=study, suite=settings.suite, questions=QUESTIONS, scenes=keys, record=record)
    with replacing(key) as partial:
        partial.write_text(the_key.model_dump_json(indent=1) + "\n", encoding="utf-8")
    report.say(
        f"wrote {out}: study {study}, {len(keys)} scenes by {len(keys[0].clips)} methods, {size:.1f} MB of videos "
        f"{'inside the page' if inside else 'beside it'}; hand that folder out and keep {key} to yourself"
    )


if __name__ == "__main__":
    cli.run(main, "study")
