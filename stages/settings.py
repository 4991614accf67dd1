"""Every setting of the pipeline: typed, frozen, unknown keys refused with the nearest valid name.

This tree is the single source: `config/config.yaml` (values and comments) and
`workflow/schemas/config.schema.json` are generated from it (`python -m stages.settings`), and a test holds
them equal. It imports no torch and nothing of ours, so that the Snakefile parses quickly.

Vocabulary: a *suite* is a list of scenes of one kind; a *variant* is an overlay over this tree; a *seed* is
an integer from which every random number of a fit is derived.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

KINDS = ("procedural", "stag4d", "consistent4d", "diffusion4d", "images", "video", "prompt", "image")
# What six views of an object may be: drawn by a network, or by none (stages/lib/answers.py).
GENERATED = "generated"
CONSTANT_ANSWERS = ("copied", "mirrored", "white", "mean")
# The small networks that this repository trains: six views from one picture, and a view from a relative pose.
PRIORS = ("zero123plus", "zero123")
# The word that chooses the second one in guidance.model.
MICRO_MODEL = "micro"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class SettingsError(ValueError):
    """A setting that cannot be used; the text says what was given, what was expected, what to type."""


class Section(BaseModel):
    """Base of every section: immutable, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CameraSettings(Section):
    """The camera of the input video: it looks at the origin from azimuth 0."""

    fovy_deg: float = Field(49.1, gt=1, lt=170, description="vertical field of view, degrees (Zero123++ v1.1: 49.1)")
    radius: float = Field(2.0, gt=0, description="distance of all cameras to the origin, world units")
    elevation_deg: float = Field(0.0, ge=-90, le=90, description="elevation of the input camera, degrees")


class FramesSettings(Section):
    """Decode, matte, recentre, resize."""

    size: int = Field(128, ge=16, le=2048, description="side of the square frames, pixels")
    first: int = Field(0, ge=0, description="first frame used, counted from 0 in the source")
    last: int | None = Field(None, ge=0, description="last frame used (inclusive); null = to the end")
    stride: int = Field(1, ge=1, description="use every n-th frame")
    key: Literal["middle"] | int = Field(
        "middle", description="frame of the canonical fit, counted after range and stride"
    )
    matte: Literal["auto", "alpha", "colour", "files"] = Field(
        "auto",
        description="where alpha comes from: the image's own, a constant background colour, or mask files; "
        "auto = alpha when there is one, else mask files when given, else colour",
    )
    mask_path: str | None = Field(None, description="folder of mask images, for matte: files")
    matte_tolerance: float = Field(
        0.06,
        gt=0,
        lt=1,
        description="colour matte: distance from the border's colour at which alpha reaches 1, in [0, 1]",
    )
    recentre: bool = Field(False, description="centre the object and scale it to `fill` (one transform for the clip)")
    fill: float = Field(0.7, gt=0.05, le=0.95, description="recentre: fraction of the side the object takes")


class PictureSettings(Section):
    """Text to image: the still picture of a prompt."""

    model: str = Field("sdxl_base", description="the network, a name in config/weights.yaml, fetched first")
    suffix: str = Field(
        "one single object, full body in view, centered, plain white background",
        description="added to every prompt, so that the object can be cut out",
    )
    negative: str = Field(
        "several objects, cropped, scenery, floor, shadow, text, frame", description="what the picture is not to show"
    )
    seed: int = Field(0, ge=0, description="another seed is another picture of the same prompt")
    size: int = Field(1024, ge=64, le=2048, multiple_of=64, description="side of the picture, pixels (SDXL: 1024)")
    steps: int = Field(50, ge=1, le=1000, description="denoising steps (diffusers: 50)")
    guidance: float = Field(5.0, ge=1, description="classifier-free guidance; 1 = none (diffusers: 5)")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto = float16 on CUDA (as published), float32 on a CPU"
    )


class ClipSettings(Section):
    """Image to video: the clip that a still picture becomes."""

    model: str = Field("svd_xt", description="the network, a name in config/weights.yaml, fetched first")
    seed: int = Field(0, ge=0, description="another seed is another motion of the same picture")
    n_frames: int | None = Field(None, ge=2, description="frames of the clip; null = the network's own (SVD-XT: 25)")
    height: int = Field(576, ge=64, le=2048, multiple_of=64, description="of the generated frames, pixels (SVD: 576)")
    width: int = Field(1024, ge=64, le=2048, multiple_of=64, description="of the generated frames, pixels (SVD: 1024)")
    steps: int = Field(25, ge=1, le=1000, description="denoising steps (diffusers: 25)")
    guidance: tuple[float, float] = Field(
        (1.0, 3.0), description="classifier-free guidance of the first and the last frame (SVD: 1 to 3)"
    )
    fps: int = Field(7, ge=2, le=60, description="frames a second that the network is told (SVD: 7)")
    motion: int = Field(127, ge=0, le=255, description="how much is to move, SVD's motion bucket (SVD: 127)")
    noise: float = Field(0.02, ge=0, le=1, description="noise on the picture; more = farther from it (SVD: 0.02)")
    decode_frames: int = Field(8, ge=1, description="frames decoded in one call; lower = less memory")
    fill: float = Field(
        0.6, gt=0.1, le=0.95, description="fraction of the generated frames' smaller side that the object takes"
    )
    background: Literal["white", "grey"] = Field(
        "white", description="behind the object; grey for an object that is white itself"
    )
    matte: Literal["auto", "rembg", "colour"] = Field(
        "auto",
        description="where alpha of an opaque picture and of the generated frames comes from: rembg's u2net, or the "
        "distance to the background's colour; auto = rembg when it and its model are here",
    )
    matte_tolerance: float = Field(
        0.12, gt=0, lt=1, description="colour matte: distance from the background at which alpha reaches 1, in [0, 1]"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto = float16 on CUDA (as published), float32 on a CPU"
    )

    @model_validator(mode="after")
    def _sensible(self) -> ClipSettings:
        if not 1 <= self.guidance[0] <= self.guidance[1]:
            raise ValueError(f"guidance {self.guidance}: expected two numbers from 1 on, the first not above the last")
        return self


