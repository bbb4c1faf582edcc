"""Writers beside writers, readers beside both, and clocks that nobody can trust."""

import itertools
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
    OURS,
    about,
    encoded,
    listing,
    model,
    temporaries,
    wait_until,
)

from hvcod.exchange.assemble import Arrival
from hvcod.exchange.poll import Poller
from hvcod.exchange.publish import Publisher
from hvcod.exchange.read import read_checkpoint
from hvcod.files.whole import write_whole
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.steps import checkpoint_path, list_steps


def arrived(poller: Poller, step: int) -> Arrival:
    found: list[Arrival] = []

    def taken() -> bool:
        found.extend(filter(None, [poller.take()]))
        return bool(found) and found[-1].step >= step

    wait_until(taken)
    return found[-1]


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
        closing(Poller({0: tmp_path}, {0: EXPECTED}, OURS)) as poller,
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
    for step in range(1, int(sys.argv[3]) + 1):
        tensors = {f"layer.{i}": torch.full((64, 64), value) for i in range(4)}
        publisher.publish(tensors, about(step, run_id=f"run-{value:g}"))
        publisher.flush()
print(publisher.counters.written)
"""


@pytest.fixture
def rivals(
    tmp_path: Path, scale: Callable[[int, int], int]
) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that publish the same steps of different runs to one directory."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(tmp_path), value, str(scale(12, 40))],
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
    assert sum(int(rival.communicate()[0]) for rival in rivals) >= 12
    assert sum(seen.values()) > 10
    assert temporaries(tmp_path) == []


def test_a_rewritten_file_of_the_same_step_is_whole_or_not_there(tmp_path: Path) -> None:
    """A reader beside a writer that replaces one name all the while: old or new, never a mix."""
    path, enough = checkpoint_path(tmp_path / "files", 50), tmp_path / "enough"
    path.parent.mkdir()
    texts = [
        bytes(encoded({"w": torch.full((256, 256), value)}, about(50))) for value in (1.0, 2.0)
    ]
    expected = specification({"w": torch.ones(256, 256)})
    write_whole(path, texts[0])
    pid = os.fork()
    if pid == 0:
        for turn in itertools.count():
            write_whole(path, texts[turn % 2])
            if enough.exists() or os.getppid() == 1:
                os._exit(0)
    found = []
    for _ in range(60):
        _, tensors = read_checkpoint(path, expected)
        found += torch.unique(tensors["w"]).tolist()
    enough.touch()
    os.waitpid(pid, 0)
    assert len(found) == 60
    assert listing(path.parent) == [path.name]
