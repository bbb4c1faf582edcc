"""What all tests share: real data if it is there, and real launches under mpirun."""

import fcntl
import json
import os
import pydoc_data.topics
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import launched
import pytest
import workers
from forkserver.launches import ForkServer
from hypothesis import settings

if TYPE_CHECKING:
    from pages.browser import Browser

# The same examples in every run, and no time limit for one: the machine may be busy.
settings.register_profile("hvcod", derandomize=True, deadline=None)
settings.load_profile("hvcod")

# Tests that import MPI leave marks in the environment by which mpirun would take itself for a rank.
CLEAN_ENVIRONMENT = dict(os.environ)
# Unbuffered, Python writes a line and its end one by one, and those of two ranks get mixed.
CLEAN_ENVIRONMENT.pop("PYTHONUNBUFFERED", None)
# Hundreds of ranks would compile the same modules again.
CLEAN_ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "mpi" / "programs"

MpiRun = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    for hooks in (launched, workers):
        pluginmanager.register(hooks)
    parser.addoption(
        "--long", action="store_true", help="more kills, more fuzz: hours, not minutes"
    )


@pytest.fixture
def what_a_launch_changes() -> Iterator[None]:
    """Restores the threads and the random numbers of the tests' process after a launch in it."""
    import torch

    threads, numbers = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(numbers)


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """How often to try: ``scale(30, 200)`` is 30 every day and 200 with ``--long``."""
    return lambda everyday, long: long if pytestconfig.getoption("--long") else everyday


@pytest.fixture
def long(pytestconfig: pytest.Config) -> None:
    """Skips a test that takes half a minute or more unless ``--long`` is given."""
    if not pytestconfig.getoption("--long"):
        pytest.skip("takes half a minute or more: --long")


def missing(reason: str) -> NoReturn:
    """Skips a test for want of something; where everything must be there, fails it."""
    if os.environ.get("HVCOD_CI"):
        pytest.fail(f"not to be skipped in CI: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data: HVCOD_TEST_DATA, or shared/data beside the project."""
    path = Path(os.environ.get("HVCOD_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("no real data: set HVCOD_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def mpi_environment() -> dict[str, str]:
    """The environment in which mpirun starts more ranks than cores, as root too (bin/mpi-env)."""
    command = f"set -a; . {PROJECT}/bin/mpi-env; exec env -0"
    shown = subprocess.run(
        ["bash", "-c", command], env=CLEAN_ENVIRONMENT, capture_output=True, text=True, check=True
    )
    environment = dict(entry.split("=", 1) for entry in shown.stdout.split("\0") if entry)
    paths = [str(Path(sys.executable).parent), environment.get("PATH", "")]
    threads = {"OMP_NUM_THREADS": "1"}
    return environment | threads | {"PATH": os.pathsep.join(paths)}


@pytest.fixture(scope="session")
def mpirun(mpi_environment: Mapping[str, str]) -> MpiRun:
    """Runs a command on N real MPI ranks: ``mpirun(4, "hvcod", "train", ...)``.

    With all that belongs to a start: the console script and its imports. Most tests can do without
    and save seconds: `fast_mpirun`. A name that ends in ``.py`` is a program of tests/mpi/programs.
    """
    if not shutil.which("mpirun", path=mpi_environment["PATH"]):
        missing("no mpirun on PATH")

    def run(
        ranks: int,
        *command: object,
        timeout: float = 300,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        if words[0].endswith(".py"):
            words = [sys.executable, str(PROGRAMS / words[0]), *words[1:]]
        done = launched.run(
            ["mpirun", "-np", ranks, *words],
            env={**mpi_environment, **(env or {})},
            cwd=cwd,
            timeout=timeout,
        )
        if check and done.returncode:
            pytest.fail(f"mpirun exited {done.returncode}")
        return done

    return run


@pytest.fixture(scope="session")
def fast_mpirun(mpi_environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """As `mpirun`, of ranks that are forks of a process that has imported torch and Horovod."""
    if not shutil.which("mpirun", path=mpi_environment["PATH"]):
        missing("no mpirun on PATH")
    with ForkServer(mpi_environment, PROGRAMS) as server:
        yield server


@pytest.fixture(scope="session")
def running_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    from pages.browser import Browser

    running = Browser(tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def browser(running_browser: "Browser") -> Iterator["Browser"]:
    """A real browser; the pages that a test opens are closed after it."""
    yield running_browser
    running_browser.close_pages()


@pytest.fixture(scope="session")
def tiny_data(mpi_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real English text (Python's own documentation) as `hvcod data` prepares it: 400 pieces."""
    folder = workers.shared_folder(tmp_path_factory.getbasetemp()) / "tiny"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker prepares it for all
        if not (folder / "data/dataset.json").exists():
            prepare_tiny_data(folder, mpi_environment)
    return folder / "data"


def prepare_tiny_data(folder: Path, environment: Mapping[str, str]) -> None:
    """Prepares ``folder/data``."""
    source = folder / "topics.jsonl"
    topics = sorted(pydoc_data.topics.topics.items())
    source.write_text("".join(json.dumps({"id": k, "text": v}) + "\n" for k, v in topics))
    words = ["hvcod", "data", "commoncrawl", source, "--output", folder / "data"]
    words += ["--vocabulary-size", 400, "--validation-fraction", 0.1, "--long-paragraphs", 0]
    command = [str(word) for word in words]
    subprocess.run(command, env=dict(environment), capture_output=True, check=True)