class WeightsSettings(Section):
    """Public networks (config/weights.yaml), fetched when a chosen setting needs one."""

    folder: str | None = Field(
        None, description="folder of your own that holds <name>/ as the hub has it: linked instead of fetched"
    )
    attempts: int = Field(5, ge=1, le=20, description="attempts at each file; a partial download is resumed")


class MicroSettings(Section):
    """How the small Zero123++ that this repository trains (resources/priors/) draws."""

    steps: int = Field(8, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(1.0, ge=1, description="classifier-free guidance; 1 = none, half the work")
    frames_per_batch: int = Field(8, ge=1, description="frames denoised in one call")


class NormalsSettings(Section):
    """How the normal generator of Zero123++ v1.2 draws, for `matte: normals`."""

    steps: int = Field(75, ge=1, le=1000, description="denoising steps (its example: 75; its model card: 50)")
    guidance: float = Field(
        4.0,
        ge=1,
        description="classifier-free guidance (its example: 4, more robust); 1 = none, half the work (its model card)",
    )


class AnchorsSettings(Section):
    """Six views of every frame at known angles."""

    source: Literal["auto", "rendered", "imported", "inflated", "zero123plus", "micro"] = Field(
        "auto",
        description="rendered = ground truth of a procedural scene; imported = files in STAG4D's layout; inflated = "
        "the silhouette made round, a stand-in without weights; auto = the first of these that the scene has; "
        "zero123plus = generated by Zero123++, whose weights are fetched first; micro = by the small Zero123++ of "
        "resources/priors/, trained by this repository",
    )
    model: str = Field("zero123plus_v11", description="zero123plus: the network, a name in config/weights.yaml")
    steps: int = Field(75, ge=1, le=1000, description="zero123plus: denoising steps (STAG4D: 75)")
    guidance: float = Field(4.0, ge=1, description="zero123plus: classifier-free guidance; 1 = none (STAG4D: 4)")
    fusion: float = Field(
        0.5,
        ge=0,
        le=1,
        description="generated: weight of the first frame's tokens in every later frame's self-attention; 0 = frames "
        "independent, 0.5 = STAG4D",
    )
    view_size: int = Field(320, ge=16, le=1024, description="zero123plus: side of a generated view, pixels")
    frames_per_batch: int = Field(2, ge=1, description="zero123plus: frames denoised in one call; lower = less memory")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="generated: auto = float16 on CUDA (as published), float32 on a CPU"
    )
    matte: Literal["auto", "rembg", "colour", "normals"] = Field(
        "auto",
        description="generated: where alpha comes from: rembg's u2net, or the distance to the generated background's "
        "colour; auto = rembg when it and its model are here; normals = where a second network (zero123plus_v12 only) "
        "draws a surface",
    )
    matte_tolerance: float = Field(
        0.12, gt=0, lt=1, description="colour matte: distance from the background at which alpha reaches 1, in [0, 1]"
    )
    normals: NormalsSettings = NormalsSettings()
    micro: MicroSettings = MicroSettings()


class GuidanceSettings(Section):
    """Score distillation by a diffusion model over random views, beside the photometric losses; off unless named."""

    model: str | None = Field(
        None,
        description="the network: zero123_xl or stable_zero123 in config/weights.yaml, fetched first; micro = the "
        "small Zero123 of resources/priors/, trained by this repository; null = off",
    )
    weight: float = Field(
        5e-5, ge=0, description="weight of the term beside a colour error of weight 1 (STAG4D: 1 beside 20000)"
    )
    conditions: Literal["sum", "random"] = Field(
        "sum",
        description="sum = input view and nearest anchor, weighted (4DSTR eq. 8); random = one of the two (STAG4D)",
    )
    reference: float = Field(
        0.67, ge=0, description="sum: weight of the input view (its expectation in STAG4D; 4DSTR does not say)"
    )
    anchor: float = Field(0.33, ge=0, description="sum: weight of the nearest anchor")
    guidance_scale: float = Field(5.0, ge=0, description="classifier-free guidance (STAG4D: 5)")
    views: int = Field(1, ge=1, description="random views a frame of the sub-clip, all in one call (STAG4D: 1)")
    every: int = Field(1, ge=1, description="the term is in every n-th step, with n times its weight")
    t_min: tuple[float, float] = Field(
        (0.5, 0.02), description="lowest timestep at the start and when annealed, fraction of the schedule (STAG4D)"
    )
    t_max: tuple[float, float] = Field((0.95, 0.5), description="highest timestep, likewise (STAG4D)")
    anneal: float = Field(
        0.375, gt=0, le=1, description="annealed at this fraction of canonical and dynamic (STAG4D: 3000 of 8000)"
    )
    elevation_deg: float = Field(
        30.0, ge=0, le=80, description="views are up to so far above or below the input camera, degrees (STAG4D: 30)"
    )
    background: Literal["white", "white_or_black"] = Field(
        "white_or_black", description="behind the random views (STAG4D: either, by chance)"
    )
    encoder: Literal["vae", "linear"] = Field(
        "vae",
        description="what carries the gradient to the pixels: the autoencoder, or a linear map fitted to it on the "
        "conditions, which costs nothing",
    )
    encode_size: int | None = Field(
        None,
        ge=8,
        description="vae: side at which views are encoded, pixels; null = the network's own (256; micro: 64); cheaper",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto = float16 on CUDA (as published), float32 on a CPU"
    )

    @model_validator(mode="after")
    def _sensible(self) -> GuidanceSettings:
        for low, high in zip(self.t_min, self.t_max, strict=True):
            if not 0 <= low < high <= 1:
                raise ValueError(
                    f"t_min {self.t_min} and t_max {self.t_max}: expected 0 <= t_min < t_max <= 1 in pairs"
                )
        if self.conditions == "sum" and self.reference + self.anchor == 0:
            raise ValueError("reference and anchor are both 0; expected at least one above 0")
        return self


