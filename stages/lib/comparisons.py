"""Which fits the ablation tables compare, as data; it imports no pandas, so that the Snakefile may read it.

Vocabulary
----------
- A *comparison* is one table: variants held against a *base* variant on the same scenes and seeds of one suite.
- *table2* to *table5* are named after 4DSTR's tables; *comparison* is the method against its base on all scenes; *sds*
  is score distillation by its weight: `sds_zero123_xl`, whose fits need public weights, or `sds_micro`, whose fits need
  both networks of resources/priors/; *anchor_cost* is what estimated instead of rendered anchors cost, drawn by
  the small Zero123++ there or inflated.
- *sweep* is where sizes of the temporal module are chosen: on development objects, which no other table reports.
- *growth* compares the methods once for each of several lengths of the clip.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from stages.settings import AblationsSettings, Config, Run, Section, SettingsError, VariantSettings

Axis = Literal["variant", "length", "frame"]


@dataclass(frozen=True)
class Definition:
    """What a table compares, whatever the configuration is."""

    title: str
    variants: tuple[str, ...]
    base: str
    suite: str | None = None
    """its own suite; None = the configured one"""
    every_scene: bool = False
    """all chosen scenes instead of `ablations.scenes`"""
    scenes: tuple[str, ...] = ()
    """these scenes instead of either"""
    speed: bool = False
    """with the parameters and frame rates that the speed stage measures"""
    axis: Axis = "variant"
    """what the plot shows: variants side by side, over the window length T, or also over the frames of the clip"""
    counts: bool = False
    """plot the gaussians of every frame, and test their gradients"""
    differ: tuple[str, ...] = ()
    """provenance (supervision, anchors) in which its variants differ"""
    bases: tuple[tuple[str, str], ...] = ()
    """variants that are held against another one than the base, and which"""


# Beside rendered anchors, which are the truth, and beside generated ones, which are what it is meant to mend.
_SDS_MICRO = ("stag4d_sds_micro_low", "stag4d_sds_micro", "stag4d_sds_micro_high")
_SDS_MICRO_ANCHORS = ("stag4d_micro_sds_low", "stag4d_micro_sds", "stag4d_micro_sds_high")

DEFINITIONS = {
    "table2": Definition(
        "Table 2: temporal and spatial rectification",
        ("neither", "no_spatial", "no_temporal", "4dstr", "stag4d"),
        base="neither",
        counts=True,
    ),
    "table3": Definition("Table 3: 60 frames", ("stag4d", "4dstr"), base="stag4d", suite="embedded60", axis="frame"),
    "table4": Definition(
        "Table 4: temporal encoders and buffers",
        # The last row is the method without the module, for what the module costs.
        ("4dstr", "gru", "attention", "mamba_attributes", "gru_attributes", "attention_attributes", "no_temporal"),
        base="4dstr",
        speed=True,
    ),
    "table5": Definition(
        "Table 5: length T of the temporal window", ("T2", "T5", "4dstr", "T15"), base="4dstr", axis="length"
    ),
    "comparison": Definition(
        "4dstr against stag4d",
        ("stag4d", "4dstr", "stag4d_count", "stag4d_time"),
        base="stag4d",
        every_scene=True,
    ),
    "sweep": Definition(
        "Sizes of the temporal module, on development objects",
        (
            "4dstr",
            "controls64",
            "controls128",
            "controls512",
            "controls_all",
            "width16",
            "width64",
            "layers3",
            "no_temporal",
        ),
        base="4dstr",
        suite="development",
        scenes=("robot", "snail"),
        speed=True,
    ),
    "sds_zero123_xl": Definition(
        "Score distillation, by its weight",
        ("stag4d", "stag4d_sds_low", "stag4d_sds", "stag4d_sds_high"),
        base="stag4d",
        differ=("supervision",),
    ),
    "anchor_cost": Definition(
        "What estimated instead of rendered anchors cost",
        ("stag4d", "stag4d_micro", "stag4d_inflated", "4dstr", "4dstr_micro", "4dstr_inflated"),
        base="stag4d",
        differ=("anchors",),
        bases=tuple((name, "4dstr") for name in ("4dstr", "4dstr_micro", "4dstr_inflated")),
    ),
    "sds_micro": Definition(
        "Score distillation by the small Zero123 of this repository, by its weight",
        ("stag4d", *_SDS_MICRO, "stag4d_micro", *_SDS_MICRO_ANCHORS),
        base="stag4d",
        differ=("supervision", "anchors"),
        bases=tuple((name, "stag4d_micro") for name in ("stag4d_micro", *_SDS_MICRO_ANCHORS)),
    ),
}
# The comparisons that claims.csv judges: no claim is about networks that draw, and none may ask for weights.
CLAIMED = ("comparison", "table2", "table3", "table4", "table5")
# Side by side as in 4DSTR's Figures 5 (the base and the method), 7 and 8 (without each rectification).
RECTIFICATIONS = ("stag4d", "neither", "no_temporal", "no_spatial", "4dstr")
# The growth table: both methods on clips of 16, 32 and 60 frames; the last one is table 3.
GROWTH = ("growth16", "growth32", "table3")
DEFINITIONS |= {
    f"growth{count}": dataclasses.replace(DEFINITIONS["table3"], title=f"{count} frames", suite=f"embedded{count}")
    for count in (16, 32)
}


class ComparedVariant(Section):
    """One row of a table."""

    name: str
    title: str
    length: int
    """T, tokens the temporal encoder sees"""
    base: str | None = None
    """the variant that it is held against; None = the comparison's base"""


