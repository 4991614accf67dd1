"""Ids and orders of a user study, and the refusal of every answer file that is not one."""

from __future__ import annotations

import copy
import json
from collections import Counter

import pytest

from stages.cli import StageError
from stages.lib import studies
from stages.lib.studies import Draws, Key, digest, orders, read_all, read_answers, read_key, study_id
from tests.studies import filled, write

SHOWN = {"scene_b": ["b2", "b1", "b3"], "scene_a": ["a1", "a2", "a3"]}
ALIKE = {"quality": "stag4d", "consistency": "stag4d", "alignment": "4dstr"}


@pytest.fixture
def key() -> Key:
    """Three scenes by two methods."""
    scenes = []
    for scene in ("cat", "dog", "owl"):
        clips = [{"id": digest(scene, name), "variant": name, "title": name.upper()} for name in ("stag4d", "4dstr")]
        scenes.append({"id": digest(scene), "scene": scene, "clips": clips})
    study = study_id({scene["id"]: [clip["id"] for clip in scene["clips"]] for scene in scenes})
    return Key(study=study, suite="toys", questions=studies.QUESTIONS, scenes=scenes, record={})


# ------------------------------------------------------------------ ids and order


def test_xorshift_gives_marsaglias_numbers():
    # From state 1 the shifts 13, 17, 5 give 270369, then 67634689 (worked by hand and by Marsaglia's C code).
    draws = Draws(1)
    draws._state = 1
    assert [draws.below(2**32) for _ in range(2)] == [270369, 67634689]


def test_an_order_holds_everything_once_and_does_not_depend_on_how_it_was_given():
    found = orders(7, SHOWN)
    assert sorted(scene for scene, _ in found) == ["scene_a", "scene_b"]
    assert all(sorted(clips) == sorted(SHOWN[scene]) for scene, clips in found)
    assert found == orders(7, {name: SHOWN[name][::-1] for name in reversed(SHOWN)})


def test_every_order_is_equally_likely():
    found = Counter(tuple(orders(seed, {"s": ["a", "b", "c"]})[0][1]) for seed in range(1, 6001))
    assert len(found) == 6
    # 1000 each; five standard deviations are 144.
    assert all(abs(count - 1000) < 144 for count in found.values())


def test_a_study_is_its_videos_and_its_questions():
    found = study_id(SHOWN)
    assert found == study_id({name: SHOWN[name][::-1] for name in reversed(SHOWN)})
    assert found != study_id({**SHOWN, "scene_a": ["a1", "a2", "a4"]})
    assert found != study_id(SHOWN, {**studies.QUESTIONS, "quality": "Which one is worst?"})
    assert digest("a", "bc") != digest("ab", "c")


# ------------------------------------------------------------------ reading


def test_a_key_reads_back(tmp_path, key):
    (tmp_path / "key.json").write_text(key.model_dump_json())
    assert read_key(tmp_path / "key.json") == key


def test_a_key_with_other_methods_in_one_scene_is_refused(tmp_path, key):
    content = json.loads(key.model_dump_json())
    content["scenes"][1]["clips"][0]["variant"] = "gru"
    (tmp_path / "key.json").write_text(json.dumps(content))
    with pytest.raises(
        StageError, match=r"key.json is not the key of a study: .*every scene compares the same methods"
    ):
        read_key(tmp_path / "key.json")


def test_an_edited_key_is_refused(tmp_path, key):
    content = json.loads(key.model_dump_json())
    content["questions"]["quality"] = "Which one is worst?"
    (tmp_path / "key.json").write_text(json.dumps(content))
    with pytest.raises(StageError, match=r"key.json is not the key of a study: .*was it edited\?"):
        read_key(tmp_path / "key.json")


def test_good_answers_are_read(tmp_path, key):
    paths = [write(tmp_path, filled(key, seed, ALIKE)) for seed in (9, 5)]
    assert [one.seed for one in read_all(paths, key)] == [5, 9]


def changed(content: dict, change) -> dict:
    content = copy.deepcopy(content)
    change(content)
    return content


def _swap(content: dict) -> None:
    content["answers"][0], content["answers"][1] = content["answers"][1], content["answers"][0]


BAD = {
    "not JSON": (None, "cannot be read as answers to a study"),
    "a list": (lambda content: [], "is not answers to a study: the whole file"),
    "another study": (lambda c: c.update(study="0" * 16), "answers study 0000000000000000; expected"),
    "the key itself": (lambda c: c.update(kind="study key"), "is not answers to a study: kind"),
    "a later format": (lambda c: c.update(format=2), "is not answers to a study: format"),
    "an unknown entry": (lambda c: c.update(name="me"), "is not answers to a study: name: Extra inputs"),
    "a lost entry": (lambda c: c.pop("participant"), "is not answers to a study: participant: Field required"),
    "a seed as text": (lambda c: c.update(seed="5"), "is not answers to a study: seed"),
    "a seed of 0": (lambda c: c.update(seed=0), "is not answers to a study: seed"),
    "an open question": (lambda c: c["answers"][1].pop("quality"), "answers.1.quality: Field required"),
    "no answer": (lambda c: c["answers"][1].update(quality=None), "answers.1.quality: Input should be a valid string"),
    "a foreign clip": (lambda c: c["answers"][2].update(quality="x"), "answers quality in scene .* with 'x'; expected"),
    "a clip of another scene": (
        lambda c: c["answers"][2].update(alignment=c["answers"][0]["order"][0]),
        "answers alignment in scene",
    ),
    "a lost scene": (lambda c: c["answers"].pop(), "holds 2 scenes in an order that is not its seed's; expected the 3"),
    "a scene twice": (lambda c: c["answers"].append(c["answers"][0]), "holds 4 scenes in an order"),
    "scenes in another order": (_swap, "an order that is not its seed's"),
    "places in another order": (lambda c: c["answers"][0]["order"].reverse(), "an order that is not its seed's"),
    "negative time": (lambda c: c["answers"][0].update(seconds=-1), "answers.0.seconds"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_answers_are_refused_by_name(tmp_path, key, case):
    change, expected = BAD[case]
    path = write(tmp_path, filled(key, 5, ALIKE), "hers.json")
    content = json.loads(path.read_text())
    if change is None:
        path.write_text(path.read_text()[:-9])
    else:
        result = change(content)
        path.write_text(json.dumps([] if isinstance(result, list) else content))
    with pytest.raises(StageError, match=expected) as caught:
        read_answers(path, key)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_two_files_of_one_participant_are_refused(tmp_path, key):
    content = filled(key, 5, ALIKE)
    paths = [write(tmp_path, content, name) for name in ("hers.json", "hers (1).json")]
    with pytest.raises(StageError, match=r"hers.json and .*hers \(1\).json are of the same participant"):
        read_all(paths, key)


def test_no_file_is_refused(key):
    with pytest.raises(StageError, match="no answers were given"):
        read_all([], key)


def test_a_missing_file_is_named(tmp_path, key):
    with pytest.raises(StageError, match=r"gone.json cannot be read as answers to a study"):
        read_answers(tmp_path / "gone.json", key)
