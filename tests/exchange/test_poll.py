"""The poller: whatever a directory holds, the old teacher stays or a whole one comes."""

import errno
import logging
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from exchange.support import EXPECTED, about, checkpoint, crafted, model, put, wait_until

from hvcod.exchange import poll, read
from hvcod.exchange.directory import checkpoint_path
from hvcod.exchange.poll import Arrival, Failure, Poller
from hvcod.exchange.publish import Publisher
from hvcod.exchange.read import decode

Start = Callable[..., Poller]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a poller of the given groups' directories (`tmp_path` / number)."""
    pollers = []

    def begin(*groups: int) -> Poller:
        directories = {group: tmp_path / str(group) for group in groups or (0,)}
        pollers.append(Poller(directories, EXPECTED, "run-1"))
        return pollers[-1]

    yield begin
    for poller in pollers:
        assert poller.close()


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    (tmp_path / "0").mkdir()
    return tmp_path / "0"


def arrival_of(poller: Poller) -> Arrival:
    found: list[Arrival] = []

    def arrived() -> bool:
        if (arrival := poller.take()) is not None:
            found.append(arrival)
        return bool(found)

    wait_until(arrived)
    return found[0]


def wait_for_failure(poller: Poller, cause: str) -> None:
    wait_until(lambda: poller.counters.failures[cause])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_the_highest_step_arrives(teacher: Path, start: Start) -> None:
    for step in (50, 150, 100):
        put(teacher, step)
    os.utime(checkpoint_path(teacher, 50), None)  # the latest by its time, not by its step
    poller = start()
    poller.look(0)
    arrival = arrival_of(poller)
    assert (arrival.group, arrival.step, arrival.metadata.step) == (0, 150, 150)
    assert arrival.metadata.examples == 150 * 128
    assert torch.equal(arrival.tensors["lstm.0.weight"], torch.full((8, 4), 150.0).half())
    assert arrival.tensors["norm.num_batches_tracked"] == 7
    assert poller.take() is None
    assert (poller.counters.listings, poller.counters.loaded) == (1, 1)


def test_nothing_happens_without_a_look(teacher: Path, start: Start) -> None:
    put(teacher, 50)
    poller = start()
    time.sleep(0.2)
    assert poller.take() is None
    assert poller.counters.listings == 0


def test_a_look_that_found_something_ends(teacher: Path, start: Start) -> None:
    put(teacher, 50)
    poller = start()
    poller.look(0)
    arrival_of(poller)
    put(teacher, 100)
    time.sleep(0.4)
    assert poller.take() is None
    poller.look(0)
    assert arrival_of(poller).step == 100


def test_a_look_goes_on_until_something_newer_is_there(teacher: Path, start: Start) -> None:
    put(teacher, 50)
    poller = start()
    poller.look(0)
    arrival_of(poller)
    poller.look(0)
    wait_until(lambda: poller.counters.listings >= 3)
    assert poller.take() is None
    put(teacher, 100)
    assert arrival_of(poller).step == 100


def test_waiting_is_not_busy(teacher: Path, start: Start) -> None:
    poller = start()
    poller.look(0)
    time.sleep(1.5)
    # 0.05 s doubling, each from half to one and a half of it.
    assert 2 <= poller.counters.listings <= 8


def test_a_new_look_starts_at_once(
    teacher: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "_FIRST_PAUSE", 60.0)
    poller = start()
    poller.look(0)
    wait_until(lambda: poller.counters.listings == 1)
    put(teacher, 50)
    poller.look(0)
    assert arrival_of(poller).step == 50


def loaded(poller: Poller, count: int) -> bool:
    return poller.counters.loaded == count