class DensifySettings(Section):
    """Adaptive growth and pruning of gaussians (STAG4D: top 2.5 % every 100 steps)."""

    scope: Literal["clip", "frame"] = Field(
        "clip",
        description="clip = gradients averaged over all frames, equal gaussians in every frame (STAG4D); frame = each "
        "frame densified and pruned by itself (4DSTR's spatial rectification)",
    )
    mode: Literal["top_fraction", "fixed_threshold", "match", "off"] = Field(
        "top_fraction",
        description="top_fraction = STAG4D's adaptive threshold; fixed_threshold = 3DGS's, its comparison; match = as "
        "many as needed to end at the gaussians a frame of variant `match`",
    )
    match: str | None = Field(None, description="mode match: the variant whose count is copied, scene and seed alike")
    neighbourhood: int = Field(
        1, ge=0, description="scope frame: a new gaussian is present in so many frames before and after its own"
    )
    fraction: float = Field(
        0.025, gt=0, lt=1, description="top_fraction: share of gaussians densified a round (scope frame: of each frame)"
    )
    threshold: float = Field(2e-4, gt=0, description="fixed_threshold: on the mean 2D-mean gradient norm, NDC units")
    start: float = Field(0.15, ge=0, le=1, description="first round, as a fraction of the run (STAG4D: 1200 of 8000)")
    stop: float = Field(0.75, ge=0, le=1, description="last round, as a fraction of the run (STAG4D: 6000 of 8000)")
    rounds: int = Field(8, ge=1, description="rounds, evenly from start to stop (STAG4D: every 100 steps, 49)")
    clone_max_scale: float = Field(0.1, gt=0, description="clone below this largest scale, split above, world units")
    prune_opacity: float = Field(0.01, ge=0, lt=1, description="prune below this opacity")
    prune_max_scale: float = Field(0.1, gt=0, description="prune above this largest scale, world units")
    prune_min_scale: float = Field(0.001, ge=0, description="prune when the largest scale is below this, world units")
    prune_screen_fraction: float = Field(
        0.25, gt=0, description="prune above this screen radius, fraction of the image side"
    )
    max_gaussians: int = Field(6000, ge=1, description="cap on gaussians; x frames it is the cap on gaussian-frames")


class PhotometricSettings(Section):
    """Weights of the image losses; every image loss is a mean over pixels."""

    rgb: float = Field(1.0, ge=0, description="weight of the squared colour error")
    mask: float = Field(0.25, ge=0, description="weight of the squared alpha error (STAG4D: a quarter of rgb)")
    anchors: float = Field(1.0, ge=0, description="weight of the anchor views relative to the input view")
    background: Literal["random", "white"] = Field(
        "random", description="background behind fit and target, drawn each step"
    )


class CanonicalSettings(Section):
    """Static fit of the key frame."""

    steps: int = Field(300, ge=1, description="optimisation steps (STAG4D: 700)")
    anchor_views: int = Field(6, ge=0, le=6, description="anchor views drawn per step beside the input view")
    n_gaussians: int = Field(4500, ge=1, description="gaussians at the start (STAG4D: 10000)")
    init_radius: float = Field(
        0.9, gt=0, description="they start in a ball of this radius, inside the silhouettes, world units"
    )
    init_shell: float = Field(
        0.05, gt=0, description="and no deeper than this below the surface of the visual hull, world units"
    )
    sh_degree: int = Field(0, ge=0, le=3, description="degree of the colour's spherical harmonics")
    lr_means: float = Field(1e-2, gt=0, description="learning rate of means at the start (STAG4D, effective: 2e-3)")
    lr_means_final: float = Field(1e-4, gt=0, description="and at the end")
    lr_log_scales: float = Field(0.02, gt=0, description="learning rate of log-scales (STAG4D: 0.01)")
    lr_quats: float = Field(0.01, gt=0, description="learning rate of quaternions (STAG4D: 0.002)")
    lr_opacity_logits: float = Field(0.05, gt=0, description="learning rate of opacity logits (STAG4D: 0.02)")
    lr_sh: float = Field(0.02, gt=0, description="learning rate of colour, all degrees (STAG4D: 5e-3)")
    photometric: PhotometricSettings = PhotometricSettings()
    densify: DensifySettings = DensifySettings(start=0.2, stop=0.8, rounds=7)


