"""Variants of the method in combination train, stop at a signal, and go on exactly."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from forkserver.launches import ForkServer
from method.test_variants import SMALL, command, trained_teachers, weights
from method.variants import EXACT, LOCAL, PREDICTIONS, SAMPLED, STORED, Variant
from mpi.test_resume import losses

ENDLESS, LONGER = 1_000_000, 10
"""Steps until the signal, and steps that every group makes after it."""

IN_PROCESS = ("--exchange", "in-process")
MUTUAL = ("--preset", "mutual-learning")
AVERAGE = ("--publish-average", "0.9", "--validate-average")
SELF = (*AVERAGE, "--teach-self")
DILOCO = (*LOCAL, "--outer-learning-rate", "0.7", "--outer-momentum", "0.9")
TEACHER = ("--teacher", "{teacher}")
INT8 = ("--teacher-precision", "int8")
BF16 = ("--teacher-precision", "bf16")

PAIRS = [
    Variant("predictions, mean teacher", (*EXACT, *PREDICTIONS, *SELF), further_ranks=1),
    Variant("predictions, DiLoCo", (*EXACT, *PREDICTIONS, *DILOCO), further_ranks=1),
    Variant(
        "predictions, stored teacher",
        (*EXACT, *PREDICTIONS, *STORED),
        further_ranks=1,
        teachers=1,
        stored=SAMPLED,
    ),
    Variant(
        "predictions, int8, same batches",
        (*EXACT, *PREDICTIONS, *INT8, "--same-batches"),
        further_ranks=1,
    ),
    Variant(
        "predictions, ring",
        (*EXACT, *PREDICTIONS, "--topology", "ring"),
        groups=3,
        further_ranks=1,
    ),
    Variant("in-process, DiLoCo", (*IN_PROCESS, *DILOCO), launched=False),
    Variant("in-process, mean teacher", (*IN_PROCESS, *SELF), launched=False),
    Variant("mutual learning, average, bf16", (*MUTUAL, *AVERAGE, *BF16), launched=False),
    Variant("mutual learning, teacher", (*MUTUAL, *TEACHER), launched=False, teachers=1),
    Variant(
        "in-process, ring, stored teacher, int8",
        (*IN_PROCESS, *STORED, *INT8, "--topology", "ring"),
        groups=3,
        launched=False,
        teachers=1,
        stored=SAMPLED,
    ),
    Variant("local, teacher, bf16", (*EXACT, *LOCAL, *TEACHER, *BF16), teachers=1),
    Variant("smoothing, local", ("--smoothing", "unigram", *LOCAL), groups=1),
    Variant(
        "mean teacher, teacher, kl", (*EXACT, *SELF, *TEACHER, "--distill-loss", "kl"), teachers=1
    ),
    Variant("async, teacher, int8", ("--sgd", "async", *TEACHER, *INT8), repeats=False, teachers=1),
]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("task", list(SMALL))
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_combination_trains_stops_at_a_signal_and_goes_on(
    fast_mpirun: ForkServer,
    data: Mapping[str, Path],
    tmp_path: Path,
    pair: Variant,
    task: str,
) -> None:
    flags = trained_teachers(fast_mpirun, pair, task, data[task], tmp_path)
    # Other schedules depend on the steps of the run.
    flags = [*flags, "--groups", str(pair.groups), "--set", "optimizer.schedule=constant"]
    ranks = pair.groups * (2 + pair.further_ranks) if pair.launched else 0
    run, whole = tmp_path / "run", tmp_path / "whole"

    stopped = stopped_once_taught(
        fast_mpirun, ranks, run, command(task, data[task], run, *flags, "--steps", ENDLESS)
    )
    flags += ["--steps", str(stopped + LONGER)]
    done = fast_mpirun(ranks, *command(task, data[task], run, *flags))
    assert len(weights(done.stdout)) == pair.groups
    if pair.repeats:
        undisturbed = fast_mpirun(ranks, *command(task, data[task], whole, *flags))
        assert weights(done.stdout) == weights(undisturbed.stdout)


def stopped_once_taught(server: ForkServer, ranks: int, run: Path, words: list[object]) -> int:
    """Trains until teachers are there, then sends SIGTERM; returns the steps that were made."""
    launch = server.start(ranks, *words)
    end = time.monotonic() + 300
    while not any(step >= 20 for step, _ in losses(run)):
        assert launch.poll() is None, "the launch has ended"
        assert time.monotonic() < end, "no step is logged"
        time.sleep(0.005)
    for process in launch.processes().values():
        os.kill(process, signal.SIGTERM)
    output, _ = launch.communicate(timeout=300)
    assert launch.returncode == 75
    return max(int(each["steps"]) for each in json.loads(output))
