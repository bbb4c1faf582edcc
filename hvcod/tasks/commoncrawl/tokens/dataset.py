"""Tokenized documents: the data that ``hvcod data commoncrawl`` prepares.

A dataset is a folder::

    dataset.json       format, vocabulary, counts, the shards: everything but the tokens
    tokenizer.json     the word pieces (`hvcod.tasks.commoncrawl.tokens.tokenizer`)
    document-ids.txt   the documents that were kept, in order, one id a line
    report.json        what was read, kept and dropped, and why
    shards/00003-00.h5 tokens of input 3; `training` and `validation` hold
                       tokens   all documents one behind the other (16 bit where that is enough)
                       offsets  where each document begins, and the end (64 bit)
                       ids      the documents' ids, UTF-8, a line feed behind each

The bytes depend on the documents and the options alone: no times, no paths, no ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.tasks.columns import Array, Columns, DataFormat, described, fingerprint, image, lines

FORMAT = DataFormat("hvcod-tokens", 1, "hvcod data commoncrawl")
PARTS = ("training", "validation")
OPEN_SHARDS = 8
"""Shards that a dataset keeps open."""

Tokens = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class ShardInfo:
    """A shard's file, relative to the dataset's folder, and what it holds."""

    file: str
    training_documents: int
    training_tokens: int
    validation_documents: int
    validation_tokens: int

    def documents(self, part: str) -> int:
        """Returns the number of documents of one part."""
        return self.training_documents if part == "training" else self.validation_documents

    def tokens(self, part: str) -> int:
        """Returns the number of tokens of one part."""
        return self.training_tokens if part == "training" else self.validation_tokens


def shard_image(
    documents: Sequence[tuple[str, Tokens]], in_validation: Sequence[bool], dtype: np.dtype[Any]
) -> tuple[bytes, dict[str, int], str]:
    """Returns a shard as the bytes of an HDF5 file, the counts of its `ShardInfo`, and its digest.

    Each document is (id, tokens), held out or not; tokens are stored as `dtype`.
    """
    counts: dict[str, int] = {}
    columns: dict[str, Array] = {}
    for part in PARTS:
        chosen = [
            document
            for document, held_out in zip(documents, in_validation, strict=True)
            if held_out == (part == "validation")
        ]
        tokens = [document for _, document in chosen]
        columns[f"{part}/tokens"] = np.concatenate([np.empty(0, dtype), *tokens]).astype(dtype)
        columns[f"{part}/offsets"] = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        columns[f"{part}/ids"] = lines([name for name, _ in chosen])
        counts[f"{part}_documents"] = len(chosen)
        counts[f"{part}_tokens"] = sum(map(len, tokens))
    return image(columns, FORMAT), counts, fingerprint(columns)


class TokenDataset:
    """A prepared dataset; opening it reads ``dataset.json`` and nothing else.

    Attributes:
        folder: Its path.
        vocabulary_size: Pieces of its tokenizer, special tokens among them.
        shards: What each shard holds.
        unigram_counts: How often each token occurs in the training part.
        content: Digest of all documents; empty if an earlier version prepared them.
        columns: Opens a shard by its index, or returns it from the few that are kept open.

    Raises:
        HvcodError: The folder holds no dataset, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with described(folder, FORMAT) as content:
            self.vocabulary_size: int = content["vocabulary_size"]
            self.shards = [ShardInfo(**shard) for shard in content["shards"]]
            self.unigram_counts = np.array(content["unigram_counts"], dtype=np.int64)
            self.content: str = content.get("content", "")
            self._meaning: dict[str, str] | None = content.get("meaning")
        self.columns = lru_cache(OPEN_SHARDS)(self._open)
        self._starts = {
            part: np.cumsum([0, *(shard.tokens(part) for shard in self.shards)]) for part in PARTS
        }

    @cached_property
    def meaning(self) -> Mapping[str, str]:
        """The digest of the vocabulary; of its file, if an earlier version prepared the data."""
        if self._meaning is None:
            # Imported here because training needs no tokenizer.
            from hvcod.tasks.commoncrawl.tokens.tokenizer import WordPieces

            file = self.folder / "tokenizer.json"
            self._meaning = WordPieces.load(file).meaning if file.exists() else {}
        return self._meaning

    def _open(self, shard: int) -> Columns:
        return Columns(self.folder / self.shards[shard].file, FORMAT)

    def between(self, part: str, start: int, stop: int) -> Tokens:
        """Returns a range of the tokens of one part, its shards taken as one sequence."""
        starts, pieces = self._starts[part], []
        first = int(np.searchsorted(starts, start, side="right")) - 1
        for shard in range(first, len(self.shards)):
            before, after = starts[shard : shard + 2].tolist()
            if before >= stop:
                break
            begin, end = max(start, before) - before, min(stop, after) - before
            if begin < end:
                pieces.append(self.columns(shard).read(f"{part}/tokens", begin, end))
        return np.concatenate(pieces)

    def begins(self, part: str, shard: int) -> int:
        """Returns the place of a shard's first token among the tokens of one part."""
        return int(self._starts[part][shard])

    def frequencies(self) -> npt.NDArray[np.float64]:
        """Returns how frequent each token is in the training part, with one added to its count."""
        counts = self.unigram_counts + 1
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def documents(self, part: str) -> int:
        """Returns the number of documents of one part."""
        return sum(shard.documents(part) for shard in self.shards)

    def tokens(self, part: str) -> int:
        """Returns the number of tokens of one part."""
        return sum(shard.tokens(part) for shard in self.shards)


def describe_dataset(
    vocabulary_size: int,
    shards: Sequence[ShardInfo],
    unigram_counts: npt.NDArray[np.int64],
    **more: Any,
) -> dict[str, Any]:
    """Returns the content of ``dataset.json``; the counts are those of the training tokens."""
    return {
        **FORMAT.attributes(),
        "vocabulary_size": vocabulary_size,
        **more,
        "shards": [asdict(shard) for shard in shards],
        "unigram_counts": unigram_counts.tolist(),
    }
