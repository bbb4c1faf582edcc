"""One pipeline for the preparation of every task's data.

A task's `Preparation` says what its stages do with one item: an input, a piece of one, a feature.
The pipeline does the rest: it claims the output folder, shares the items out over the ranks, takes
up an interrupted preparation, makes the ranks agree, shows progress and writes the report. What
comes out depends on inputs and options, not on ranks or interruptions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from hvcod.config import flatten
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.communicator import Communicator
from hvcod.groups.world import on_rank_zero, wait_quietly
from hvcod.tasks.columns import DataFormat
from hvcod.tasks.files import held, read_json, write_json
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.tensorfile.meaning import digest

Report = dict[str, Any]
Look = Callable[..., None]
"""Shows progress; takes the units of the item at hand that are done, if they are known."""

EXAMPLES_KEPT = 10
"""Files and folders named in a report."""

Result = TypeVar("Result")


class Source(Protocol):
    """One input of a preparation."""

    @property
    def name(self) -> str:
        """Its name in reports."""

    @property
    def size(self) -> int | None:
        """Its bytes or rows, by which a changed input is noticed; None if they are unknown."""


class Preparation(ABC):
    """The preparation of one dataset, as one rank goes through it.

    Args:
        sources: The inputs; the result depends on their order.
        output: The dataset's folder: new, empty, or that of the same preparation.
        options: The task's options, a dataclass.
        world: The ranks that share the work.
        left_alone: Files and folders among the inputs that are not read, for the report.

    Attributes:
        data_format: The format of the dataset.
        rules: Versions of rules by which the task makes data, part of the plan.
        tolerances: Options that decide whether a preparation fails and not what comes out, so that
            an interrupted one goes on with other values.
        late: Options that only `conclude` uses, so that an interrupted preparation, not a finished
            one, goes on with other values.
        added: Options that version 0.1 did not have, with the values that it worked by: the plan
            has others only, so that the same options are the same plan.
        stages: The stages in their order.
        option: The option by which the output was given, for messages.
        plan: Everything that the result follows from, known from `run` on.
    """

    data_format: ClassVar[DataFormat]
    rules: ClassVar[Mapping[str, int]] = {}
    tolerances: ClassVar[Collection[str]] = ()
    late: ClassVar[Collection[str]] = ()
    added: ClassVar[Mapping[str, Any]] = {}
    stages: ClassVar[Sequence[Stage]]
    option: ClassVar[str] = "--output"

    def __init__(
        self,
        sources: Sequence[Any],
        output: Path,
        options: Any,
        world: Communicator,
        left_alone: Sequence[str] = (),
    ) -> None:
        self.sources: Sequence[Any] = sources
        self.output, self.options, self.world = output, options, world
        self.left_alone = left_alone
        self.workspace = Workspace(output, world, self.stages, self.option)
        self.plan: dict[str, Any] = {}

    @abstractmethod
    def load(self) -> None:
        """Checks the options and loads the files that they name. Collective.

        Raises:
            UsageError: An option is wrong.
        """

    @abstractmethod
    def work(self) -> None:
        """Goes through the stages. Collective."""

    @abstractmethod
    def conclude(self) -> tuple[Report, dict[str, Any]]:
        """Writes what belongs to the whole dataset; returns the report and the description.

        Called on one rank when all stages are done, and again if it is interrupted.
        """

    def digests(self) -> dict[str, Any]:
        """Returns digests that stand in the plan for the files that options name.

        Called on one rank.
        """
        return {}

    def run(self) -> Report:
        """Prepares the dataset, or finishes one that was interrupted. Collective.

        Returns:
            The report, on every rank; ``report.json`` holds the same.

        Raises:
            UsageError: The folder holds something else, or an option is wrong.
            HvcodError: An input cannot be used, or the disk refuses.
        """
        self.load()
        # One rank looks at the files: what it sees, or misses, holds for all.
        self.plan = on_rank_zero(self.world, self._plan)
        if self.workspace.open(self.plan, self.late):
            with held(self.output):
                self.work()
                self.once(self._finish)
        report: Report = on_rank_zero(self.world, lambda: read_json(self.output / "report.json"))
        return report

    def each(self, stage: Stage, order: Sequence[int], work: Callable[[int, Look], Any]) -> None:
        """Does the work of a stage for every item, shared out over the ranks. Collective.

        Ranks take items from the front of `order`. `work` does one item and returns its result, to
        be written as JSON; the files that it writes must be there when it returns.
        """
        workspace = self.workspace
        with workspace.shown(stage, len(order)) as look:
            for item in workspace.share(stage, order):
                try:
                    result = work(item, look)
                except UsageError as error:  # known to this rank alone: ends the launch
                    raise HvcodError(str(error)) from error
                write_json(workspace.file(stage, item, ".json"), result)
                look()
            wait_quietly(self.world, look)

    def once(self, function: Callable[[], Result]) -> Result:
        """Calls a function on one rank and returns its result on all of them. Collective.

        The other ranks leave their cores to it meanwhile.

        Raises:
            HvcodError: The function raised it; it is raised on every rank.
        """
        outcome: Future[Result] = Future()
        if self.world.rank == 0:
            try:
                outcome.set_result(function())
            except HvcodError as error:
                outcome.set_exception(error)
        wait_quietly(self.world)
        return on_rank_zero(self.world, outcome.result)

    def results(self, stage: Stage, items: Sequence[int]) -> list[Any]:
        """Returns the results of a finished stage, read by this rank."""
        return [self.workspace.result(stage, item) for item in items]

    def content(self, stage: Stage, items: Sequence[int]) -> str:
        """Returns the digest of all that a stage wrote for some items, from their ``content``.

        It is empty if an earlier version of hvcod wrote a part of it. Read by this rank.
        """
        results = self.results(stage, items)
        known = all("content" in result for result in results)
        return digest([result["content"] for result in results]) if known else ""

    def largest_first(self) -> list[int]:
        """Returns the numbers of the inputs, the largest one first, so that none comes late."""
        sizes = [size or 0 for _, size in self.plan["inputs"]]
        return sorted(range(len(sizes)), key=lambda index: -sizes[index])

    def _plan(self) -> dict[str, Any]:
        options = flatten(asdict(self.options))
        return {
            "version": self.data_format.version,
            **self.rules,
            "inputs": [[source.name, source.size] for source in self.sources],
            **{
                key: value
                for key, value in options.items()
                if key not in self.tolerances and (key, value) not in self.added.items()
            },
            **self.digests(),
        }

    def _finish(self) -> None:
        report, description = self.conclude()
        if self.left_alone:
            report["left_alone"] = len(self.left_alone)
            report["left_alone_examples"] = list(self.left_alone[:EXAMPLES_KEPT])
        write_json(self.output / "report.json", report)
        write_json(self.output / "dataset.json", description)
        self.workspace.remove()
