"""Saves a group's training and restores it. Every part of a training is registered here."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from hvcod.config import TrainOptions
from hvcod.errors import GroupFailedError, HvcodError
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.tasks.architecture import differences
from hvcod.tensorfile.meaning import difference
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path
from hvcod.training.record.source import Source
from hvcod.training.run.directory import Run
from hvcod.training.state.best import Best
from hvcod.training.state.common import common
from hvcod.training.state.part import Part
from hvcod.training.state.restore import NO_RANKS, Restored, part_of_newest, restore
from hvcod.training.state.saver import Saver
from hvcod.tree import take_apart

_BEST = "best"
"""The part of the best state so far; a state of a training that keeps none has no such part."""

NOISE = "noise"
"""The readings of the gradient noise scale; none if the training that saved took none."""

_RANK_BYTES = 2**31
"""More than a hidden state, position in the data and random numbers of one rank can take.

MPI gathers no larger tensor; a Transformer's memory at the paper's sizes is 134 million bytes.
"""


class Keeper(Source):
    """Saves the registered parts of a group's training and restores them, bit for bit.

    Attributes:
        alike: Whether what ranks have of their own has the same form on all of them; what has not
            begins anew when the group goes on.
        still: Gives a context in which nothing changes on any rank, collectively. By default it
            does nothing: the ranks make each step together.

    The shared parts are restored first, then each rank's own, in the order of their registration.
    So random numbers are registered last: building and loading other parts may draw some.
    """

    def __init__(
        self,
        options: TrainOptions,
        group: Group,
        run: Run,
        before: Callable[[], object] = lambda: None,
        settle: Callable[[], object] = lambda: None,
        best: Best | None = None,
    ) -> None:
        """Collective over the group.

        `before` is called on the writing thread before a state is written: what the state takes for
        done must be on disk earlier. `settle` is called before a state is handed over. The state
        that is `best` when it is validated is kept, too.
        """
        self._options, self._group, self._run = options, group, run
        self._saver = Saver(group, run.states, options.keep_states, before)
        self._best, self._savers = best, [self._saver]
        self._shared: dict[str, Part] = {}
        self._own: dict[str, Part] = {}
        self._rows: dict[str, int] = {}
        self._of_examples: set[str] = set()
        self._anew: dict[str, Callable[[int], object]] = {}
        self._first, self._saved, self._settle = 0, -1, settle
        self.alike = group.pace is None
        self.still: Callable[[], AbstractContextManager[object]] = nullcontext
        if best is not None:
            self._savers.append(Saver(group, run.best, 1, before, "best state", later=False))
            self.shared(_BEST, best)

    def shared(self, name: str, part: Part) -> None:
        """Registers a part that is the same on all ranks: the group root's is saved.

        Its state is asked for on all ranks, so it may be collective to make.
        """
        self._shared[name] = part

    def own(
        self,
        name: str,
        part: Part,
        rows: int | None = None,
        anew: Callable[[int], object] = lambda step: None,
        of_examples: bool = False,
    ) -> None:
        """Registers a part of which each rank has its own, of the same form on all of them.

        Args:
            name: Its name in the state.
            part: This rank's own.
            rows: The dimension of its tensors that counts this rank's examples, along which it is
                shared out if a group goes on with another number of ranks. None: it cannot be
                shared out, and begins anew with other ranks.
            anew: Called with the number of steps done if it begins anew.
            of_examples: Whether it begins anew with other examples, too, as a position in them.
        """
        self._own[name] = part
        if rows is not None:
            self._rows[name] = rows
        self._anew[name] = anew
        if of_examples:
            self._of_examples.add(name)

    def restore(
        self, begin: Callable[[int], object] = lambda step: None, last: int | None = None
    ) -> int:
        """Restores the newest state; returns the steps done, 0 in a new run. Collective.

        Args:
            begin: Called with the steps done, even if the group then fails, so that the failure is
                recorded.
            last: States of later steps are left alone.

        Raises:
            HvcodError: There are states, but none can be read, or the newest does not fit.
            GroupFailedError: A part cannot go on, and the group ends.
        """
        run, batch_size, limit = self._run, self._options.batch_size, self._largest()
        restored = restore(run.states, self._group, run.id, batch_size, limit, self._rows, last)
        if restored is not None:
            self._first = self._saved = restored.about.step
            try:
                self._load(restored)
            except GroupFailedError:
                begin(self._first)
                raise
        if self._best is not None:
            self._find_best(limit)
        begin(self._first)
        return self._first

    def validated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Saves the state for ``--keep-best`` if none was better so far. Collective."""
        if self._best is not None and self._best.improved(step, metrics):
            self._hand_over(step, self._savers[1])

    def step(self, step: int) -> None:
        """Saves the state if that is due after so many steps. Collective over the group."""
        # An early save shows how long saving takes, which the time limit must allow for.
        measure = self._options.time_limit is not None and step == self._first + 1
        if measure or step % self._options.save_interval == 0:
            self._save(step)

    def finish(self, step: int) -> None:
        """Saves the last state, again if it was due already and failed. Collective."""
        if step == self._saved and not self.flush():
            self._saved = -1
        self._save(step)

    def flush(self) -> bool:
        """Waits for the last state; returns whether it is on disk. Collective over the group."""
        return self._saver.flush()

    def close(self) -> bool:
        """Ends saving; returns whether the last state is on disk. Collective over the group."""
        done = [saver.close() for saver in self._savers]
        return done[0]

    @property
    def error(self) -> str:
        """Why the last state could not be saved, with its path; empty if it was."""
        return self._saver.error

    def summary(self) -> dict[str, object]:
        """Returns the best validated state, if it is kept."""
        if self._best is None or not self._best.step:
            return {}
        path = checkpoint_path(self._run.best, self._best.step)
        return {"best": self._best.state_dict() | {"path": str(path)}}

    @property
    def seconds(self) -> float:
        """The longest time that a save took until it was on disk; on the group root."""
        return sum(saver.counters.longest_seconds for saver in self._savers)

    @property
    def problems(self) -> dict[str, int]:
        """The number of failed saves, on the group root."""
        failed = sum(saver.counters.failed for saver in self._savers)
        return {"not saved": failed} if failed else {}

    @property
    def reasons(self) -> dict[str, str]:
        """Why saving failed last."""
        errors = [saver.error for saver in self._savers if saver.error]
        return {"not saved": errors[0] if errors else ""} if self.problems else {}

    @cached_property
    def _origin(self) -> Origin:
        return self._run.origin(self._options, self._group)

    def _save(self, step: int) -> None:
        # A group that failed as it was restored has made no step.
        if step <= self._saved:
            return
        self._settle()
        self._saved = step
        self._hand_over(step, self._saver)

    def _hand_over(self, step: int, saver: Saver) -> None:
        about = dataclasses.replace(self._origin, step=step)
        with self.still():
            own = {name: part.state_dict() for name, part in self._own.items()}
            if not self.alike:
                own = common(self._group.comm, own)
            saver.save(about, self._shared_state(), own)

    def _shared_state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._shared.items()}

    def _load(self, restored: Restored) -> None:
        about, run = restored.about, self._run
        if different := difference(run.meaning, about.meaning):
            raise self._misfit(restored, f"its data had another meaning: {different}")
        if different := differences(about.model, self._options.model):
            raise self._misfit(restored, f"its model had {different}")
        others = bool(run.content and about.content and run.content != about.content)
        of_rank = {self._group.size: self._own, NO_RANKS: {}}.get(about.ranks, self._rows)
        strange = (restored.shared.keys() ^ self._shared.keys()) - {_BEST, NOISE}
        strange |= restored.mine.keys() ^ of_rank.keys()
        if strange:
            raise self._misfit(restored, f"only one of them has the part {sorted(strange)[0]}")
        try:
            for name, part in self._shared.items():
                if name in restored.shared:
                    part.load_state_dict(restored.shared[name])
            for name, part in self._own.items():
                if name in restored.mine and not (others and name in self._of_examples):
                    part.load_state_dict(restored.mine[name])
                else:
                    self._anew[name](restored.about.step)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise self._misfit(restored, " ".join(str(error).split())) from error

    def _find_best(self, limit: int) -> None:
        """Goes by the best state that is there, if it is not the one remembered.

        The group may have stopped after it had validated a better one, or somebody deleted it.
        """
        best, run = self._best, self._run
        assert best is not None

        def look() -> dict[str, Any] | None:
            return part_of_newest(run.best, self._group.index, run.id, limit, _BEST, best.step)

        if (there := on_rank_zero(self._group.comm, look)) is not None:
            best.load_state_dict(there or Best(best.metric, False).state_dict())

    def _misfit(self, restored: Restored, problem: str) -> HvcodError:
        about = restored.about
        return HvcodError(
            f"the training state of step {about.step} in {self._run.states}, written by hvcod "
            f"{about.project_version}, does not fit this model or this hvcod: {problem}"
        )

    def _largest(self) -> int:
        """Returns a number of bytes that no state of this training exceeds, however it is saved."""
        own = {name: part.state_dict() for name, part in self._own.items()}
        weights = _nbytes(self._shared_state()) + self._group.size * _nbytes(own)
        # The student, its optimiser in up to double precision, a teacher of each group.
        return (8 + self._group.count) * weights + (
            (1 + self._group.size) * (1 + self._group.count) * _RANK_BYTES
        )


def _nbytes(state: Any) -> int:
    """Returns the bytes of the tensors in a tree."""
    _, tensors = take_apart(state, "state")
    return sum(tensor.nbytes for tensor in tensors.values())
