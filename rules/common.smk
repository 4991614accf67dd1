# The only Python of the workflow: it hands wildcards to stages/experiment.py and sets the machine's limits.
import fcntl
import os
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
from stages.experiment import Experiment
from stages.lib.comparisons import CLAIMED, GROWTH, RECTIFICATIONS, AblationsRun, ClaimsRun, GrowthRun, compare
from stages.lib.imports import code as stage_code
from stages.settings import (
    CONSTANT_ANSWERS,
    MICRO_MODEL,
    PLAIN_TABLES,
    PLOTTED_TABLES,
    PRIORS,
    SettingsError,
    canonical_json,
)

try:
    EXPERIMENT = Experiment(config, Path(workflow.basedir))
    EXPERIMENT.check_sources()
except SettingsError as error:
    raise WorkflowError(f"\n  {error}\n  Every key is explained in config/README.md.") from None


wildcard_constraints:
    suite="|".join(EXPERIMENT.suite_names()),
    scene="[A-Za-z0-9][A-Za-z0-9_-]*",
    first="|".join(EXPERIMENT.variant_names()),
    second="|".join(EXPERIMENT.variant_names()),
    variant="|".join([*EXPERIMENT.variant_names(), *EXPERIMENT.config.outside]),
    source="rendered|imported|inflated|zero123plus|micro",
    recipe=EXPERIMENT.config.priors.recipe,
    prior="|".join(PRIORS),
    network="[A-Za-z0-9_]+",
    seed="[0-9]+",
    fusion="|".join(map(re.escape, EXPERIMENT.fusions())),
    answer="|".join(CONSTANT_ANSWERS),


# Jobs run this interpreter. glibc gives big blocks back to the kernel at every free, which costs a CPU torch
# up to half of its time; spinning OpenMP threads starve the other job.
shell.prefix(
    f"export PYTHONPATH={workflow.basedir} PATH={Path(sys.executable).parent}:$PATH "
    "MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=67108864 "
    "OMP_WAIT_POLICY=passive; "
)

# What promote_priors copies.
TRAINED = f"results/priors/{EXPERIMENT.config.priors.recipe}"

# One GPU unless a profile or --resources says otherwise: without a limit Snakemake would start every job on it.
if "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


