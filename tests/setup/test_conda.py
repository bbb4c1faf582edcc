"""bin/environment/environment.yml, which nobody here can install: what it says fits pyproject."""

import re

from conftest import PROJECT
from packaging.requirements import Requirement
from setup.test_package import PROJECT_TABLE, requirements

NAMES = {"torch": "pytorch"}
"""Packages that conda-forge calls otherwise."""


def test_the_environment_of_conda_forge_has_all_dependencies_with_their_bounds() -> None:
    text = (PROJECT / "bin/environment/environment.yml").read_text()
    bounds = dict(re.findall(r"^ +- ([\w.-]+) *(.*)$", text, re.MULTILINE))
    for requirement in requirements(extras=False):
        name = NAMES.get(requirement.name, requirement.name)
        assert bounds.pop(name) == str(requirement.specifier), name
    python = bounds.pop("python")
    assert python.startswith(PROJECT_TABLE["requires-python"])
    assert Requirement(f"python{python}").specifier.contains("3.12")
    assert {*bounds} == {"conda-forge", "nodefaults", "openmpi", "pip"}
