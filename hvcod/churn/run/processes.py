"""Retrains without ranks: every group of a retrain is a process of its own on this machine.

Groups share nothing but the run directory, so they can be launches of one process each; no MPI
launcher is needed. Nothing that starts MPI may be imported in this file: what it leaves behind in
the environment would make its children take themselves for ranks.
"""

import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TypeVar

from hvcod.churn.run.retrains import Retrain
from hvcod.config import Duration, TrainOptions
from hvcod.errors import PREEMPTED, HvcodError, UsageError
from hvcod.progress import silently
from hvcod.training.signals import SIGNALS, StopSignals

Result = TypeVar("Result")

_SECONDS_TO_END = 60.0


class Processes:
    """Processes of this machine, forked from one that has torch in memory.

    Args:
        at_once: Retrains at the same time.
        ranks_per_group: Of each group of a retrain: one.

    Raises:
        UsageError: Groups of several ranks are wanted.
    """

    is_root = True

    def __init__(self, at_once: int, ranks_per_group: int) -> None:
        if ranks_per_group > 1:
            raise UsageError(
                f"--ranks-per-group {ranks_per_group}: groups of several ranks need a launcher, "
                "such as mpirun -np 8 hvcod churn run ..."
            )
        self._at_once, self._begun = at_once, time.monotonic()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "h5py"])
        forkserver.ensure_running()
        self._running: Sequence[BaseProcess] = ()
        self._told = False
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def decide(self, function: Callable[[], Result]) -> Result:
        """What a function says."""
        return function()

    def at_once(self, groups: int) -> int:
        """How many retrains are trained at the same time, whatever their groups."""
        return self._at_once

    def train(self, retrains: Sequence[Retrain]) -> bool:
        """Trains retrains of one method at the same time, from where they stopped.

        Returns:
            Whether all of them came to their end; else they were preempted and have saved.

        Raises:
            HvcodError: One failed; it has said why.
        """
        groups = retrains[0].method.groups
        threads = max(1, len(os.sched_getaffinity(0)) // (len(retrains) * groups))
        names = {
            self._context.Process(
                target=_train_group, args=(self._options(retrain, group), threads)
            ): retrain.name
            for retrain in retrains
            for group in range(groups)
        }
        try:
            for process in names:
                process.start()
            self._running = list(names)
            if self._told:
                self._tell()
            self._wait(names)
        finally:
            self._end()
        return all(process.exitcode == 0 for process in names)

    def _options(self, retrain: Retrain, group: int) -> TrainOptions:
        options = retrain.options
        left = options.time_limit
        if left is not None:
            left = Duration(max(1.0, left - (time.monotonic() - self._begun)))
        only = group if retrain.method.groups > 1 else None
        return dataclasses.replace(options, group=only, time_limit=left)

    def _wait(self, names: Mapping[Any, str]) -> None:
        running = dict(names)
        # One that is told before it listens has nothing to save.
        fine = {0, PREEMPTED, -signal.SIGUSR2}
        while running:
            wait([process.sentinel for process in running])
            for process in [each for each in running if each.exitcode is not None]:
                name = running.pop(process)
                if process.exitcode not in fine:
                    raise HvcodError(
                        f"retrain {name} failed{_how(process.exitcode)}; the same command goes on "
                        "where it stopped"
                    )

    def _end(self) -> None:
        running, self._running = self._running, ()
        for process in running:
            process.terminate()
        for process in running:
            process.join(_SECONDS_TO_END)
            process.kill()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        self._tell()

    def _tell(self) -> None:
        for process in self._running:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGUSR2)


def _how(exitcode: int | None) -> str:
    killed = exitcode is not None and exitcode < 0
    return f": signal {-exitcode} ended it" if killed and exitcode else ""


def _train_group(options: TrainOptions, threads: int) -> None:
    """What a process does: a launch of one rank."""
    # Before anything heavy is imported.
    signals = StopSignals()
    # The libraries read it when they start; torch, which is in memory already, is told below.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    from hvcod.groups.abort import abort
    from hvcod.training.launch import Team, exit_code, launch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    logging.basicConfig(level=logging.WARNING, format=f"[{options.run_dir}] %(message)s")
    try:
        with silently():
            summaries = launch(options, Team.of_all(signals))
    except Exception as error:
        abort(error)
    for each in summaries:
        if each["ended"] == "failed":
            print(f"hvcod: {options.run_dir}: {each['reason']}", file=sys.stderr)
    sys.exit(exit_code(summaries))
