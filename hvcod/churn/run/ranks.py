"""Retrains on the ranks of a launch: side by side in teams, as many as the ranks allow."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from mpi4py import MPI

from hvcod.churn.run.retrains import Retrain
from hvcod.errors import PREEMPTED, HvcodError, UsageError
from hvcod.groups.world import on_rank_zero, wait_quietly
from hvcod.progress import silently
from hvcod.training.launch import Team, exit_code, launch

Result = TypeVar("Result")


class Ranks:
    """All ranks of this launch. Every method is collective over them.

    Args:
        ranks_per_group: Of each group of a retrain.
    """

    def __init__(self, ranks_per_group: int) -> None:
        self._all, self._ranks_per_group = Team.of_all(), ranks_per_group
        self._everyone = self._all.ranks

    @property
    def is_root(self) -> bool:
        """Whether this process speaks for all."""
        return bool(self._everyone.rank == 0)

    def decide(self, function: Callable[[], Result]) -> Result:
        """What a function says on one of the ranks, on all of them."""
        return on_rank_zero(self._everyone, function)

    def is_told(self) -> bool:
        """Whether any rank was told to stop."""
        return bool(self._everyone.allreduce(bool(self._all.signals.received), MPI.LOR))

    def at_once(self, groups: int) -> int:
        """How many retrains of so many groups can be trained at the same time.

        Raises:
            UsageError: Not even one.
        """
        size = groups * self._ranks_per_group
        if size > self._everyone.size:
            raise UsageError(
                f"a retrain of {groups} groups of {self._ranks_per_group} needs {size} ranks, this "
                f"launch has {self._everyone.size}: start more of them, or hvcod without a launcher"
            )
        return self._everyone.size // size

    def train(self, retrains: Sequence[Retrain]) -> bool:
        """Trains retrains of one method at the same time, from where they stopped.

        Returns:
            Whether all of them came to their end; else they were preempted and have saved.

        Raises:
            HvcodError: One failed.
        """
        size = retrains[0].method.groups * self._ranks_per_group
        number = self._everyone.rank // size
        colour = number if number < len(retrains) else MPI.UNDEFINED
        team, ended = self._everyone.Split(colour, self._everyone.rank), 0
        if team != MPI.COMM_NULL:
            ended = self._launch(retrains[number], cast(MPI.Intracomm, team))
            team.Free()
        wait_quietly(self._everyone)
        return not any(self._everyone.allgather(ended == PREEMPTED))

    def _launch(self, retrain: Retrain, team: MPI.Intracomm) -> int:
        try:
            with silently():
                summaries = launch(retrain.options, replace(self._all, ranks=team))
        except HvcodError as error:
            raise type(error)(f"retrain {retrain.name}: {error}") from error
        if failed := [each["reason"] for each in summaries if each["ended"] == "failed"]:
            raise HvcodError(f"retrain {retrain.name}: {failed[0]}")
        return exit_code(summaries)
