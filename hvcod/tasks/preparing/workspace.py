"""The work folder of a preparation, from which an interrupted one goes on.

``OUTPUT/work`` holds the plan and, for each stage and item, what is done. The result of an item is
written last, whole or not at all, and marks it as done. Ranks share out the items by creating claim
files: the rank that creates an item's claim works on it. Claims are named after the launch, so
those of a killed launch do not count.
"""

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.folder import remove
from hvcod.files.shared import create
from hvcod.groups.communicator import Communicator
from hvcod.groups.world import on_rank_zero
from hvcod.progress import Progress
from hvcod.tasks.files import held, make_folder, read_json, write_json

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Stage:
    """Work that every item of a kind goes through; its name is that of its folder.

    The progress shows its `title`, such as ``reading``, and counts items, such as inputs, and, in
    each, its `unit`, such as ``document``.
    """

    name: str
    title: str
    unit: str
    item: str = "input"


class Workspace:
    """One output folder while the ranks of `world` fill it; each stage has a folder in it.

    Messages name the folder by the `option` that it was given with.
    """

    def __init__(
        self,
        output: Path,
        world: Communicator,
        stages: Sequence[Stage],
        option: str = "--output",
    ) -> None:
        self.output, self._world, self._stages = output, world, stages
        self._shown = f"{option} {output}"
        self.folder = output / "work"
        self._launch = ""

    def open(self, plan: dict[str, Any], late: Collection[str] = ()) -> bool:
        """Begins or takes up the work of a plan; returns False if it is finished. Collective.

        Keys of the plan that are `late` may change while it is not finished.

        Raises:
            UsageError: The folder holds something else, or work of another plan.
        """
        self._launch = on_rank_zero(self._world, lambda: uuid.uuid4().hex[:12])
        return not on_rank_zero(self._world, lambda: self._open(plan, late))

    def clear(self, format_name: str) -> None:
        """Deletes the output, finished or not, of a plan that names this format. Collective.

        Raises:
            UsageError: The folder holds something else.
        """
        on_rank_zero(self._world, lambda: self._clear(format_name))

    def file(self, stage: Stage, item: int, suffix: str) -> Path:
        """Returns the path of one of the files that a stage writes for an item."""
        return self.folder / stage.name / f"{item:05d}{suffix}"

    def result(self, stage: Stage, item: int) -> Any:
        """Returns the result of a finished item, whose file marks it as done."""
        return read_json(self.file(stage, item, ".json"))

    def share(self, stage: Stage, order: Sequence[int]) -> Iterator[int]:
        """Yields the items for this rank; each goes to one rank of the launch.

        Raises:
            HvcodError: The file system refuses, or this node does not share the output folder.
        """
        # One listing, no look at each name: network file systems remember that a name was missing.
        done = {path.name for path in self._done(stage)}
        for item in order:
            if self.file(stage, item, ".json").name in done:
                continue
            claim = self.folder / "claims" / f"{self._launch}-{stage.name}-{item:05d}"
            try:
                is_ours = create(claim, b"")
            except OSError as error:
                raise HvcodError(
                    f"cannot create {claim}: {reason_of(error)}; all nodes must share {self._shown}"
                ) from error
            if is_ours:
                yield item

    @contextlib.contextmanager
    def shown(self, stage: Stage, items: int) -> Iterator[Callable[..., None]]:
        """Shows the progress of all ranks; yields a function that looks how far they have come.

        The function takes the units of the item at hand that are done, if they are known.
        """
        progress = Progress(items, stage.title, stage.item, shown=self._world.rank == 0)
        done = len(self._done(stage))
        progress.update(done)
        next_look = 0.0

        def look(units: int = 0) -> None:
            nonlocal done, next_look
            if self._world.rank != 0 or time.monotonic() < next_look:
                return
            next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
            before, done = done, len(self._done(stage))
            progress.update(done - before, f"{units} {stage.unit}s of this one" if units else "")

        yield look
        if self._world.rank == 0:  # which removes the folder; the others may come too late
            progress.update(len(self._done(stage)) - done)
        progress.close()

    def remove(self) -> None:
        """Removes the work folder; the dataset is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _done(self, stage: Stage) -> list[Path]:
        return list((self.folder / stage.name).glob("*.json"))

    def _open(self, plan: dict[str, Any], late: Collection[str]) -> bool:
        description, begun = self._described
        finished = description.exists()
        known = description if finished else begun
        if known.exists():
            before = read_json(known)
            made = before["plan"] if finished else before
            free = () if finished else late
            _refuse_other_plan(self._shown, _without(free, made), _without(free, plan), finished)
        elif foreign := self._foreign_files():
            raise UsageError(
                f"{self._shown} already holds {foreign[0]}, which hvcod did not write there: "
                "choose a new folder"
            )
        if finished:
            self.remove()
            return True
        make_folder(self.output)
        with held(self.output):
            self._begin(known, plan)
        return False

    def _clear(self, format_name: str) -> None:
        known = [path for path in self._described if path.exists()]
        if any(read_json(path).get("format") == format_name for path in known):
            shutil.rmtree(self.output)
        elif foreign := self._foreign_files():
            raise UsageError(f"{self._shown}: holds {foreign[0]}, so it is not deleted")

    @property
    def _described(self) -> tuple[Path, Path]:
        """The files that describe a finished preparation, and one that is not."""
        return self.output / "dataset.json", self.folder / "plan.json"

    def _begin(self, known: Path, plan: dict[str, Any]) -> None:
        make_folder(self.folder)
        for leftover in self.output.glob("**/*.tmp"):
            remove(leftover)
        if not known.exists():
            write_json(known, plan)
        shutil.rmtree(self.folder / "claims", ignore_errors=True)
        for folder in ("claims", *(stage.name for stage in self._stages)):
            make_folder(self.folder / folder)
        make_folder(self.output / "shards")

    def _foreign_files(self) -> list[str]:
        try:
            names = sorted(path.name for path in self.output.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"{self._shown}: {reason_of(error)}") from error
        begun = names == ["work"] and all(file.suffix == ".tmp" for file in self.folder.iterdir())
        return [] if begun else names


def _without(keys: Collection[str], plan: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plan.items() if key not in keys}


def _refuse_other_plan(
    output: str, before: dict[str, Any], plan: dict[str, Any], finished: bool
) -> None:
    different = sorted(key for key in {*before, *plan} if before.get(key) != plan.get(key))
    if not different:
        return
    holds = "a finished dataset" if finished else "an interrupted preparation"
    shown = ", ".join(
        key if key == "inputs" else f"{key} {before.get(key)} instead of {plan.get(key)}"
        for key in different
    )
    way = "" if finished else " repeat the earlier command to finish it,"
    raise UsageError(
        f"{output} holds {holds} made with other options ({shown}):{way} choose another "
        "folder or remove this one"
    )
