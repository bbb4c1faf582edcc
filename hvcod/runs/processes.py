"""Runs without MPI ranks: each group of a run is a process of its own on this machine.

Groups share nothing but the run directory, so each can be a launch of one process, and no MPI
launcher is needed. Do not import anything that starts MPI in this file: its traces in the
environment would make the child processes take themselves for ranks.
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

from hvcod.config import TrainOptions
from hvcod.errors import PREEMPTED, HvcodError, UsageError
from hvcod.groups.environment import CORES, process_age
from hvcod.progress import silently
from hvcod.runs.crew import Crew, RunSpec, logging_as
from hvcod.runs.options import CrewOptions
from hvcod.terminal import one_line, show
from hvcod.training.signals import StopSignals
from hvcod.values import Duration

Result = TypeVar("Result")

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 60.0
_WRONG_USAGE = 2


class Processes(Crew):
    """Processes of this machine, forked from one that has torch in memory.

    Raises:
        UsageError: Groups of several ranks are asked for.
    """

    is_root = True

    def __init__(self, options: CrewOptions) -> None:
        super().__init__(options, StopSignals())
        if options.ranks_per_group > 1:
            raise UsageError(
                f"--ranks-per-group {options.ranks_per_group}: groups of several ranks need a "
                "launcher, such as mpirun -np 8 in front of the command"
            )
        self._begun = time.monotonic() - process_age()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch"])
        # Schedulers signal all processes of a job, and the fork server must survive that. No file
        # of the current folder may take the place of a module that it imports.
        given = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"
        with self.signals.ignored_by_children():
            forkserver.ensure_running()
        if given is None:
            del os.environ["PYTHONSAFEPATH"]

    def on_root(self, function: Callable[[], Result]) -> Result:
        """Calls the function and returns its result."""
        return function()

    def is_told_to_stop(self) -> bool:
        """Returns True if this process was told to stop."""
        return bool(self.signals.received)

    def at_once(self, run: RunSpec) -> int:
        """Returns how many runs are trained at the same time, however many groups they have."""
        if run.ranks is not None and run.ranks > 1:
            ranks = run.ranks * run.options.separate_groups
            raise UsageError(
                f"{run.name} needs {ranks} ranks: put a launcher in front of the command, such as "
                f"mpirun -np {ranks}"
            )
        return self.options.at_once

    def train(self, runs: Sequence[RunSpec]) -> bool:
        """Trains runs at the same time, each group in a process, which prints why it failed."""
        groups = runs[0].options.separate_groups
        # Computed for a full batch, even if fewer runs are left: the number of threads decides the
        # last bit of sums.
        threads = max(1, len(CORES) // (self.options.at_once * groups))
        launches = [(run, group) for run in runs for group in range(groups)]
        names = {
            self._context.Process(
                target=_train_group, args=(self._of_group(run.options, group), number, threads)
            ): run.name
            for number, (run, group) in enumerate(launches)
        }
        try:
            for process in names:
                process.start()
            self._wait(names)
        finally:
            _end([process for process in names if process.pid is not None])
        return all(process.exitcode == 0 for process in names)

    def _of_group(self, options: TrainOptions, group: int) -> TrainOptions:
        left = options.time_limit
        if left is not None:
            left = Duration(max(1.0, left - (time.monotonic() - self._begun)))
        only = group if options.separate_groups > 1 else None
        return dataclasses.replace(options, group=only, time_limit=left)

    def _wait(self, names: Mapping[Any, str]) -> None:
        running = dict(names)
        while running:
            if self.is_told_to_stop():
                # At every look: a process that does not handle signals yet ignores it.
                for process in running:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGUSR2)
            wait([process.sentinel for process in running], _SECONDS_BETWEEN_LOOKS)
            ended = [process for process in running if process.exitcode is not None]
            for process in ended:
                name = running.pop(process)
                if process.exitcode not in (0, PREEMPTED):
                    raise _failure(name, process.exitcode)


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + _SECONDS_TO_END
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        process.kill()


def _failure(name: str, exitcode: int) -> HvcodError:
    """The error for a process that has failed; unless a signal ended it, it has printed why."""
    if exitcode == _WRONG_USAGE:
        return UsageError(f"{name} cannot be trained with these options")
    if exitcode > 0:
        return HvcodError(f"{name} failed")
    return HvcodError(
        f"{name} failed: signal {-exitcode} ended it; the same command goes on where it stopped"
    )


def _train_group(options: TrainOptions, number: int, threads: int) -> None:
    """Runs in a process of its own: a launch of one rank, on the device of its number."""
    # Before anything heavy is imported.
    signals = StopSignals()
    # Ctrl-C reaches all processes of a terminal: the parent tells this one to save and end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="hvcod-parent", daemon=True).start()
    from hvcod.groups.abort import abort
    from hvcod.groups.world import NodeShare, world
    from hvcod.training.launch import Team, exit_code, launch

    logging.basicConfig(level=logging.WARNING)
    assert options.run_dir is not None
    try:
        with silently(), logging_as(options.run_dir):
            summaries = launch(options, Team(world(), NodeShare(number, threads), signals))
    except Exception as error:
        abort(error)
    for summary in summaries:
        if summary["ended"] == "failed":
            show(one_line(f"hvcod: {options.run_dir}: {summary['reason']}"), err=True)
    sys.exit(exit_code(summaries))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
