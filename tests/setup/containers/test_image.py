"""Ranks inside an image, started by a launcher outside: with --long, and in .ci/run."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster.doctor.plant import other_mpi
from conftest import missing
from setup.containers.image import PROGRAMS, Image, built


@pytest.fixture(scope="module")
def image(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not pytestconfig.getoption("long"):
        pytest.skip("with --long, and in .ci/run")
    if os.geteuid() or not all(map(shutil.which, PROGRAMS)):
        missing(f"needs root, and {', '.join(PROGRAMS)}")
    caches = Path(os.environ.get("HVCOD_CACHE") or Path.home() / ".cache/hvcod")
    caches.mkdir(parents=True, exist_ok=True)
    with built(tmp_path_factory.mktemp("image"), caches) as made:
        yield made


@pytest.fixture
def inside(
    image: Image, mpi_environment: Mapping[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs hvcod on ranks in the image, by the words of a launcher outside."""

    def run(launcher: list[str], *words: object, **variables: object) -> Any:
        return subprocess.run(
            [*launcher, *image.command("hvcod", *words, **variables)],
            env=dict(mpi_environment),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """{check: its finding} of ``hvcod doctor --json``."""
    return {each["check"]: each for each in json.loads(done.stdout)["checks"]}


def test_the_mpirun_outside_and_the_mpi_of_the_image_meet(
    inside: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = inside(["mpirun", "-np", "2"], "doctor", "--groups", 2, "--json", "--run-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    found = checks(done)
    assert found["launch"]["found"] == "2 ranks on 1 node"
    assert found["container"]["result"] == "ok"
    assert found["container"]["found"].startswith("Apptainer /images/hvcod.sif: Open MPI v")
    assert "of the image, started by Open MPI's mpirun" in found["container"]["found"]


def test_two_groups_train_in_the_image(
    inside: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ["--steps", 4, "--burn-in", 1, "--exchange-interval", 1, "--run-dir", tmp_path / "run"]
    done = inside(["mpirun", "-np", "2"], "train", "--groups", 2, *words)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("run/group-*/metrics.jsonl"))) == 2


def test_a_library_that_is_bound_from_outside_takes_the_place_of_the_images(
    inside: Callable[..., subprocess.CompletedProcess[str]], image: Image, tmp_path: Path
) -> None:
    """The bind model: copies of the libraries, as a host has them, in a folder that is mounted."""
    libraries = [path for path in image.root.glob("usr/lib/*/libmpi.so.40*") if path.is_file()]
    assert libraries
    for path in libraries:
        shutil.copy(path, tmp_path)
    words = ["doctor", "--json", "--run-dir", tmp_path]
    found = checks(inside(["mpirun", "-np", "2"], *words, LD_LIBRARY_PATH=tmp_path))
    assert f"mpi4py and Horovod call {tmp_path}/libmpi.so.40" in found["mpi"]["found"]
    assert found["container"]["result"] == "ok"
    assert "bound from outside" in found["container"]["found"]


def test_a_folder_of_the_host_by_which_the_mpi_inside_does_not_start(
    inside: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ["doctor", "--json", "--run-dir", tmp_path]
    misfit = checks(inside(["mpirun", "-np", "2"], *words, OPAL_PREFIX="/apps/openmpi"))[
        "container"
    ]
    assert misfit["result"] == "failed"
    assert misfit["mend"].startswith("OPAL_PREFIX=/apps/openmpi is a folder of the host")


def test_a_launcher_of_another_mpi_outside_is_told_with_what_to_build(
    inside: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    other_mpi(tmp_path / "mpich")
    launcher = [str(tmp_path / "mpich/bin/mpiexec.hydra"), "-n", "2"]
    done = inside(launcher, "doctor", "--groups", 2, "--json", "--run-dir", tmp_path / "run")
    misfit = checks(done)["container"]
    assert done.returncode != 0
    assert misfit["result"] == "failed"
    assert "each rank sees a world of 1" in misfit["found"]
    assert "--build-arg MPI=mpich==VERSION" in misfit["mend"]
