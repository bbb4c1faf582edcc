"""What the other tests take for granted of a fork server's rank: that it is as any process is."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from forkserver.launches import ForkServer, Launch

LONGEST = 120.0

TELLS = """
import os, sys
from pathlib import Path
print(sys.argv[1:], Path.cwd(), os.environ["NAMED"], "NOT" in os.environ, sys.stdin.read())
print("error", file=sys.stderr)
sys.exit(7)
"""

WAITS = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
print("waiting", flush=True)
while True:
    time.sleep(0.01)
"""

TALKS = """
from mpi4py import MPI
import horovod.torch as hvd, torch, time, sys
hvd.init(comm=MPI.COMM_WORLD)
total = hvd.allreduce(torch.tensor([float(MPI.COMM_WORLD.rank)]), op=hvd.Sum)
print(f"sum {total.item():g} of {MPI.COMM_WORLD.size}", flush=True)
if sys.argv[1:]:
    time.sleep(60)
"""


@pytest.fixture
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "program.py"
    path.write_text(request.param)
    return path


def exists(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def wait_until_gone(process: int) -> None:
    end = time.monotonic() + LONGEST
    while exists(process):
        assert time.monotonic() < end, "the process lives on"
        time.sleep(0.01)


def started(launch: Launch) -> int:
    assert launch.stdout is not None
    # Lines of two ranks may run into each other.
    assert launch.stdout.readline().startswith(("waiting", "sum"))
    return launch.rank_process(0)


@pytest.mark.parametrize("program", [TELLS], indirect=True)
def test_arguments_folder_environment_files_and_exit_code(
    fast_mpirun: ForkServer, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOT", "inherited from the tests")
    folder = tmp_path / "ä b"
    folder.mkdir()
    (folder / "input").write_text("typed")
    with (folder / "input").open() as typed:
        launch = fast_mpirun.start(
            0, program, "a b", "", cwd=folder, env={"NAMED": "x=y\nz"}, stdin=typed
        )
        out, errors = launch.communicate(timeout=LONGEST)
    assert out == f"['a b', ''] {folder} x=y\nz False typed\n"
    assert errors == "error\n"
    assert launch.returncode == 7


@pytest.mark.parametrize("program", [WAITS], indirect=True)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGUSR1, 75), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 1)],
)
def test_signals_reach_the_rank_and_its_end_comes_back(
    fast_mpirun: ForkServer, program: Path, number: int, code: int
) -> None:
    launch = fast_mpirun.start(0, program)
    started(launch)
    launch.send_signal(number)
    assert launch.wait(LONGEST) == code


@pytest.mark.parametrize("program", [WAITS], indirect=True)
def test_a_killed_client_takes_its_rank_along_and_the_other_way_round(
    fast_mpirun: ForkServer, program: Path
) -> None:
    launch = fast_mpirun.start(0, program)
    process = started(launch)
    launch.kill()
    wait_until_gone(process)
    launch = fast_mpirun.start(0, program)
    started(launch)
    launch.kill_rank(0)
    assert launch.wait(LONGEST) == -signal.SIGKILL


@pytest.mark.parametrize("program", [TALKS], indirect=True)
def test_ranks_are_a_world_and_a_killed_one_ends_the_launch(
    fast_mpirun: ForkServer, program: Path
) -> None:
    done = fast_mpirun(3, program)
    assert done.stdout.count("sum 3 of 3") == 3
    launch = fast_mpirun.start(3, program, "stay")
    started(launch)
    processes = [launch.rank_process(rank) for rank in range(3)]
    launch.kill_rank(1)
    launch.communicate(timeout=LONGEST)
    assert launch.returncode == 128 + signal.SIGKILL
    for process in processes:
        wait_until_gone(process)


@pytest.mark.parametrize("program", [TALKS], indirect=True)
def test_a_launch_is_killed_whole(fast_mpirun: ForkServer, program: Path) -> None:
    launch = fast_mpirun.start(2, program, "stay")
    started(launch)
    processes = [launch.rank_process(rank) for rank in range(2)]
    launch.kill_all()
    assert launch.returncode == -signal.SIGKILL
    for process in processes:
        wait_until_gone(process)


@pytest.mark.parametrize("program", [WAITS], indirect=True)
def test_ranks_die_with_the_server(program: Path) -> None:
    own = {"PATH": str(Path(sys.executable).parent), "OMP_NUM_THREADS": "1"}
    with ForkServer({**os.environ, **own}, program) as server:
        launch = server.start(0, program)
        process = started(launch)
    wait_until_gone(process)
    assert launch.wait(LONGEST) == 1
    assert launch.stderr is not None
    assert launch.stderr.read() == "the fork server is gone\n"
