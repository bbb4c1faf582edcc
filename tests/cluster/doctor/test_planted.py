"""Each of these was really there when the doctor found it; what is only played says so."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from cluster.doctor.conftest import Doctor, report
from cluster.doctor.plant import (
    BUILD_WITHOUT_MPI,
    horovod_without_mpi,
    module,
    other_mpi,
    real_horovod_without_mpi,
)
from conftest import MpiRun, missing
from forkserver.launches import ForkServer

CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture(scope="session")
def mpich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A folder with MPICH and mpi4py, and the variables that put them first."""
    folder = tmp_path_factory.mktemp("mpich")
    try:
        return folder, other_mpi(folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        missing(f"pip cannot get mpich: {error}")


def test_mpi4py_on_another_mpi(installed: Doctor, mpich: tuple[Path, Mapping[str, str]]) -> None:
    folder, variables = mpich
    found = installed(0, env=variables)
    assert found.code == 1
    assert "mpi" in found.named("failed")
    text = found.check("mpi")["found"]
    assert f"mpi4py calls {folder}/lib/libmpi" in text
    assert "(MPICH" in text
    assert text.index("Horovod calls") > text.index("MPICH")
    assert "build both for the MPI of your launcher" in found.check("mpi")["mend"]
    # What has nothing to do with it is judged all the same.
    assert {"hdf5", "run directory", "space", "publish", "versions"} <= found.named("ok")


def test_a_world_of_one_under_another_mpis_launcher(
    fast_mpirun: ForkServer,
    mpi_environment: Mapping[str, str],
    mpich: tuple[Path, Mapping[str, str]],
    words: Sequence[object],
) -> None:
    launcher = mpich[0] / "bin" / "mpiexec.hydra"
    command = fast_mpirun.client("hvcod", "doctor", *words, "--groups", 2)
    done = subprocess.run(
        [launcher, "-n", "4", *command],
        env={**mpi_environment, "APPTAINER_CONTAINER": "/images/hvcod.sif"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    found = report(done)
    assert done.returncode != 0
    assert found.named("failed") == {"launch", "container"}
    assert "4 processes were started, but each is alone" in found.check("launch")["found"]
    assert "srun --mpi=pmix" in found.check("launch")["mend"]
    # The variable makes it a container: its Open MPI does not fit MPICH's launcher outside.
    misfit = found.check("container")
    assert misfit["found"].startswith("Apptainer /images/hvcod.sif: Open MPI v")
    assert "started by mpiexec of MPICH or a relative (PMI): each rank sees a" in misfit["found"]
    assert "--build-arg MPI=mpich==VERSION" in misfit["mend"]


def test_horovod_without_mpi(
    installed: Doctor,
    tmp_path: Path,
    scale: Callable[[int, int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every day a stand-in; with --long a real one, which is compiled for minutes."""
    if not shutil.which("cc"):
        missing("no C compiler: cc")
    for name, value in BUILD_WITHOUT_MPI.items():
        monkeypatch.setenv(name, value)
    plant = real_horovod_without_mpi if scale(0, 1) else horovod_without_mpi
    found = installed(0, env=plant(tmp_path))
    assert found.code == 1
    assert found.named("failed") == {"horovod"}
    assert found.check("horovod")["found"].startswith("was built without MPI")
    assert "HOROVOD_WITH_MPI=1" in found.check("horovod")["mend"]
    assert found.check("allreduce")["result"] == "skipped"


def test_libraries_that_crash_or_are_not_there(installed: Doctor, tmp_path: Path) -> None:
    module(tmp_path, "mpi4py", CRASHES)
    module(tmp_path, "h5py", "raise OSError('libhdf5.so.310: cannot open shared object file')")
    found = installed(0, env=module(tmp_path, "horovod", "import nobody_has_this"))
    assert found.code == 1
    assert found.named("failed") == {"mpi", "horovod", "hdf5"}
    assert "was killed by SIGSEGV" in found.check("mpi")["found"]
    assert "No module named 'nobody_has_this'" in found.check("horovod")["found"]
    assert "libhdf5.so.310: cannot open" in found.check("hdf5")["found"]
    assert {"cores", "binding", "run directory", "space"} <= found.named("ok")


def test_an_mpi_without_threads(doctor: Doctor) -> None:
    found = doctor(2, env={"MPI4PY_RC_THREAD_LEVEL": "single"})
    assert found.code == 1
    assert "mpi threads" in found.named("failed")
    assert "MPI_THREAD_SINGLE" in found.check("mpi threads")["found"]


def test_groups_that_do_not_divide_the_ranks(doctor: Doctor) -> None:
    found = doctor(3, "--groups", 2)
    assert found.code == 1
    assert found.named("failed") == {"groups"}
    assert "use 2 or 4 ranks" in found.check("groups")["found"]
    # Measured all the same, in a group of all ranks.
    assert found.whole["measured"]["allreduce_ranks"] == 3


def test_oversubscribed_threads(mpirun: MpiRun, words: Sequence[object]) -> None:
    cores = len(os.sched_getaffinity(0))
    done = mpirun(2, "hvcod", "doctor", *words, env={"OMP_NUM_THREADS": str(cores)}, timeout=90)
    found = report(done)
    assert found.code == 0  # slow, but it trains
    assert found.named("warning") == {"cores"}
    text = found.check("cores")["found"]
    assert text.startswith(f"{2 * cores} computing threads of 2 ranks on {cores} core")
    assert text.endswith(f"(OMP_NUM_THREADS={cores})")
    assert found.check("cores")["mend"]


def test_ranks_bound_to_one_core(
    fast_mpirun: ForkServer, words: Sequence[object], tmp_path: Path
) -> None:
    program = tmp_path / "bound.py"
    program.write_text(
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from hvcod.cli.main import main\nmain()\n"
    )
    found = report(fast_mpirun(2, program, "doctor", *words, check=False))
    assert found.code == 0
    assert {"binding", "cores"} == found.named("warning")
    assert "2 ranks" in found.check("binding")["found"]
    assert "--bind-to none" in found.check("binding")["mend"]


@pytest.fixture
def not_ours(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A folder that another user may enter but not write, and a program of that user's."""
    program = tmp_path / "another_user.py"
    become = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if not os.geteuid() else ""
    program.write_text(f"import os\n{become}\nfrom hvcod.cli.main import main\nmain()\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        folder.mkdir(mode=0o555)
        Path(name).chmod(0o755)
        yield program, folder


def test_an_unwritable_run_directory(
    fast_mpirun: ForkServer, words: Sequence[object], not_ours: tuple[Path, Path]
) -> None:
    program, folder = not_ours
    call = [program, "doctor", *words[:-1]]
    found = report(fast_mpirun(0, *call, folder / "new", check=False))
    assert found.code == 1
    assert found.named("failed") == {"run directory"}
    user = os.geteuid() or 65534
    assert found.check("run directory")["found"].startswith(
        f"{folder}: {os.strerror(errno.EACCES)}, as user {user}"
    )
    assert "chmod u+w" in found.check("run directory")["mend"]
    assert found.check("publish")["result"] == "skipped"


def test_a_run_directory_that_is_read_as_a_file(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = doctor(0, "--run-dir", tmp_path / "file" / "run")
    assert found.named("failed") == {"run directory"}
    assert os.strerror(errno.ENOTDIR) in found.check("run directory")["found"]


def test_a_run_directory_in_which_no_folder_can_be_made(
    fast_mpirun: ForkServer, words: Sequence[object], tmp_path: Path
) -> None:
    """A stand-in: files can be written there."""
    program = tmp_path / "no_folder.py"
    program.write_text(
        "import tempfile\ndef refuse(*_, **__): raise OSError(122, 'Disk quota exceeded')\n"
        "tempfile.mkdtemp = refuse\nfrom hvcod.cli.main import main\nmain()\n"
    )
    found = report(fast_mpirun(0, program, "doctor", *words, check=False))
    assert found.named("failed") == {"publish"}
    assert "cannot publish: Disk quota exceeded" in found.check("publish")["found"]
    assert "allreduce" in found.named("ok")
