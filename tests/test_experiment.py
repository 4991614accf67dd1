"""Which scenes, variants and settings the rules see."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from stages.experiment import Experiment
from stages.lib.imports import ROOT, code
from stages.settings import (
    CanonicalSettings,
    DensifySettings,
    DynamicRun,
    DynamicSettings,
    FieldSettings,
    GuidanceSettings,
    PhotometricSettings,
    RegulariserSettings,
    SettingsError,
    TemporalSettings,
    before_sub_clips,
    default_yaml,
)

DEFAULTS = yaml.safe_load(default_yaml())


def experiment(**changes) -> Experiment:
    return Experiment({**DEFAULTS, **changes})


def test_the_default_is_the_embedded_suite():
    found = experiment()
    assert (found.suite, found.seeds, found.variants) == ("embedded", [0], ["static", "stag4d", "4dstr"])
    assert found.scenes == ["mouth", "walk", "wings", "bounce", "propeller", "flower", "swim"]
    assert found.anchors_source("embedded", "mouth", "stag4d") == "rendered"


def test_one_line_of_config_brings_an_own_clip(tmp_path):
    clip = tmp_path / "cat.mp4"
    clip.write_bytes(b"")
    found = experiment(path=str(clip))
    assert (found.suite, found.scenes) == ("own", ["cat"])
    assert found.source("own", "cat").kind == "video"
    assert found.source_files("own", "cat", anchors=False) == [str(clip)]
    assert found.anchors_source("own", "cat", "stag4d") == "inflated"


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a corgi running", "a_corgi_running"),
        ("A frog: green, small!", "a_frog_green_small"),
        ("an astronaut that waves with both of its arms and legs", "an_astronaut_that_waves_with_both_of_its"),
        ("x" * 60, "x" * 40),
    ],
)
def test_one_line_of_config_brings_a_prompt(prompt, name):
    found = experiment(prompt=prompt)
    assert (found.suite, found.scenes) == ("own", [name])
    assert found.source("own", name).model_dump() == {"kind": "prompt", "source": prompt, "n_frames": 24}
    assert found.source_files("own", name, anchors=False) == []
    assert found.still("own", name) == f"results/own/{name}/picture.png"
    assert json.loads(found.picture_json("own", name))["prompt"] == prompt
    assert found.anchors_source("own", name, "stag4d") == "inflated"
    assert experiment(prompt=prompt, name="mine").scenes == ["mine"]


def test_one_line_of_config_brings_a_still_picture(tmp_path, monkeypatch):
    (tmp_path / "cat.png").write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = experiment(image="~/cat.png")
    assert (found.suite, found.scenes) == ("own", ["cat"])
    assert found.generated_clip("own", "cat") and not experiment().generated_clip("embedded", "walk")
    assert found.still("own", "cat") == f"{tmp_path}/cat.png"
    with pytest.raises(SettingsError, match="scene 'cat' of suite 'own' is of kind image; expected a prompt"):
        found.picture_json("own", "cat")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"prompt": " "}, "prompt is empty; type e.g. `prompt: a corgi that runs`"),
        ({"prompt": "a cat", "image": "cat.png"}, "prompt and image are given; expected one of them"),
        ({"prompt": "一只狗"}, "scene name '' cannot be used in paths: .* Type `name: scene1`"),
        ({"image": "nowhere.png"}, r"nowhere.png does not exist; expected one still picture \(png, "),
        ({"image": "."}, "is a folder; expected one still picture .* type `path: ...` for a clip"),
    ],
)
def test_a_prompt_or_picture_that_cannot_be_used(given, text):
    given = {"name": "here", **given} if given.get("image") == "." else given
    with pytest.raises(SettingsError, match=text):
        experiment(**given).check_sources()


def test_generators_are_asked_for_by_what_they_make():
    found = experiment(prompt="a cat")
    assert found.generator_weights("picture") == ["resources/weights/sdxl_base/receipt.json"]
    assert found.generator_weights("clip") == ["resources/weights/svd_xt/receipt.json"]
    wrong = experiment(prompt="a cat", clip={"model": "zero123plus_v11"})
    with pytest.raises(SettingsError, match=r"clip.model: 'zero123plus_v11' does not make a clip; expected: svd_xt"):
        wrong.generator_weights("clip")
    with pytest.raises(SettingsError, match="no network 'sdxl'; did you mean 'sdxl_base'"):
        experiment(picture={"model": "sdxl"}).generator_weights("picture")


def test_the_prompts_are_fourteen():
    scenes = experiment(suite="prompts").suite_settings("prompts").scenes
    assert len(scenes) == 14 == len(set(scenes.values()))


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"picture": {"size": 1000}}, "picture.size: got 1000; expected: .*multiple of 64"),
        ({"clip": {"guidance": [3, 1]}}, "expected two numbers from 1 on, the first not above the last"),
        ({"clip": {"n_frames": 1}}, "clip.n_frames: got 1; expected: .*greater than or equal to 2"),
    ],
)
def test_settings_of_generators_out_of_range(section, text):
    with pytest.raises(SettingsError, match=text):
        experiment(**section)


def test_a_variant_is_an_overlay():
    found = experiment()
    assert found.settings("static").dynamic.method == "static"
    assert found.settings("static").canonical == found.settings("stag4d").canonical
    assert found.settings("fixed_threshold").canonical.densify.mode == "fixed_threshold"


def test_equal_canonicals_have_one_owner_whatever_is_selected():
    for variants in (["static", "stag4d"], ["static"]):
        assert experiment(variants=variants).canonical_owner("embedded", "walk", "static") == "stag4d"
    assert experiment().canonical_owner("embedded", "walk", "fixed_threshold") == "fixed_threshold"


def test_every_job_gets_its_own_section_and_the_seed():
    found = experiment()
    canonical = json.loads(found.canonical_json("stag4d", 3))
    assert canonical["seed"] == 3
    assert "dynamic" not in canonical
    dynamic = json.loads(found.dynamic_json("static", 3))
    assert dynamic["dynamic"]["method"] == "static"
    assert "metrics" not in dynamic


def test_a_suite_may_have_its_own_camera():
    found = experiment()
    config = {**DEFAULTS, "suite": "character"}
    assert json.loads(found.frames_json("embedded", "walk"))["camera"]["fovy_deg"] == 49.1
    assert found.suite_settings("character").camera.fovy_deg == 39.6
    assert Experiment(config).scenes == ["character"]


def test_every_shipped_file_parses():
    found = experiment()
    for suite in found.suite_names():
        if suite != "own":
            assert found.suite_settings(suite).scenes
    for variant in found.variant_names():
        assert found.settings(variant)
    # weights.yaml is no configuration but a list of files.
    for path in sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "weights.yaml"):
        merged = DEFAULTS | yaml.safe_load(path.read_text())
        assert Experiment(merged).scenes, path


def test_a_wrong_overlay_names_the_variants_file(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config/variants/mine.yaml").write_text("title: t\nmethod: m\nsettings: {dynamic: {stepz: 1}}\n")
    with pytest.raises(SettingsError, match=r"mine.yaml over the configuration: unknown key 'dynamic.stepz'"):
        Experiment({**DEFAULTS, "variants": ["mine"]}, tmp_path)


def test_code_follows_imports_and_only_them():
    names = {Path(file).name for file in code("dynamic")}
    assert {"dynamic.py", "fit.py", "hexplane.py", "numba_kernels.py", "settings.py"} <= names
    assert not {"metrics.py", "video.py", "frames.py"} & names
    assert "metrics.py" in {Path(file).name for file in code("metrics")}
    assert all(not Path(file).is_absolute() for file in code("dynamic"))


def test_variants_of_4dstr_differ_from_it_in_one_thing():
    found = experiment()
    base = found.settings("4dstr").model_dump()["dynamic"]
    assert base["sub_clip"] > 1
    assert (base["temporal"]["encoder"], base["temporal"]["length"], base["densify"]["scope"]) == ("mamba", 10, "frame")
    changes = {
        "no_temporal": {"temporal.encoder": "off"},
        "no_spatial": {"densify.scope": "clip"},
        "neither": {"temporal.encoder": "off", "densify.scope": "clip"},
        "gru": {"temporal.encoder": "gru"},
        "attention": {"temporal.encoder": "attention"},
        "mamba_attributes": {"temporal.buffer": "attributes"},
        "gru_attributes": {"temporal.encoder": "gru", "temporal.buffer": "attributes"},
        "attention_attributes": {"temporal.encoder": "attention", "temporal.buffer": "attributes"},
        "T2": {"temporal.length": 2},
        "T5": {"temporal.length": 5},
        "T15": {"temporal.length": 15},
    }
    for variant, changed in changes.items():
        expected = found.settings("4dstr").model_dump()["dynamic"]
        for key, value in changed.items():
            section, name = key.split(".")
            expected[section][name] = value
        assert found.settings(variant).model_dump()["dynamic"] == expected, variant


def test_methods_share_images_cap_and_canonical():
    found = experiment()
    methods = [found.settings(variant) for variant in ("stag4d", "4dstr", "no_temporal", "no_spatial", "neither")]
    assert len({tree.dynamic.images for tree in methods}) == 1
    assert len({tree.dynamic.densify.max_gaussians for tree in methods}) == 1
    assert len({tree.canonical.model_dump_json() for tree in methods}) == 1


def test_fits_that_begin_alike_have_one_owner():
    found = experiment()
    owners = {name: found.beginning_owner("embedded", "walk", name) for name in found.variant_names()}
    begin_alike = ["4dstr", "gru", "T15", "mamba_attributes", "controls_all", "width64", "layers3", "no_temporal"]
    assert {owners[name] for name in begin_alike} == {"4dstr"}
    assert {owners[name] for name in ("stag4d", "no_spatial", "neither")} == {"stag4d"}
    alone = ("static", "stag4d_count", "stag4d_time", "fixed_threshold", "stag4d_sds", "4dstr_sds", "4dstr_micro")
    assert {owners[name] for name in alone} == {None}
    assert experiment(dynamic={"sub_clip_start": 0.0}).beginning_owner("embedded", "walk", "gru") is None


@pytest.mark.parametrize("guidance", [None, GuidanceSettings()])
def test_only_what_comes_later_is_left_out_of_a_beginning(guidance):
    run = DynamicRun(canonical=CanonicalSettings(), dynamic=DynamicSettings(sub_clip=2), guidance=guidance)
    later = {"temporal"} if guidance else {"temporal", "sub_clip"}
    for name in DynamicSettings.model_fields:
        other = {"temporal": TemporalSettings(encoder="gru"), "sub_clip": 3, "field": FieldSettings(width=8)}
        other |= {"photometric": PhotometricSettings(rgb=0.3), "regulariser": RegulariserSettings(time_l1=0.3)}
        other |= {"densify": DensifySettings(rounds=1), "method": "static"}
        value = other.get(name) or 0.5 * getattr(run.dynamic, name)
        changed = run.model_copy(update={"dynamic": run.dynamic.model_copy(update={name: value})})
        assert (before_sub_clips(changed) == before_sub_clips(run)) == (name in later), name


def test_a_matched_variant_names_the_one_it_follows(tmp_path):
    assert experiment().matched("stag4d_count") == "4dstr"
    assert experiment().matched("4dstr") is None
    shutil.copytree(ROOT / "config", tmp_path / "config")
    text = "title: t\nmethod: stag4d\nsettings: {dynamic: {densify: {mode: match%s}}}\n"
    for rest, expected in (("", "nothing to match"), (", match: stag4d_count", "matches another one itself")):
        (tmp_path / "config" / "variants" / "odd.yaml").write_text(text % rest)
        with pytest.raises(SettingsError, match=expected):
            Experiment({**DEFAULTS, "variants": ["odd"]}, tmp_path)


# ------------------------------------------------------------------ results of other systems, and networks


def test_results_of_another_system_are_found_by_scene(tmp_path):
    for view in range(4):
        (tmp_path / "walk" / f"eval_{view}").mkdir(parents=True)
        (tmp_path / "walk" / f"eval_{view}" / "0.png").write_bytes(b"")
    found = experiment(outside={"theirs": {"path": str(tmp_path), "title": "Theirs (2025)"}})
    assert found.outside_scenes("theirs", found.scenes) == ["walk"]
    assert len(found.outside_files("theirs", "walk")) == 4
    run = json.loads(found.metrics_json("embedded", "walk", "theirs", 0))
    assert (run["title"], run["method"], run["variant"]) == ("Theirs (2025)", "outside", "theirs")
    assert json.loads(found.outside_json("embedded", "walk", "theirs", 0))["outside"]["alpha"] == "straight"


def test_results_of_another_system_without_a_known_scene_are_refused(tmp_path):
    found = experiment(outside={"theirs": {"path": str(tmp_path)}}, scenes=["walk"])
    with pytest.raises(SettingsError, match=rf"{tmp_path} holds no folder of a chosen scene; expected some of .*walk"):
        found.outside_scenes("theirs", found.scenes)


@pytest.mark.parametrize(("name", "text"), [("stag4d", "is the name of a variant"), ("a/b", "cannot be used in paths")])
def test_names_of_other_systems_are_safe_and_their_own(name, text):
    with pytest.raises(SettingsError, match=text):
        experiment(outside={name: {"path": "x"}})


def test_a_machine_without_weights_asks_no_network(tmp_path):
    root = tmp_path / "home"
    shutil.copytree(ROOT / "config", root / "config")
    found = Experiment(DEFAULTS, root)
    assert found.weight_files() == []
    (root / "resources" / "weights" / "i3d_kinetics").mkdir(parents=True)
    (root / "resources" / "weights" / "i3d_kinetics" / "i3d.pt").write_bytes(b"x")
    assert [Path(file).name for file in found.weight_files()] == ["i3d.pt"]


# ------------------------------------------------------------------ the user study


def test_a_study_is_every_scene_by_every_method_and_the_others(tmp_path):
    for scene in ("walk", "swim"):
        (tmp_path / f"{scene}.mp4").write_bytes(b"")
    found = experiment(scenes=["walk", "swim"], study={"others": {"theirs": str(tmp_path)}})
    clips = found.study_clips("embedded", found.scenes, ["stag4d", "4dstr"])
    assert [path for path, _ in clips] == [
        path
        for scene in ("walk", "swim")
        for path in (
            f"results/embedded/{scene}/stag4d/seed0/assets/orbit.mp4",
            f"results/embedded/{scene}/4dstr/seed0/assets/orbit.mp4",
            f"{tmp_path}/{scene}.mp4",
        )
    ]
    assert [(clip.scene, clip.variant) for _, clip in clips[:3]] == [
        ("walk", name) for name in ("stag4d", "4dstr", "theirs")
    ]
    run = json.loads(found.study_json("embedded", found.scenes, ["stag4d", "4dstr"]))
    assert run["clips"][0]["title"] == found.variant("stag4d").title
    # Where answers are kept is no setting of the page, so that it is not made again for it.
    assert set(run) == {"seed", "device", "threads", "suite", "embed_mb", "clips"}


def test_a_study_of_other_videos_alone_needs_no_fit(tmp_path):
    others = {name: str(tmp_path / name) for name in ("theirs", "hers")}
    for folder in others.values():
        Path(folder).mkdir()
        (Path(folder) / "walk.mp4").touch()
    found = experiment(study={"variants": [], "others": others})
    clips = found.study_clips("embedded", ["walk"], ["stag4d", "4dstr"])
    assert [path for path, _ in clips] == [f"{folder}/walk.mp4" for folder in others.values()]
    found = experiment(study={"variants": ["gru"], "others": others})
    assert [clip.variant for _, clip in found.study_clips("embedded", ["walk"], ["stag4d"])] == ["gru", *others]
    with pytest.raises(SettingsError, match=r"`study: \{variants: \[\]\}` compares videos of others alone"):
        experiment(study={"variants": ["gru"]}).study_clips("embedded", ["walk"], ["stag4d", "4dstr"])


def test_a_study_without_a_choice_or_a_video_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="compares at least two methods; got stag4d"):
        experiment().study_clips("embedded", ["walk"], ["stag4d"])
    found = experiment(study={"others": {"theirs": str(tmp_path)}})
    with pytest.raises(SettingsError, match=rf"study: theirs: there is no {tmp_path}/walk.mp4"):
        found.study_clips("embedded", ["walk"], ["stag4d"])
    with pytest.raises(SettingsError, match="study: 'stag4d' is the name of a variant"):
        experiment(study={"others": {"stag4d": "x"}})


def test_answers_are_the_folders_files_and_their_key_the_suites(tmp_path):
    with pytest.raises(SettingsError, match=rf"there are no answers in {tmp_path}/; .*results/embedded/study"):
        experiment(study={"answers": str(tmp_path)}).answer_files()
    (tmp_path / "b.json").write_text("")
    (tmp_path / "a.json").write_text("")
    found = experiment(study={"answers": str(tmp_path)})
    assert found.answer_files() == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert found.study_key() == "results/embedded/study_key.json"
    assert experiment(study={"key": "old/key.json"}).study_key() == "old/key.json"


# ------------------------------------------------------------------ score distillation


def test_guidance_is_off_and_then_rerun_by_nothing():
    found = experiment(guidance={"weight": 0.5, "views": 4})
    for text in (found.canonical_json("stag4d", 0), found.dynamic_json("4dstr", 0)):
        assert json.loads(text)["guidance"] is None
    assert found.guidance_weights("stag4d") == []
    assert found.canonical_json("stag4d", 0) == experiment().canonical_json("stag4d", 0)


def test_a_guided_variant_asks_for_its_network_and_says_so():
    found = experiment()
    assert found.guidance_weights("stag4d_sds") == ["resources/weights/zero123_xl/receipt.json"]
    assert json.loads(found.dynamic_json("stag4d_sds", 0))["guidance"]["model"] == "zero123_xl"
    titles = {name: found.variant(name).title for name in ("stag4d", "stag4d_sds", "stag4d_sds_low", "4dstr_sds")}
    assert titles == {
        "stag4d": "stag4d (photometric anchors, no SDS)",
        "stag4d_sds": "stag4d (photometric anchors, SDS by zero123_xl)",
        "stag4d_sds_low": "stag4d (photometric anchors, SDS by zero123_xl, weight / 10)",
        "4dstr_sds": "4dstr (photometric anchors, SDS by zero123_xl)",
    }


def test_guidance_for_all_variants_is_in_every_title():
    found = experiment(guidance={"model": "stable_zero123"})
    assert found.variant("stag4d").title == "stag4d (photometric anchors, SDS by stable_zero123)"
    assert found.variant("static").title == "static, SDS by stable_zero123"
    named = json.loads(found.metrics_json("embedded", "walk", "stag4d", 0))["title"]
    assert named == "stag4d (photometric anchors, SDS by stable_zero123)"


def test_guided_canonicals_are_kept_apart():
    found = experiment()
    assert found.canonical_owner("embedded", "walk", "stag4d_sds") == "4dstr_sds"
    assert found.canonical_owner("embedded", "walk", "stag4d_sds_low") == "stag4d_sds_low"
    assert found.canonical_owner("embedded", "walk", "4dstr") == "stag4d"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("zero123_x", r"no network 'zero123_x'; did you mean 'zero123_xl'"),
        (
            "zero123plus_v11",
            r"'zero123plus_v11' is no public network that takes a relative pose.*zero123, micro",
        ),
        ("micro_zero123", r"'micro_zero123' is no public network.*expected: zero123_xl, stable_zero123, micro"),
    ],
)
def test_a_network_that_cannot_guide(model, text):
    with pytest.raises(SettingsError, match=text):
        experiment(guidance={"model": model}).guidance_weights("stag4d")


@pytest.fixture
def with_prior(tmp_path) -> Path:
    """A root with config/ and both small networks promoted."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name in ("micro_zero123", "micro_zero123plus"):
        (tmp_path / "resources/priors" / name).mkdir(parents=True)
        (tmp_path / "resources/priors" / name / "receipt.json").write_text("{}")
    return tmp_path


