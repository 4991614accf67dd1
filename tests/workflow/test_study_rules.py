"""The rules of the user study: from videos to the page, and from saved answers to table 6, without any fit."""

from __future__ import annotations

import csv

from stages.lib.studies import read_key
from tests.studies import encoded, filled, write

PREFERRED = {"quality": "4dstr", "consistency": "stag4d", "alignment": "4dstr"}
# The videos are made up, so nothing may ask for the fits that they would come from.
ONLY = ("--cores", "1", "--allowed-rules", "study", "table6")


def test_a_study_and_what_its_participants_chose(make_workplace, scene):
    place = make_workplace("study")
    results = place.folder / "results"
    scene[0].save(results / "smoke/mouth/frames.npz")
    for index, variant in enumerate(("stag4d", "4dstr")):
        orbit = results / f"smoke/mouth/{variant}/seed0/assets/orbit.mp4"
        orbit.parent.mkdir(parents=True)
        orbit.write_bytes(encoded(index))

    place.run("results/smoke/study", *ONLY)
    assert (results / "smoke/study/study.html").is_file()

    key = read_key(results / "smoke/study_key.json")
    write(place.folder / "answers", filled(key, 5, PREFERRED))
    place.run("results/table6.csv", *ONLY)
    with open(results / "table6.csv", newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file) if row["source"] == "measured"}
    assert [rows["4dstr"][f"user_{question}"] for question in PREFERRED] == ["100", "0", "100"]

    assert "Nothing to be done" in place.run("results/smoke/study", "results/table6.csv", *ONLY)
    write(place.folder / "answers", filled(key, 7, PREFERRED) | {"study": "0" * 16}, "hers.json")
    output = place.run("results/table6.csv", *ONLY, ok=False)
    assert "answers/hers.json answers study 0000000000000000; expected" in output
