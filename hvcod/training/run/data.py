"""The data of a group: noted when it begins, and compared when it goes on.

Each group notes in ``RUN/group-0/data.json`` what its data mean, a digest of their examples, where
they were, and which of them it reads. A group goes on only with data of the same meaning, at any
path, and with other examples only if the user says so. Groups may have examples of their own, each
on its own node, but a group of another meaning cannot join a run.
"""

import dataclasses
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hvcod.config import findable
from hvcod.errors import HvcodError, UsageError
from hvcod.folders import group_folder
from hvcod.groups.communicator import Communicator
from hvcod.groups.world import on_rank_zero
from hvcod.tasks.base import LIMITS, Task
from hvcod.tensorfile.meaning import difference, meaning_of
from hvcod.training.run.directory import Run, record_data, recorded_data
from hvcod.training.run.note import read_note, write_note
from hvcod.training.run.own_options import has_begun

NAME = "data.json"

_ALIKE = "give all groups data of one preparation, or prepare some with hvcod data ... --like"

log = logging.getLogger("hvcod.training")


@dataclass(frozen=True)
class DataRecord:
    """A note of a group's data.

    Attributes:
        meaning: See `hvcod.tensorfile.meaning`; empty if unknown.
        content: The digest of the examples; empty if unknown.
        folder: The path of the data; empty for built-in data.
        chosen: The options that choose some of the training part, as
            ``training_window=0:0.8, training_bootstrap=7``; empty if all of it is read.
    """

    meaning: str = ""
    content: str = ""
    folder: str = ""
    chosen: str = dataclasses.field(default="", compare=False)  # such options cannot change

    @classmethod
    def of(cls, task: Task) -> Self:
        """Returns the record of a task's data; raises what `meaning_of_task` does."""
        folder = findable(task.options.data) if task.options.data else ""
        values = {name: getattr(task.options, name) for name in LIMITS}
        chosen = (f"{name}={value}" for name, value in values.items() if value is not None)
        return cls(meaning_of_task(task), task.content(), folder, ", ".join(chosen))

    def is_elsewhere(self, other: "DataRecord") -> bool:
        """Returns whether the other data are at another path, links resolved."""
        folders = {os.path.realpath(one.folder) if one.folder else "" for one in (self, other)}
        return len(folders) > 1

    def examples_problem(self, now: "DataRecord") -> str:
        """Returns why the data now may have other examples than these; empty if they have not."""
        where = f"{now.folder or 'the built-in data'}"
        if self.content and now.content:
            other = self.content != now.content
            return f"{where} holds other examples than {self._named()}" if other else ""
        if self.is_elsewhere(now):
            known = self.meaning and now.meaning
            same = "the same examples" if known else "the same examples, of the same meaning,"
            return f"it is not known whether {where} holds {same} as {self._named()}"
        return ""

    def _named(self) -> str:
        folder = self.folder or "the built-in data"
        return f"{folder} before"


def join_data(run: Run, task: Task, ranks: Communicator) -> Run:
    """Returns the run with what is known of its data, once they proved to be those of the group.

    Collective over the ranks of the launch; the group roots read and write.

    Raises:
        HvcodError: The data have another meaning than those of another rank or group, or than
            the group's before; or other examples, and not ``--other-data``.
    """
    # The root speaks for its group; what the data mean is compared on every node.
    ours = on_rank_zero(task.group.comm, lambda: DataRecord.of(task))
    _compare_ranks(task, ranks)
    recorded = on_rank_zero(ranks, lambda: recorded_data(run.directory))
    problem = ""
    if task.group.is_root:
        problem = _problem(run, task, ours, DataRecord(folder=recorded))
        path = run.group / NAME
        if not problem and read_note(path, DataRecord) != ours:
            try:
                write_note(path, ours)
            except HvcodError as error:
                problem = str(error)
    if problem := next(filter(None, ranks.allgather(problem)), ""):
        raise HvcodError(problem)
    if ours.folder != recorded:
        on_rank_zero(ranks, lambda: record_data(run.directory, ours.folder))
    return dataclasses.replace(run, meaning=ours.meaning, content=ours.content)


def read_record(run_dir: Path, group: int) -> DataRecord | None:
    """Returns what a group of a run has noted of its data; None if there is nothing to be read."""
    return read_note(group_folder(run_dir, group) / NAME, DataRecord)


def _compare_ranks(task: Task, ranks: Communicator) -> None:
    """Raises HvcodError if the data mean something else on another node. Collective."""
    where = f"group {task.group.index} on {socket.gethostname()}"
    everyones = ranks.allgather((meaning_of_task(task), where))
    (first, origin), data = everyones[0], task.options.data or "the built-in data"
    for meaning, place in everyones:
        if different := difference(meaning, first):
            raise HvcodError(
                f"{data} has another meaning in {place} than in {origin}: {different}; {_ALIKE}"
            )


def _problem(run: Run, task: Task, ours: DataRecord, configured: DataRecord) -> str:
    group = task.group
    if has_begun(run.group):
        before = read_record(run.directory, group.index) or configured
        if different := difference(ours.meaning, before.meaning):
            return (
                f"group {group.index} of {run.directory} was trained on data of another meaning "
                f"than those in {ours.folder or 'the cache'}: {different}; go on with the data "
                f"that were in {before.folder or 'the cache'}, or use another --run-dir"
            )
        if problem := before.examples_problem(ours):
            if not task.options.other_data:
                return (
                    f"group {group.index} of {run.directory}: {problem}; go on with those, or add "
                    "--other-data"
                )
            log.warning("%s; going on with --other-data", problem)
        return ""
    for other in set(range(group.count)) - {group.index}:
        theirs = read_record(run.directory, other)
        if theirs and (different := difference(ours.meaning, theirs.meaning)):
            return (
                f"group {other} of {run.directory} is trained on data ({theirs.folder}) of another "
                f"meaning than those in {ours.folder}: {different} in group {group.index}; {_ALIKE}"
            )
    return ""


def meaning_of_task(task: Task) -> str:
    """Returns the meaning of a task's data.

    Raises:
        UsageError: The task names what they mean in a way that cannot be noted.
    """
    try:
        return meaning_of(task.meaning())
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"--task {task.options.task}: meaning(): {error}") from error