def release_stale_lock():
    """Delete Snakemake's lock if its owner was killed; whoever is alive holds `running` shared."""
    folder = Path(".snakemake")
    folder.mkdir(exist_ok=True)
    held = open(folder / "running", "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in folder.glob("locks/*"):
            lock.unlink()
    except BlockingIOError:
        pass
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


if workflow.is_main_process:
    RUNNING = release_stale_lock()


def gpus():
    """GPUs of a fit: 1 when it will run on one."""
    device = EXPERIMENT.config.device
    return int(device == "cuda" or (device == "auto" and shutil.which("nvidia-smi") is not None))


def whole_machine(wildcards):
    """Threads of a job beside which nothing else may run: every core (of which Snakemake takes those of --cores, and
    which is known without them, as workflow.cores is not); on a cluster a job has its own."""
    return os.cpu_count() if workflow.local_exec else EXPERIMENT.config.threads


def set_for_local_runs(bytes_at_most=500_000_000):
    """What options of Snakemake are for and a Snakefile cannot set; called while the DAG is built.

    Results of some megabytes are compared by content (default: 1 MB), so that a touched or copied folder has nothing
    to do. A job that outlived a killed Snakemake left its outputs marked as incomplete: it is made again, a fit from
    its last checkpoint, instead of an error that asks for `--rerun-incomplete`. And jobs of this machine start without
    a rate limit: for its sake Snakemake 9.27 lets every finished job add one more look at all ready jobs a second,
    which took a fifth of a core after 70 jobs.
    """
    workflow.dag_settings.force_incomplete = True
    workflow.dag.max_checksum_file_size = bytes_at_most
    workflow.persistence.max_checksum_file_size = bytes_at_most
    if workflow.local_exec and workflow.scheduling_settings is not None:
        workflow.scheduling_settings.max_jobs_per_timespan = None


def code(stage):
    """An input function (so that --consider-ancient works) with the project files of a stage."""

    def files(wildcards):
        set_for_local_runs()
        return stage_code(stage)

    return files


def shipped(file):
    """A file of this repository, named from where Snakemake runs (see --directory)."""
    return os.path.relpath(Path(workflow.basedir) / file)


def asked(function, *names):
    """An input or params function that calls `function` with the named wildcards and reports bad input in one line."""

    def answer(wildcards):
        try:
            return function(*(int(wildcards[name]) if name == "seed" else wildcards[name] for name in names))
        except SettingsError as error:
            raise WorkflowError(f"\n  {error}") from None

    return answer


def frame_files(suite, scene):
    return EXPERIMENT.source_files(suite, scene, anchors=False)


def clip_of(suite, scene):
    """The clip that is generated of a prompt or a still picture; nothing for scenes that have one."""
    return [f"results/{suite}/{scene}/clip.npz"] if EXPERIMENT.generated_clip(suite, scene) else []


def picture_weights():
    return EXPERIMENT.generator_weights("picture")


def clip_weights():
    return EXPERIMENT.generator_weights("clip")


def anchor_files(suite, scene, source):
    return EXPERIMENT.source_files(suite, scene, anchors=True) if source == "imported" else []


def anchors_memory(source):
    """Megabytes of an anchors job; generated anchors: 7.7 GB of weights in float32 and the activations of a frame.

    The network that draws normals has 1.46 GB more.
    """
    if source != "zero123plus":
        return 1500
    return 18_000 if EXPERIMENT.config.anchors.matte == "normals" else 16_000


def anchors_gpus(source):
    return gpus() if source in ("zero123plus", "micro") else 0


def fit_memory(variant):
    """Megabytes of a fit; with a public network 5 GB of weights in float32 and the encoder's activations."""
    return 2000 if EXPERIMENT.settings(variant).guidance.model in (None, MICRO_MODEL) else 12_000


def anchors_of(suite, scene, variant, seed):
    source = EXPERIMENT.anchors_source(suite, scene, variant)
    return f"results/{suite}/{scene}/anchors/{source}/seed{EXPERIMENT.anchors_seed(source, seed)}/anchors.npz"


def canonical_of(suite, scene, variant, seed):
    owner = EXPERIMENT.canonical_owner(suite, scene, variant)
    return f"results/{suite}/{scene}/{owner}/seed{seed}/canonical.ply"


def beginning_of(suite, scene, variant, seed):
    """Where the part of a fit before its first sub-clip is kept, in the folder of whoever is first to fit it."""
    owner = EXPERIMENT.beginning_owner(suite, scene, variant)
    return f"results/{suite}/{scene}/{owner}/seed{seed}/checkpoints/beginning.pt" if owner else ""


def beginner_of(suite, scene, variant, seed):
    """The fit that leaves another one's beginning, if any."""
    owner = EXPERIMENT.beginning_owner(suite, scene, variant)
    return [f"results/{suite}/{scene}/{owner}/seed{seed}/dynamic.safetensors"] if owner not in (None, variant) else []


def match_of(suite, scene, variant, seed):
    """The fit whose number of gaussians a variant copies, if any."""
    other = EXPERIMENT.matched(variant)
    return [f"results/{suite}/{scene}/{other}/seed{seed}/dynamic.safetensors"] if other else []


def asset_variants():
    """Variants worth looking at: all but the static floor, unless it stands alone."""
    moving = [name for name in EXPERIMENT.variants if EXPERIMENT.settings(name).dynamic.method != "static"]
    return moving or EXPERIMENT.variants


def shown_fits():
    """The folder of every fit worth looking at."""
    folder = f"results/{EXPERIMENT.suite}/{{scene}}/{{variant}}/seed{{seed}}"
    return collect(folder, scene=EXPERIMENT.scenes, variant=asset_variants(), seed=EXPERIMENT.seeds)


def exported(name):
    """One export of every fit worth looking at."""
    return [f"{folder}/exports/{name}" for folder in shown_fits()]


def scenes_of(suite):
    """The chosen scenes of the configured suite, all scenes of another."""
    return EXPERIMENT.scenes if suite == EXPERIMENT.suite else list(EXPERIMENT.suite_settings(suite).scenes)


def fits_of(suite):
    """The folder of every fit of a suite."""
    return [
        f"results/{suite}/{scene}/{variant}/seed{seed}"
        for scene in scenes_of(suite)
        for variant in EXPERIMENT.variants
        for seed in EXPERIMENT.seeds
    ]


def outside_of(suite):
    """The folder of every scene that another system has pictures of."""
    return [
        f"results/{suite}/{scene}/{name}/seed0"
        for name in EXPERIMENT.config.outside
        for scene in EXPERIMENT.outside_scenes(name, scenes_of(suite))
    ]


def is_outside(variant):
    return variant in EXPERIMENT.config.outside


def metrics_of(suite):
    return [f"{folder}/metrics.csv" for folder in [*fits_of(suite), *outside_of(suite)]]


def networks_of(suite):
    """What the networks say of every fit; nothing on a machine without their weights."""
    if not EXPERIMENT.weight_files():
        return []
    return [f"{folder}/networks.csv" for folder in [*fits_of(suite), *outside_of(suite)]]


def anchors_if_ours(suite, scene, variant, seed):
    return [] if is_outside(variant) else [anchors_of(suite, scene, variant, seed)]


def sequence_if_ours(suite, scene, variant, seed):
    folder = f"results/{suite}/{scene}/{variant}/seed{seed}"
    return [] if is_outside(variant) else [f"{folder}/sequence.safetensors"]


def outside_files(scene, variant):
    return EXPERIMENT.outside_files(variant, scene) if is_outside(variant) else []


def outside_folder(scene, variant):
    return str(EXPERIMENT.outside_folder(variant, scene)) if is_outside(variant) else ""


def frames_of(suite):
    return [f"results/{suite}/{scene}/frames.npz" for scene in scenes_of(suite)]


def truths_of(suite):
    return [f"results/{suite}/{scene}/truth.npz" for scene in scenes_of(suite)]


def views_of(suite):
    """The scored views of the method that the protocol's table is about, scene by scene."""
    method, seed = asset_variants()[0], EXPERIMENT.seeds[0]
    return [f"results/{suite}/{scene}/{method}/seed{seed}/views.npz" for scene in scenes_of(suite)]


def sequences_of(suite, variant):
    seed = EXPERIMENT.seeds[0]
    return [f"results/{suite}/{scene}/{variant}/seed{seed}/sequence.safetensors" for scene in scenes_of(suite)]


def orbits_of(suite):
    """The turning picture of every fit of the first seed that is worth looking at."""
    seed = EXPERIMENT.seeds[0]
    return [
        f"results/{suite}/{scene}/{variant}/seed{seed}/exports/orbit.webp"
        for scene in scenes_of(suite)
        for variant in asset_variants()
    ]


def side_by_side(suite, scene, variants):
    """The sequences of a scene by these variants, first seed."""
    folder, seed = f"results/{suite}/{scene}", EXPERIMENT.seeds[0]
    return [f"{folder}/{variant}/seed{seed}/sequence.safetensors" for variant in variants]


def moving_sequences_of(suite, scene):
    """The sequences of a scene that are shown side by side."""
    return side_by_side(suite, scene, asset_variants())


def rectified_sequences_of(suite, scene):
    """The sequences of a scene with and without each rectification."""
    return side_by_side(suite, scene, RECTIFICATIONS)


def player_parts():
    """The page, style, scripts and shaders of the player."""
    folder = Path(workflow.basedir) / "workflow" / "player"
    return [shipped(file) for file in sorted(folder.iterdir())]


def study_parts():
    """The page, style and script of the user study."""
    folder = Path(workflow.basedir) / "workflow" / "study"
    return [shipped(file) for file in sorted(folder.iterdir())]


def study_clips_of(suite):
    return [path for path, _ in EXPERIMENT.study_clips(suite, scenes_of(suite), asset_variants())]


def study_json(suite):
    return EXPERIMENT.study_json(suite, scenes_of(suite), asset_variants())


def first_anchors_of(suite, scene, variant):
    return anchors_of(suite, scene, variant, EXPERIMENT.seeds[0])


def compared_compacts(wildcards):
    """The compact files of the two variants in the name of a comparing player."""
    folder, seed = f"results/{wildcards.suite}/{wildcards.scene}", EXPERIMENT.seeds[0]
    return [f"{folder}/{variant}/seed{seed}/sequence.4dgs" for variant in (wildcards.first, wildcards.second)]


def players_of(suite):
    """Every player of a suite: one a fit, and one a pair of neighbours in the list of variants."""
    moving, folder = asset_variants(), f"results/{suite}"
    alone = [
        f"{folder}/{scene}/{variant}/seed{seed}/player.html"
        for scene in scenes_of(suite)
        for variant in moving
        for seed in EXPERIMENT.seeds
    ]
    pairs = list(zip(moving, moving[1:]))
    return alone + [f"{folder}/{scene}/compare_{a}_{b}.html" for scene in scenes_of(suite) for a, b in pairs]


def report_files():
    """What the report shows: tables, curves, pictures, videos and players of the configured suite, as far as chosen."""
    suite, further = EXPERIMENT.suite, EXPERIMENT.config.report.tables
    return [
        *(f"results/{table}.{kind}" for table in ("table1", *further) for kind in ("csv", "html")),
        *(f"results/{table}.png" for table in further if table in PLOTTED_TABLES),
        f"results/{suite}/curves.png",
        *(f"results/{suite}/gallery_{variant}.png" for variant in asset_variants()),
        *(f"results/{suite}/{scene}/moments.png" for scene in scenes_of(suite)),
        *players_of(suite),
        *(f"{folder}/videos.html" for folder in shown_fits()),
    ]


def curves_of(suite):
    """The curves of every dynamic fit, and of each canonical fit once."""
    canonicals = [
        canonical_of(suite, scene, variant, seed).replace("canonical.ply", "canonical_curve.csv")
        for scene in scenes_of(suite)
        for variant in EXPERIMENT.variants
        for seed in EXPERIMENT.seeds
    ]
    moving = asset_variants()
    dynamics = [f"{folder}/dynamic_curve.csv" for folder in fits_of(suite) if folder.split("/")[3] in moving]
    return [*dict.fromkeys(canonicals), *dynamics]


def counts_of(suite):
    """The gaussians of every frame of every dynamic fit."""
    return [f"{folder}/gaussians.csv" for folder in fits_of(suite) if folder.split("/")[3] in asset_variants()]


def comparison(name):
    """A comparison of stages/lib/comparisons.py with this configuration's scenes and seeds; sds by its network."""
    ablations = EXPERIMENT.config.ablations
    name = f"sds_{EXPERIMENT.sds_model()}" if name == "sds" else name
    return compare(name, EXPERIMENT.suite, scenes_of, ablations, EXPERIMENT.variant, EXPERIMENT.settings)


def compared_metrics(*names):
    """An input function with the metrics of every fit of comparisons, each once."""

    def files():
        folders = (folder for name in names for folder in comparison(name).folders())
        return [f"{folder}/metrics.csv" for folder in dict.fromkeys(folders)]

    return asked(files)


def compared_networks(*names):
    """An input function with what the networks say of every fit of comparisons; nothing without weights."""

    def files():
        folders = (folder for name in names for folder in comparison(name).folders())
        return [f"{folder}/networks.csv" for folder in dict.fromkeys(folders)] if EXPERIMENT.weight_files() else []

    return asked(files)


def compared_files(*names):
    """An input function with what a comparison reads beside the metrics."""

    def files():
        return list(dict.fromkeys(file for name in names for file in comparison(name).files()))

    return asked(files)


def comparison_json(name):
    """A params function with the settings of one comparison's table."""
    device, threads = EXPERIMENT.config.device, EXPERIMENT.config.threads

    def text():
        return canonical_json(AblationsRun(device=device, threads=threads, comparison=comparison(name)))

    return asked(text)


def claims_json():
    """A params function with the settings of the claims."""
    device, threads = EXPERIMENT.config.device, EXPERIMENT.config.threads

    def text():
        comparisons = [comparison(name) for name in CLAIMED]
        return canonical_json(ClaimsRun(device=device, threads=threads, comparisons=comparisons))

    return asked(text)


def growth_json():
    """A params function with the settings of the growth table."""
    device, threads = EXPERIMENT.config.device, EXPERIMENT.config.threads

    def text():
        comparisons = [comparison(name) for name in GROWTH]
        return canonical_json(GrowthRun(device=device, threads=threads, comparisons=comparisons))

    return asked(text)


def likeness_blocks():
    """The suites of the anchors' table, with their scenes."""
    suites = dict.fromkeys(EXPERIMENT.config.likeness.suites)
    return [EXPERIMENT.likeness_block(suite, scenes_of(suite)) for suite in suites]


def likeness_files():
    return EXPERIMENT.likeness_files(likeness_blocks())


def fusion_json():
    return EXPERIMENT.fusion_json(likeness_blocks())