class FieldSettings(Section):
    """HexPlane deformation field (4DGaussians; STAG4D: 64 cells, 4 levels, 32 channels, 25 times)."""

    resolution: int = Field(24, ge=2, description="cells per side of the coarsest spatial planes")
    levels: int = Field(2, ge=1, le=6, description="spatial resolutions, each twice the last")
    channels: int = Field(16, ge=1, description="features a plane")
    time_resolution: int | None = Field(None, ge=2, description="cells on the time axis; null = half the frames")
    width: int = Field(32, ge=1, description="hidden width of the heads (STAG4D: 64)")
    bounds: float = Field(
        1.0, gt=0, description="half side of the cube; it must contain the means but for a few, world units"
    )
    opacity: bool = Field(False, description="whether opacity changes over time (STAG4D: off)")


class RegulariserSettings(Section):
    """Penalties on the planes and on the gaussians."""

    time_smoothness: float = Field(1e-3, ge=0, description="second difference of the time planes along time")
    plane_smoothness: float = Field(1e-4, ge=0, description="second difference of the spatial planes")
    time_l1: float = Field(1e-4, ge=0, description="distance of the time planes from 1, their neutral value")
    anisotropy: float = Field(
        1e-3, ge=0, description="excess of the largest over the smallest scale above `anisotropy_ratio`"
    )
    anisotropy_ratio: float = Field(7.5, gt=1, description="ratio that is free of penalty (STAG4D: 7.5)")


class TemporalSettings(Section):
    """4DSTR's temporal rectification of scales and rotations."""

    encoder: Literal["off", "mamba", "gru", "attention"] = Field("off", description="what correlates the tokens")
    buffer: Literal["features", "attributes"] = Field(
        "features",
        description="what a past frame leaves in the buffer: features = its encoder output (4DSTR eq. 5); "
        "attributes = its gaussians as the deformation field gave them",
    )
    length: int = Field(10, ge=1, description="T: tokens the encoder sees, the current frame's included (4DSTR: 10)")
    width: int = Field(32, ge=4, description="channels of a token (4DSTR: 32)")
    layers: int = Field(1, ge=1, description="encoder blocks; a mamba block of width 32 has 9,920 parameters")
    controls: int | None = Field(
        256,
        ge=1,
        description="control gaussians whose features spread to the others; null = every gaussian has its own buffer",
    )
    neighbours: int = Field(4, ge=1, description="control gaussians from which a gaussian's feature is blended")
    lr: float = Field(1.6e-3, gt=0, description="learning rate of encoder and heads at the start")


class DynamicSettings(Section):
    """Fit over time."""

    method: Literal["static", "fitted"] = Field(
        "fitted", description="static = the canonical repeated over time, the floor"
    )
    images: int = Field(
        3600,
        ge=1,
        description="images rendered during the fit, equally many for all methods; a step draws frames x views of them",
    )
    images_factor: float = Field(1.0, gt=0, description="times `images`, for a variant that is given more of them")
    sub_clip: int = Field(
        1, ge=1, description="consecutive frames a step, their losses averaged (4DSTR's collective average loss)"
    )
    sub_clip_start: float = Field(
        0.85,
        ge=0,
        lt=1,
        description="share of the images that is drawn as single frames, before sub-clips and the encoder begin",
    )
    anchor_views: int = Field(1, ge=0, le=6, description="anchor views drawn per frame beside the input view")
    lr_field: float = Field(
        3e-2, gt=0, description="learning rate of the planes at the start (STAG4D, effective: 1.6e-2)"
    )
    lr_heads: float = Field(1.6e-3, gt=0, description="learning rate of the heads at the start (STAG4D, effective)")
    lr_decay: float = Field(0.1, gt=0, le=1, description="both reach this fraction at the end")
    lr_canonical: float = Field(
        0.5, ge=0, description="gaussians learn at this fraction of the canonical stage's rates"
    )
    field: FieldSettings = FieldSettings()
    photometric: PhotometricSettings = PhotometricSettings()
    regulariser: RegulariserSettings = RegulariserSettings()
    densify: DensifySettings = DensifySettings()
    temporal: TemporalSettings = TemporalSettings()


class BakeSettings(Section):
    """The gaussians of every frame, and of frames between the fitted ones."""

    between: int = Field(
        0, ge=0, le=32, description="frames inserted between two fitted ones (slow motion); scores use the fitted ones"
    )


class RendersSettings(Section):
    """What is drawn from the baked sequence."""

    size: int | None = Field(
        None, ge=16, le=4096, description="side of orbit and sheet, pixels; null = twice the frames'"
    )
    orbit_frames: int = Field(96, ge=2, description="frames of orbit.mp4; the clip repeats under the turning camera")
    fps: int = Field(24, ge=1, description="frames per second of the videos")
    sheet_times: int = Field(6, ge=1, description="columns of the contact sheet")


class AssetsSettings(Section):
    """The PLY files, one a frame."""

    ply_up: Literal["-y", "+y"] = Field(
        "-y",
        description="which way is up in assets/ply: -y = as in COLMAP and the INRIA code, upright in most viewers; "
        "+y = as in every other file here",
    )


