"""What the Snakefile knows: suites, scenes, variants, seeds, and the settings text that each job receives.

Pure and torch-free, so that it is tested without Snakemake; `rules/common.smk` only hands wildcards to it.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path

from stages.lib import layouts
from stages.lib.imports import ROOT
from stages.lib.weights import MICRO, MICRO_POSE, WeightsMissing, fetch_command, normal_generator
from stages.settings import (
    CONSTANT_ANSWERS,
    GENERATED,
    MICRO_MODEL,
    AnchorsRun,
    AssetsRun,
    AutoencoderRun,
    BakeRun,
    CanonicalRun,
    ClipRun,
    Config,
    CorpusRun,
    DenoiserRun,
    DynamicRun,
    ExportsRun,
    FramesRun,
    FusionBlock,
    FusionRun,
    HoldoutRun,
    LikenessRun,
    MetricsRun,
    MomentsRun,
    NetworksRun,
    OutsideRun,
    PictureRun,
    PlayerRun,
    PromoteRun,
    ProtocolRun,
    RendersRun,
    ReportRun,
    Run,
    SceneSource,
    SettingsError,
    StudyClip,
    StudyRun,
    SuiteSettings,
    VariantSettings,
    WeightsRun,
    before_sub_clips,
    canonical_json,
    check_name,
    fusion_name,
    overlay,
    parse,
    read_yaml,
)

OWN_SUITE = "own"
# The method word of what other systems made.
OUTSIDE = "outside"
WEIGHTS = "resources/weights"
# Networks of the metrics by their names in config/weights.yaml (stages/lib/networks; a test holds them equal).
NETWORKS = (
    "clip_vit_b32",
    "i3d_kinetics",
    "inception_fid",
    "lpips_alex",
    "lpips_squeeze",
    "lpips_vgg",
    "resnet3d_kinetics",
)
# The others are overlays of its settings, so whatever they leave alone is kept under its name.
BASE_VARIANT = "stag4d"
# Its ablations of the temporal rectification begin as it does.
FULL_VARIANT = "4dstr"
# Sources whose anchors do not depend on the seed are made once, under seed 0.
SEEDLESS_ANCHORS = ("rendered", "imported", "inflated")
GENERATED_ANCHORS = ("zero123plus", "micro")
# Kinds of scenes whose clip is generated first.
GENERATED_CLIPS = ("prompt", "image")
# A scene of a prompt is named by its first words, up to so many letters.
NAME_LETTERS = 40
# Objects whose names begin so are of the families that the small priors are trained on (a test holds them equal).
TRAINED_ON = "train_"
# Networks that this repository trains; only the target promote_priors writes here.
PRIORS = "resources/priors"


class Experiment:
    """The parsed configuration and everything the rules ask of it.

    config: the mapping Snakemake merged from --configfile files and --config. root: the folder of config/.
    Raises SettingsError, before any job, on whatever is wrong in it.
    """

    def __init__(self, config: dict, root: Path = ROOT) -> None:
        self.root = root
        self.config: Config = parse(Config, config, "configuration")
        self.own = self._own()
        self.suite = OWN_SUITE if self.own else self.config.suite
        self.scenes = self._chosen_scenes()
        self.variants = list(dict.fromkeys(self.config.variants))
        self.seeds = list(dict.fromkeys(self.config.seeds))
        for variant in self.variants:
            self.matched(variant)
        check_name("priors.recipe", self.config.priors.recipe)
        for name in self.config.outside:
            check_name("outside", name)
            if name in self.variant_names():
                raise SettingsError(f"outside: {name!r} is the name of a variant; expected another one. Rename it.")
        for name in self.config.study.others:
            check_name("study", name)
            if name in self.variant_names():
                raise SettingsError(f"study: {name!r} is the name of a variant; expected another one. Rename it.")

    def _own(self) -> tuple[str, str, str] | None:
        """Kind, source and scene name of the user's own clip, prompt or image; None when a suite is chosen."""
        tree = self.config
        given = {"path": tree.path, "prompt": tree.prompt, "image": tree.image}
        given = {key: value for key, value in given.items() if value is not None}
        if not given:
            return None
        if len(given) > 1:
            raise SettingsError(f"{' and '.join(given)} are given; expected one of them. Leave the others out.")
        ((key, value),) = given.items()
        if not value.strip():
            example = {"path": "clip.mp4", "prompt": "a corgi that runs", "image": "cat.png"}[key]
            raise SettingsError(f"{key} is empty; type e.g. `{key}: {example}`, or leave it out.")
        named = _first_words(value) if key == "prompt" else Path(value).stem
        return "auto" if key == "path" else key, value, check_name("scene", tree.name or named)

    def check_sources(self) -> None:
        """Raise SettingsError if files of a chosen scene are missing."""
        for scene in self.scenes:
            self.source_files(self.suite, scene, anchors=False)

    # ---------------------------------------------------------------- suites and scenes

    def suite_names(self) -> list[str]:
        """Every suite that can stand in a path."""
        return [*_stems(self.root / "config" / "suites"), OWN_SUITE]

    def variant_names(self) -> list[str]:
        """Every variant that can stand in a path."""
        return _stems(self.root / "config" / "variants")

    @functools.cache  # noqa: B019 - one Experiment lives as long as the Snakefile's process
    def suite_settings(self, suite: str) -> SuiteSettings:
        """The scenes of a suite; the suite `own` holds the one scene of `path`, `prompt` or `image`."""
        if suite == OWN_SUITE:
            if self.own is None:
                raise SettingsError(
                    "suite 'own' needs your clip; type `--config path=clip.mp4` or write `path: clip.mp4` in a file "
                    "(or `prompt: ...`, or `image: cat.png`)."
                )
            kind, source, name = self.own
            return SuiteSettings(kind=kind, scenes={name: source})
        path = self._named("suites", suite)
        return parse(SuiteSettings, read_yaml(path), str(path))

    def _named(self, folder: str, name: str) -> Path:
        path = self.root / "config" / folder / f"{name}.yaml"
        if not path.exists():
            known = _stems(path.parent)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known)
            raise SettingsError(f"there is no {path.relative_to(self.root)}; {hint}")
        return path

    def _chosen_scenes(self) -> list[str]:
        available = list(self.suite_settings(self.suite).scenes)
        if self.config.scenes is None:
            return available
        for scene in self.config.scenes:
            if scene not in available:
                raise SettingsError(f"scenes: {scene!r} is not in suite {self.suite!r}; it has: {', '.join(available)}")
            if self.config.scenes.count(scene) > 1:
                raise SettingsError(f"scenes: {scene!r} is given twice; expected each scene once.")
        return list(self.config.scenes)

    @functools.cache  # noqa: B019
    def source(self, suite: str, scene: str) -> SceneSource:
        """Kind and source of a scene, with kind `auto` resolved by looking at the files."""
        settings = self.suite_settings(suite)
        if scene not in settings.scenes:
            raise SettingsError(f"{scene!r} is not in suite {suite!r}; it has: {', '.join(settings.scenes)}")
        place = settings.scenes[scene]
        kind = layouts.detect_kind(place) if settings.kind == "auto" else settings.kind
        return SceneSource(kind=kind, source=place, n_frames=settings.n_frames)

    def source_files(self, suite: str, scene: str, anchors: bool) -> list[str]:
        """Files that a scene's frames (or anchors) are read from; none for a procedural scene."""
        source = self.source(suite, scene)
        if source.kind == "procedural":
            return []
        found = layouts.layout(source.kind, source.source)
        if anchors:
            return [str(file) for files in found.anchors.values() for file in files]
        masks = self.config.frames.mask_path
        files = [*found.frames, *(file for track in found.truth for file in track.files)]
        return [str(file) for file in [*files, *(layouts.image_files(masks) if masks else [])]]

    def generated_clip(self, suite: str, scene: str) -> bool:
        """Whether a scene's clip is generated before it is fitted."""
        return self.source(suite, scene).kind in GENERATED_CLIPS

    def still(self, suite: str, scene: str) -> str:
        """The still picture of which a scene's clip is generated: the user's, or the one drawn of a prompt."""
        source = self.source(suite, scene)
        if source.kind == "image":
            return str(layouts.layout("image", source.source).frames[0])
        return f"results/{suite}/{scene}/picture.png"

    # ---------------------------------------------------------------- variants

    @functools.cache  # noqa: B019
    def _variant_file(self, variant: str) -> VariantSettings:
        path = self._named("variants", variant)
        return parse(VariantSettings, read_yaml(path), str(path))

    def variant(self, variant: str) -> VariantSettings:
        """One file of config/variants/, with the network of its score distillation in the title."""
        file, model = self._variant_file(variant), self.settings(variant).guidance.model
        if model is None:
            return file
        said = f"SDS by {model}"
        title, named = re.subn(r"\b(no )?SDS\b", said, file.title, count=1)
        return file.model_copy(update={"title": title if named else f"{title}, {said}"})

    @functools.cache  # noqa: B019
    def settings(self, variant: str) -> Config:
        """The whole tree with the variant's overlay."""
        merged = overlay(self.config.model_dump(mode="json"), self._variant_file(variant).settings)
        return parse(Config, merged, f"config/variants/{variant}.yaml over the configuration")

    def outside_folder(self, name: str, scene: str) -> Path:
        """The folder of one scene's pictures by another system."""
        return Path(self.config.outside[name].path).expanduser() / scene

    def outside_scenes(self, name: str, scenes: list[str]) -> list[str]:
        """Those of the scenes that another system has pictures of; raises SettingsError when it has none."""
        found = [scene for scene in scenes if self.outside_folder(name, scene).is_dir()]
        if not found:
            place = Path(self.config.outside[name].path)
            raise SettingsError(
                f"outside: {name}: {place} holds no folder of a chosen scene; expected some of "
                f"{', '.join(str(place / scene) for scene in scenes)}. Correct `path`, or rename its folders."
            )
        return found

    def outside_files(self, name: str, scene: str) -> list[str]:
        """The pictures of one scene by another system, inputs of a rule."""
        return sorted(str(path) for path in self.outside_folder(name, scene).glob("*/*.png"))

    # ---------------------------------------------------------------- the user study

    def study_clips(self, suite: str, scenes: list[str], moving: list[str]) -> list[tuple[str, StudyClip]]:
        """Path and name of every video of a study, scene by scene; raises SettingsError where there is no choice.

        moving: the methods of ours that are compared unless `study.variants` names them.
        """
        seed, others = self.seeds[0], self.config.study.others
        chosen = self.config.study.variants
        variants = moving if chosen is None else list(dict.fromkeys(chosen))
        if len(variants) + len(others) < 2:
            raise SettingsError(
                f"a study compares at least two methods; got {', '.join([*variants, *others])}. Type "
                "`variants: [stag4d, 4dstr]`, or name videos of another one in `study: {others: {theirs: folder}}`; "
                "`study: {variants: []}` compares videos of others alone."
            )
        found = []
        for scene in scenes:
            for name in variants:
                path = f"results/{suite}/{scene}/{name}/seed{seed}/assets/orbit.mp4"
                found.append((path, StudyClip(scene=scene, variant=name, title=self.variant(name).title)))
            for name, folder in others.items():
                path = Path(folder).expanduser() / f"{scene}.mp4"
                if not path.is_file():
                    raise SettingsError(
                        f"study: {name}: there is no {path}; expected a video of every scene of the study. Correct the "
                        "folder, or choose the scenes that it has with `scenes: [...]`."
                    )
                found.append((str(path), StudyClip(scene=scene, variant=name, title=name)))
        return found

    def study_json(self, suite: str, scenes: list[str], variants: list[str]) -> str:
        clips = [clip for _, clip in self.study_clips(suite, scenes, variants)]
        return canonical_json(StudyRun(suite=suite, embed_mb=self.config.study.embed_mb, clips=clips))

    def study_key(self) -> str:
        """The key of the study that the answers belong to."""
        return self.config.study.key or f"results/{self.suite}/study_key.json"

    def answer_files(self) -> list[str]:
        """The files that participants saved; raises SettingsError when there are none."""
        folder = Path(self.config.study.answers).expanduser()
        found = sorted(str(path) for path in folder.glob("*.json"))
        if not found:
            raise SettingsError(
                f"study: there are no answers in {folder}/; expected the files that participants saved, study_*.json. "
                f"Make the page with `snakemake --cores 2 results/{self.suite}/study`, hand that folder out, and put "
                "what comes back there (or set `study: {answers: folder}`)."
            )
        return found

    def matched(self, variant: str) -> str | None:
        """The variant whose number of gaussians this one copies (densify mode match); None for the others."""
        densify = self.settings(variant).dynamic.densify
        if densify.mode != "match":
            return None
        if densify.match is None:
            raise SettingsError(
                f"variant {variant!r} has `mode: match` and nothing to match; expected the name of a variant. "
                "Type `dynamic: {densify: {mode: match, match: 4dstr}}`."
            )
        if self.matched(densify.match) is not None or densify.match == variant:
            raise SettingsError(f"variant {variant!r} matches {densify.match!r}, which matches another one itself.")
        return densify.match

    def anchors_source(self, suite: str, scene: str, variant: str) -> str:
        """The anchor source of a variant on a scene, with `auto` resolved."""
        anchors = self.settings(variant).anchors
        wanted = anchors.source
        if wanted in GENERATED_ANCHORS and anchors != self.config.anchors.model_copy(update={"source": wanted}):
            raise SettingsError(
                f"variant {variant!r} has anchors of its own; expected the configuration's: generated anchors are "
                "kept once per seed. Set `anchors:` in your --configfile and leave only `source` to the variant."
            )
        if wanted != "auto":
            return wanted
        source = self.source(suite, scene)
        if source.kind == "procedural":
            return "rendered"
        # Imported anchors do not follow a recentred input.
        importable = not self.config.frames.recentre and layouts.layout(source.kind, source.source).anchors
        return "imported" if importable else "inflated"

    def canonical_owner(self, suite: str, scene: str, variant: str) -> str:
        """The variant under which an equal canonical fit is kept: the base variant if equal, else the first by name."""

        def identity(name: str) -> tuple:
            tree = self.settings(name)
            fitted = canonical_json(tree.canonical), tree.device, tree.threads, self.anchors_source(suite, scene, name)
            return *fitted, tree.guidance if tree.guidance.model else None

        wanted = identity(variant)
        return next(name for name in [BASE_VARIANT, *self.variant_names()] if identity(name) == wanted)

    @functools.cache  # noqa: B019 - one Experiment lives as long as the Snakefile's process
    def _beginning(self, suite: str, scene: str, variant: str) -> tuple | None:
        """What a fit's part before sub-clips depends on; None for fits without one."""
        begun = before_sub_clips(self._dynamic(variant, 0))
        return None if begun is None else (canonical_json(begun), self.canonical_owner(suite, scene, variant))

    @functools.cache  # noqa: B019
    def beginning_owner(self, suite: str, scene: str, variant: str) -> str | None:
        """The variant under which the beginning of a fit is kept: 4dstr or the base variant if equal, else the first by
        name. None where no other variant begins alike."""
        wanted = self._beginning(suite, scene, variant)
        names = dict.fromkeys([FULL_VARIANT, BASE_VARIANT, *self.variant_names()])
        alike = [name for name in names if self._beginning(suite, scene, name) == wanted]
        return alike[0] if wanted is not None and len(alike) > 1 else None

    def anchors_seed(self, source: str, seed: int) -> int:
        """The seed under which anchors are kept."""
        return 0 if source in SEEDLESS_ANCHORS else seed

    # ---------------------------------------------------------------- anchors against the truth

    def fusions(self) -> dict[str, float]:
        """The weights of temporal fusion that are compared, by their names in paths."""
        return {fusion_name(value): value for value in self.config.likeness.fusions}

    def fused_anchors(self, suite: str, scene: str, source: str, fusion: str, seed: int) -> str:
        """Where anchors of one weight are kept; those of the configuration's own weight are the usual ones."""
        own = "" if self.fusions()[fusion] == self.config.anchors.fusion else f"{fusion}/"
        return f"results/{suite}/{scene}/anchors/{source}/{own}seed{seed}/anchors.npz"

    def mean_views(self, answer: str) -> list[str]:
        """The mean views of the small prior's training, for the answer that consists of them, if they are here."""
        path = self.root / PRIORS / MICRO / "mean_views.png"
        return [os.path.relpath(path)] if answer == "mean" and path.is_file() else []

    def likeness_block(self, suite: str, scenes: list[str]) -> FusionBlock:
        """Those of a suite's scenes that can be drawn from anywhere and that no small prior was trained on."""
        about = self.suite_settings(suite)
        if about.kind != "procedural":
            raise SettingsError(
                f"likeness.suites: {suite!r} has no truth at the anchors' cameras (its kind is {about.kind}); expected "
                "procedural suites. Type `likeness: {suites: [development, embedded]}`."
            )
        chosen = [scene for scene in scenes if not about.scenes[scene].startswith(TRAINED_ON)]
        if not chosen:
            raise SettingsError(
                f"likeness.suites: the chosen scenes of {suite!r} ({', '.join(scenes)}) are all of families that the "
                f"small prior is trained on; expected another one of {', '.join(about.scenes)}."
            )
        return FusionBlock(suite=suite, scenes=chosen)

    def likeness_files(self, blocks: list[FusionBlock]) -> list[str]:
        """The scores of every scene, weight and seed, and of the constant answers."""
        chosen, files = self.config.likeness, []
        for folder in (f"results/{block.suite}/{scene}/anchors" for block in blocks for scene in block.scenes):
            seeds = dict.fromkeys(chosen.seeds)
            files += [
                f"{folder}/{chosen.source}/{fusion}/seed{seed}/likeness.csv"
                for fusion in self.fusions()
                for seed in seeds
            ]
            files += [f"{folder}/constant/{answer}/likeness.csv" for answer in CONSTANT_ANSWERS]
        return files

    # ---------------------------------------------------------------- settings of jobs

    def _run(self, tree: Config, seed: int) -> dict:
        return {"seed": seed, "device": tree.device, "threads": tree.threads}

    def weights_json(self, network: str) -> str:
        check_network(network, self.root)
        return canonical_json(WeightsRun(name=network, weights=self.config.weights))

    def anchors_weights(self, source: str) -> list[str]:
        """The receipts of the networks that make anchors, if any do: the generator's, and that of its normals."""
        if source not in GENERATED_ANCHORS:
            return []
        if source == "micro":
            normals = self._normals_receipts(MICRO)
            return [self._micro_receipt(MICRO, "the source of anchors", "take another source"), *normals]
        name = self.config.anchors.model
        lacks = "is no public network that draws six views"
        receipt = self._public_receipt("anchors", name, lacks, lambda about: "cameras" in about)
        return [receipt, *self._normals_receipts(name)]

    def _public_receipt(
        self, section: str, name: str, lacks: str, fits: Callable[[dict], bool], also: tuple[str, ...] = ()
    ) -> str:
        """The receipt of the public network `name`; raises SettingsError for one that is not there or does not fit.

        fits: of a manifest's entry. also: names that `section` takes beside public networks.
        """
        check_network(name, self.root)
        networks = read_yaml(self.root / "config" / "weights.yaml")
        fit = [other for other, about in networks.items() if fits(about) and "trained_by" not in about]
        if name not in fit:
            raise SettingsError(
                f"{section}.model: {name!r} {lacks}; expected: {', '.join([*fit, *also])}. "
                f"Type `{section}: {{model: {fit[0]}}}`."
            )
        return f"{WEIGHTS}/{name}/receipt.json"

    def _normals_receipts(self, name: str) -> list[str]:
        """The receipt of the network that draws the normals of what `name` drew, if the matte is made from them."""
        if self.config.anchors.matte != "normals":
            return []
        try:
            return [f"{WEIGHTS}/{normal_generator(name)}/receipt.json"]
        except WeightsMissing as error:
            raise SettingsError(f"{error}.") from None

    def generator_weights(self, stage: str) -> list[str]:
        """The receipt of the network of stage `picture` or `clip`; raises SettingsError when it does other work."""
        name = getattr(self.config, stage).model
        lacks = f"does not make a {stage}"
        return [self._public_receipt(stage, name, lacks, lambda about: about.get("makes") == stage)]

    def guidance_weights(self, variant: str) -> list[str]:
        """The receipt of the network of a variant's score distillation, if it has one."""
        name = self.settings(variant).guidance.model
        if name is None:
            return []
        if name == MICRO_MODEL:
            return [self._micro_receipt(MICRO_POSE, "guidance.model", "`guidance: {model: zero123_xl}`")]
        lacks = "is no public network that takes a relative pose, as a Zero123 does"
        return [self._public_receipt("guidance", name, lacks, lambda about: "pose" in about, also=(MICRO_MODEL,))]

    def sds_model(self) -> str:
        """The network of results/sds.csv: the configured one, or the small one where it was promoted."""
        wanted = self.config.ablations.sds
        if wanted != "auto":
            return wanted
        here = all((self.root / PRIORS / name / "receipt.json").is_file() for name in (MICRO, MICRO_POSE))
        return MICRO_MODEL if here else "zero123_xl"

    def _guidance(self, tree: Config) -> dict:
        return {"guidance": tree.guidance} if tree.guidance.model else {}

    def _micro_receipt(self, prior: str, key: str, instead: str) -> str:
        """The receipt of a small prior of this repository, which `key` asks for; SettingsError when none is here."""
        path = self.root / PRIORS / prior / "receipt.json"
        if not path.is_file():
            raise SettingsError(
                f"{key} is micro but {PRIORS}/{prior} is not here; expected a trained network. Type "
                f"`{fetch_command(prior)}`, or {instead}."
            )
        return os.path.relpath(path)

    def corpus_json(self) -> str:
        return canonical_json(CorpusRun(**self._run(self.config, 0), corpus=self.config.priors.corpus))

    def autoencoder_json(self) -> str:
        tree = self.config
        run = {**self._run(tree, 0), "checkpoint_interval_s": tree.checkpoint_interval_s}
        return canonical_json(AutoencoderRun(**run, autoencoder=tree.priors.autoencoder))

    def denoiser_json(self, prior: str) -> str:
        tree = self.config
        run = {**self._run(tree, 0), "checkpoint_interval_s": tree.checkpoint_interval_s}
        chosen = {"zero123plus": tree.priors.denoiser, "zero123": tree.priors.pose}[prior]
        return canonical_json(DenoiserRun(**run, prior=prior, denoiser=chosen))

    def holdout_json(self, prior: str) -> str:
        tree = self.config
        drawn = {"micro": tree.anchors.micro, "matte_tolerance": tree.anchors.matte_tolerance}
        return canonical_json(HoldoutRun(**self._run(tree, 0), prior=prior, priors=tree.priors, **drawn))

    def promote_json(self) -> str:
        return canonical_json(PromoteRun(**self._run(self.config, 0), date=self.config.priors.date))

    def picture_json(self, suite: str, scene: str) -> str:
        source = self.source(suite, scene)
        if source.kind != "prompt":
            raise SettingsError(f"scene {scene!r} of suite {suite!r} is of kind {source.kind}; expected a prompt.")
        return canonical_json(
            PictureRun(**self._run(self.config, 0), prompt=source.source, picture=self.config.picture)
        )

    def clip_json(self) -> str:
        return canonical_json(ClipRun(**self._run(self.config, 0), clip=self.config.clip))

    def frames_json(self, suite: str, scene: str) -> str:
        tree = self.config
        camera = self.suite_settings(suite).camera or tree.camera
        run = FramesRun(**self._run(tree, 0), scene=self.source(suite, scene), camera=camera, frames=tree.frames)
        return canonical_json(run)

    def anchors_json(self, suite: str, scene: str, source: str, seed: int, fusion: str | None = None) -> str:
        scene_source, anchors = self.source(suite, scene), self.config.anchors
        if fusion is not None:
            anchors = anchors.model_copy(update={"fusion": self.fusions()[fusion]})
        told = {"anchors": anchors} if source in GENERATED_ANCHORS else {}
        run = AnchorsRun(
            **self._run(self.config, seed), scene=scene_source, source=source, frames=self.config.frames, **told
        )
        return canonical_json(run)

    def likeness_json(self, suite: str, scene: str, source: str, fusion: str, seed: int) -> str:
        named = {"suite": suite, "scene": scene, "variant": fusion, "title": f"{source}, {fusion}", "method": source}
        told = {"answer": GENERATED, "metrics": self.config.metrics}
        return canonical_json(LikenessRun(**self._run(self.config, seed), **named, **told))

    def constant_json(self, suite: str, scene: str, answer: str) -> str:
        named = {"suite": suite, "scene": scene, "variant": answer, "title": answer, "method": "constant"}
        told = {"answer": answer, "metrics": self.config.metrics}
        return canonical_json(LikenessRun(**self._run(self.config, 0), **named, **told))

    def fusion_json(self, blocks: list[FusionBlock]) -> str:
        chosen = self.config.likeness
        fusions, seeds = list(self.fusions().values()), list(dict.fromkeys(chosen.seeds))
        told = {"source": chosen.source, "fusions": fusions, "seeds": seeds, "blocks": blocks}
        return canonical_json(FusionRun(**self._run(self.config, 0), **told))

    def canonical_json(self, variant: str, seed: int) -> str:
        tree = self.settings(variant)
        interval = tree.checkpoint_interval_s
        return canonical_json(
            CanonicalRun(
                **self._run(tree, seed),
                checkpoint_interval_s=interval,
                canonical=tree.canonical,
                **self._guidance(tree),
            )
        )

    def dynamic_json(self, variant: str, seed: int) -> str:
        return canonical_json(self._dynamic(variant, seed))

    def _dynamic(self, variant: str, seed: int) -> DynamicRun:
        tree = self.settings(variant)
        return DynamicRun(
            **self._run(tree, seed),
            checkpoint_interval_s=tree.checkpoint_interval_s,
            canonical=tree.canonical,
            dynamic=tree.dynamic,
            **self._guidance(tree),
        )

    def bake_json(self, variant: str, seed: int) -> str:
        tree = self.settings(variant)
        return canonical_json(BakeRun(**self._run(tree, seed), bake=tree.bake))

    def renders_json(self, variant: str, seed: int = 0) -> str:
        tree = self.settings(variant)
        return canonical_json(RendersRun(**self._run(tree, seed), renders=tree.renders))

    def assets_json(self, variant: str, seed: int) -> str:
        tree = self.settings(variant)
        return canonical_json(AssetsRun(**self._run(tree, seed), renders=tree.renders, assets=tree.assets))

    def moments_json(self) -> str:
        return canonical_json(MomentsRun(**self._run(self.config, 0), moments=self.config.moments))

    def player_json(self, variant: str, seed: int = 0) -> str:
        tree = self.settings(variant)
        return canonical_json(PlayerRun(**self._run(tree, seed), fps=tree.renders.fps, player=tree.player))

    def _scored(self, suite: str, scene: str, variant: str, seed: int) -> tuple[Config, dict]:
        """The settings tree of a variant, or of the configuration for a name of `outside`, and how results name it."""
        if variant in self.config.outside:
            tree, title, method = self.config, self.config.outside[variant].title or variant, OUTSIDE
        else:
            tree, title, method = self.settings(variant), self.variant(variant).title, self.variant(variant).method
        names = {"suite": suite, "scene": scene, "variant": variant, "title": title, "method": method}
        return tree, {**self._run(tree, seed), **names}

    def exports_json(self, variant: str, seed: int) -> str:
        tree = self.settings(variant)
        return canonical_json(ExportsRun(**self._run(tree, seed), renders=tree.renders, exports=tree.exports))

    def metrics_json(self, suite: str, scene: str, variant: str, seed: int) -> str:
        tree, named = self._scored(suite, scene, variant, seed)
        return canonical_json(MetricsRun(**named, metrics=tree.metrics))

    def networks_json(self, suite: str, scene: str, variant: str, seed: int) -> str:
        tree, named = self._scored(suite, scene, variant, seed)
        return canonical_json(NetworksRun(**named, networks=tree.networks))

    def protocol_json(self, suite: str, variant: str, seed: int) -> str:
        tree, title = self.settings(variant), self.variant(variant).title
        run = ProtocolRun(**self._run(tree, seed), suite=suite, variant=variant, title=title, networks=tree.networks)
        return canonical_json(run)

    def outside_json(self, suite: str, scene: str, variant: str, seed: int) -> str:
        _, named = self._scored(suite, scene, variant, seed)
        return canonical_json(OutsideRun(**named, outside=self.config.outside[variant]))

    def weight_files(self) -> list[str]:
        """Files of the metrics' networks that are here; none on a machine without weights."""
        found: list[Path] = []
        for name in NETWORKS:
            found += (path for path in (self.root / WEIGHTS / name).glob("*") if path.is_file())
        return sorted(map(os.path.relpath, found))

    def speed_json(self, variant: str) -> str:
        tree = self.settings(variant)
        return canonical_json(Run(device=tree.device, threads=tree.threads))

    def report_json(self) -> str:
        tree = self.config
        return canonical_json(ReportRun(device=tree.device, threads=tree.threads, config=tree.model_dump(mode="json")))

    def run_json(self) -> str:
        return canonical_json(Run(device=self.config.device, threads=self.config.threads))


def check_network(name: str, root: Path = ROOT) -> None:
    """Raise SettingsError unless config/weights.yaml has an entry `name`."""
    known = list(read_yaml(root / "config" / "weights.yaml"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "it has: " + ", ".join(known)
        raise SettingsError(f"config/weights.yaml has no network {name!r}; {hint}")


def _first_words(prompt: str) -> str:
    """The beginning of a prompt as a name in paths; empty when it has no Latin letter or digit."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", prompt).strip("_").lower()
    return words if len(words) <= NAME_LETTERS else words[: NAME_LETTERS + 1].rpartition("_")[0] or words[:NAME_LETTERS]


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))
