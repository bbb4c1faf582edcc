"""What disks, networks, clocks and other groups do to a directory: freshness is lost, no more."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from exchange.support import (
    EXPECTED,
    about,
    checkpoint,
    encoded,
    listing,
    model,
    put,
    temporaries,
    wait_until,
)

from hvcod.errors import HvcodError
from hvcod.exchange.directory import checkpoint_path, list_steps, write_new
from hvcod.exchange.format import DamagedError, Metadata, specification
from hvcod.exchange.layout import USER_BLOCK
from hvcod.exchange.poll import Arrival, Poller
from hvcod.exchange.publish import Publisher
from hvcod.exchange.read import decode, read_checkpoint

LARGE = {f"layer.{i}": torch.linspace(0.1, 1.0, 3000) for i in range(6)}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A published checkpoint of some pages."""
    return put(tmp_path, 50, bytes(encoded(dict(LARGE), about(50))))


def boundaries(path: Path) -> set[int]:
    """Where anything begins or ends: header, image, structures, values, blocks of disks."""
    data = path.read_bytes()
    found = {0, 1, 8, 12, 20, 28, 60, USER_BLOCK, USER_BLOCK + 8, USER_BLOCK + 96, len(data)}
    found |= set(range(0, len(data), 4096)) | set(range(0, len(data), 512))
    _, tensors = decode(data, specification(LARGE))
    for tensor in tensors.values():
        start = int(tensor.storage_offset()) * tensor.itemsize
        found |= {start, start + tensor.nbytes}
    for signature in (b"OHDR", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"FSHD", b"FSSE"):
        found |= {p for p in range(len(data)) if data.startswith(signature, p)}
    return found


def test_a_file_cut_at_any_boundary_is_damage(large: Path) -> None:
    data = large.read_bytes()
    places = {p + d for p in boundaries(large) for d in (-1, 0, 1)}
    lengths = sorted(p for p in places if 0 <= p < len(data))
    assert len(lengths) > 200
    for length in lengths:
        large.write_bytes(data[:length])
        with pytest.raises(DamagedError):
            read_checkpoint(large, specification(LARGE))


@pytest.mark.parametrize("size", [512, 4096])
def test_a_zeroed_block_is_damage(large: Path, size: int) -> None:
    data = large.read_bytes()
    for start in range(0, len(data), size):
        block = data[start : start + size]
        if not any(block):
            continue
        large.write_bytes(data[:start] + bytes(len(block)) + data[start + size :])
        with pytest.raises(DamagedError):
            read_checkpoint(large, specification(LARGE))


def test_a_block_of_another_generation_is_damage(large: Path) -> None:
    """A network file system that gives old and new pages of a file that was replaced."""
    new = bytes(encoded({name: 2 * values for name, values in LARGE.items()}, about(50)))
    old = large.read_bytes()
    assert len(new) == len(old)
    for start in range(0, len(old), 4096):
        mixed = old[:start] + new[start : start + 4096] + old[start + 4096 :]
        if mixed == old:
            continue
        large.write_bytes(mixed)
        with pytest.raises(DamagedError):
            read_checkpoint(large, specification(LARGE))


def arrived(poller: Poller, step: int) -> Arrival:
    found: list[Arrival] = []

    def taken() -> bool:
        found.extend(filter(None, [poller.take()]))
        return bool(found) and found[-1].step >= step

    wait_until(taken)
    return found[-1]


def reads_are(poller: Poller, count: int) -> bool:
    return poller.counters.loaded + sum(poller.counters.failures.values()) == count


def another_architecture(step: int) -> bytes:
    return bytes(encoded(model() | {"lstm.1.weight": torch.ones(4, 4)}, about(step)))


def another_vocabulary(step: int) -> bytes:
    return bytes(encoded(model() | {"lstm.0.weight": torch.ones(9, 4)}, about(step)))


