"""The tables' definitions: every variant exists, the configuration chooses scenes and seeds, and nothing is heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stages.experiment import Experiment
from stages.lib import suite
from stages.lib.comparisons import CLAIMED, DEFINITIONS, GROWTH, RECTIFICATIONS, Comparison, compare
from stages.settings import SettingsError


def planned(name: str, **config) -> Comparison:
    experiment = Experiment(config)

    def scenes_of(suite: str) -> list[str]:
        return experiment.scenes if suite == experiment.suite else list(experiment.suite_settings(suite).scenes)

    ablations = experiment.config.ablations
    return compare(name, experiment.suite, scenes_of, ablations, experiment.variant, experiment.settings)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_table_can_be_planned_and_holds_its_base(name):
    found = planned(name)
    assert found.base in {variant.name for variant in found.variants}
    own = {"table3": "embedded60", "growth16": "embedded16", "growth32": "embedded32", "sweep": "development"}
    assert found.suite == own.get(name, "embedded")
    assert len(found.folders()) == len(set(found.folders())) == len(found.scenes) * len(found.variants) * 3


def test_scenes_are_three_or_all():
    assert planned("table2").scenes == ["mouth", "propeller", "walk"]
    assert len(planned("table2", ablations={"scenes": "all"}).scenes) == 7
    assert len(planned("comparison").scenes) == 7
    assert planned("comparison", scenes=["swim"]).scenes == ["swim"]


def test_the_sweep_is_on_development_objects_and_no_other_table_is():
    reported = {scene for name in (*CLAIMED, *GROWTH) for scene in planned(name).scenes}
    assert reported == set(suite.REPORTING)
    objects = Experiment({}).suite_settings("development").scenes
    assert not set(objects.values()) & set(suite.REPORTING)
    assert set(planned("sweep").scenes) <= set(objects)


def test_an_unknown_scene_names_the_known_ones():
    with pytest.raises(SettingsError, match="'propeller' is not among the scenes of suite 'smoke': mouth"):
        planned("table2", suite="smoke")


def test_lengths_come_from_the_settings():
    assert [variant.length for variant in planned("table5").variants] == [2, 5, 10, 15]
    assert planned("table5", dynamic={"temporal": {"length": 8}}).variants[2].length == 8


def test_every_variant_shown_with_and_without_rectification_exists():
    experiment = Experiment({})
    dynamics = {name: experiment.settings(name).dynamic for name in RECTIFICATIONS}
    has = {name: (one.temporal.encoder != "off", one.densify.scope == "frame") for name, one in dynamics.items()}
    assert has == {
        "stag4d": (False, False),
        "neither": (False, False),
        "no_temporal": (False, True),
        "no_spatial": (True, False),
        "4dstr": (True, True),
    }
    assert dynamics["stag4d"].sub_clip == 1 and dynamics["neither"].sub_clip == dynamics["4dstr"].sub_clip == 2


def test_folders_and_files_of_a_fit():
    found = planned("table4", ablations={"scenes": ["walk"], "seeds": [4]})
    assert found.folders()[1] == "results/embedded/walk/gru/seed4"
    assert found.files()[2:4] == [f"{found.folders()[1]}/{name}" for name in ("gaussians.csv", "speed.csv")]
    several = planned("table4", ablations={"scenes": ["walk"], "seeds": [4, 1]})
    timed = [file.split("/")[4] for file in several.files() if file.endswith("speed.csv")]
    assert timed == ["seed4"] * len(several.variants)
    assert {file.rpartition("/")[2] for file in planned("table2").files()} == {"gaussians.csv", "gradients.csv"}


def test_table_4_times_the_method_without_the_module_as_well():
    found = planned("table4")
    assert found.variants[-1].name == "no_temporal" and found.speed
    method, without = (Experiment({}).settings(name).dynamic for name in ("4dstr", "no_temporal"))
    assert without == method.model_copy(update={"temporal": without.temporal})
    assert without.temporal.encoder == "off"


def test_the_definitions_load_without_pandas():
    code = (
        "import sys, stages.lib.comparisons; assert not {'pandas', 'torch', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_anchor_cost_compares_each_method_with_itself():
    found = planned("anchor_cost")
    bases = {variant.name: found.base_of(variant) for variant in found.variants}
    assert bases == {
        f"{method}{kind}": method for method in ("stag4d", "4dstr") for kind in ("", "_micro", "_inflated")
    }
    experiment = Experiment({})
    sources = [experiment.anchors_source(found.suite, "mouth", variant) for variant in bases]
    assert sources == ["rendered", "micro", "inflated"] * 2
    for name, base in bases.items():
        alike = experiment.settings(name).model_copy(update={"anchors": experiment.settings(base).anchors})
        assert alike == experiment.settings(base)


def test_anchor_cost_needs_two_kinds_of_anchors():
    with pytest.raises(SettingsError, match=r"anchors.source is micro for 'stag4d' as for 'stag4d_micro'"):
        planned("anchor_cost", anchors={"source": "micro"})
