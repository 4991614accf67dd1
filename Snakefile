# From a video to a 4D Gaussian asset and the benchmark's tables; stages/__init__.py names every file.
from snakemake.utils import min_version

min_version("9.20")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "rules/common.smk"
include: "rules/picture.smk"
include: "rules/clip.smk"
include: "rules/frames.smk"
include: "rules/weights.smk"
include: "rules/anchors.smk"
include: "rules/canonical.smk"
include: "rules/dynamic.smk"
include: "rules/bake.smk"
include: "rules/speed.smk"
include: "rules/renders.smk"
include: "rules/assets.smk"
include: "rules/compact.smk"
include: "rules/player.smk"
include: "rules/outside.smk"
include: "rules/spz.smk"
include: "rules/mesh.smk"
include: "rules/turntable.smk"
include: "rules/usd.smk"
include: "rules/videos.smk"
include: "rules/metrics.smk"
include: "rules/networks.smk"
include: "rules/tables.smk"
include: "rules/protocol.smk"
include: "rules/ablations.smk"
include: "rules/sudden.smk"
include: "rules/growth.smk"
include: "rules/likeness.smk"
include: "rules/fusion.smk"
include: "rules/claims.smk"
include: "rules/curves.smk"
include: "rules/gallery.smk"
include: "rules/page.smk"
include: "rules/study.smk"
include: "rules/preferences.smk"
include: "rules/moments.smk"
include: "rules/webtables.smk"
include: "rules/report.smk"
include: "rules/corpus.smk"
include: "rules/autoencoder.smk"
include: "rules/denoiser.smk"
include: "rules/holdout.smk"
include: "rules/promote.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    asset,
    exports,
    exports_usd,
    everything,
    report,
    weights,


rule all:
    default_target: True
    input:
        "results/table1.csv",


rule asset:
    input:
        [f"{folder}/assets/orbit.mp4" for folder in shown_fits()],
        players_of(EXPERIMENT.suite),


rule exports:
    input:
        rules.asset.input,
        exported("spz"),
        exported("mesh"),
        exported("animated.glb"),
        exported("turntable.mp4"),
        exported("orbit.webp"),
        f"results/{EXPERIMENT.suite}/gallery.html",


rule exports_usd:
    input:
        exported("sequence.usdc"),


rule everything:
    input:
        rules.all.input,
        rules.exports.input,
        rules.report.output,
        collect(f"results/{EXPERIMENT.suite}/gallery_{{variant}}.webp", variant=asset_variants()),
