"""What pyproject.toml and constraints.txt promise."""

import ast
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT_TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT_TABLE["optional-dependencies"]


def requirements(extras: bool) -> list[Requirement]:
    """The dependencies of hvcod, with those of its extras if wanted."""
    lines = PROJECT_TABLE["dependencies"] + [
        line for extra in EXTRAS.values() for line in extra if extras
    ]
    return [Requirement(line) for line in lines]


def third_party_imports(folder: Path) -> dict[str, str]:
    """Top-level module by one file that imports it, for what is neither Python's nor ours."""
    found = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found.update({name.split(".")[0]: str(path) for name in names})
    ours = sys.stdlib_module_names | {"hvcod", "compression"}
    return {name: path for name, path in found.items() if name not in ours}


def test_every_import_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements(extras=False)}
    declared |= {canonicalize_name(Requirement(line).name) for line in EXTRAS["plot"]}
    declared |= {canonicalize_name(Requirement(line).name) for line in EXTRAS["export"]}
    providers = importlib.metadata.packages_distributions()
    undeclared = {
        f"{name} in {path}"
        for name, path in third_party_imports(PROJECT / "hvcod").items()
        if not declared & {canonicalize_name(one) for one in providers.get(name, [])}
    }
    assert not undeclared


def test_every_dependency_has_a_lower_bound_and_nothing_else() -> None:
    for requirement in requirements(extras=False):
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == [">="], requirement


def test_every_requirement_has_a_tested_version() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    for requirement in requirements(extras=True):
        if requirement.name != "hvcod":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_installing_hvcod_changes_nothing_else() -> None:
    """Into an environment that has torch and Horovod, and without any network."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"]
    report = subprocess.run(
        [*command, "--report", "-", "--no-index", "--no-build-isolation", PROJECT],
        capture_output=True,
        text=True,
    )
    assert report.returncode == 0, report.stderr
    planned = [entry["metadata"]["name"] for entry in json.loads(report.stdout)["install"]]
    assert planned == ["hvcod"]


@pytest.mark.parametrize("name", ["click", "h5py", "horovod", "mpi4py", "torch"])
def test_the_installed_version_is_not_below_the_bound(name: str) -> None:
    bound = next(one for one in requirements(extras=False) if one.name == name)
    assert bound.specifier.contains(importlib.metadata.version(name), prereleases=True)
