"""The folder in which a preparation works, so that a killed one goes on where it was.

``OUTPUT/work`` holds the plan and, per input and stage, what is done. A stage's last file of an
input appears whole or not at all, and says that this input's stage is done. Ranks share the inputs
by creating claim files: whoever creates an input's claim first works on it. Claims are named after
the launch, so those of a killed launch do not count.
"""

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from hvcod.errors import HvcodError, UsageError
from hvcod.groups.world import on_rank_zero, wait_quietly
from hvcod.progress import Progress
from hvcod.tasks.files import read_json, write_json

SECONDS_BETWEEN_LOOKS = 0.5


class Workspace:
    """One output folder while it is being filled.

    Args:
        output: The dataset's folder.
        world: The ranks that fill it; every method with the word collective needs all of them.
        stages: Names of the stages that every input goes through.
        folders: Folders of the dataset that the stages write to.
    """

    def __init__(
        self,
        output: Path,
        world: MPI.Intracomm,
        stages: Sequence[str],
        folders: Sequence[str] = ("shards",),
    ) -> None:
        self.output, self.world = output, world
        self._stages, self._folders = stages, folders
        self.folder = output / "work"
        self._launch = world.bcast(uuid.uuid4().hex[:12] if world.rank == 0 else None)

    def open(self, plan: dict[str, Any]) -> bool:
        """Makes or takes up the work that a plan describes; false if it is finished. Collective.

        Raises:
            UsageError: The folder holds something else, or work by another plan.
        """
        return not on_rank_zero(self.world, lambda: self._open(plan))

    def _open(self, plan: dict[str, Any]) -> bool:
        finished = (self.output / "dataset.json").exists()
        known = self.output / "dataset.json" if finished else self.folder / "plan.json"
        if known.exists():
            before = read_json(known)
            _refuse_other_plan(self.output, before["plan"] if finished else before, plan, finished)
        elif foreign := self._foreign_files():
            raise UsageError(
                f"--output {self.output} already holds {foreign[0]}, which is not a preparation of "
                "hvcod data: choose a new folder"
            )
        if finished:
            shutil.rmtree(self.folder, ignore_errors=True)
            return True
        _make(self.folder)
        for leftover in self.output.glob("**/*.tmp"):
            leftover.unlink(missing_ok=True)
        if not known.exists():
            write_json(known, plan)
        shutil.rmtree(self.folder / "claims", ignore_errors=True)
        for folder in ("claims", *self._stages):
            _make(self.folder / folder)
        for folder in self._folders:
            _make(self.output / folder)
        return False

    def _foreign_files(self) -> list[str]:
        try:
            names = sorted(path.name for path in self.output.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"--output {self.output}: {error.strerror}") from error
        begun = names == ["work"] and all(file.suffix == ".tmp" for file in self.folder.iterdir())
        return [] if begun else names

    def file(self, stage: str, index: int, suffix: str) -> Path:
        """One of the files that a stage writes for an input."""
        return self.folder / stage / f"{index:05d}{suffix}"

    def finish(self, stage: str, index: int, result: Any) -> None:
        """Says that a stage is done with an input; ``result`` is what `result` gives from then."""
        write_json(self.file(stage, index, ".json"), result)

    def result(self, stage: str, index: int) -> Any:
        """What a finished stage said about an input."""
        return read_json(self.file(stage, index, ".json"))

    def done(self, stage: str) -> int:
        """Inputs that a stage is done with."""
        return sum(1 for _ in (self.folder / stage).glob("*.json"))

    def share(self, stage: str, order: Sequence[int]) -> Iterator[int]:
        """The inputs that this rank works on: each is given to one rank of the launch.

        Raises:
            HvcodError: The file system refuses, or this node does not share the output folder.
        """
        # One listing, no look at each name: network file systems remember that a name was missing.
        done = {path.name for path in (self.folder / stage).glob("*.json")}
        for index in order:
            if self.file(stage, index, ".json").name in done:
                continue
            claim = self.folder / "claims" / f"{self._launch}-{stage}-{index:05d}"
            try:
                claim.touch(exist_ok=False)
            except FileExistsError:
                continue
            except OSError as error:
                raise HvcodError(
                    f"cannot create {claim}: {error.strerror}; all nodes must share --output"
                ) from error
            yield index

    @contextlib.contextmanager
    def shown(
        self, stage: str, title: str, inputs: int, unit: str
    ) -> Iterator[Callable[..., None]]:
        """Progress over the inputs of a stage; the function looks how far all ranks have come.

        It may be told how many units of the input at hand are done.
        """
        progress = Progress(inputs, title, "input", shown=self.world.rank == 0)
        done = self.done(stage)
        progress.update(done)
        next_look = 0.0

        def look(units: int = 0) -> None:
            nonlocal done, next_look
            if self.world.rank != 0 or time.monotonic() < next_look:
                return
            next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
            before, done = done, self.done(stage)
            progress.update(done - before, f"{units} {unit}s of this one" if units else "")

        yield look
        progress.update(self.done(stage) - done)
        progress.close()

    def wait(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Waits for all ranks without taking a core from those that still work. Collective."""
        wait_quietly(self.world, meanwhile)

    def remove(self) -> None:
        """Removes the work; the dataset is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {folder}: {error.strerror}") from error


def _refuse_other_plan(
    output: Path, before: dict[str, Any], plan: dict[str, Any], finished: bool
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
        f"--output {output} holds {holds} made with other options ({shown}):{way} choose another "
        "folder or remove this one"
    )
