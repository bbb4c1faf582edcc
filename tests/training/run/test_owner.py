"""A group's folder has one owner: real processes that hold it, die, stop and take over."""

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from exchange.support import wait_until
from tensorfile.test_writer import state_writer
from training.run.own import elsewhere

from hvcod.errors import HvcodError
from hvcod.files.appender import Appender
from hvcod.training.run import owner
from hvcod.training.run.claim import Claim
from hvcod.training.run.owner import NAME, Owner

BEAT, WATCH, GRACE = 0.2, 2.0, 0.5

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def short_times_and_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "PBS_JOBID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"BEAT": BEAT, "WATCH": WATCH, "GRACE": GRACE}.items():
        monkeypatch.setattr(owner, name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "group-0"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts a process that holds the folder."""
    processes = []

    def started(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, HERE / "own.py", folder, str(BEAT), str(WATCH), *words],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "taken\n"
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def claim_of(folder: Path) -> Claim:
    claim = Claim.parse((folder / NAME).read_bytes())
    assert claim is not None
    return claim


def take(folder: Path) -> float:
    """Takes the folder and lets go of it; the seconds that the taking took."""
    begun = time.monotonic()
    held = Owner.take(folder)
    seconds = time.monotonic() - begun
    assert claim_of(folder).pid == os.getpid()
    held.close()
    assert list(folder.iterdir()) == []
    return seconds


def test_nobody_tries_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_TRIES", 3)
    monkeypatch.setattr(owner, "create", lambda path, content: False)
    with pytest.raises(HvcodError, match=r"owner\.json can neither be made nor taken over"):
        Owner.take(folder)


def run(program: str, *words: object) -> str:
    """Returns the output of a program beside this file."""
    command = [sys.executable, str(HERE / program), *map(str, words)]
    done = subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    return done.stdout


def test_the_file_says_who_trains_the_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    held = Owner.take(folder)
    claim = json.loads((folder / NAME).read_text())
    held.close()
    assert claim.keys() == {field.name for field in dataclasses.fields(Claim)}
    assert (claim["pid"], claim["job"], claim["restarts"]) == (os.getpid(), "55", 2)
    assert claim["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert str(Claim(**claim)) == f"process {os.getpid()} on {claim['host']} (job 55)"


def test_a_live_owner_keeps_the_folder_until_it_lets_go(folder: Path, start: Start) -> None:
    process = start()
    message = f"group 0 of {folder.parent} is being trained by process {process.pid} on "
    with pytest.raises(HvcodError, match=f"^{message}.*; stop it first or use another --run-dir$"):
        Owner.take(folder)
    assert claim_of(folder).pid == process.pid
    assert process.communicate()[0] == "closed\n"
    assert take(folder) < GRACE


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_owner_is_succeeded_to_at_once(folder: Path, start: Start, reaped: bool) -> None:
    process = start()
    process.kill()
    if reaped:
        process.wait()
    assert take(folder) < GRACE + 1


def test_an_owner_that_is_still_dying_is_waited_for(folder: Path, start: Start) -> None:
    process = start()
    killer = subprocess.Popen(["sh", "-c", f"sleep {GRACE / 2}; kill -9 {process.pid}"])
    assert take(folder) > GRACE / 4
    killer.wait()


def test_a_number_that_another_process_has_now_is_no_sign_of_life(folder: Path) -> None:
    dead = dataclasses.replace(Claim.here(), born=1)
    (folder / NAME).write_bytes(dead.to_bytes())
    assert take(folder) < GRACE


def test_an_owner_elsewhere_that_lives_is_left_alone(folder: Path, start: Start) -> None:
    process = start("elsewhere")
    with pytest.raises(HvcodError, match=rf"trained by process {process.pid} on node7; stop it"):
        Owner.take(folder)
    assert process.communicate()[0] == "closed\n"


def test_an_owner_elsewhere_that_is_silent_is_succeeded_to(
    folder: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    process = start("elsewhere")
    process.kill()
    with caplog.at_level(logging.INFO, "hvcod"):
        assert WATCH <= take(folder) < 3 * WATCH
    assert caplog.messages == [
        f"group 0 of {folder.parent} was last trained by process {process.pid} on node7, which "
        "cannot be seen from here; waiting 2 s for a sign of life"
    ]


@pytest.mark.parametrize("hours", [-1e4, 1e4])
def test_no_clock_is_believed(folder: Path, start: Start, hours: float) -> None:
    """The file's time is far off, and a touch sets it forward or back: both are signs of life."""
    process = start("elsewhere")
    off = time.time() + hours * 3600
    os.utime(folder / NAME, (off, off))
    with pytest.raises(HvcodError, match=r"is being trained by process"):
        Owner.take(folder)
    process.kill()
    process.wait()
    os.utime(folder / NAME, (off, off))
    assert take(folder) >= WATCH


@pytest.mark.parametrize(("restarts", "at_once"), [("1", True), ("0", False), ("2", True)])
def test_a_restarted_job_knows_that_its_former_life_is_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, restarts: str, at_once: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    with elsewhere():
        former = Claim.here()
    (folder / NAME).write_bytes(former.to_bytes())
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert (take(folder) < WATCH) == at_once


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"id": 3}', b"\xff" * 9, b"[" * 99_999, b"x" * 999_999]
)
def test_what_is_no_claim_is_watched_as_one(
    folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = 2 * GRACE  # nobody lives whose signs of life a busy machine could delay
    monkeypatch.setattr(owner, "WATCH", watch)
    (folder / NAME).write_bytes(content)
    assert take(folder) >= watch


def test_a_claim_that_was_never_written_is_soon_given_up(folder: Path) -> None:
    (folder / NAME).touch()
    assert GRACE <= take(folder) < WATCH


def test_a_claim_that_is_just_being_written_is_waited_for(folder: Path) -> None:
    (folder / NAME).touch()
    with elsewhere():
        claim = Claim.here()
    timer = threading.Timer(GRACE / 3, (folder / NAME).write_bytes, [claim.to_bytes()])
    timer.start()
    with pytest.raises(HvcodError, match=rf"trained by process {claim.pid} on node7; stop it"):
        Owner.take(folder)


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HvcodError, match=r"owner\.json is a symbolic link.*; remove it"):
        Owner.take(folder)


