"""The poller: whatever a directory holds, the old teacher stays or a whole one comes."""

import logging
import os
import random
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import torch
from exchange.support import (
    EXPECTED,
    OURS,
    Start,
    about,
    arrival_of,
    checkpoint,
    model,
    put,
    wait_until,
    warnings,
)

from hvcod.exchange import poll
from hvcod.exchange.poll import Poller
from hvcod.exchange.publish import Publisher
from hvcod.tensorfile.steps import Published, checkpoint_path


def test_the_highest_step_arrives(teacher: Path, start: Start) -> None:
    for step in (50, 150, 100):
        put(teacher, step)
    os.utime(checkpoint_path(teacher, 50), None)  # the latest by its time, not by its step
    poller = start()
    poller.look(0)
    arrival = arrival_of(poller)
    assert (arrival.group, arrival.step, arrival.origin.step) == (0, 150, 150)
    assert arrival.origin.examples == 150 * 128
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
    wait_until(lambda: poller.counters.listings >= 2)
    time.sleep(1.5)
    # 0.05 s doubling, each from half to one and a half of it.
    assert poller.counters.listings <= 9


def test_a_new_look_starts_at_once(
    teacher: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "_FIRST_PAUSE", 600.0)
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


def test_only_what_is_newer_than_held_is_taken(tmp_path: Path, start: Start) -> None:
    for group in (1, 2):
        for step in (50, 100):
            put(tmp_path / str(group), step, checkpoint(step, group=group))
    poller = start(1, 2, held={1: 100})
    poller.look(0)
    assert (arrival_of(poller).group, poller.take()) == (2, None)
    put(tmp_path / "1", 150, checkpoint(150, group=1))
    assert arrival_of(poller).step == 150


def test_close_wakes_a_sleeping_poller(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "_FIRST_PAUSE", 600.0)
    poller = Poller({0: teacher}, {0: EXPECTED}, OURS)
    poller.look(0)
    wait_until(lambda: poller.counters.listings)
    begun = time.monotonic()
    assert poller.close()
    assert time.monotonic() - begun < 300


def test_close_gives_up_on_a_file_system_that_hangs(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang(directory: Path) -> Published:
        hanging.set()
        assert release.wait(20)
        return Published([], [])

    monkeypatch.setattr(poll, "list_published", hang)
    poller = Poller({0: teacher}, {0: EXPECTED}, OURS)
    poller.look(0)
    assert hanging.wait(20)
    poller.look(0)
    assert poller.take() is None
    assert not poller.close(timeout=0.1)
    release.set()
    assert poller.close()


def test_a_mistake_in_the_program_surfaces_in_the_training_thread(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "list_published", lambda directory: None)
    poller = Poller({0: teacher}, {0: EXPECTED}, OURS)
    poller.look(0)
    wait_until(lambda: not poller._worker._thread.is_alive())
    for call in (lambda: poller.look(0), poller.take, poller.close):
        with pytest.raises(AttributeError):
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