class Comparison(Section):
    """One table with everything the configuration says about it."""

    name: str
    title: str
    suite: str
    scenes: list[str]
    seeds: list[int]
    base: str
    variants: list[ComparedVariant]
    speed: bool
    axis: Axis
    counts: bool
    differ: tuple[str, ...] = ()

    def base_of(self, variant: ComparedVariant) -> str:
        """The variant that a row is held against; its own name for a base."""
        return variant.base or self.base

    def fits(self) -> list[tuple[str, str, str, int]]:
        """Suite, scene, variant and seed of every fit."""
        return [
            (self.suite, scene, variant.name, seed)
            for scene in self.scenes
            for variant in self.variants
            for seed in self.seeds
        ]

    def folders(self) -> list[str]:
        """Where every fit is kept."""
        return [f"results/{suite}/{scene}/{variant}/seed{seed}" for suite, scene, variant, seed in self.fits()]

    def files(self) -> list[str]:
        """The files that its table finds beside each metrics.csv, and that Snakemake therefore has to make.

        Frame rates are taken on the first seed alone: they take the whole machine and do not depend on the seed.
        """
        always = ["gaussians.csv", *(["gradients.csv"] if self.counts else [])]
        found = []
        for folder, (*_, seed) in zip(self.folders(), self.fits(), strict=True):
            timed = ["speed.csv"] if self.speed and seed == self.seeds[0] else []
            found += [f"{folder}/{name}" for name in (*always, *timed)]
        return found


class AblationsRun(Run):
    """What the ablations stage is told."""

    comparison: Comparison


class GrowthRun(Run):
    """What the growth stage is told."""

    comparisons: list[Comparison]


class ClaimsRun(Run):
    """What the claims stage is told."""

    comparisons: list[Comparison]


def compare(
    name: str,
    configured: str,
    scenes_of: Callable[[str], Iterable[str]],
    ablations: AblationsSettings,
    variant: Callable[[str], VariantSettings],
    settings: Callable[[str], Config],
) -> Comparison:
    """The comparison of this name; `configured` is the suite of the run, the functions answer for a suite or variant.

    Raises SettingsError when `ablations.scenes` names a scene that the suite does not have.
    """
    definition = DEFINITIONS[name]
    suite = definition.suite or configured
    available = list(scenes_of(suite))
    everything = definition.every_scene or ablations.scenes == "all"
    scenes = available if everything else list(dict.fromkeys(ablations.scenes))
    scenes = list(definition.scenes) or scenes
    for scene in scenes:
        if scene not in available:
            raise SettingsError(
                f"ablations.scenes: {scene!r} is not among the scenes of suite {suite!r}: {', '.join(available)}. "
                "Name some of these, or type `scenes: all`."
            )
    bases = dict(definition.bases)
    if "anchors" in definition.differ:
        _check_anchors_differ(definition, settings)
    return Comparison(
        name=name,
        title=definition.title,
        suite=suite,
        scenes=scenes,
        seeds=list(dict.fromkeys(ablations.seeds)),
        base=definition.base,
        variants=[
            ComparedVariant(
                name=one, title=variant(one).title, length=settings(one).dynamic.temporal.length, base=bases.get(one)
            )
            for one in definition.variants
        ],
        speed=definition.speed,
        axis=definition.axis,
        counts=definition.counts,
        differ=definition.differ,
    )


def _check_anchors_differ(definition: Definition, settings: Callable[[str], Config]) -> None:
    """Raise SettingsError when a configuration gives two variants, which differ in nothing else, the same anchors."""
    trees = {name: settings(name) for name in definition.variants}
    for one, other in itertools.combinations(trees, 2):
        if trees[one] == trees[other]:
            raise SettingsError(
                f"anchors.source is {trees[one].anchors.source} for {one!r} as for {other!r}, so there is nothing to "
                f"compare; expected another one for {one!r}. Leave `anchors: {{source: auto}}` to the configuration."
            )