def test_micro_guidance_reads_the_prior_of_this_repository(with_prior):
    found = Experiment(DEFAULTS, with_prior)
    (receipt,) = found.guidance_weights("4dstr_sds_micro")
    assert Path(receipt).resolve() == with_prior / "resources/priors/micro_zero123/receipt.json"
    assert json.loads(found.dynamic_json("stag4d_sds_micro", 0))["guidance"]["background"] == "white"
    assert found.variant("stag4d_sds_micro_low").title == "stag4d (photometric anchors, SDS by micro, weight / 10)"


def test_micro_variants_differ_from_those_of_the_public_network_in_it_alone():
    found = experiment()
    for micro, public in {
        "stag4d_sds_micro": "stag4d_sds",
        "stag4d_sds_micro_low": "stag4d_sds_low",
        "stag4d_sds_micro_high": "stag4d_sds_high",
        "4dstr_sds_micro": "4dstr_sds",
    }.items():
        tree, other = found.settings(micro), found.settings(public)
        changed = other.guidance.model_copy(update={"model": "micro", "background": "white", "guidance_scale": 1.0})
        assert tree == other.model_copy(update={"guidance": changed}), micro


@pytest.mark.parametrize("suffix", ["", "_low", "_high"])
def test_guided_variants_on_generated_anchors_differ_from_those_on_rendered_ones_in_the_anchors_alone(suffix):
    found = experiment()
    tree, other = found.settings(f"stag4d_micro_sds{suffix}"), found.settings(f"stag4d_sds_micro{suffix}")
    assert tree.anchors.source == "micro"
    assert tree == other.model_copy(update={"anchors": tree.anchors})
    title = found.variant(f"stag4d_micro_sds{suffix}").title
    assert title.startswith("stag4d (photometric micro anchors, SDS by micro")


