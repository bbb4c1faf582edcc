"""Writes the predictions of a model for every example of a part of the data.

Each rank writes its predictions to a file of its own. Then rank 0 joins the sequences of batches in
the order of the data, so the result does not depend on the number of ranks, and memory does not
grow with the data.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hvcod.errors import HvcodError, reason_of
from hvcod.evaluation.evaluate import mean_distribution, pairs
from hvcod.evaluation.models import Trained
from hvcod.evaluation.predictions import Array, Block, Shape, check_columns, writer
from hvcod.files.folder import remove
from hvcod.files.regular import open_regular
from hvcod.files.temporaries import sweep, temporary_name
from hvcod.files.whole import new_file, whole_file
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.progress import Progress
from hvcod.tasks.base import Batch
from hvcod.training.run.data import meaning_of_task
from hvcod.training.validation import predictive_distributions


@dataclass
class _Share:
    """A summary of the predictions of one rank.

    Attributes:
        blocks: The number of blocks in each of its sequences.
        ids: The types of the ids.
        classes: The numbers of classes; None for a single number per example.
    """

    blocks: list[int] = field(default_factory=list)
    count: int = 0
    ids: set[str] = field(default_factory=set)
    classes: set[int | None] = field(default_factory=set)
    labelled: bool = False

    def add(self, block: Block, begins: bool) -> None:
        """Adds a block that was written."""
        if begins or not self.blocks:
            self.blocks.append(0)
        self.blocks[-1] += 1
        self.count += len(block.ids)
        self.ids.add(block.ids.dtype.str)
        self.classes.add(block.predictions.shape[1] if block.predictions.ndim > 1 else None)
        self.labelled |= bool((block.labels >= 0).any())


def predict(models: Sequence[Trained], part: str, output: Path, group: Group) -> int:
    """Writes the predictions of a model, or of the ensemble of several, to a file.

    Collective. Returns the number of predictions in the file, on every rank. The bytes of the file
    do not depend on the number of ranks.

    Args:
        models: Models of one task; for several the mean of their predictive distributions counts.
        part: The part of the first model's data.
        output: The file, in a folder that all ranks can see; its ending says of which kind:
            `hvcod.evaluation.predictions.ending`.

    Raises:
        UsageError: The file name has no such ending, or what has this name is not a file that may
            be replaced.
        HvcodError: The file cannot be written, or the models cannot be combined.
    """
    on_rank_zero(group.comm, lambda: _begin(output))
    paths = group.comm.allgather(output.with_name(temporary_name(output.name)))
    meaning = meaning_of_task(models[0].task)
    try:
        shares = group.comm.allgather(_predict(models, part, output, paths[group.rank], group))
        return on_rank_zero(group.comm, lambda: _put_together(output, paths, shares, meaning))
    finally:
        # The files of all ranks: after a failure, other ranks may not get to it.
        for path in paths:
            with contextlib.suppress(OSError):
                remove(path)


def _begin(output: Path) -> None:
    writer(output)
    sweep(output.parent)


def _predict(
    models: Sequence[Trained], part: str, output: Path, path: Path, group: Group
) -> _Share:
    share = _Share()
    progress = Progress(None, f"predicting {part}", "example", shown=group.is_root)
    with _write_errors(output), new_file(path) as file:
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
    # Not directly into the file: numpy's error would not contain the reason of the system.
    content = io.BytesIO()
    np.save(content, column, allow_pickle=False)
    return content.getvalue()


def _block(batch: Batch, predictions: Array) -> Block:
    if batch.ids is None:
        raise HvcodError("this task does not give its examples ids: see Batch.ids")
    ids = batch.ids
    if not isinstance(ids, np.ndarray):
        ids = np.array([text.encode() for text in ids])
    labels = np.maximum(batch.targets.flatten().cpu().numpy(), -1)
    kept = ids >= 0 if ids.dtype.kind == "i" else slice(None)
    return Block(ids[kept], predictions[kept], labels[kept])


def _put_together(
    output: Path, paths: Sequence[Path], shares: Sequence[_Share], meaning: str
) -> int:
    ids = {kind for share in shares for kind in share.ids}
    classes = {count for share in shares for count in share.classes}
    if not ids:
        raise HvcodError("the part has no examples")
    shape = Shape(
        count=sum(share.count for share in shares),
        ids=np.result_type(*ids),
        classes=classes.pop(),
        labelled=any(share.labelled for share in shares),
        meaning=meaning,
    )
    with _write_errors(output), contextlib.ExitStack() as stack:
        files = [stack.enter_context(io.BufferedReader(open_regular(path))) for path in paths]
        whole = stack.enter_context(whole_file(output, replace=True))
        writer(output)(whole, shape, _in_order(files, shares))
    return shape.count


def _in_order(files: Sequence[BinaryIO], shares: Sequence[_Share]) -> Iterator[Block]:
    """Yields the blocks of all ranks in the order of the data: sequence i was on rank i % ranks."""
    for number in range(sum(len(share.blocks) for share in shares)):
        rank, sequence = number % len(shares), number // len(shares)
        for _ in range(shares[rank].blocks[sequence]):
            ids, predictions, labels = (np.load(files[rank]) for _ in range(3))
            yield Block(ids, predictions, labels)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error
