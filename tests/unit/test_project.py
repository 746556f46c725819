"""The project's own files agree with each other."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import tomli
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def _project() -> dict[str, Any]:
    return tomli.loads((ROOT / "pyproject.toml").read_text())


def _pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def _requirements() -> list[Requirement]:
    project = _project()
    groups = [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]
    return [Requirement(text) for text in chain(project["project"]["dependencies"], *groups)]


def _applies(marker: Marker | None, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.9"}
    return marker is None or marker.evaluate(environment)


@pytest.mark.parametrize("python", PYTHONS)
def test_whatever_is_required_is_pinned_once_to_a_version_that_fits(python: str) -> None:
    pins = {canonicalize_name(pin.name): pin for pin in _pins() if _applies(pin.marker, python)}
    assert len(pins) == sum(_applies(pin.marker, python) for pin in _pins())
    for requirement in filter(lambda each: _applies(each.marker, python), _requirements()):
        (exact,) = pins[canonicalize_name(requirement.name)].specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version)


def test_the_pins_name_no_address() -> None:
    assert not re.search("//|--|@", (ROOT / "constraints.txt").read_text())


def test_the_oldest_python_is_the_same_everywhere() -> None:
    project = _project()
    assert project["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert project["tool"]["mypy"]["python_version"] == PYTHONS[0]
    assert project["tool"]["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"
    assert f"oldest={PYTHONS[0]}\n" in (ROOT / "tools" / "pins").read_text()


def test_every_dependency_group_is_pinned_and_has_its_command() -> None:
    groups = set(_project()["dependency-groups"])
    pins = (ROOT / "tools" / "pins").read_text()
    (pinned,) = re.findall(r"for group in ([a-z ]+);", pins)
    assert set(pinned.split()) == groups
    installed = re.findall(r"tools/venv ([a-z ]+)", (ROOT / "Makefile").read_text())
    assert set(" ".join(installed).split()) == groups


def test_every_target_of_the_makefile_is_listed_by_help() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    help_ = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in help_.splitlines()] == phony.split()