@pytest.mark.parametrize(("everyday", "long", "watch"), [(12, 25, 0.0), (3, 4, 1.0)])
def test_of_those_who_take_over_at_once_one_succeeds(
    folder: Path, scale: Callable[[int, int], int], everyday: int, long: int, watch: float
) -> None:
    rounds = scale(everyday, long)
    out = run("take_at_once.py", rounds, 5, 0.05, watch, folder)
    assert out.splitlines() == ["1 1 0"] * rounds


def test_takers_killed_at_any_moment_block_nobody(folder: Path) -> None:
    out = run("take_again.py", folder, 150, 5)
    assert int(out) > 40
    assert not (folder / NAME).exists()
    assert list(folder.glob("*.mark")) == []
    print(f"{out.strip()} of 150 held the folder when they were killed")


def test_what_killed_takers_left_is_removed_when_it_is_old(folder: Path) -> None:
    old, new = folder / ".owner.json.1.tmp", folder / ".owner.json.2.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 100, time.time() - 100))
    held = Owner.take(folder)
    time.sleep(3 * BEAT)
    held.close()
    assert list(folder.iterdir()) == [new]


def ended(process: subprocess.Popen[str]) -> str:
    """Returns the errors of a process that lost its folder and ended by itself."""
    assert process.wait(timeout=120) == 1
    return process.communicate()[1]


def test_who_was_taken_for_dead_ends_before_two_go_on(folder: Path, start: Start) -> None:
    process = start("elsewhere", "writes")
    metrics = folder / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0)
    process.send_signal(signal.SIGSTOP)
    held = Owner.take(folder)
    written = metrics.read_bytes()
    process.send_signal(signal.SIGCONT)
    errors = ended(process)
    # It looked before it wrote; one line may have been between its look and the disk.
    assert metrics.read_bytes() in (written, written + b"line\n")
    assert errors == (
        f"hvcod: group 0 of {folder.parent} was taken from this launch, which ends: "
        f"{claim_of(folder)} trains it now\n"
    )
    time.sleep(2 * BEAT)
    assert claim_of(folder).pid == os.getpid()
    held.close()


