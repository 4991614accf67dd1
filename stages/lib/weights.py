"""Public weights on disk: config/weights.yaml says what exists, resources/weights/<name>/ holds what was fetched.

Vocabulary: the *manifest* is config/weights.yaml, an *entry* one network of it. The *receipt* is written last into
the network's folder and lists the size and sha256 of every file as it arrived; a folder without one is not whole.
A network is used only when all its files are there with the manifest's checksums, or the receipt's where the
manifest knows none.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from stages.settings import read_yaml

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFEST = ROOT / "config" / "weights.yaml"
FOLDER = ROOT / "resources" / "weights"
RECEIPT = "receipt.json"
# The networks that this repository trains itself, in resources/priors/, by their folders in results/priors/<recipe>/.
MICRO, MICRO_POSE = "micro_zero123plus", "micro_zero123"
TRAINED = {"zero123plus": MICRO, "zero123": MICRO_POSE}


class WeightsMissing(RuntimeError):
    """Weights that are not here or not right; the text says which and what to type."""


class WrongWeights(WeightsMissing):
    """A file in its place that is another one than was meant, by size or sha256; the text names it."""


def entry(name: str) -> dict:
    """The manifest's entry; raises WeightsMissing when there is none."""
    manifest = read_yaml(MANIFEST)
    if name not in manifest:
        raise WeightsMissing(f"{MANIFEST.name} has no entry {name!r}; it has: {', '.join(manifest)}")
    return manifest[name]


def normal_generator(name: str) -> str:
    """The network that draws the normals of what `name` drew; raises WeightsMissing when there is none."""
    found = entry(name).get("normals")
    if found is None:
        able = [other for other, about in read_yaml(MANIFEST).items() if about.get("normals")]
        raise WeightsMissing(
            f"anchors.matte is normals but {name} has no normal generator; expected one of: {', '.join(able)}. Type "
            f"`anchors: {{source: zero123plus, model: {able[0] if able else '...'}, matte: normals}}`, or "
            "`anchors: {matte: auto}`"
        )
    return found


def fetch_command(name: str) -> str:
    """What a user types to fetch a network, to have files of their own checked in place, or to train it here."""
    trained_by = read_yaml(MANIFEST).get(name, {}).get("trained_by")
    if trained_by:
        return trained_by
    return f"snakemake --cores 1 {FOLDER.relative_to(ROOT)}/{name}/{RECEIPT}"


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """Checksum of a file, computed once per process and state of the file."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


def mismatch(path: Path, about: dict) -> str | None:
    """What differs between a file and the size and sha256 known of it (null = not known); None if nothing does."""
    found = path.stat().st_size
    if about.get("size") is not None and found != about["size"]:
        return f"it has {found} bytes, expected {about['size']}"
    if about.get("sha256") and sha256(path) != about["sha256"]:
        return f"its sha256 is {sha256(path)}, expected {about['sha256']}"
    return None


def receipt(place: Path) -> dict:
    """Files of a receipt: name -> size and sha256; empty when there is none that can be read."""
    try:
        return json.loads((place / RECEIPT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def find(name: str, folder: Path | None = None) -> Path:
    """The folder of complete weights, `<folder>/<name>`.

    Raises WeightsMissing with the command that fetches them, WrongWeights where a file is another one.
    """
    place = (folder or FOLDER) / name
    how = f"Type `{fetch_command(name)}`"
    arrived = receipt(place)
    for file, about in entry(name)["files"].items():
        path = place / file
        if not path.is_file():
            raise WeightsMissing(f"weights {name} are not whole: {path} is missing. {how}")
        if not about.get("sha256"):
            if file not in arrived:
                raise WeightsMissing(f"{path} has no receipt and no known sha256. {how} to check it in")
            about = arrived[file]
        problem = mismatch(path, about)
        if problem:
            raise WrongWeights(f"{path} is not the file that was meant: {problem}. Delete it and t{how[1:]}")
    return place


def given(name: str, receipts: list[Path]) -> Path:
    """The folder of networks that a stage's `--weights` names by one receipt; raises WeightsMissing otherwise."""
    if len(receipts) != 1:
        raise WeightsMissing(
            f"--weights names {len(receipts)} files; expected the receipt of {name}. Type `{fetch_command(name)}` and "
            "give that file."
        )
    return receipts[0].parent.parent


def digest(name: str, folder: Path | None = None) -> str:
    """One sha256 for a network, recorded in results; raises what `find` raises."""
    place = find(name, folder)
    digests = sorted(sha256(place / file) for file in entry(name)["files"])
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
