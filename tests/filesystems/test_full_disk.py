"""A disk that is full for a while costs what could not be written then, and nothing else."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from filesystems.launches import SMALL, step_lines, train
from forkserver.launches import ForkServer, Launch

from hvcod.tensorfile.decode import decode_tensors
from hvcod.tensorfile.steps import checkpoint_path, list_steps

FULL = os.strerror(28)
LINES = 256 * 1024  # room for some lines of metrics, not for a checkpoint

OPTIONS: Mapping[str, object] = {
    **SMALL,
    "steps": 10**6,
    "save_interval": 10,
    "model.hidden": 128,
    "codistill.exchange_interval": 10,
    "codistill.burn_in": 10,
}


@contextlib.contextmanager
def full(disk: Path, room: int = 0) -> Iterator[None]:
    """Leaves no more than `room` bytes on a disk: whatever is freed is taken at once."""
    over = threading.Event()
    ballast = disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            while not over.wait(0.001):
                if (free := free_bytes(disk) - room) > 0:
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        wait_until(lambda: free_bytes(disk) <= room)
        yield
    finally:
        over.set()
        filler.join()
        ballast.unlink()


@contextlib.contextmanager
def running(server: ForkServer, ranks: int, words: Sequence[object], log: Path) -> Iterator[Launch]:
    """A launch of hvcod that adds its standard error to `log`, which is not on the full disk."""
    with log.open("a") as errors:
        launch = server.start(ranks, "hvcod", *words, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        yield launch
    finally:
        launch.kill_all()


def free_bytes(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_bsize


def wait_until(condition: Callable[[], object], launch: Launch | None = None) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert launch is None or launch.poll() is None, "the launch ended early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def last_step(folder: Path) -> int:
    return max((line["step"] for line in step_lines(folder)), default=0)


def newest(directory: Path) -> int:
    return max(list_steps(directory), default=0) if directory.exists() else 0


def check_files(folder: Path) -> None:
    """Every file that has its name is whole."""
    for directory in (folder / "published", folder / "state"):
        for step in list_steps(directory):
            with contextlib.suppress(FileNotFoundError):  # a newer one took its place
                data = checkpoint_path(directory, step).read_bytes()
                assert decode_tensors(data)[0].step == step


def check_told_once(log: str, what: str) -> None:
    """Each of the two groups names the cause, and names it once."""
    said = re.findall(rf"\[group (\d)\] ({what}.*{FULL}.*)", log)
    assert sorted(group for group, _ in said) == ["0", "1"], log


def test_training_outlives_a_full_disk(
    small_disk: Path, fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    log, run = tmp_path / "log", small_disk / "run"
    words = train(run, {**OPTIONS, "data": tiny_data}, groups=2)
    with running(fast_mpirun, 2, words, log) as launch:
        folders = [run / "group-0", run / "group-1"]
        state, published = folders[0] / "state", folders[0] / "published"

        def recovered() -> bool:
            return all(
                newest(each / "state") >= mark <= newest(each / "published") for each in folders
            )

        mark = 20
        wait_until(recovered, launch)

        # There is room for lines, but for nothing else.
        with full(small_disk, LINES):
            wait_until(lambda: log.read_text().count(FULL) >= 4, launch)
            before = newest(state), newest(published)
            mark = last_step(folders[0])
            wait_until(lambda: last_step(folders[0]) > mark + 5, launch)
            check_files(folders[0])
        mark = last_step(folders[0])
        wait_until(recovered, launch)
        assert before < (newest(state), newest(published))

        # There is room for nothing.
        with full(small_disk):
            wait_until(lambda: log.read_text().count("metrics are being lost") >= 2, launch)
            time.sleep(1)
            check_files(folders[0])
        mark = last_step(folders[0]) + 20
        wait_until(recovered, launch)
        launch.send_signal(signal.SIGUSR1)
        assert launch.wait(120) == 75, log.read_text()

    said = log.read_text()
    check_told_once(said, "published checkpoint")
    check_told_once(said, "training state")
    check_told_once(said, "metrics are being lost")
    assert "Traceback" not in said
    for folder in folders:
        check_files(folder)
        content = (folder / "metrics.jsonl").read_text()
        assert content.endswith("\n")
        assert all(isinstance(json.loads(line), dict) for line in content.splitlines())
        steps = [line["step"] for line in step_lines(folder)]
        assert steps == sorted(set(steps))
        assert len(steps) < steps[-1]  # some were lost: training went on without them
        assert newest(folder / "state") == steps[-1]
        assert not list(folder.glob("*/.*.tmp"))


def test_a_run_that_could_not_save_when_it_was_stopped_fails_and_goes_on_from_the_state_before(
    small_disk: Path, fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    log, run = tmp_path / "log", small_disk / "run"
    words = train(run, {**OPTIONS, "data": tiny_data}, groups=1)
    state = run / "group-0/state"
    with running(fast_mpirun, 1, words, log) as launch:
        wait_until(lambda: newest(state), launch)
        with full(small_disk, LINES):
            wait_until(lambda: FULL in log.read_text(), launch)
            launch.send_signal(signal.SIGUSR1)
            assert launch.wait(120) == 1
    saved = newest(state)
    assert re.search(rf"\.h5: {FULL}$", log.read_text(), re.MULTILINE)

    with running(fast_mpirun, 1, words, log) as launch:
        wait_until(lambda: newest(state) > saved, launch)
        launch.send_signal(signal.SIGUSR1)
        assert launch.wait(120) == 75
    assert f"step {saved}" in log.read_text()
    steps = [line["step"] for line in step_lines(run / "group-0")]
    assert steps == list(range(1, newest(state) + 1))


def test_a_disk_that_is_full_from_the_start_is_told_in_one_line(
    small_disk: Path, fast_mpirun: ForkServer
) -> None:
    with full(small_disk):
        done = fast_mpirun(0, "hvcod", "train", "--run-dir", small_disk / "run", check=False)
    assert done.returncode == 1
    assert FULL in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