def test_an_owner_ends_when_its_folder_is_deleted(folder: Path, start: Start) -> None:
    process = start()
    shutil.rmtree(folder)
    assert f"which ends: {folder / NAME} was deleted" in ended(process)


def test_a_file_system_that_fails_for_a_while_is_borne(folder: Path, start: Start) -> None:
    process = start()
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.touch()  # now every access fails with ENOTDIR
    time.sleep(8 * BEAT)
    folder.unlink()
    aside.rename(folder)
    before = (folder / NAME).stat().st_mtime_ns
    time.sleep(4 * BEAT)
    assert (folder / NAME).stat().st_mtime_ns > before
    out, errors = process.communicate()
    assert out == "closed\n"
    assert errors == f"cannot touch {folder / NAME}: Not a directory; will keep trying\n"
    assert list(folder.iterdir()) == []


def test_a_new_owner_is_told_from_the_one_that_let_go(folder: Path, start: Start) -> None:
    start()  # lets go of nothing
    first = claim_of(folder)
    (folder / NAME).unlink()
    second = start()
    assert claim_of(folder).id != first.id
    assert claim_of(folder).pid == second.pid


def test_an_empty_claim_with_an_empty_mark_is_succeeded_to(folder: Path) -> None:
    """Left by two processes that were killed just before they wrote their claims."""
    (folder / NAME).touch()
    seen = owner._look(folder / NAME)
    assert seen is not None
    (folder / seen.mark).touch()
    assert GRACE <= take(folder) < WATCH


def test_claims_that_name_each_other_end_in_a_line(folder: Path) -> None:
    content = Claim.here().to_bytes()
    (folder / NAME).write_bytes(content)
    (folder / owner.Seen(NAME, content, 0).mark).write_bytes(content)
    with pytest.raises(HvcodError, match=r"the files \.owner\* in .* name each other: remove them"):
        Owner.take(folder)


def test_a_pipe_in_the_place_of_a_mark_ends_in_a_line(folder: Path) -> None:
    dead = dataclasses.replace(Claim.here(), born=1).to_bytes()
    (folder / NAME).write_bytes(dead)
    os.mkfifo(folder / owner.Seen(NAME, dead, 0).mark)
    with pytest.raises(HvcodError, match=r"\.mark is not a regular file; remove it"):
        Owner.take(folder)


def test_a_folder_behind_a_link_is_not_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").symlink_to(folder.parent)  # the run itself may be one
    (folder.parent / "group-1").symlink_to(folder)
    with pytest.raises(OSError, match="group-1 is a symbolic link: put what"):
        Owner.take(tmp_path / "scratch/group-1")
    held = Owner.take(tmp_path / "scratch/group-0")
    held.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("level", ["run", "group"])
def test_a_run_that_is_moved_away_touches_nothing_in_another(
    folder: Path, tmp_path: Path, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = Owner.take(folder)
    record = Appender(folder / "metrics.jsonl")
    moved = tmp_path / "moved"
    (folder if level == "group" else folder.parent).rename(moved)
    mine = moved if level == "group" else moved / folder.name
    theirs = {NAME: Claim.here().to_bytes(), "metrics.jsonl": b"", "state/step-00000050.h5": b"x"}
    for name, content in theirs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    record.append(b"line\n")
    with closing(state_writer(folder / "state", keep=1)) as writer:
        for step in (60, 70):
            writer.write(step, b"state")
            assert writer.flush()
    wait_until(lambda: held.moved != "")
    held.close()
    assert f"{folder} was moved away while it was trained" in caplog.text
    assert f"its last state is saved where it is now ({mine})" in held.moved
    assert {name: (folder / name).read_bytes() for name in theirs} == theirs
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == sorted(
        Path(name).name for name in theirs
    )
    assert (mine / "metrics.jsonl").read_bytes() == b"line\n"
    assert [path.name for path in (mine / "state").iterdir()] == ["step-00000070.h5"]
    assert not (mine / NAME).exists()