class MomentsSettings(Section):
    """The methods side by side where the clip changes most: moments.png, rectification.png."""

    frames: list[int] | None = Field(
        None, min_length=1, description="frames shown, each beside the one before it; null = after the largest changes"
    )
    region: tuple[int, int, int] | None = Field(
        None,
        description="magnified square: first row, first column and side, pixels of the frames; null = where the two "
        "frames differ most",
    )

    @model_validator(mode="after")
    def _inside(self) -> MomentsSettings:
        if self.region and (min(self.region[:2]) < 0 or self.region[2] < 1):
            raise ValueError(
                f"region {list(self.region)}: expected first row and column from 0 on and a side from 1 on"
            )
        return self


class PlayerSettings(Section):
    """How the HTML player begins; its viewer can change both."""

    loop: Literal["loop", "pingpong", "once"] = Field("loop", description="what happens at the end of the clip")
    background: Literal["theme", "white", "grey", "black", "checker"] = Field(
        "theme", description="behind the object; theme = the page's own, dark or light as the viewer's system"
    )


class ExportsSettings(Section):
    """Files for other tools: SPZ, meshes, USD, turning pictures."""

    moment: float | None = Field(
        None, ge=0, le=1, description="time of the frozen turntable; null = the key frame of the canonical fit"
    )
    turntable_frames: int = Field(72, ge=2, description="pictures of one turn around the frozen moment")
    webp_frames: int = Field(48, ge=2, description="pictures of the animated WebP; the clip plays once in one turn")
    webp_size: int | None = Field(None, ge=16, le=4096, description="side of the WebP, pixels; null = the frames'")
    mesh_resolution: int = Field(96, ge=8, le=512, description="cells along the longest side of the mesh's grid")


class MetricsSettings(Section):
    """Scores that need no network."""

    mask_threshold: float = Field(0.5, gt=0, lt=1, description="alpha above which a pixel belongs to the object")
    skip_ends: int = Field(2, ge=0, description="tOF: frames left out at both ends (TecoGAN: 2)")


class NetworksSettings(Section):
    """Scores by networks, of those whose weights are in resources/weights/."""

    lpips: list[Literal["vgg", "alex", "squeeze"]] = Field(
        ["vgg"], description="backbones of LPIPS; the papers' protocol is vgg"
    )
    fid_grouping: Literal["view", "object", "all"] = Field(
        "view", description="fid_frame: frames of one view, of one object's views, or of all objects in one set"
    )
    fid_resize: Literal["tf1", "antialias"] = Field(
        "tf1", description="fid_frame: bilinear without antialias as torchmetrics before 1.8, or with, as since"
    )
    batch: int = Field(16, ge=1, description="pictures a batch; always full, so that features do not depend on it")


class OutsideSettings(Section):
    """Results of another system: a folder of PNGs, <path>/<scene>/<view>/<t>.png."""

    path: str = Field(description="folder that holds one folder a scene")
    title: str | None = Field(None, description="the method's name in tables; null = the name given here")
    alpha: Literal["straight", "premultiplied"] = Field(
        "straight", description="how colour and alpha relate in RGBA files; RGB files are taken as drawn on white"
    )


class StudySettings(Section):
    """The blind user study: a page for participants, and what became of their answers."""

    answers: str = Field("answers", description="folder with the files that participants saved, *.json")
    key: str | None = Field(
        None, description="key of the study that they answered; null = the suite's own, results/<suite>/study_key.json"
    )
    variants: list[str] | None = Field(
        None, description="methods of ours that are compared; null = all variants that move, [] = those of others alone"
    )
    others: dict[str, str] = Field(
        {}, description="further methods: a name, and a folder with <scene>.mp4 as large and long as our orbit.mp4"
    )
    embed_mb: float = Field(
        15, ge=0, description="videos of at most so many megabytes are put inside the page, larger ones beside it"
    )


class CorpusSettings(Section):
    """Pictures that the small priors are trained on: objects of the generator's training families."""

    objects: int = Field(24, ge=1, description="objects of every family")
    times: int = Field(4, ge=1, description="moments of every object, each with six views and an input view")
    azimuth_jitter_deg: float = Field(
        15.0, ge=0, le=180, description="the input camera stands up to this far from the object's front, degrees"
    )
    random_views: int = Field(
        4, ge=0, description="further views of every moment, at any azimuth, that the pose network learns from"
    )
    random_elevation_deg: float = Field(
        30.0, ge=0, le=80, description="they are up to so far above or below the input camera, degrees"
    )
    view_size: int = Field(64, ge=16, le=320, description="side of a view, pixels")
    condition_size: int = Field(128, ge=16, le=1024, description="side of the input view, pixels; frames.size in use")
    leave_out: list[str] = Field([], description="families that are not trained on, only scored")


class AutoencoderSettings(Section):
    """The small AutoencoderKL between pictures and latents: eight pixels of a picture a latent pixel."""

    channels: list[int] = Field([16, 32, 48, 48], min_length=2, description="width of every resolution")
    latent_channels: int = Field(16, ge=1, description="channels of a latent")
    steps: int = Field(1200, ge=1, description="optimisation steps")
    batch: int = Field(16, ge=1, description="pictures a step")
    lr: float = Field(2e-3, gt=0, description="largest learning rate")
    absolute: float = Field(0.1, ge=0, description="weight of the absolute error beside the squared one")
    kl: float = Field(
        1e-9,
        ge=0,
        description="weight of the divergence from the normal distribution beside the mean error; 1e-6 "
        "costs the colours",
    )
    ema_decay: float = Field(0.995, ge=0, lt=1, description="averaging of the weights over steps")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 = autocast, for a GPU")


