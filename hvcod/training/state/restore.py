"""Reads a group's newest training state and hands it out to its ranks.

A state file has the parts ``shared`` (the same on all ranks: model, optimiser, teachers, counters)
and ``ranks`` (each rank's own: position in the data, hidden states, random numbers), the tensors of
the latter stacked as [ranks, ...].
"""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvcod.errors import HvcodError, reason_of
from hvcod.files.shared import patiently
from hvcod.groups.communicator import Alone, Communicator
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_tensors, scatter_tensors
from hvcod.groups.world import on_rank_zero
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path, list_steps
from hvcod.tree import put_together

OUTLINE = "outline"
"""The name of the tensor in a file that has the outlines of both parts, as JSON text."""

NO_RANKS = 0
"""The ranks of a state that holds nothing that a rank has of its own: all of that begins anew."""

log = logging.getLogger("hvcod.training")


@dataclasses.dataclass
class State:
    """A training state as the group root reads it.

    Attributes:
        about: Where it comes from.
        shared: Outline of what is the same on all ranks.
        ranks: Outline of each rank's own.
        tensors: The tensors of both by name; those of `ranks` stacked as [ranks, ...].
    """

    about: Origin
    shared: Any
    ranks: Any
    tensors: dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Restored:
    """A training state as one rank needs it.

    Attributes:
        about: Where it comes from.
        shared: The trees that are the same on all ranks, by part.
        mine: This rank's own trees by part; with other ranks, only those that can be shared out.
    """

    about: Origin
    shared: dict[str, Any]
    mine: dict[str, Any]


def restore(
    directory: Path,
    group: Group,
    run_id: str,
    batch_size: int,
    limit: int,
    rows: Mapping[str, int],
    last: int | None = None,
) -> Restored | None:
    """Returns the newest training state that can be read; None if there are none at all.

    Collective over the group; only its root touches the directory.

    Args:
        batch_size: Examples per rank and step now; it may be another one after `NO_RANKS`.
        limit: Bytes that no state of this model exceeds.
        rows: For each part of a rank's own tree that other ranks can take over, the dimension of
            its tensors that counts examples.
        last: The last step that counts; None: there is none.

    Raises:
        HvcodError: There are states, but none can be read; or the group has other ranks or
            another batch size, and the state cannot be shared out to them.
    """
    state: State | None = None

    def look() -> bool:
        nonlocal state
        state = _newest(directory, group.index, run_id, limit, last)
        if state is not None:
            _fit(state, group.size, batch_size, rows)
        return state is not None

    return _hand_out(state, group.comm) if on_rank_zero(group.comm, look) else None


def restored(state: State, batch_size: int, rows: Mapping[str, int]) -> Restored:
    """Returns a training state as a group of one rank, which is this process, needs it.

    Args:
        batch_size: Examples of the group in a step.
        rows: See `restore`.

    Raises:
        HvcodError: The state cannot be shared out so.
    """
    _fit(state, 1, batch_size, rows)
    return _hand_out(state, Alone())


def part_of_newest(
    directory: Path, group: int, run_id: str, limit: int, part: str, known: int
) -> dict[str, Any] | None:
    """Returns a shared part without tensors of the newest state in a folder.

    Empty if there is no state, or none that can be read, which is logged. None if the newest is
    that of the step `known`, and so need not be read, or if the folder cannot be listed.
    """
    try:
        newest = max(list_steps(directory), default=0)
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.warning("cannot list %s: %s", directory, reason_of(error))
        return None
    if newest == known:
        return None
    try:
        state = _newest(directory, group, run_id, limit, last=None)
    except HvcodError as error:
        log.warning("%s", error)
        state = None
    if state is None:
        return {}
    found: dict[str, Any] = put_together(dict(state.shared["dict"])[part], state.tensors)
    return found


def share_out(name: str, tensor: Tensor, about: Origin, ranks: int, rows: int) -> Tensor:
    """Returns a tensor [saved ranks, ...] as [ranks, ...], with the examples in the same order.

    Dimension `rows` of each rank's part counts its examples: first the batch size that was saved.

    Raises:
        HvcodError: There is no such dimension; names the tensor.
    """
    if tensor.dim() < rows + 2 or tensor.shape[rows + 1] != about.batch_size:
        raise HvcodError(
            f"{name} of the state of step {about.step} has no dimension {rows} of "
            f"{about.batch_size} examples to share out: use {about.ranks} ranks per group again"
        )
    everyones = tensor.movedim(0, rows).flatten(rows, rows + 1)
    shape = everyones.shape
    divided = everyones.reshape(*shape[:rows], ranks, -1, *shape[rows + 1 :])
    return divided.movedim(rows, 0).contiguous()


