"""One source of pins; both routes of installation agree; nothing non-commercial or GPL by default."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = set(PROJECT["dependencies"])
EXTRAS = {name: set(packages) for name, packages in PROJECT["optional-dependencies"].items()}
OWNERS = {"snakemake", "torch", "mamba-ssm", "gsplat", "diffusers", "pandas", "lpips", "open-clip-torch"}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements/constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_every_dependency_is_pinned_once_and_nowhere_else():
    named = BASE.union(*EXTRAS.values())
    assert named <= set(pins())
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in named)


def test_libraries_that_tests_compare_with_are_pinned():
    lines = (ROOT / "requirements/beside.txt").read_text().splitlines()
    names = {line for line in lines if not line.startswith("#")}
    assert names <= set(pins()) and not names & BASE


def test_no_build_tag_is_committed():
    assert not [name for name, version in pins().items() if "+" in version]


def test_conda_takes_only_python_and_pip_and_the_same_pins():
    plain = [item for item in conda()["dependencies"] if isinstance(item, str)]
    assert plain == ["python=3.11", "pip"]
    (pip,) = [item["pip"] for item in conda()["dependencies"] if isinstance(item, dict)]
    assert pip[0] == "--constraint requirements/constraints.txt"
    assert set(pip[1:]) == BASE | (EXTRAS["gpu"] - {"mamba-ssm"})
    assert "# - mamba-ssm" in (ROOT / "environment.yml").read_text()


def test_the_owners_packages_are_declared():
    assert BASE | EXTRAS["gpu"] >= OWNERS


def test_what_is_installed_is_what_is_pinned():
    wrong = {}
    for name in BASE | EXTRAS["dev"]:
        installed = metadata.version(name).split("+")[0]
        if installed != pins()[name]:
            wrong[name] = (installed, pins()[name])
    assert not wrong, "type `python3 bootstrap.py pytest` to install the pins"


def closure(names: set[str]) -> set[str]:
    """The names and what they need on this machine, without extras."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.match(r"[A-Za-z0-9._-]+", need)[0] for need in needs if "extra ==" not in need]
    return found


# Libraries that make an FFmpeg GPL (EXTERNAL_LIBRARY_GPL_LIST and _GPLV3_ of its `configure`).
GPL_LIBRARIES = {"aribb24", "avisynth", "cdio", "cdio_paranoia", "davs2", "dvdnav", "dvdread", "frei0r", "rubberband"}
GPL_LIBRARIES |= {"smbclient", "vidstab", "x264", "x265", "xavs", "xavs2", "xvid", "xvidcore"}


def test_the_gpl_libraries_inside_wheels_are_the_two_that_the_readme_names():
    """A wheel's licence says nothing of what it carries: PyAV's is BSD, its FFmpeg encodes through x264 and x265."""
    carried = {}
    for name in closure(BASE):
        libraries = (re.match(r"lib(\w+?)[-.]", path.name) for path in metadata.files(name) or [])
        if found := {library[1] for library in libraries if library} & GPL_LIBRARIES:
            carried[name] = found
    # None in a PyAV that is linked to an FFmpeg of the machine.
    assert carried in ({"av": {"x264", "x265"}}, {})


def test_no_gpl_and_nothing_non_commercial_by_default():
    bad = {}
    for name in closure(BASE):
        about = metadata.metadata(name)
        licence = about.get("License-Expression") or " ".join(
            [(about.get("License") or "").splitlines()[0] if about.get("License") else ""]
            + [line for line in about.get_all("Classifier", []) if line.startswith("License")]
        )
        # docutils is public domain, BSD and, for one Emacs file that is not installed, GPL.
        if name != "docutils" and re.search(r"(?<!L)(?<!Lesser )GPL|General Public|Non-?Commercial", licence, re.I):
            bad[name] = licence
    assert not bad
