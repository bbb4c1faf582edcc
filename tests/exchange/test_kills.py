"""A reader beside writers that are killed at random moments: whole checkpoints or none."""

import contextlib
import subprocess
import sys
from pathlib import Path

import torch
from exchange.publish_and_die import tensors
from exchange.support import OURS, temporaries

from hvcod.exchange.assemble import Arrival
from hvcod.exchange.poll import Poller
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.steps import list_steps

KILLS = 20


def check(arrival: Arrival, last: int) -> int:
    assert arrival.step > last
    assert arrival.origin.step == arrival.step
    for tensor in arrival.tensors.values():
        assert torch.all(tensor == float(arrival.step % 2048))
    return arrival.step


def test_killed_writers_never_leave_a_bad_checkpoint(tmp_path: Path) -> None:
    program = Path(__file__).with_name("publish_and_die.py")
    writer = subprocess.Popen(
        [sys.executable, program, tmp_path, str(KILLS), "7"],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    last, loaded = 0, 0
    with contextlib.closing(Poller({0: tmp_path}, {0: specification(tensors(0))}, OURS)) as poller:
        while writer.poll() is None or last < list_steps(tmp_path)[-1]:
            poller.look(0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(0.005)
            if (arrival := poller.take()) is not None:
                last, loaded = check(arrival, last), loaded + 1
    assert writer.returncode == 0
    assert loaded >= KILLS // 2
    # A checkpoint may be pruned between listing and reading; nothing else may happen.
    assert poller.counters.failures.keys() <= {"ENOENT"}
    assert temporaries(tmp_path) == []
    assert len(list_steps(tmp_path)) <= 3
    assert writer.stdout is not None
    print(f"{loaded} loads beside {KILLS} kills, {writer.stdout.read().strip()} of them mid-file")
