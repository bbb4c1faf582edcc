"""The gradient noise scale of a saved model, on training batches that nothing is learned from."""

import dataclasses
import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvcod.errors import HvcodError, reason_of
from hvcod.evaluation.models import Trained
from hvcod.groups.communicator import Alone
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.progress import Progress
from hvcod.tasks import load_task
from hvcod.tasks.base import Batch, Task
from hvcod.tasks.batches import training_data_of, without_warmup
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.training.noise.scale import NoiseScale, Reading, reading, scale_of
from hvcod.training.precision import computing
from hvcod.training.prefetch import Prefetch
from hvcod.training.sgd.norms import square_of
from hvcod.training.state.restore import restored, state_of
from hvcod.tree import map_tensors

ROUND = 32
"""Readings after which the interval is looked at."""

USEFUL = 2.0
"""The ratio of the ends of an interval at which no further readings are taken."""

_LOSS_SCALE = 2.0**12
"""Multiplies the loss with ``--precision fp16``, in which small gradients would vanish."""


class Place(NamedTuple):
    """A place in a group's training data.

    Attributes:
        position: That of the data; None: their beginning.
        hidden: The model's hidden state there.
    """

    position: dict[str, Tensor] | None = None
    hidden: Any = None


@dataclass(frozen=True)
class Wanted:
    """The gradients to measure.

    Attributes:
        batch: Examples of the group in a step.
        pieces: The parts of a batch whose gradients are compared with that of the batch.
        most: Readings after which to stop, however wide the interval is.
        goes_on: Whether the training data are those of the run: then the first rank goes on where
            the state was saved.
    """

    batch: int
    pieces: int
    most: int
    goes_on: bool = True


def measure(trained: Trained, group: Group, wanted: Wanted) -> NoiseScale:
    """Returns the noise scale of the task loss, with dropout; the weights stay as they are.

    Running statistics of batch normalisation change. Collective over the ranks of the launch: each
    takes a share of the readings, and all but the first read the data in another order.

    Args:
        trained: The model of a group of a run.
        group: That group, with the ranks of this launch.
        wanted: The gradients.

    Raises:
        HvcodError: The state cannot be read, or no gradient was finite.
    """
    task = _seat(trained.task, group, wanted.batch)
    reads = wanted.goes_on and group.is_root
    place = on_rank_zero(group.comm, lambda: _place(trained, task) if reads else Place())
    torch.manual_seed(group.seed(task.options.seed, 1 + group.rank))
    source = _readings(trained, task, place if group.is_root else Place(), wanted.pieces)
    found: list[Reading] = []
    progress = Progress(wanted.most, "measuring gradients", "reading", shown=group.is_root)
    scale = None
    while scale is None or (len(found) < wanted.most and scale.high > USEFUL * scale.low):
        share = -(-min(ROUND, wanted.most - len(found)) // group.size)
        everyones = group.comm.allgather(list(itertools.islice(source, share)))
        taken = [each for mine in everyones for each in mine if math.isfinite(sum(each))]
        if not taken:
            raise HvcodError(f"{trained.path}: no gradient of its model is finite")
        found += taken
        progress.update(len(taken))
        scale = scale_of(found)
    progress.close()
    source.close()
    return scale


def pieces_of(batch: int, ranks: int) -> int:
    """Returns the parts of a batch to compare: those of the ranks, or the fewest of one rank's.

    Raises:
        HvcodError: A batch of one example has no parts.
    """
    if ranks > 1:
        return ranks
    if batch == 1:
        raise HvcodError(
            "the gradient noise scale needs a batch of two examples at least, and a step of this "
            "run has one"
        )
    return next(parts for parts in range(2, batch + 1) if batch % parts == 0)


def _seat(task: Task, group: Group, batch: int) -> Task:
    """Returns the task of a group of one rank; other ranks have the data in another order."""
    options = dataclasses.replace(
        task.options, batch_size=batch, group_batch_size=None, batch_warmup=0, accumulate=1
    )
    if not group.is_root:
        other = group.seed(options.data_seed, group.rank)
        options = dataclasses.replace(options, order_seed=other)
    alone = Alone()
    seat = dataclasses.replace(group, rank=0, size=1, comm=alone, team=alone)
    return load_task(options.task)(options, seat)


def _place(trained: Trained, task: Task) -> Place:
    """Reads the place in the data at which a training state was saved."""
    path, rows = trained.path, {"data": 0, "hidden": task.state_rows}
    try:
        state = state_of(*decode_tensors(read_file(path, path.stat().st_size)))
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    own = restored(state, task.options.batch_size, rows).mine
    position = own.get("data")
    return Place(None if position is None else without_warmup(position), own.get("hidden"))


def _readings(
    trained: Trained, task: Task, place: Place, pieces: int
) -> Generator[Reading, None, None]:
    """Yields a reading of each of the next batches."""
    data, device, rows = Prefetch(training_data_of(task)), trained.device, task.state_rows
    if place.position is not None:
        data.load_state_dict(place.position)
    hidden = map_tensors(lambda leaf: leaf.to(device), place.hidden)
    model, batch_size = trained.model.train(), task.options.batch_size
    scale = _LOSS_SCALE if task.options.precision == "fp16" else 1.0
    try:
        while True:
            own: list[float] = []
            gradient: list[Tensor] = []
            for piece in data.next().parts(pieces):
                before = piece.part.before(hidden, rows)
                mine, after = _gradient(task, model, piece.to(device), before, scale)
                hidden = piece.part.after(hidden, after, rows)
                own.append(float(square_of(mine)))
                gradient = _sum(gradient, mine)
            small = sum(own) / pieces
            mean = float(square_of(gradient)) / pieces**2
            squares = small / scale**2, mean / scale**2
            yield reading(*squares, batch_size / pieces, batch_size)
    finally:
        data.close()
        model.eval()


def _gradient(
    task: Task, model: nn.Module, batch: Batch, state: Any, scale: float
) -> tuple[list[Tensor], Any]:
    """Returns the gradient of the task loss times a scale, and the next hidden state."""
    phi = task.phi(batch)
    with computing(task.options.precision, batch.targets.device):
        outputs, state = task.outputs(model, batch.inputs, state)
        loss = phi(outputs)
    trained = [each for each in model.parameters() if each.requires_grad]
    found = torch.autograd.grad(scale * loss, trained, allow_unused=True)
    pairs = zip(found, trained, strict=True)
    return [torch.zeros_like(each) if mine is None else mine for mine, each in pairs], state


def _sum(gradient: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    if not gradient:
        return more
    return [one + other for one, other in zip(gradient, more, strict=True)]
