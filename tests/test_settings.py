"""Settings refuse what they do not know, and the generated files are up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stages import settings as module
from stages.settings import Config, SettingsError, canonical_json, check_name, overlay, parse, read_yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("path", "text"),
    [("config/config.yaml", module.default_yaml), ("workflow/schemas/config.schema.json", module.schema_json)],
)
def test_generated_files_are_up_to_date(path, text):
    assert (ROOT / path).read_text(encoding="utf-8") == text(), "type `python -m stages.settings`"


def test_the_default_yaml_parses_to_the_defaults():
    assert parse(Config, yaml.safe_load(module.default_yaml()), "config") == Config()


def test_every_description_says_something():
    schema = json.loads(module.schema_json())
    for name, model in schema["$defs"].items():
        for key, field in model.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, f"{name}.{key} has no description"


def test_unknown_key_names_the_nearest():
    with pytest.raises(SettingsError, match=r"unknown key 'canonical.step'; did you mean 'steps'\?"):
        parse(Config, {"canonical": {"step": 3}}, "mine.yaml")


def test_unknown_top_level_key():
    with pytest.raises(SettingsError, match=r"mine.yaml: unknown key 'sceens'; did you mean 'scenes'\?"):
        parse(Config, {"sceens": []}, "mine.yaml")


def test_wrong_type_says_what_was_given():
    with pytest.raises(SettingsError, match=r"canonical.steps: got 'many'; expected: .*integer"):
        parse(Config, {"canonical": {"steps": "many"}}, "mine.yaml")


def test_out_of_range():
    with pytest.raises(SettingsError, match=r"frames.size: got 4; expected: .*greater than or equal to 16"):
        parse(Config, {"frames": {"size": 4}}, "mine.yaml")


def test_yaml_1e_minus_3_is_a_number_for_us():
    # YAML 1.1 reads 1e-3 as text; the settings turn it into the number that was meant.
    assert parse(Config, yaml.safe_load("dynamic: {lr_field: 1e-3}"), "x").dynamic.lr_field == 0.001


def test_gpu_yaml_holds_the_numbers_of_stag4d():
    """configs/stag4d.yaml and its code: rates of means and field times 10, penalties as the comment there says."""
    tree = parse(Config, read_yaml(ROOT / "config" / "gpu.yaml"), "config/gpu.yaml")
    rates = {"lr_means": 2e-3, "lr_means_final": 2e-5, "lr_log_scales": 0.01, "lr_quats": 0.002}
    rates |= {"lr_opacity_logits": 0.02, "lr_sh": 5e-3, "steps": 700, "n_gaussians": 10_000}
    field = {"resolution": 64, "levels": 4, "channels": 32, "time_resolution": 25, "width": 64, "bounds": 1.6}
    penalties = {"time_smoothness": 15 / 80_000, "plane_smoothness": 0.15 / 80_000, "time_l1": 0.15 / 80_000}
    growth = {"fraction": 0.025, "clone_max_scale": 0.1, "prune_opacity": 0.01, "prune_max_scale": 0.1}
    growth |= {"prune_min_scale": 0.001, "rounds": 49, "mode": "top_fraction"}
    motion = {"lr_field": 1.6e-2, "lr_heads": 1.6e-3, "lr_decay": 0.1, "lr_canonical": 1.0}
    # 700 static steps of 8000, then one frame a step with seven views; growth from step 1200 to 6000.
    motion |= {"images": 7300 * 7, "anchor_views": 6}
    growth |= {"start": round(500 / 7300, 2), "stop": round(5300 / 7300, 2)}
    dynamic = tree.dynamic
    expected = [(tree.canonical, rates), (dynamic.field, field), (dynamic.regulariser, penalties)]
    for section, numbers in [*expected, (dynamic.densify, growth), (dynamic, motion)]:
        assert {name: getattr(section, name) for name in numbers} == pytest.approx(numbers), type(section).__name__
    assert dynamic.photometric.mask / dynamic.photometric.rgb == 5000 / 20_000
    assert tree.canonical.densify.mode == "off"
    assert tree.frames.size == 512 and (tree.camera.fovy_deg, tree.camera.radius) == (49.1, 2.0)


@pytest.mark.parametrize("name", ["my clip", "a;rm -rf", "$(x)", "-start", "a/b", "", "..", "ä"])
def test_unsafe_names_are_refused_with_a_suggestion(name):
    with pytest.raises(SettingsError, match="Type `name: "):
        check_name("scene", name)


def test_safe_name():
    assert check_name("scene", "cat_king-2") == "cat_king-2"


def test_a_name_given_twice_is_refused(tmp_path):
    (tmp_path / "suite.yaml").write_text("kind: images\nscenes:\n  cat: a\n  cat: b\n")
    with pytest.raises(SettingsError, match=r"line 4: 'cat' is given twice"):
        read_yaml(tmp_path / "suite.yaml")


def test_overlay_replaces_leaves_only():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert overlay(base, {"a": {"c": 9}}) == {"a": {"b": 1, "c": 9}, "d": 3}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        Config().suite = "x"


def test_canonical_json_tells_swapped_values_apart():
    first = parse(Config, {"dynamic": {"lr_field": 0.5, "lr_heads": 0.25}}, "x")
    second = parse(Config, {"dynamic": {"lr_field": 0.25, "lr_heads": 0.5}}, "x")
    assert canonical_json(first) != canonical_json(second)


def test_settings_import_no_torch():
    import subprocess
    import sys

    code = "import sys, stages.experiment; print('torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False False"