class DenoiserSettings(Section):
    """The small UNet of Zero123++ and its two encoders, trained together."""

    channels: list[int] = Field([48, 64, 64], min_length=2, description="width of every resolution")
    embedding: int = Field(64, ge=8, description="width of the prompt's tokens and of the image embedding")
    steps: int = Field(4500, ge=1, description="optimisation steps")
    batch: int = Field(8, ge=1, description="sheets a step")
    lr: float = Field(6e-4, gt=0, description="largest learning rate")
    drop_condition: float = Field(0.1, ge=0, le=1, description="share of a batch trained without its condition")
    colour_orders: int = Field(
        3, ge=1, le=6, description="orders of red, green and blue in which every picture is shown; 1 = its own"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="averaging of the weights over steps")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 = autocast, for a GPU")


class PoseSettings(DenoiserSettings):
    """The small UNet of Zero123 and its image encoder, trained together to draw a view from a relative pose."""

    steps: int = Field(4500, ge=1, description="optimisation steps")
    batch: int = Field(32, ge=1, description="pairs of views a step")


class HoldoutSettings(Section):
    """What a small prior is scored on: objects that it has not been trained on."""

    objects: int = Field(2, ge=1, description="new objects of every family")
    times: list[float] = Field([0.3], min_length=1, description="moments of every object, in [0, 1]")
    pose_steps: int = Field(
        1,
        ge=1,
        le=1000,
        description="denoising steps of a view by the pose network; 1 = its mean, what distillation asks",
    )
    pose_guidance: float = Field(1.0, ge=0, description="its classifier-free guidance; 1 = none")
    reporting: bool = Field(False, description="score the seven reporting objects too; only to report, never to choose")


class PriorsSettings(Section):
    """Training of the small priors; nothing of it runs unless its target is named (promote_priors)."""

    recipe: str = Field("cpu", description="name of this training in results/priors/<recipe>/")
    date: str = Field("", description="day of the training for the model card, YYYY-MM-DD")
    corpus: CorpusSettings = CorpusSettings()
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    denoiser: DenoiserSettings = DenoiserSettings()
    pose: PoseSettings = PoseSettings()
    holdout: HoldoutSettings = HoldoutSettings()


# Part of a path, where it is digits.
Seed = Annotated[int, Field(ge=0)]


class AblationsSettings(Section):
    """Scenes and seeds of the comparison, of tables 2 to 5 and of the claims."""

    scenes: list[str] | Literal["all"] = Field(
        ["mouth", "propeller", "walk"], description="scenes of tables 2 to 5; all = every scene of the suite"
    )
    seeds: list[Seed] = Field([0, 1, 2], min_length=1, description="one fit per seed, for the comparison as well")
    sds: Literal["auto", "micro", "zero123_xl"] = Field(
        "auto", description="network of results/sds.csv; auto = micro when resources/priors/ holds it, else zero123_xl"
    )


# With a picture beside the table, and without.
PLOTTED_TABLES = (
    "table2",
    "table3",
    "table4",
    "table5",
    "comparison",
    "growth",
    "sweep",
    "sds",
    "anchors",
    "anchor_cost",
)
PLAIN_TABLES = ("claims", "protocol", "sudden")


class ReportSettings(Section):
    """What the report shows beside Table 1, curves, pictures, videos and players."""

    tables: list[Literal[(*PLOTTED_TABLES, *PLAIN_TABLES)]] = Field(  # type: ignore[valid-type]
        [], description="further tables, made with their fits if they are not there"
    )


class LikenessSettings(Section):
    """Generated anchors against the truth, by the weight of temporal fusion (results/anchors.csv)."""

    source: Literal["micro", "zero123plus"] = Field("micro", description="the generator, as in anchors.source")
    fusions: list[float] = Field(
        [0.0, 0.25, 0.5, 0.75],
        description="values of anchors.fusion, with 0, which the others are held against",
    )
    seeds: list[Seed] = Field([0, 1, 2], min_length=1, description="one set of anchors per seed")
    suites: list[str] = Field(
        ["development", "embedded"],
        min_length=1,
        description="procedural suites, a block of rows each; objects that the small prior was trained on are left out",
    )

    @model_validator(mode="after")
    def _comparable(self) -> LikenessSettings:
        if 0 not in self.fusions or not all(0 <= value <= 1 for value in self.fusions):
            raise ValueError(f"fusions {self.fusions}: expected numbers from 0 to 1, and 0 among them")
        return self


