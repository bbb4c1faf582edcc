"""Retrains without ranks: every group of a retrain is a process of its own on this machine.

Groups share nothing but the run directory, so they can be launches of one process each; no MPI
launcher is needed. Nothing that starts MPI may be imported in this file: what it leaves behind in
the environment would make its children take themselves for ranks.
"""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from hvcod.churn.run.retrains import Retrain
from hvcod.config import TrainOptions
from hvcod.errors import PREEMPTED, HvcodError, UsageError
from hvcod.groups.environment import CORES, process_age
from hvcod.progress import silently
from hvcod.training.signals import SIGNALS, StopSignals
from hvcod.values import Duration

Result = TypeVar("Result")

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 60.0
_WRONG_USAGE = 2


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
        self._at_once, self._begun = at_once, time.monotonic() - process_age()
        # Schedulers tell all processes of a job: the server must outlive that, and inherits this.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch"])
        forkserver.ensure_running()
        self._signals = StopSignals()
        self._running: list[BaseProcess] = []

    def decide(self, function: Callable[[], Result]) -> Result:
        """What a function says."""
        return function()

    def is_told(self) -> bool:
        """Whether this process was told to stop."""
        return bool(self._signals.received)

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
        # Of a full house, also where fewer are left: threads decide the last bit of sums.
        threads = max(1, len(CORES) // (self._at_once * groups))
        each = [(retrain, group) for retrain in retrains for group in range(groups)]
        names = {
            self._context.Process(
                target=_train_group, args=(self._options(retrain, group), number, threads)
            ): retrain.name
            for number, (retrain, group) in enumerate(each)
        }
        try:
            for process in names:
                process.start()
                self._running.append(process)
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
        while running:
            if self.is_told():
                # Again and again: one that does not listen yet ignores it.
                self._pass_on()
            wait([process.sentinel for process in running], _SECONDS_BETWEEN_LOOKS)
            for process in [each for each in running if each.exitcode is not None]:
                name = running.pop(process)
                if process.exitcode not in (0, PREEMPTED):
                    raise _failure(name, process.exitcode)

    def _pass_on(self) -> None:
        for process in self._running:
            if process.pid is not None and process.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGUSR2)

    def _end(self) -> None:
        running, self._running = self._running, []
        for process in running:
            process.terminate()
        end = time.monotonic() + _SECONDS_TO_END
        for process in running:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()


def _failure(name: str, exitcode: int) -> HvcodError:
    """What to say of a process that has failed; but for signals it has said why by itself."""
    if exitcode == _WRONG_USAGE:
        return UsageError(f"retrain {name} cannot be trained like that")
    if exitcode > 0:
        return HvcodError(f"retrain {name} failed")
    return HvcodError(
        f"retrain {name} failed: signal {-exitcode} ended it; the same command goes on where it "
        "stopped"
    )


def _train_group(options: TrainOptions, number: int, threads: int) -> None:
    """What a process does: a launch of one rank, on the device of its number."""
    # Before anything heavy is imported.
    signals = StopSignals()
    # Ctrl-C reaches all processes of a terminal: the parent tells this one to save and end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="hvcod-parent", daemon=True).start()
    from hvcod.groups.abort import abort
    from hvcod.groups.world import Place, world
    from hvcod.training.launch import Team, exit_code, launch

    where = str(options.run_dir).replace("%", "%%")
    logging.basicConfig(level=logging.WARNING, format=f"[{where}] %(message)s")
    try:
        with silently():
            summaries = launch(options, Team(world(), Place(number, threads), signals))
    except Exception as error:
        abort(error)
    for each in summaries:
        if each["ended"] == "failed":
            print(f"hvcod: {options.run_dir}: {each['reason']}", file=sys.stderr)
    sys.exit(exit_code(summaries))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
