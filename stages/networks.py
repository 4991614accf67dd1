"""networks: the papers' metrics that need a network, of those networks whose weights are here.

Reads views.npz (or the pictures of another system), frames.npz, truth.npz and, for CLIP-O, sequence.safetensors; writes
networks.csv (rows as in metrics.csv) and features.npz, from which `tables` takes distances between sets.

Conventions
-----------
- Evaluation views only, paired with the ground truth by camera and time. Both are blended on white in float and
  rounded to uint8 once, which is what a PNG on white holds.
- `clip`: cosine of two image features, ours and the ground truth's of the same view and time (Consistent4D).
- `clip_f`, `clip_o`: our definition of Orster's CLIP-F and CLIP-O, which no paper writes down: cosine of the *input*
  frame with our render of the same time, from the input camera (front), and from each of 36 cameras 10 degrees apart
  at the input's elevation (orbit; a row a camera and frame, whose mean is the score).
- `lpips_<backbone>`: at 512 x 512, a row a frame. `fvd_clip`: a row a view. `fid_frame`: a row a view, or one for the
  object, as `fid_grouping` says; over all objects it is taken by `tables`.
- Pictures and gaussians are read frame by frame: memory does not grow with a clip's length, but for I3D, which takes a
  clip whole by definition, and for the features that features.npz holds (2048 float64 a frame, view and side).
- A network that cannot be had leaves its rows empty with the reason; the record holds each network's sha256.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError, record
from stages.contracts import Features, Frames, Sequence, Truth, Views
from stages.lib import device as devices
from stages.lib import frechet, images
from stages.lib.drawing import draw_rgba
from stages.lib.networks import Loaded, Networks, features
from stages.lib.pairing import NO_TRUTH, Pair, Row, check_clip, from_outside, pair_views, provenance, write
from stages.settings import NetworksRun, NetworksSettings

# Orster: "36 uniformly rendered orbital views" (section 5.1).
ORBIT_VIEWS = 36
POOLED = "taken over all objects; see the tables"
ONE_FRAME = "one frame a view; a set distance needs at least 2"
NO_SEQUENCE = "no gaussians to draw other views of: pictures from outside"
NO_INPUT = "no render of the input view: pictures from outside"


def on_white(rgba: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 on white of straight RGBA (H, W, 4), one after the other."""
    return (images.to_uint8(images.over_white(picture)) for picture in rgba)


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise StageError(f"network {name} gave NaN or infinity; expected numbers. Its weights may be damaged.")
    return values


def _per_frame(pair: Pair, metric: str, values: np.ndarray | None, reason: str) -> Iterator[Row]:
    """A row a frame of one camera; values (n,) or None with the reason."""
    for index, (azimuth, frame) in enumerate(zip(pair.azimuth_deg, pair.frame, strict=True)):
        value = None if values is None else float(values[index])
        yield Row(pair.view, float(azimuth), int(frame), metric, value, "" if value is not None else reason)


# ------------------------------------------------------------------ one fit


def clip_of(network: Loaded, pictures: Iterable[np.ndarray], batch: int) -> np.ndarray:
    """CLIP features (N, 512) of pictures (H, W, 3) uint8 by the papers' protocol."""
    return features.clip_features(network, pictures, batch, features.PROTOCOL_SIDE)


def clip_rows(pairs: list[Pair], loaded: Networks, batch: int) -> Iterator[Row]:
    """`clip` of every frame and evaluation view."""
    network = loaded.get("clip_vit_b32")
    for pair in pairs:
        values = None
        if network is not None:
            ours, true = (clip_of(network, on_white(x), batch) for x in (pair.prediction, pair.truth))
            values = _finite(network.name, (ours * true).sum(axis=1))
        yield from _per_frame(pair, "clip", values, loaded.reasons.get("clip_vit_b32", ""))


def orster_rows(views: Views, frames: Frames, sequence: Sequence | None, loaded: Networks, batch: int) -> Iterator[Row]:
    """`clip_f` of every frame, `clip_o` of every frame and camera of the orbit."""
    network = loaded.get("clip_vit_b32")
    times = range(len(frames.rgba))
    missing = loaded.reasons.get("clip_vit_b32", "")
    front = None if from_outside(views) else views.rgba[list(views.kind).index("input")]
    if network is None or front is None or sequence is None:
        yield Row("input", 0.0, None, "clip_f", None, missing or NO_INPUT)
        yield Row("orbit", None, None, "clip_o", None, missing or NO_SEQUENCE)
        return
    query = clip_of(network, on_white(frames.rgba), batch)
    found = _finite(network.name, (query * clip_of(network, on_white(front), batch)).sum(axis=1))
    yield from (Row("input", 0.0, time, "clip_f", float(found[time])) for time in times)
    azimuth = np.arange(ORBIT_VIEWS) * (360.0 / ORBIT_VIEWS)
    cameras = frames.cameras(azimuth, np.full(ORBIT_VIEWS, float(frames.elevation_deg)))
    for time in times:
        drawn = clip_of(network, on_white(draw_rgba(sequence.frame(time), cameras)), batch)
        for angle, value in zip(azimuth, _finite(network.name, drawn @ query[time]), strict=True):
            yield Row("orbit", float(angle), time, "clip_o", float(value))


