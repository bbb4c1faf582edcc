"""Extensions that another package brings: docs/extending.md as it is written."""

import json
import math
import re
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from conftest import PROJECT, MpiRun
from mpi.test_resume import command, lines, weights

import hvcod.registry
from hvcod import config
from hvcod.config import CodistillOptions
from hvcod.errors import UsageError
from hvcod.registry import BASE_ALGORITHMS, LOSSES, Registry, places_of_packages

PAGE = (PROJECT / "docs/extending.md").read_text()
TOYS = "--distill-loss toy-squares --topology toy-star --exchange toy-folder --tracker toy-lines"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def install(folder: Path) -> Path:
    """Puts the page's package into a folder, as pip would."""
    *others, tracker = blocks("python")
    (folder / "toys.py").write_text("\n".join(others))
    assert tracker.startswith("# toy_lines.py\n")
    (folder / "toy_lines.py").write_text(tracker)
    project = tomllib.loads(*blocks("toml"))["project"]
    points = ""
    for group, names in project["entry-points"].items():
        points += f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in names.items())
    about = folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "entry_points.txt").write_text(points)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (about / "METADATA").write_text(metadata)
    return folder


def test_a_package_brings_a_loss_a_topology_and_an_exchange(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    assert TOYS in PAGE
    (tmp_path / "site").mkdir()
    site, run = install(tmp_path / "site"), tmp_path / "run"
    words = command(tiny_data, run, "--groups", 2, *TOYS.split(), steps=30)[1:]
    done = fast_mpirun(4, "extended.py", site, *words, timeout=120)
    weights_of = weights(json.loads(done.stdout))
    assert len(set(weights_of)) == 2
    assert sorted(path.name for path in (run / "toy").iterdir()) == ["0.pt", "1.pt"]
    # One group at least came to an interval after the other, and has found its file.
    taught = [(g, line) for g in (0, 1) for line in lines(run, g) if line.get("teachers")]
    assert {(g, *line["teachers"]) for g, line in taught} <= {(0, "1"), (1, "0")}
    assert {step for _, line in taught for step in line["teachers"].values()} <= {0, 10, 20, 30}
    squares = [line["distill_loss"] for _, line in taught]
    assert squares
    assert all(0 < loss < 0.01 for loss in squares)  # of probabilities; cross entropies are larger
    recorded = (run / "config.toml").read_text()
    for name in TOYS.split()[1:6:2]:
        assert f'"{name}"' in recorded
    for group in (0, 1):
        tracked = (run / f"group-{group}/toy-lines.txt").read_text().splitlines()
        assert tracked[0] == f"run: group {group} of 2"
        assert tracked[1].startswith("burn-in ")
        assert tracked[-1].strip() == "finished"
        steps = [int(line.split()[0]) for line in tracked[2:-1]]
        assert steps == [line["step"] for line in lines(run, group)]
    # Without the package: one line that names it and what is missing.
    gone = fast_mpirun(0, "hvcod", "train", "--config", run / "config.toml", check=False)
    assert gone.returncode == 2
    assert "toy-squares: choose one of " in gone.stderr
    assert "or install the package that brings it (entry point hvcod.losses)" in gone.stderr


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """A registry of one name of its own, and what a package adds to it."""
    points = EntryPoints(
        [
            EntryPoint("mine", "math:sqrt", "hvcod.toys"),
            EntryPoint("other", "math:sqrt", "hvcod.toys"),
            EntryPoint("broken", "math:cube_root_of_all", "hvcod.toys"),
            EntryPoint("gone", "a_module_that_nobody_has:it", "hvcod.toys"),
        ]
    )
    monkeypatch.setattr(hvcod.registry, "entry_points", lambda group: points.select(group=group))
    return Registry("--toy", {"mine": "math:floor"}, "hvcod.toys")


def test_names_of_packages_come_after_those_of_hvcod(toys: Registry[object]) -> None:
    assert list(toys) == ["mine", "broken", "gone", "other"]
    assert "other" in toys
    assert "another" not in toys
    assert toys.load("other") is math.sqrt
    assert toys.load("mine") is math.floor  # nobody takes a name of hvcod


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("another", "--toy another: choose one of mine, broken, gone, other; or install the pack"),
        ("broken", "--toy broken: the package unknown says that it is math:cube_root_of_all, whi"),
        ("gone", "cannot be imported: No module named 'a_module_that_nobody_has'"),
    ],
)
def test_what_cannot_be_loaded_is_told(toys: Registry[object], name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        toys.load(name)


def test_every_option_that_packages_extend_says_so() -> None:
    for registry in (LOSSES, BASE_ALGORITHMS):
        assert "entry point hvcod." in registry.elsewhere
    assert places_of_packages("hvcod.nothing") == {}
    with pytest.raises(UsageError, match=r"topology=toy-star: choose .* \(entry point hvcod.topo"):
        config.resolve(CodistillOptions, [{"topology": "toy-star"}])
