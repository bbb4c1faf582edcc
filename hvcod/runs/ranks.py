"""Runs on the ranks of a launch: in teams side by side, as many as there are ranks for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from mpi4py import MPI

from hvcod.errors import PREEMPTED, HvcodError, RankLostError, UsageError
from hvcod.groups.communicator import Communicator
from hvcod.groups.world import on_rank_zero, wait_quietly
from hvcod.progress import silently
from hvcod.runs.crew import Crew, RunSpec, logging_as
from hvcod.runs.options import CrewOptions
from hvcod.training.launch import Team, exit_code, launch

Result = TypeVar("Result")


class Ranks(Crew):
    """All ranks of this launch."""

    def __init__(self, options: CrewOptions) -> None:
        self._all = Team.of_all()
        super().__init__(options, self._all.signals)
        self._everyone = self._all.ranks

    @property
    def is_root(self) -> bool:
        """True on rank 0."""
        return bool(self._everyone.rank == 0)

    def on_root(self, function: Callable[[], Result]) -> Result:
        """Calls the function on rank 0 and returns its result on all ranks."""
        return on_rank_zero(self._everyone, function)

    def is_told_to_stop(self) -> bool:
        """Returns True if any rank was told to stop."""
        return bool(self._everyone.allreduce(bool(self._all.signals.received), MPI.LOR))

    def at_once(self, run: RunSpec) -> int:
        """Returns how many runs like this one there are enough ranks for."""
        groups, ranks = self._ranks_of(run)
        size = groups * ranks
        if size > self._everyone.size:
            raise UsageError(
                f"a run with --groups {groups} and --ranks-per-group {ranks} needs {size} ranks, "
                f"but this launch has {self._everyone.size}: start more ranks, or run hvcod "
                "without a launcher"
            )
        return self._everyone.size // size

    def train(self, runs: Sequence[RunSpec]) -> bool:
        """Trains runs at the same time, each on a team of ranks."""
        groups, ranks = self._ranks_of(runs[0])
        size = groups * ranks
        number = self._everyone.rank // size
        colour = number if number < len(runs) else MPI.UNDEFINED
        team, ended = self._everyone.Split(colour, self._everyone.rank), 0
        if team != MPI.COMM_NULL:
            ended = self._launch(runs[number], team)
            team.Free()
        wait_quietly(self._everyone)
        return not any(self._everyone.allgather(ended == PREEMPTED))

    def _launch(self, run: RunSpec, team: Communicator) -> int:
        try:
            with silently(), logging_as(run.run_dir):
                summaries = launch(run.options, replace(self._all, ranks=team))
        except HvcodError as error:
            raise type(error)(f"{run.name}: {error}") from error
        if any(summary.get("silent_teacher_ranks") for summary in summaries):
            raise RankLostError(
                f"{run.name}: a rank that only teaches does not answer; the same command goes on "
                "with the runs that are missing"
            )
        if failed := [summary["reason"] for summary in summaries if summary["ended"] == "failed"]:
            raise HvcodError(f"{run.name}: {failed[0]}")
        return exit_code(summaries)
