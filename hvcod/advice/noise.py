"""The gradient noise scale of a saved model, on training batches that nothing is learned from."""

import dataclasses
import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hvcod.codistill.parts import Part
from hvcod.errors import HvcodError, reason_of
from hvcod.evaluation.models import Trained
from hvcod.groups.communicator import Alone, Communicator, add_up
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
    """

    batch: int
    pieces: int
    most: int


class Measured(NamedTuple):
    """The noise scale of a saved model.

    Attributes:
        noise: The noise scale of the task loss, with dropout.
        goes_on: Whether the batches were those that follow on the saved state; otherwise it does
            not tell its place in these data, which were read from their beginning.
    """

    noise: NoiseScale
    goes_on: bool


def measure(trained: Trained, group: Group, wanted: Wanted) -> Measured:
    """Returns the noise scale of a model on the batches that would follow; the weights stay.

    Running statistics of batch normalisation change. Collective over the ranks of the launch, which
    share the parts of each batch: the readings do not depend on their number, but for dropout.

    Args:
        trained: The model of a group of a run.
        group: That group, with the ranks of this launch.
        wanted: The gradients.

    Raises:
        HvcodError: The state cannot be read, or no gradient was finite.
    """
    task = _seat(trained.task, group, wanted.batch)
    place = on_rank_zero(group.comm, lambda: _place(trained, task))
    torch.manual_seed(group.seed(task.options.seed, 1 + group.rank))
    source = _readings(trained, task, place, wanted.pieces, group)
    found: list[Reading] = []
    progress = Progress(wanted.most, "measuring gradients", "reading", shown=group.is_root)
    scale = None
    while scale is None or (len(found) < wanted.most and scale.high > USEFUL * scale.low):
        following = itertools.islice(source, min(ROUND, wanted.most - len(found)))
        taken = [each for each in following if math.isfinite(sum(each))]
        if not taken:
            raise HvcodError(f"{trained.path}: no gradient of its model is finite")
        found += taken
        progress.update(len(taken))
        scale = scale_of(found)
    progress.close()
    source.close()
    return Measured(scale, place.position is not None)


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
    """Returns the task of a group of one rank, whose batch is that of the group."""
    options = dataclasses.replace(
        task.options, batch_size=batch, group_batch_size=None, batch_warmup=0, accumulate=1
    )
    alone = Alone()
    seat = dataclasses.replace(group, rank=0, size=1, comm=alone, team=alone)
    return load_task(options.task)(options, seat)


def _place(trained: Trained, task: Task) -> Place:
    """Reads the place in the data at which a training state was saved; none in other data."""
    path, rows = trained.path, {"data": 0, "hidden": task.state_rows}
    try:
        state = state_of(*decode_tensors(read_file(path, path.stat().st_size)))
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    content = task.content()
    if content and state.about.content and content != state.about.content:
        return Place()
    own = restored(state, task.options.batch_size, rows).mine
    position = own.get("data")
    return Place(None if position is None else without_warmup(position), own.get("hidden"))


def _readings(
    trained: Trained, task: Task, place: Place, pieces: int, group: Group
) -> Generator[Reading, None, None]:
    """Yields a reading of each of the next batches, of which each rank has its share of parts."""
    data, device, rows = Prefetch(training_data_of(task)), trained.device, task.state_rows
    if place.position is not None:
        data.load_state_dict(place.position)
    before = map_tensors(lambda leaf: leaf.to(device), place.hidden)
    mine = range(group.rank, pieces, group.size)
    hidden = {index: Part(index, pieces).before(before, rows) for index in mine}
    model, batch_size = trained.model.train(), task.options.batch_size
    scale = _LOSS_SCALE if task.options.precision == "fp16" else 1.0
    try:
        while True:
            parts, own = data.next().parts(pieces), np.zeros(1)
            total = [torch.zeros_like(each) for each in _trained(model)]
            for index in mine:
                part = parts[index].to(device)
                gradient, hidden[index] = _gradient(task, model, part, hidden[index], scale)
                own += float(square_of(gradient))
                total = [one + other for one, other in zip(total, gradient, strict=True)]
            add_up(group.comm, own)
            mean = float(square_of(_of_all(group.comm, total))) / pieces**2
            squares = float(own[0]) / pieces / scale**2, mean / scale**2
            yield reading(*squares, batch_size / pieces, batch_size)
    finally:
        data.close()
        model.eval()


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [each for each in model.parameters() if each.requires_grad]


def _of_all(comm: Communicator, gradient: list[Tensor]) -> list[Tensor]:
    """Returns the sum of the ranks' gradients. Collective."""
    if comm.size == 1:
        return gradient
    sums = [each.detach().cpu().contiguous() for each in gradient]
    for each in sums:
        add_up(comm, each.numpy())
    return sums


def _gradient(
    task: Task, model: nn.Module, batch: Batch, state: Any, scale: float
) -> tuple[list[Tensor], Any]:
    """Returns the gradient of the task loss times a scale, and the next hidden state."""
    phi = task.phi(batch)
    with computing(task.options.precision, batch.targets.device):
        outputs, state = task.outputs(model, batch.inputs, state)
        loss = phi(outputs)
    trained = _trained(model)
    found = torch.autograd.grad(scale * loss, trained, allow_unused=True)
    pairs = zip(found, trained, strict=True)
    return [torch.zeros_like(each) if mine is None else mine for mine, each in pairs], state
