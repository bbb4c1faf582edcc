"""The second stage: the kept documents of each input become token shards."""

from collections.abc import Iterator

from hvcod.tasks.columns import lines
from hvcod.tasks.commoncrawl.preparation.collecting import (
    grouped,
    read_first,
    read_index,
    read_kept,
)
from hvcod.tasks.commoncrawl.preparation.selection import Selection
from hvcod.tasks.commoncrawl.tokens.dataset import Tokens, shard_image
from hvcod.tasks.commoncrawl.tokens.tokenizer import OUT_OF_VOCABULARY, WordPieces, mark
from hvcod.tasks.files import write_whole
from hvcod.tasks.preparing.pipeline import Look, Report
from hvcod.tasks.preparing.workspace import Stage, Workspace

ENCODED = Stage("encoded", "encoding", "document")

BATCH_CHARACTERS = 1 << 20
"""Characters that are encoded at once."""

Encoded = Iterator[tuple[str, Tokens]]


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
    (first, hashes), known = read_first(workspace, index), read_index(workspace, index)
    in_validation = selection.in_validation(hashes).tolist()
    documents = _shown(_encoded(read_kept(workspace, index, first), pieces), look)
    ids: list[str] = []
    shards, content = [], []
    characters = int(known.sizes[first].sum())
    counts = {"documents": 0, "characters": characters, "tokens": 0, "out_of_vocabulary": 0}
    for number, shard in enumerate(grouped(documents, shard_tokens)):
        held_out = in_validation[len(ids) : len(ids) + len(shard)]
        image, held, digest = shard_image(shard, held_out, pieces.dtype)
        file = f"shards/{index:05d}-{number:02d}.h5"
        write_whole(workspace.output / file, image)
        shards.append({"file": file, **held})
        content.append(digest)
        ids += [name for name, _ in shard]
        counts["documents"] += len(shard)
        for _, tokens in shard:
            counts["tokens"] += len(tokens)
            counts["out_of_vocabulary"] += int((tokens == OUT_OF_VOCABULARY).sum())
    write_whole(workspace.file(ENCODED, index, ".ids"), lines(ids).tobytes())
    return {"shards": shards, "counts": counts, "content": content}


def _shown(documents: Encoded, look: Look) -> Encoded:
    for number, document in enumerate(documents, start=1):
        yield document
        look(number)


def _encoded(documents: Iterator[tuple[str, str]], pieces: WordPieces) -> Encoded:
    for group in grouped(documents, BATCH_CHARACTERS):
        names = [name for name, _ in group]
        yield from zip(names, pieces.encode([mark(text) for _, text in group]), strict=True)
