"""The second stage: the kept documents of each input become token shards."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from hvcod.tasks.columns import lines
from hvcod.tasks.commoncrawl.preparation.collecting import KEPT, grouped, read_index, read_kept
from hvcod.tasks.commoncrawl.preparation.selection import Selection
from hvcod.tasks.commoncrawl.tokens.dataset import Tokens, shard_image
from hvcod.tasks.commoncrawl.tokens.tokenizer import OUT_OF_VOCABULARY, WordPieces, mark
from hvcod.tasks.files import read_arrays, write_arrays, write_whole
from hvcod.tasks.preparing.pipeline import Look, Report
from hvcod.tasks.preparing.workspace import Stage, Workspace

ENCODED = Stage("encoded", "encoding", "document")

BATCH_CHARACTERS = 1 << 20
"""Characters that one call of the tokenizer library encodes."""

Encoded = tuple[str, Tokens, bool]
Mask = npt.NDArray[np.bool_]


def write_first(workspace: Workspace, index: int, first: Mask) -> None:
    """Writes which documents of an input are not duplicates."""
    write_arrays(workspace.file(KEPT, index, ".first.npz"), first=first)


def read_first(workspace: Workspace, index: int) -> Mask:
    """Reads what `write_first` wrote."""
    return read_arrays(workspace.file(KEPT, index, ".first.npz"))["first"]


def encode_input(
    workspace: Workspace,
    index: int,
    pieces: WordPieces,
    selection: Selection,
    shard_tokens: int,
    look: Look,
) -> Report:
    """Writes the shards of one input and the ids of its documents; returns shards and counts.

    ``look`` is called with the number of documents encoded so far.
    """
    first = read_first(workspace, index)
    documents = _shown(_encoded(workspace, index, first, pieces, selection), look)
    ids, shards = [], []
    characters = int(read_index(workspace, index).sizes[first].sum())
    counts = {"documents": 0, "characters": characters, "tokens": 0, "out_of_vocabulary": 0}
    for number, shard in enumerate(grouped(documents, shard_tokens)):
        tokens = [(name, document) for name, document, _ in shard]
        image, held = shard_image(tokens, [held_out for *_, held_out in shard], pieces.dtype)
        file = f"shards/{index:05d}-{number:02d}.h5"
        write_whole(workspace.output / file, image)
        shards.append({"file": file, **held})
        ids += [name for name, _ in tokens]
        counts["documents"] += len(shard)
        counts["tokens"] += sum(len(document) for _, document in tokens)
        counts["out_of_vocabulary"] += sum(
            int((document == OUT_OF_VOCABULARY).sum()) for _, document in tokens
        )
    write_whole(workspace.file(ENCODED, index, ".ids"), lines(ids).tobytes())
    return {"shards": shards, "counts": counts}


def _shown(documents: Iterator[Encoded], look: Look) -> Iterator[Encoded]:
    for number, document in enumerate(documents, start=1):
        yield document
        look(number)


def _encoded(
    workspace: Workspace, index: int, first: Mask, pieces: WordPieces, selection: Selection
) -> Iterator[Encoded]:
    """Yields (id, tokens, whether it is held out for validation) of an input's documents."""
    held_out = selection.in_validation(read_index(workspace, index).hashes)
    numbers = iter(np.flatnonzero(first))
    documents = (
        document
        for document, wanted in zip(read_kept(workspace, index), first, strict=True)
        if wanted
    )
    for names, tokens in _batches(documents, pieces):
        for name, document in zip(names, tokens, strict=True):
            yield name, document, bool(held_out[next(numbers)])


def _batches(
    documents: Iterator[tuple[str, str]], pieces: WordPieces
) -> Iterator[tuple[list[str], list[Tokens]]]:
    """Encodes batch by batch; the next one is prepared while the library encodes one."""
    waiting: tuple[list[str], Future[list[Tokens]]] | None = None
    with ThreadPoolExecutor(1) as library:
        for group in grouped(documents, BATCH_CHARACTERS):
            marked = [mark(text) for _, text in group]
            names = [name for name, _ in group]
            running = names, library.submit(pieces.encode_marked, marked)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = running
        if waiting:
            yield waiting[0], waiting[1].result()
