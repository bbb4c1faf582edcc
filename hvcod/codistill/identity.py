"""The run that published checkpoints belong to."""

import atexit
import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError, UsageError
from hvcod.exchange import published_directory
from hvcod.exchange.assemble import Assembler
from hvcod.groups.split import Group
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.meaning import difference, meaning_of
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import list_steps


class Identity:
    """A run whose directory somebody else keeps and has checked, such as `hvcod train`.

    Attributes:
        origin: Describes its checkpoints, apart from their step and figures.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def resume(self, run_id: str, meaning: str) -> None:
        """Goes on with the run of a saved state; raises HvcodError if it is another one."""
        if different := difference(meaning, self.origin.meaning):
            raise HvcodError(f"the state was trained on data of another meaning: {different}")
        if run_id != self.origin.run_id:
            raise HvcodError(f"the state belongs to run {run_id!r}, not to {self.origin.run_id!r}")

    def begin(
        self, run_dir: Path, expected: Mapping[str, TensorSpec], close: Callable[[], None]
    ) -> None:
        """Called before the first exchange; there is nothing left to do."""


class ScriptIdentity(Identity):
    """A run of a user's own script: nobody keeps a run directory for it."""

    def __init__(
        self, group: Group, run_id: str | None, meaning: Mapping[str, Any] | None = None
    ) -> None:
        """Without a `run_id` several groups agree on a new one: collective over the world.

        Raises:
            UsageError: There is none, and there are groups in other launches; or the `meaning`
                cannot be noted.
        """
        try:
            noted = meaning_of(meaning or {})
        except (ValueError, TypeError) as error:
            raise UsageError(f"meaning={meaning!r}: {error}") from error
        self._group, self._is_new = group, run_id is None
        if run_id is None and group.count > 1:
            run_id = _new_id(group)
        origin = Origin(run_id or "", "custom", group.index, ranks=group.size, meaning=noted)
        super().__init__(origin)

    def resume(self, run_id: str, meaning: str) -> None:
        """Goes on with the run of a saved state, whose name this one takes if it has none."""
        if self._is_new:
            self.origin = dataclasses.replace(self.origin, run_id=run_id)
        super().resume(run_id, meaning)

    def begin(
        self, run_dir: Path, expected: Mapping[str, TensorSpec], close: Callable[[], None]
    ) -> None:
        """Checks the group's folder, and closes the exchange when the script ends. Collective.

        Published files never change: those of another run would stay and be taken for this one's.
        A group alone publishes none.
        Without `close` groups would miss the last weights, and MPI must not end in a transfer.

        Raises:
            HvcodError: The folder holds checkpoints of another run.
        """
        publishes = self._group.count > 1
        problem = self._foreign(run_dir, expected) if publishes and self._group.is_root else ""
        if problem := self._group.comm.bcast(problem):
            raise HvcodError(
                f"an earlier run published in {run_dir} ({problem}): go on from its saved state "
                "with codistiller.load_state_dict(), give another folder, or delete this one"
            )
        atexit.register(close)

    def _foreign(self, run_dir: Path, expected: Mapping[str, TensorSpec]) -> str:
        directory = published_directory(run_dir, self._group.index)
        with contextlib.suppress(OSError):
            try:
                if steps := list_steps(directory):
                    index = self._group.index
                    Assembler(directory, index, expected, self.origin).fetch(steps[-1])
            except HvcodError as error:
                return str(error)
        return ""


def _new_id(group: Group) -> str:
    everyone = group.everyone
    if everyone.size != group.count * group.size:
        raise UsageError(
            "the other groups are other launches: give all of them the same name of the run, "
            'Codistiller(..., run_id="...")'
        )
    return str(everyone.bcast(uuid.uuid4().hex))
