"""A group saves its training state, off the training thread."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.exchange.publish import snapshot
from hvcod.groups.split import Group
from hvcod.groups.tensors import gather_tensor
from hvcod.groups.world import wait_quietly
from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.image import Image
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import lossless
from hvcod.tensorfile.writer import Writer, WriterCounters
from hvcod.training.state.restore import OUTLINE, as_text
from hvcod.tree import take_apart

_PATIENCE = 600.0
"""Seconds after which a file system that does not take the last state is given up."""


@dataclass
class _Item:
    about: Origin
    outlines: dict[str, Any]
    tensors: dict[str, Tensor]


class Saver:
    """Copies the state on the training thread; threads gather the ranks' parts and write the file.

    While one state is being written, the newest waits and older ones are dropped. A failure, such
    as a full disk, costs that save: it is counted, logged once per cause, and training goes on.

    Attributes:
        counters: The states written and failed; on the group root, zeros elsewhere.
    """

    def __init__(
        self,
        group: Group,
        directory: Path,
        keep: int,
        before: Callable[[], object] = lambda: None,
        what: str = "training state",
        later: bool = True,
    ) -> None:
        """Collective over the group; its root keeps the last `keep` states in the directory.

        `before` is called on the writing thread before each state. `what` names one in the
        log. `later` says whether states of later steps stay.
        """
        self._before = before
        self._group, self._comm = group, group.comm.Dup()
        self._gathering: threading.Thread | None = None
        self._late = False
        self._writer: Writer[_Item] | None = None
        self.counters = WriterCounters()
        if group.is_root:
            self._writer = Writer(
                directory, self._build, keep=keep, replace=True, what=what, later=later
            )
            self.counters = self._writer.counters

    @property
    def error(self) -> str:
        """Why the last state could not be written, with its path; empty if it was."""
        late = f"the file system did not take it in {_PATIENCE:g} s" if self._late else ""
        return self.counters.last_error or late

    def save(self, about: Origin, shared: Any, mine: Any) -> None:
        """Hands a state over; training may go on as soon as it returns. Collective.

        `shared` is a tree of which the group root's counts, `mine` is this rank's own, with the
        same outline, shapes and types on all ranks.
        """
        self._join()
        outline, tensors = take_apart(mine, "ranks")
        item = None
        if self._group.is_root:
            shared_outline, shared_tensors = take_apart(shared, "shared")
            outlines = {"shared": shared_outline, "ranks": outline}
            item = _Item(about, outlines, snapshot(shared_tensors))
        work = json.dumps(outline), snapshot(tensors), item
        self._gathering = threading.Thread(target=self._gather, args=work, daemon=True)
        self._gathering.start()

    def flush(self) -> bool:
        """Waits for the last state; returns whether it is on disk. Collective."""
        self._join()
        done = False
        if self._writer:
            done = self._writer.flush(_PATIENCE)
            self._late = not done
        wait_quietly(self._group.comm)
        return bool(self._group.comm.bcast(done))

    def close(self) -> bool:
        """Ends the threads; returns whether the last state is on disk. Collective."""
        done = self.flush()
        if self._writer:
            self._writer.close(1.0)
        self._comm.Free()
        return done

    def _join(self) -> None:
        if self._gathering is not None:
            self._gathering.join()

    def _gather(self, outline: str, tensors: dict[str, Tensor], item: _Item | None) -> None:
        shapes = {name: (tuple(part.shape), str(part.dtype)) for name, part in tensors.items()}
        described = self._comm.gather((outline, shapes))
        if described is not None:
            _check_equal(described)
        gathered = {n: gather_tensor(self._comm, t.cpu()) for n, t in tensors.items()}
        if item is not None and self._writer is not None:
            item.tensors |= {n: t for n, t in gathered.items() if t is not None}
            self._writer.write(item.about.step, item)

    def _build(self, item: _Item) -> Image:
        self._before()
        item.tensors[OUTLINE] = as_text(item.outlines)
        return encode(item.tensors, item.about, storage=lossless)


def _check_equal(described: list[tuple[str, dict[str, Any]]]) -> None:
    first = described[0]
    for rank, (outline, shapes) in enumerate(described):
        different = [name for name in first[1] if shapes.get(name) != first[1][name]]
        if outline != first[0] or different:
            what = f"{different[0]} is {shapes.get(different[0])}" if different else outline[:80]
            raise HvcodError(
                f"the training state of rank {rank} has another form than rank 0's ({what}): "
                "hidden states and places in the data must be tensors of the same shape everywhere"
            )