@pytest.mark.parametrize("name", ["zero123_xl", "lpips_vgg", "micro_zero123plus"])
def test_anchors_by_a_network_that_draws_no_six_views(name):
    text = (
        f"anchors.model: '{name}' is no public network that draws six views; expected: zero123plus_v11, zero123plus_v12"
    )
    with pytest.raises(SettingsError, match=text):
        experiment(anchors={"model": name}).anchors_weights("zero123plus")


def test_a_missing_prior_names_the_command(with_prior):
    (with_prior / "resources/priors/micro_zero123/receipt.json").unlink()
    text = r"guidance.model is micro but resources/priors/micro_zero123 is not here.*Type `snakemake .* promote_priors"
    with pytest.raises(SettingsError, match=text):
        Experiment(DEFAULTS, with_prior).guidance_weights("stag4d_sds_micro")


def test_the_sds_table_takes_the_prior_that_is_here_unless_told(with_prior):
    assert Experiment(DEFAULTS, with_prior).sds_model() == "micro"
    told = {**DEFAULTS, "ablations": {"sds": "zero123_xl"}}
    assert Experiment(told, with_prior).sds_model() == "zero123_xl"
    (with_prior / "resources/priors/micro_zero123plus/receipt.json").unlink()
    assert Experiment(DEFAULTS, with_prior).sds_model() == "zero123_xl"
    (with_prior / "resources/priors/micro_zero123/receipt.json").unlink()
    assert Experiment(DEFAULTS, with_prior).sds_model() == "zero123_xl"


def test_each_prior_is_told_its_own_settings():
    found = experiment(priors={"pose": {"steps": 7}, "denoiser": {"steps": 9}})
    for prior, steps in (("zero123", 7), ("zero123plus", 9)):
        told = json.loads(found.denoiser_json(prior))
        assert (told["prior"], told["denoiser"]["steps"]) == (prior, steps)


def test_both_networks_list_every_component():
    networks = yaml.safe_load((ROOT / "config" / "weights.yaml").read_text())
    wanted = {"vae", "unet", "image_encoder", "clip_camera_projection", "scheduler", "feature_extractor"}
    for name, pose in (("zero123_xl", "distance"), ("stable_zero123", "elevation")):
        assert (networks[name]["pose"], networks[name]["side"]) == (pose, 256)
        assert {file.split("/")[0] for file in networks[name]["files"]} == wanted | {"model_index.json"}
        assert len(networks[name]["revision"]) == 40