def _fit(state: State, ranks: int, batch_size: int, rows: Mapping[str, int]) -> None:
    """Shares the ranks' part out if the ranks have changed; raises HvcodError if it cannot be."""
    about = state.about
    if about.ranks == NO_RANKS or (about.ranks, about.batch_size) == (ranks, batch_size):
        return
    if about.ranks * about.batch_size != ranks * batch_size:
        raise HvcodError(
            f"group {about.group} was saved with {about.ranks} ranks of {about.batch_size} "
            f"examples a step; it cannot go on with {ranks} of {batch_size}: the ranks may change, "
            "but not their product with the batch size"
        )
    log.info("shared out from %d ranks to %d, %d examples each", about.ranks, ranks, batch_size)
    state.ranks = {part: state.ranks[part] for part in rows if part in state.ranks}
    for name, tensor in list(state.tensors.items()):
        side, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        if side == "ranks" and part in rows:
            state.tensors[name] = share_out(name, tensor, about, ranks, rows[part])
        elif side == "ranks":
            del state.tensors[name]


def _hand_out(state: State | None, ranks: Communicator) -> Restored:
    header, shared, mine = None, None, None
    if state is not None:
        header = [dataclasses.asdict(state.about), state.shared, state.ranks]
        shared = {n: t for n, t in state.tensors.items() if n.startswith("shared")}
        mine = {n: t for n, t in state.tensors.items() if n.startswith("ranks")}
    header, shared_outline, outline = ranks.bcast(header)
    everyones = broadcast_tensors(ranks, shared)
    own = scatter_tensors(ranks, mine)
    own_trees = {part: put_together(tree, own) for part, tree in outline.items()}
    return Restored(Origin(**header), put_together(shared_outline, everyones), own_trees)


def _newest(directory: Path, group: int, run_id: str, limit: int, last: int | None) -> State | None:
    try:
        steps = [step for step in list_steps(directory) if last is None or step <= last]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HvcodError(f"cannot list {directory}: {error.strerror}") from error
    problems: list[OSError | HvcodError] = []
    for step in reversed(steps):
        path = checkpoint_path(directory, step)
        try:
            # A system error may pass; an older state would cost the training since.
            return patiently(partial(_read, path, step, group, run_id, limit), OSError)
        except (OSError, HvcodError) as error:
            problems.append(error)
        reason = reason_of(problems[-1])
        log.warning("training state %s: %s; trying the one before it", path, reason)
    if steps:
        raise HvcodError(
            f"none of the {len(steps)} training states in {directory} can be read (the newest: "
            f"{reason_of(problems[0])}); {_advice(problems)}"
        )
    return None


def _advice(problems: Sequence[Exception]) -> str:
    """Returns what to do about states that cannot be read: to give them up only if all are lost."""
    if all(isinstance(problem, DamagedError) for problem in problems):
        return "move them away to start this group anew, or use another --run-dir"
    return "they may be whole: once that is mended, the same command goes on from there"


def as_text(outlines: Mapping[str, Any]) -> Tensor:
    """Returns the tensor `OUTLINE` of a file: the outlines of its shared part and of its ranks'."""
    return torch.frombuffer(bytearray(json.dumps(outlines).encode()), dtype=torch.uint8)


def state_of(origin: Origin, tensors: dict[str, Tensor]) -> State:
    """Returns the training state in a file with these contents.

    Raises:
        RefusedError: It is not a training state.
    """
    try:
        outlines = json.loads(tensors[OUTLINE].numpy().tobytes())
        rest = {name: tensor for name, tensor in tensors.items() if name != OUTLINE}
        return State(origin, outlines["shared"], dict(outlines["ranks"]["dict"]), rest)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RefusedError(f"is not a training state: {error!r}") from error


def _read(path: Path, step: int, group: int, run_id: str, limit: int) -> State:
    state = state_of(*decode_tensors(read_file(path, limit)))
    about = state.about
    if (about.run_id, about.group, about.step) != (run_id, group, step):
        whose = f"step {about.step} of group {about.group} of run {about.run_id!r}"
        raise RefusedError(f"claims to be {whose}")
    return state
