"""Writes down what a model predicts for every example of a part of the data.

Each rank writes what it predicts to a file of its own; then rank 0 puts the sequences of batches
together in the order of the data. So the result depends on neither the number of ranks nor memory.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hvcod.errors import HvcodError, reason_of
from hvcod.evaluation.evaluate import mean_distribution, pairs
from hvcod.evaluation.models import Trained
from hvcod.evaluation.predictions import Array, Block, Shape, check_columns, writer
from hvcod.files.whole import whole_file
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.progress import Progress
from hvcod.tasks.base import Batch
from hvcod.training.validation import predictive_distributions


@dataclass
class _Share:
    """What one rank has predicted.

    Attributes:
        blocks: How many blocks each of its sequences has.
        count: Predictions.
        ids: The types of the ids.
        classes: The numbers of classes; None for one number an example.
        labelled: Whether any label is known.
    """

    blocks: list[int] = field(default_factory=list)
    count: int = 0
    ids: set[str] = field(default_factory=set)
    classes: set[int | None] = field(default_factory=set)
    labelled: bool = False

    def add(self, block: Block, begins: bool) -> None:
        """Takes note of a block that was written."""
        if begins or not self.blocks:
            self.blocks.append(0)
        self.blocks[-1] += 1
        self.count += len(block.ids)
        self.ids.add(block.ids.dtype.str)
        self.classes.add(block.predictions.shape[1] if block.predictions.ndim > 1 else None)
        self.labelled |= bool((block.labels >= 0).any())


def predict(models: Sequence[Trained], part: str, output: Path, group: Group) -> int:
    """Writes the predictions of a model, or of the ensemble of several, to a file.

    Collective. The bytes of the file do not depend on the number of ranks.

    Args:
        models: Of one task; of several the mean of the predictive distributions counts.
        part: Of the data of the first one.
        output: The file, ``.h5`` or ``.csv``; all ranks see its folder.
        group: The ranks that share the data.

    Returns:
        How many predictions were written, on every rank.

    Raises:
        UsageError: The file's name ends in something else.
        HvcodError: The file cannot be written, or the models do not go together.
    """
    on_rank_zero(group.comm, lambda: writer(output))
    with _removed(_share_file(output, rank) for rank in range(group.size)):
        shares = group.comm.allgather(_predict(models, part, output, group))
        return on_rank_zero(group.comm, lambda: _put_together(output, shares))


@contextlib.contextmanager
def _removed(paths: Iterable[Path]) -> Iterator[None]:
    """Removes files in the end, those of all ranks: one that fails ends the others at once."""
    try:
        yield
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()


def _predict(models: Sequence[Trained], part: str, output: Path, group: Group) -> _Share:
    share, path = _Share(), _share_file(output, group.rank)
    progress = Progress(None, f"predicting {part}", "example", shown=group.is_root)
    with _told(path), path.open("wb") as file:
        for batch, answers in predictive_distributions(pairs(models), part, models[0].device):
            logs = answers[0] if len(models) == 1 else mean_distribution(answers, models)
            block = _block(batch, models[0].task.predictions(logs).float().cpu().numpy())
            check_columns(output, block.predictions)
            for column in (block.ids, block.predictions, block.labels):
                file.write(_as_bytes(column))
            share.add(block, batch.begins)
            progress.update(len(block.ids))
    progress.close()
    return share


def _as_bytes(column: Array) -> bytes:
    # Not straight into the file: numpy does not tell why the system would not write.
    content = io.BytesIO()
    np.save(content, column, allow_pickle=False)
    return content.getvalue()


def _block(batch: Batch, predictions: Array) -> Block:
    if batch.ids is None:
        raise HvcodError("this task gives its examples no ids to write down: see Batch.ids")
    if not isinstance(batch.ids, np.ndarray):
        ids = np.array([each.encode() for each in batch.ids])
    else:
        ids = batch.ids
    labels = np.maximum(batch.targets.flatten().cpu().numpy(), -1)
    there = ids >= 0 if ids.dtype.kind == "i" else slice(None)
    return Block(ids[there], predictions[there], labels[there])


def _put_together(output: Path, shares: Sequence[_Share]) -> int:
    ids = {kind for share in shares for kind in share.ids}
    classes = {each for share in shares for each in share.classes}
    if not ids:
        raise HvcodError("the part has no examples")
    shape = Shape(
        count=sum(share.count for share in shares),
        ids=np.result_type(*ids),
        classes=classes.pop(),
        labelled=any(share.labelled for share in shares),
    )
    with _told(output), contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(_share_file(output, rank).open("rb")) for rank in range(len(shares))
        ]
        whole = stack.enter_context(whole_file(output, replace=True))
        writer(output)(Path(whole.name), shape, _in_order(files, shares))
    return shape.count


def _in_order(files: Sequence[BinaryIO], shares: Sequence[_Share]) -> Iterator[Block]:
    """The sequences of all ranks in the order of the data: dealt out one by one, from rank 0 on."""
    for number in range(sum(len(share.blocks) for share in shares)):
        rank, place = number % len(shares), number // len(shares)
        for _ in range(shares[rank].blocks[place]):
            ids, predictions, labels = (np.load(files[rank]) for _ in range(3))
            yield Block(ids, predictions, labels)


def _share_file(output: Path, rank: int) -> Path:
    return output.with_name(f".{output.name}.rank-{rank}.tmp")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error