def lpips_rows(pairs: list[Pair], loaded: Networks, settings: NetworksSettings) -> Iterator[Row]:
    """`lpips_<backbone>` of every frame and evaluation view."""
    batch = max(1, settings.batch // features.LPIPS_SHARE)
    for metric in (f"lpips_{backbone}" for backbone in settings.lpips):
        network = loaded.get(metric)
        for pair in pairs:
            values = None
            if network is not None:
                ours, true = on_white(pair.prediction), on_white(pair.truth)
                found = features.lpips_distances(network, ours, true, batch, features.PROTOCOL_SIDE)
                values = _finite(metric, found)
            yield from _per_frame(pair, metric, values, loaded.reasons.get(metric, ""))


def extract(pairs: list[Pair], loaded: Networks, settings: NetworksSettings) -> dict[str, np.ndarray]:
    """Arrays of `Features` over the evaluation views, (2, V, ...), last axis 0 where the network is absent."""
    n_frames = len(pairs[0].frame) if pairs else 0
    calls = {
        "i3d": ("i3d_kinetics", features.i3d_logits),
        "inception": (
            "inception_fid",
            lambda network, x: features.inception_features(network, x, settings.batch, settings.fid_resize),
        ),
        "resnet3d": (
            "resnet3d_kinetics",
            lambda network, x: features.resnet3d_features(network, x, max(1, settings.batch // features.SEGMENT_SHARE)),
        ),
    }
    found = {}
    for field, (name, call) in calls.items():
        network = loaded.get(name) if pairs else None
        if network is None:
            shape = (2, len(pairs), n_frames, 0) if field == "inception" else (2, len(pairs), 0)
            found[field] = np.zeros(shape)
        else:
            sides = ([call(network, on_white(getattr(p, side))) for p in pairs] for side in ("prediction", "truth"))
            found[field] = _finite(name, np.array(list(sides)))
    return found


def set_rows(
    pairs: list[Pair], found: dict[str, np.ndarray], reasons: dict, settings: NetworksSettings
) -> Iterator[Row]:
    """`fvd_clip` of every view, `fid_frame` of its group."""
    ours, true = found["i3d"]
    for index, pair in enumerate(pairs):
        value = frechet.fvd_clip(ours[index], true[index]) if ours.shape[-1] else None
        reason = "" if value is not None else reasons["i3d_kinetics"]
        yield Row(pair.view, float(pair.azimuth_deg[0]), None, "fvd_clip", value, reason)
    ours, true = found["inception"]
    absent = "" if ours.shape[-1] else reasons["inception_fid"]
    if settings.fid_grouping == "view":
        for index, pair in enumerate(pairs):
            reason = absent or (ONE_FRAME if len(pair.frame) < 2 else "")
            value = None if reason else frechet.set_distance(ours[index], true[index])
            yield Row(pair.view, float(pair.azimuth_deg[0]), None, "fid_frame", value, reason)
        return
    value, reason = None, absent or POOLED
    if settings.fid_grouping == "object" and not absent:
        value, reason = frechet.fid_frame(ours[None], true[None], "object"), ""
    yield Row("evaluation", None, None, "fid_frame", value, reason)


def score(
    views: Views,
    frames: Frames,
    truth: Truth,
    sequence: Sequence | None,
    loaded: Networks,
    settings: NetworksSettings,
    report: Reporter,
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Every row of networks.csv and the arrays of features.npz."""
    pairs = [pair for pair in pair_views(views, frames, None, truth) if pair.view == "evaluation"]
    rows = []
    if pairs:
        for part in (
            clip_rows(pairs, loaded, settings.batch),
            lpips_rows(pairs, loaded, settings),
        ):
            rows += part
            report.say(f"{len(rows)} rows")
        found = extract(pairs, loaded, settings)
        rows += set_rows(pairs, found, loaded.reasons, settings)
    else:
        found = extract(pairs, loaded, settings)
        names = ("clip", *(f"lpips_{backbone}" for backbone in settings.lpips), "fvd_clip", "fid_frame")
        rows += [Row("evaluation", None, None, name, None, NO_TRUTH) for name in names]
    rows += orster_rows(views, frames, sequence, loaded, settings.batch)
    return rows, found


def main(
    views: Path,
    frames: Path,
    truth: Path,
    out: Path,
    features: Path,
    settings: NetworksRun,
    report: Reporter,
    sequence: list[Path] = (),
) -> None:
    """Score with the networks whose weights are here; sequence is one file, or none for views from outside."""
    place = devices.choose(settings)
    rendered, clip, held = (
        kind.load(path, on_disk=True) for kind, path in ((Views, views), (Frames, frames), (Truth, truth))
    )
    gaussians = Sequence.load(sequence[0], on_disk=True).at(clip.times) if sequence else None
    check_clip(rendered, clip, None, held, gaussians)
    loaded = Networks(place.device)
    rows, found = score(rendered, clip, held, gaussians, loaded, settings.networks, report)
    for name, reason in loaded.reasons.items():
        report.say(f"without {name}: {reason}")
    about = record(settings, "networks", **provenance(rendered, clip, None), networks=loaded.digests)
    about |= {"scored_on": place.describe()["device"], "absent": loaded.reasons}
    Features(**found, record=about).save(features)
    write(out, about, settings, rows)
    report.say(f"wrote {out}: {len(rows)} rows, networks {', '.join(loaded.digests) or 'none'}")


if __name__ == "__main__":
    cli.run(main, "networks")