class Config(Section):
    """The whole experiment."""

    suite: str = Field("embedded", description="name of a file in config/suites/")
    path: str | None = Field(
        None, description="your own clip: a video, a folder of images or of a known layout; replaces suite"
    )
    prompt: str | None = Field(
        None, description="text to 4D: what is drawn, animated and fitted (SDXL, SVD); replaces suite"
    )
    image: str | None = Field(None, description="image to 4D: one still picture that is animated (SVD); replaces suite")
    name: str | None = Field(
        None, description="scene name for `path`, `prompt` or `image`; null = from the file's name or the words"
    )
    scenes: list[str] | None = Field(None, description="subset of the suite's scenes; null = all")
    variants: list[str] = Field(
        ["static", "stag4d", "4dstr"], min_length=1, description="names of files in config/variants/"
    )
    seeds: list[Seed] = Field([0], min_length=1, description="one fit per seed")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto = cuda when there is one")
    threads: int = Field(
        1, ge=1, description="threads of one fit; never taken from --cores, so that results do not depend on it"
    )
    checkpoint_interval_s: float = Field(30.0, gt=0, description="seconds between a fit's checkpoints")
    camera: CameraSettings = CameraSettings()
    picture: PictureSettings = PictureSettings()
    clip: ClipSettings = ClipSettings()
    frames: FramesSettings = FramesSettings()
    weights: WeightsSettings = WeightsSettings()
    anchors: AnchorsSettings = AnchorsSettings()
    guidance: GuidanceSettings = GuidanceSettings()
    canonical: CanonicalSettings = CanonicalSettings()
    dynamic: DynamicSettings = DynamicSettings()
    bake: BakeSettings = BakeSettings()
    renders: RendersSettings = RendersSettings()
    assets: AssetsSettings = AssetsSettings()
    moments: MomentsSettings = MomentsSettings()
    player: PlayerSettings = PlayerSettings()
    exports: ExportsSettings = ExportsSettings()
    metrics: MetricsSettings = MetricsSettings()
    networks: NetworksSettings = NetworksSettings()
    outside: dict[str, OutsideSettings] = Field(
        {}, description="results of other systems to score beside the variants: a name, and their folder's path"
    )
    study: StudySettings = StudySettings()
    ablations: AblationsSettings = AblationsSettings()
    report: ReportSettings = ReportSettings()
    likeness: LikenessSettings = LikenessSettings()
    priors: PriorsSettings = PriorsSettings()


class SuiteSettings(Section):
    """One file of config/suites/: scenes of one kind."""

    kind: Literal[("auto", *KINDS)]  # type: ignore[valid-type]
    n_frames: int = Field(24, ge=1, description="procedural scenes: times sampled in [0, 1]")
    camera: CameraSettings | None = Field(None, description="the suite's own camera; null = the configuration's")
    scenes: dict[str, str] = Field(description="scene name: procedural object, path, or prompt")

    @model_validator(mode="after")
    def _names(self) -> SuiteSettings:
        for scene, source in self.scenes.items():
            check_name("scene", scene)
            if self.kind == "prompt" and not source.strip():
                raise SettingsError(f"scene {scene!r} has an empty prompt; type what to show, e.g. a corgi that runs")
        return self


class VariantSettings(Section):
    """One file of config/variants/: an overlay over the settings tree."""

    title: str = Field(description="the method's name in tables")
    method: str = Field(description="short method word in tables")
    settings: dict[str, Any] = Field({}, description="overlay: the sections that differ")


class SceneSource(Section):
    """Where one scene comes from."""

    kind: Literal[KINDS]  # type: ignore[valid-type]
    source: str
    n_frames: int


class Run(Section):
    """What every stage is told besides its own section."""

    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1)


class PictureRun(Run):
    prompt: str
    picture: PictureSettings


class ClipRun(Run):
    clip: ClipSettings


class FramesRun(Run):
    scene: SceneSource
    camera: CameraSettings
    frames: FramesSettings


class WeightsRun(Run):
    name: str
    weights: WeightsSettings


class AnchorsRun(Run):
    scene: SceneSource
    source: Literal["rendered", "imported", "inflated", "zero123plus", "micro"]
    frames: FramesSettings
    # Told only to the source that reads them, so that the others do not rerun.
    anchors: AnchorsSettings | None = None


# What decides when a fit is saved, never what it becomes: left out of records and of a checkpoint's identity.
NO_INFLUENCE = frozenset({"checkpoint_interval_s"})


class CanonicalRun(Run):
    checkpoint_interval_s: float = 30.0
    canonical: CanonicalSettings
    # None while it is off, so that its other keys rerun nothing.
    guidance: GuidanceSettings | None = None


class DynamicRun(Run):
    checkpoint_interval_s: float = 30.0
    canonical: CanonicalSettings
    dynamic: DynamicSettings
    guidance: GuidanceSettings | None = None


def before_sub_clips(run: DynamicRun) -> DynamicRun | None:
    """The settings that the single frames before the first sub-clip depend on: all but the temporal rectification's
    and, without guidance, the length of the sub-clips that follow.

    Equal ones, and plans that see equally many frames, mean equal fits up to there. None for a fit without such a part.
    """
    dynamic = run.dynamic
    if dynamic.method == "static" or dynamic.sub_clip_start == 0:
        return None
    same = {"temporal": TemporalSettings()} | ({"sub_clip": 1} if run.guidance is None else {})
    return run.model_copy(update={"dynamic": dynamic.model_copy(update=same)})


class CorpusRun(Run):
    corpus: CorpusSettings


class AutoencoderRun(Run):
    checkpoint_interval_s: float = 30.0
    autoencoder: AutoencoderSettings


class DenoiserRun(Run):
    checkpoint_interval_s: float = 30.0
    prior: Literal[PRIORS] = "zero123plus"  # type: ignore[valid-type]
    denoiser: DenoiserSettings


class HoldoutRun(Run):
    prior: Literal[PRIORS] = "zero123plus"  # type: ignore[valid-type]
    priors: PriorsSettings
    micro: MicroSettings = MicroSettings()
    matte_tolerance: float = 0.12


class PromoteRun(Run):
    date: str = ""


class BakeRun(Run):
    bake: BakeSettings = BakeSettings()


class RendersRun(Run):
    renders: RendersSettings


class AssetsRun(RendersRun):
    assets: AssetsSettings = AssetsSettings()


