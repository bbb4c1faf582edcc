"""libhdf5 in a process of its own: whatever becomes of it, the training goes on."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange.support import checkpoint, wait_until

from hvcod.tensorfile import inspector as module
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.inspector import Inspector

GOOD = memoryview(checkpoint())


@pytest.fixture
def inspector() -> Iterator[Inspector]:
    made = Inspector()
    yield made
    made.close()


def process_of(inspector: Inspector) -> int:
    assert inspector._process is not None
    return inspector._process.pid


def is_alive(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def test_one_process_reads_file_after_file(inspector: Inspector) -> None:
    first = inspector.inspect(GOOD)
    process = process_of(inspector)
    assert inspector.inspect(GOOD) == first
    assert process_of(inspector) == process
    assert first["attributes"]["run_id"] == "run-1"
    assert [entry["name"] for entry in first["tensors"]] == [
        "lstm.0.weight",
        "lstm.0.bias",
        "norm.num_batches_tracked",
    ]


def test_it_needs_neither_torch_nor_mpi(inspector: Inspector) -> None:
    inspector.inspect(GOOD)
    maps = Path(f"/proc/{process_of(inspector)}/maps").read_text()
    assert "libhdf5" in maps
    assert "libtorch" not in maps
    assert "libmpi" not in maps


def test_one_that_somebody_killed_is_replaced(inspector: Inspector) -> None:
    first = inspector.inspect(GOOD)
    for _ in range(3):
        os.kill(process_of(inspector), signal.SIGKILL)
        assert inspector.inspect(GOOD) == first


def test_a_file_that_kills_it_is_refused_and_the_next_one_read(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = module._exchange

    def dying(process: subprocess.Popen[bytes], data: memoryview) -> bytes:
        if bytes(data) == b"deadly":
            process.send_signal(signal.SIGSEGV)
        return exchange(process, data)

    monkeypatch.setattr(module, "_exchange", dying)
    with pytest.raises(RefusedError, match=r"libhdf5 dies \(-11\) when it reads its image"):
        inspector.inspect(memoryview(b"deadly"))
    assert inspector.inspect(GOOD)["attributes"]["step"] == 50


def test_one_that_hangs_is_given_up() -> None:
    inspector = Inspector(patience=2.0)
    try:
        inspector.inspect(GOOD)
        hanging = process_of(inspector)
        os.kill(hanging, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(RefusedError, match="libhdf5 takes over 2 s to read its image"):
            inspector.inspect(GOOD)
        assert time.monotonic() - begun < 10
        assert not is_alive(hanging)
        assert inspector.inspect(GOOD)["attributes"]["step"] == 50
    finally:
        inspector.close()


def test_the_signals_of_a_batch_system_leave_it_alone(inspector: Inspector) -> None:
    inspector.inspect(GOOD)
    process = process_of(inspector)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        os.kill(process, number)
    inspector.inspect(GOOD)
    assert process_of(inspector) == process


OWNER = """
import sys, time
from exchange.support import checkpoint
from hvcod.tensorfile.inspector import inspector
inspector.inspect(memoryview(checkpoint()))
print(inspector._process.pid, flush=True)
time.sleep(600 if sys.argv[1] == "stay" else 0)
"""


@pytest.mark.parametrize("end", ["stay", "leave"])
def test_it_ends_with_its_owner(end: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", OWNER, end],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stderr is not None
    process = int(owner.stdout.readline())
    if end == "stay":
        owner.kill()
    assert owner.wait(20) == (-signal.SIGKILL if end == "stay" else 0)
    assert owner.stderr.read() == ""
    wait_until(lambda: not is_alive(process))


def test_one_that_cannot_be_started_may_be_startable_later(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(OSError, match="does not start: Too many open files"):
        inspector.inspect(GOOD)
    monkeypatch.undo()
    assert inspector.inspect(GOOD)["attributes"]["step"] == 50


def test_an_interpreter_that_does_not_get_going_is_no_files_fault(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROGRAM", "raise SystemExit(3)")
    with pytest.raises(OSError, match=r"does not start: it ends with 3"):
        inspector.inspect(GOOD)
    monkeypatch.undo()
    assert inspector.inspect(GOOD)["attributes"]["step"] == 50


def test_an_answer_without_end_is_cut_off(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = "import sys; print('ready')\nwhile True: sys.stdout.write('x' * 65536)"
    monkeypatch.setattr(module, "_PROGRAM", flood)
    with pytest.raises(RefusedError, match="libhdf5 dies"):
        inspector.inspect(GOOD)


@pytest.mark.parametrize("line", [b"nonsense\n", b"[" * 100_000 + b"\n", b"5\n"])
def test_an_answer_that_was_made_up_is_refused(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.setattr(module, "_exchange", lambda process, data: line)
    with pytest.raises(RefusedError, match="tells nonsense"):
        inspector.inspect(GOOD)


def test_it_cannot_take_much_memory(inspector: Inspector) -> None:
    inspector.inspect(GOOD)
    soft, _ = resource.prlimit(process_of(inspector), resource.RLIMIT_AS)
    held = int(Path(f"/proc/{process_of(inspector)}/statm").read_text().split()[0])
    assert soft < held * resource.getpagesize() + 70 * 2**20


def test_threads_take_turns(inspector: Inspector) -> None:
    first = inspector.inspect(GOOD)
    answers: list[object] = []

    def ask() -> None:
        answers.extend(inspector.inspect(GOOD) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [first] * 80