def test_the_newest_replaces_what_nobody_took(teacher: Path, start: Start) -> None:
    poller = start()
    for step in (50, 100, 150):
        put(teacher, step)
        poller.look(0)
        wait_until(partial(loaded, poller, step // 50))
    assert arrival_of(poller).step == 150
    assert poller.take() is None
    assert poller.counters.replaced == 2


def test_each_teacher_has_its_own_slot(tmp_path: Path, start: Start) -> None:
    for group in (1, 2):
        put(tmp_path / str(group), 50, checkpoint(50, group=group))
    poller = start(1, 2, 3)
    poller.look(0)
    assert {arrival_of(poller).group, arrival_of(poller).group} == {1, 2}
    put(tmp_path / "3", 100, checkpoint(100, group=3))
    arrival = arrival_of(poller)
    assert (arrival.group, arrival.step) == (3, 100)


def test_what_is_older_than_asked_for_is_taken_but_does_not_end_the_look(
    tmp_path: Path, start: Start
) -> None:
    put(tmp_path / "0", 100)
    poller = start()
    poller.look(150)
    assert arrival_of(poller).step == 100
    put(tmp_path / "0", 150)  # the teacher is a little slower
    assert arrival_of(poller).step == 150


def test_a_teacher_that_does_not_exist_yet_is_no_warning(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hvcod.exchange")
    poller = start()
    poller.look(0)
    wait_until(lambda: poller.counters.failures["ENOENT"] >= 2)
    put(tmp_path / "0", 50)
    assert arrival_of(poller).step == 50
    assert warnings(caplog) == []
    assert len(caplog.records) == 1


def reference(file: h5py.File) -> None:
    del file["lstm.0.weight"]
    file.create_dataset("lstm.0.weight", (8, 4), h5py.ref_dtype)


def wide(file: h5py.File) -> None:
    del file["lstm.0.weight"]
    file["lstm.0.weight"] = np.zeros((8, 5), "<f2")
    file["lstm.0.weight"].attrs["source_dtype"] = np.bytes_(b"float32")


BAD = {
    "empty": (b"", "damaged", "cut short"),
    "short": (checkpoint(100)[:-1], "damaged", "bytes after its header"),
    "text": (b"no checkpoint" * 100, "damaged", "does not begin"),
    "flipped": (checkpoint(100)[:-9] + b"12345678\n", "damaged", "SHA-256"),
    "other run": (checkpoint(100, run_id="run-0"), "refused", "belongs to run 'run-0'"),
    "other group": (checkpoint(100, group=4), "refused", "step 100 of group 4"),
    "renamed": (checkpoint(99), "refused", "step 99 of group 0"),
    "forbidden": (crafted(reference, 100), "refused", "object references"),
    "other shape": (crafted(wide, 100), "refused", "tensor lstm.0.weight has shape"),
    "too large": (b"\0" * 200_000, "refused", "has 200000 bytes, more than the"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_read_once_and_the_next_older_one_taken(
    case: str, teacher: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    data, cause, reason = BAD[case]
    put(teacher, 50)
    bad = put(teacher, 100, data)
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    poller.look(0)
    wait_until(lambda: poller.counters.listings >= 4)
    assert dict(poller.counters.failures) == {cause: 1}
    (line,) = warnings(caplog)
    assert str(bad) in line
    assert reason in line
    put(teacher, 150)
    assert arrival_of(poller).step == 150


def not_a_number(file: h5py.File) -> None:
    file["lstm.0.bias"][3] = np.nan


def infinite(file: h5py.File) -> None:
    file["lstm.0.weight"][7, 3] = -np.inf


@pytest.mark.parametrize(
    ("change", "name"), [(not_a_number, "lstm.0.bias"), (infinite, "lstm.0.weight")]
)
def test_a_teacher_that_holds_nan_is_refused(
    change: Callable[[h5py.File], None], name: str, teacher: Path, start: Start
) -> None:
    put(teacher, 50)
    bad = put(teacher, 100, crafted(change, 100))
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    reason = f"{bad}: tensor {name} holds NaN or infinite values"
    assert poller.failures == {0: {"refused": Failure(1, reason)}}


def test_only_what_is_newer_than_held_is_taken(tmp_path: Path, start: Start) -> None:
    for group in (1, 2):
        for step in (50, 100):
            put(tmp_path / str(group), step, checkpoint(step, group=group))
    poller = start(1, 2)
    poller.hold({1: 100})
    poller.look(0)
    assert (arrival_of(poller).group, poller.take()) == (2, None)
    put(tmp_path / "1", 150, checkpoint(150, group=1))
    assert arrival_of(poller).step == 150


def test_failures_are_kept_by_group_with_the_last_reason(tmp_path: Path, start: Start) -> None:
    for step in (50, 100):
        put(tmp_path / "1", step, b"")
    put(tmp_path / "2", 50, checkpoint(50, group=2))
    poller = start(1, 2)
    poller.look(0)
    assert arrival_of(poller).group == 2
    wait_until(lambda: poller.counters.failures["damaged"] == 2)
    last = checkpoint_path(tmp_path / "1", 50)
    reason = f"{last}: cut short: 0 bytes, less than its header"
    assert poller.failures == {1: {"damaged": Failure(2, reason)}, 2: {}}


def make_link(path: Path) -> None:
    path.symlink_to(put(path.parent / "elsewhere", 100))


@pytest.mark.parametrize("make", [make_link, os.mkfifo, Path.mkdir])
def test_what_is_no_regular_file_is_refused(
    make: Callable[[Path], None], teacher: Path, start: Start
) -> None:
    make(checkpoint_path(teacher, 100))
    put(teacher, 50)
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    assert dict(poller.counters.failures) == {"irregular": 1}


def test_a_file_that_vanishes_after_the_listing(
    teacher: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(teacher, 50)
    monkeypatch.setattr(poll, "list_steps", lambda directory: [50, 100])
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    assert dict(poller.counters.failures) == {"ENOENT": 1}
    put(teacher, 100)
    poller.look(0)
    assert arrival_of(poller).step == 100


def test_a_stale_handle_is_tried_again(
    teacher: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(teacher, 50)
    readable = read.read_checkpoint
    stale = [OSError(errno.ESTALE, os.strerror(errno.ESTALE)) for _ in range(3)]

    def flaky(path: Path, expected: object) -> object:
        if stale:
            raise stale.pop()
        return readable(path, EXPECTED)

    monkeypatch.setattr(poll, "read_checkpoint", flaky)
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    assert dict(poller.counters.failures) == {"ESTALE": 3}
    assert len(warnings(caplog)) == 1


def test_no_permission_costs_freshness_only(caplog: pytest.LogCaptureFixture) -> None:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    put(directory, 50).chmod(0o644)
    put(directory, 100).chmod(0o000)
    user = os.geteuid()
    decode(checkpoint(), EXPECTED)  # starts the process that reads, while this user may
    poller = Poller({0: directory}, EXPECTED, "run-1")
    try:
        if user == 0:
            os.seteuid(65534)  # root may read everything
        poller.look(0)
        assert arrival_of(poller).step == 50
        assert dict(poller.counters.failures) == {"EACCES": 1}
        assert "step-00000100.h5: Permission denied" in caplog.text
    finally:
        os.seteuid(user)
        poller.close()
        shutil.rmtree(directory)


def test_a_directory_that_cannot_be_listed_is_a_warning(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0").write_text("no directory")
    poller = start()
    poller.look(0)
    wait_until(lambda: poller.counters.failures["ENOTDIR"] >= 2)
    assert warnings(caplog) == [
        f"nothing fresher from group 0: {tmp_path / '0'}: Not a directory (logged once)"
    ]


def test_a_vanished_directory_costs_freshness_only(teacher: Path, start: Start) -> None:
    put(teacher, 50)
    poller = start()
    poller.look(0)
    arrival_of(poller)
    shutil.rmtree(teacher)
    poller.look(0)
    wait_for_failure(poller, "ENOENT")
    put(teacher, 100)
    assert arrival_of(poller).step == 100


def test_close_wakes_a_sleeping_poller(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "_FIRST_PAUSE", 60.0)
    poller = Poller({0: teacher}, EXPECTED, "run-1")
    poller.look(0)
    wait_until(lambda: poller.counters.listings)
    begun = time.monotonic()
    assert poller.close()
    assert time.monotonic() - begun < 5


def test_close_gives_up_on_a_file_system_that_hangs(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang(directory: Path) -> list[int]:
        hanging.set()
        assert release.wait(20)
        return []

    monkeypatch.setattr(poll, "list_steps", hang)
    poller = Poller({0: teacher}, EXPECTED, "run-1")
    poller.look(0)
    assert hanging.wait(20)
    begun = time.monotonic()
    poller.look(0)
    assert poller.take() is None
    assert time.monotonic() - begun < 0.1
    assert not poller.close(timeout=0.1)
    release.set()
    assert poller.close()


def test_a_mistake_in_the_program_surfaces_in_the_training_thread(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "list_steps", lambda directory: None)
    poller = Poller({0: teacher}, EXPECTED, "run-1")
    poller.look(0)
    wait_until(lambda: not poller._worker._thread.is_alive())
    for call in (lambda: poller.look(0), poller.take, poller.close):
        with pytest.raises(TypeError):
            call()


def test_polling_leaves_the_random_numbers_of_the_training_alone(
    teacher: Path, start: Start
) -> None:
    random.seed(5)
    expected = [random.random() for _ in range(3)]
    random.seed(5)
    poller = start()
    poller.look(0)
    wait_until(lambda: poller.counters.listings >= 3)
    assert [random.random() for _ in range(3)] == expected


def test_publisher_and_poller_together(tmp_path: Path, start: Start) -> None:
    poller = start()
    with closing(Publisher(tmp_path / "0")) as publisher:
        for step in range(1, 30):
            publisher.publish(model(step), about(step))
            poller.look(0)
            arrival = arrival_of(poller)
            assert arrival.step == step
            assert torch.equal(arrival.tensors["lstm.0.bias"], torch.full((8,), float(step)).half())
    assert poller.counters.failures.keys() <= {"ENOENT"}