class MomentsRun(Run):
    moments: MomentsSettings = MomentsSettings()


class PlayerRun(Run):
    fps: int = 24
    player: PlayerSettings = PlayerSettings()


class ReportRun(Run):
    config: dict[str, Any] = {}
    """The whole configuration, as Snakemake merged it."""


class ExportsRun(Run):
    renders: RendersSettings = RendersSettings()
    exports: ExportsSettings = ExportsSettings()


class ScoredRun(Run):
    """What is scored: a variant, or a name of `outside`."""

    suite: str
    scene: str
    variant: str
    title: str
    method: str


class MetricsRun(ScoredRun):
    metrics: MetricsSettings


class LikenessRun(ScoredRun):
    answer: Literal[(GENERATED, *CONSTANT_ANSWERS)]  # type: ignore[valid-type]
    metrics: MetricsSettings


class FusionBlock(Section):
    """Rows that are averaged together: one suite."""

    suite: str
    scenes: list[str]


class FusionRun(Run):
    source: str
    fusions: list[float]
    seeds: list[int]
    blocks: list[FusionBlock]


class NetworksRun(ScoredRun):
    networks: NetworksSettings


class ProtocolRun(Run):
    suite: str
    variant: str
    title: str
    networks: NetworksSettings


class OutsideRun(ScoredRun):
    outside: OutsideSettings


class StudyClip(Section):
    """One method's video of one scene."""

    scene: str
    variant: str
    title: str


class StudyRun(Run):
    suite: str
    embed_mb: float = 15
    clips: list[StudyClip]


def fusion_name(value: float) -> str:
    """How a weight of temporal fusion stands in paths and tables."""
    return f"fusion{value:g}"


def check_name(what: str, name: str) -> str:
    """Return `name` if it is safe in a path and a shell; raise SettingsError otherwise."""
    if not NAME.fullmatch(name):
        suggestion = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-") or "scene1"
        raise SettingsError(
            f"{what} name {name!r} cannot be used in paths: expected letters, digits, '_' and '-' only. "
            f"Type `name: {suggestion}` or rename it to {suggestion!r}."
        )
    return name


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice (plain YAML keeps the last one in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise SettingsError(
                    f"{node.start_mark.name}, line {key_node.start_mark.line + 1}: {key!r} is given twice; "
                    "expected each name once. Rename or delete one of them."
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    """Read a YAML mapping; raises SettingsError on a repeated key or a file that is not a mapping."""
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, Loader=_UniqueKeyLoader) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds a {type(content).__name__}; expected `key: value` lines.")
    return content


def _valid_keys(model: type[BaseModel], location: tuple) -> list[str]:
    """Names allowed in the section at `location`, for suggestions."""
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)


def parse(model: type[Section], content: dict, origin: str) -> Any:
    """Validate `content` as `model`; raise SettingsError naming the key, the value and the nearest valid name."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "(top level)"
            if problem["type"] == "extra_forbidden":
                names = _valid_keys(model, problem["loc"][:-1])
                near = difflib.get_close_matches(str(problem["loc"][-1]), names, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]!r}?" if near else f"valid names here: {', '.join(names)}"
                lines.append(f"unknown key {where!r}; {hint}")
            else:
                lines.append(f"{where}: got {problem.get('input')!r}; expected: {problem['msg']}")
        raise SettingsError(f"{origin}: " + "\n  ".join(lines)) from None


def overlay(base: dict, change: dict) -> dict:
    """`base` with the leaves of `change` put over it, neither modified."""
    merged = dict(base)
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def canonical_json(section: BaseModel, exclude: frozenset[str] = frozenset()) -> str:
    """One text per value: sorted keys, no spaces. Snakemake compares it to decide what reruns."""
    return json.dumps(section.model_dump(mode="json", exclude=exclude), sort_keys=True, separators=(",", ":"))


# ------------------------------------------------------------------ generated files


def _yaml_lines(model: type[BaseModel], values: BaseModel, indent: int = 0) -> list[str]:
    lines = []
    pad = "  " * indent
    for name, field in model.model_fields.items():
        value = getattr(values, name)
        if isinstance(value, BaseModel):
            if indent == 0:
                lines.append("")
            summary = (type(value).__doc__ or "").strip().splitlines()[0]
            lines += [f"{pad}# {summary}", f"{pad}{name}:", *_yaml_lines(type(value), value, indent + 1)]
        else:
            lines += [f"{pad}# {field.description}", f"{pad}{name}: {_yaml_value(value)}"]
    return lines


def _yaml_value(value: Any) -> str:
    # repr(1e-05) would be read back by YAML 1.1 as text, since it has no decimal point (style: 1.0e-05).
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    return json.dumps(value)


def default_yaml() -> str:
    """The text of config/config.yaml."""
    head = [
        "# Generated by `python -m stages.settings` from stages/settings.py; the defaults of every key.",
        "# Put your changes in a file of your own and pass it with --configfile; see config/README.md.",
    ]
    return "\n".join(head + _yaml_lines(Config, Config())) + "\n"


def schema_json() -> str:
    """The text of workflow/schemas/config.schema.json (Snakemake needs `$schema`)."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write the two generated files."""
    root = Path(__file__).resolve().parent.parent
    (root / "config" / "config.yaml").write_text(default_yaml(), encoding="utf-8")
    (root / "workflow" / "schemas" / "config.schema.json").write_text(schema_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