def another_kind(step: int) -> bytes:
    return bytes(encoded(model() | {"norm.num_batches_tracked": torch.tensor(1.0)}, about(step)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (another_architecture, "tensor lstm.1.weight is not in the local model"),
        (another_vocabulary, "tensor lstm.0.weight has shape (9, 4); the local model's is (8, 4)"),
        (another_kind, "tensor norm.num_batches_tracked holds float16 values"),
    ],
)
def test_a_teacher_of_another_model_is_refused_and_the_cause_told_once(
    tmp_path: Path,
    make: Callable[[int], bytes],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(Poller({0: tmp_path}, EXPECTED, "run-1")) as poller:
        for step in range(50, 550, 50):
            put(tmp_path, step, make(step))
            poller.look(step)
            wait_until(partial(reads_are, poller, step // 50))
        assert poller.take() is None
        (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert f"{checkpoint_path(tmp_path, 50)}: {reason}" in line
        assert poller.failures[0]["refused"].count == 10


def test_each_cause_is_told_once_however_often_it_is_met(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Poller({0: tmp_path}, EXPECTED, "run-1")) as poller:
        for step in range(1, 31):
            data = checkpoint(step)
            put(tmp_path, step, (data[:-1], checkpoint(step, run_id="x"), data)[step % 3])
            poller.look(step)
            wait_until(partial(reads_are, poller, step))
        assert dict(poller.counters.failures) == {"damaged": 10, "refused": 10}
        assert arrived(poller, 29).step == 29
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2


def test_clocks_that_run_backwards_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the times of files nor the system's clock decide what is fresher or an orphan."""
    stranger = tmp_path / ".step-00000007.h5.none@elsewhere@1.tmp"
    stranger.touch()
    os.utime(stranger, (time.time() + 9e4, time.time() + 9e4))
    orphan = tmp_path / f".step-00000008.h5.none@{socket.gethostname()}@{os.getpid()}.tmp"
    orphan.touch()
    now = time.time()
    with (
        closing(Publisher(tmp_path, keep=3)) as publisher,
        closing(Poller({0: tmp_path}, EXPECTED, "run-1")) as poller,
    ):
        for step in range(1, 11):
            monkeypatch.setattr(time, "time", partial(float, now - 86_400 * step))
            publisher.publish(model(step), about(step))
            assert publisher.flush()
            os.utime(checkpoint_path(tmp_path, step), (now - 86_400 * step,) * 2)
            poller.look(step)
            assert arrived(poller, step).step == step
        assert list_steps(tmp_path) == [8, 9, 10]
    assert stranger.exists()
    assert not orphan.exists()


RIVAL = """
import sys
from contextlib import closing
from pathlib import Path
import torch
from exchange.support import about
from hvcod.exchange.publish import Publisher
torch.set_num_threads(1)
value = float(sys.argv[2])
with closing(Publisher(Path(sys.argv[1]))) as publisher:
    for step in range(1, 41):
        tensors = {f"layer.{i}": torch.full((64, 64), value) for i in range(4)}
        publisher.publish(tensors, about(step, run_id=f"run-{value:g}"))
        publisher.flush()
print(publisher.counters.written)
"""


@pytest.fixture
def rivals(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that publish the same steps of different runs to one directory."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(tmp_path), value],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for value in ("1", "2")
    ]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_two_publishers_on_one_directory_never_mix_their_weights(
    tmp_path: Path, rivals: list[subprocess.Popen[str]]
) -> None:
    """A mistake that hvcod train prevents; even so each file is one run's or the other's."""
    expected = {f"layer.{i}": torch.ones(64, 64) for i in range(4)}
    seen = {1.0: 0, 2.0: 0}
    while any(rival.poll() is None for rival in rivals):
        for step in list_steps(tmp_path):
            with suppress(FileNotFoundError):
                metadata, tensors = read_checkpoint(
                    checkpoint_path(tmp_path, step), specification(expected)
                )
                value = float(metadata.run_id.removeprefix("run-"))
                assert metadata.step == step
                assert all(bool((tensor == value).all()) for tensor in tensors.values())
                seen[value] += 1
    assert [rival.returncode for rival in rivals] == [0, 0]
    # Now and then both find the name free: then the second file replaces the first as a whole.
    assert sum(int(rival.communicate()[0]) for rival in rivals) >= 40
    assert sum(seen.values()) > 20
    assert temporaries(tmp_path) == []


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))  # reads as zeroes without end
    except PermissionError:
        pytest.skip("no right to make device nodes")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has to be short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("make", [make_device, make_socket])
def test_devices_and_sockets_are_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = checkpoint_path(tmp_path, 50)
    make(path)
    with pytest.raises((HvcodError, OSError), match=r"not a regular file|No such device"):
        read_checkpoint(path, EXPECTED)


def test_a_directory_full_of_rubbish_costs_one_look_each(tmp_path: Path) -> None:
    """A thousand bad names newer than the good one: it is still found, and they are read once."""
    put(tmp_path, 1)
    for step in range(2, 1002):
        checkpoint_path(tmp_path, step).write_bytes(b"rubbish")
    with closing(Poller({0: tmp_path}, EXPECTED, "run-1")) as poller:
        poller.look(0)
        assert arrived(poller, 1).step == 1
        poller.look(0)
        wait_until(lambda: poller.counters.listings >= 4)
        assert dict(poller.counters.failures) == {"damaged": 1000}


def test_a_rewritten_file_of_the_same_step_is_whole_or_not_there(tmp_path: Path) -> None:
    """A reader beside a writer that replaces one name over and over: old or new, never a mix."""
    path = checkpoint_path(tmp_path, 50)
    texts = [
        bytes(encoded({"w": torch.full((256, 256), value)}, about(50))) for value in (1.0, 2.0)
    ]
    expected = specification({"w": torch.ones(256, 256)})
    write_new(path, memoryview(texts[0]))
    pid = os.fork()
    if pid == 0:
        for turn in range(300):
            write_new(path, memoryview(texts[turn % 2]), replace=True)
        os._exit(0)
    reads = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        _, tensors = read_checkpoint(path, expected)
        assert len(torch.unique(tensors["w"])) == 1
        reads += 1
    assert reads > 10
    assert listing(tmp_path) == [path.name]


def test_metadata_of_a_lie_is_not_believed(tmp_path: Path) -> None:
    """A file that says it is another group's, under this one's name."""
    lie = Metadata("run-1", "t", 3, 50, 1, None, "", "0")
    path = put(tmp_path, 50, bytes(encoded(model(), lie)))
    with closing(Poller({0: tmp_path}, EXPECTED, "run-1")) as poller:
        poller.look(0)
        wait_until(lambda: poller.counters.failures["refused"])
        assert poller.take() is None
        reason = f"{path}: is step 50 of group 3 by its own word"
        assert poller.failures[0]["refused"].last == reason
