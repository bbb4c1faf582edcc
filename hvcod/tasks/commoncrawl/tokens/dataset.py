"""Token shards: documents as tokens in HDF5, a training and a validation part in every shard.

A dataset is a folder::

    dataset.json       format, vocabulary, counts, the shards: everything but the tokens
    tokenizer.json     the word pieces (`hvcod.tasks.commoncrawl.tokens.tokenizer`)
    document-ids.txt   the documents that were kept, in order, one id a line
    report.json        what was read, kept and dropped, and why
    shards/00003-00.h5 tokens of input 3; `training` and `validation` hold
                       tokens   all documents one behind the other (16 bit where that is enough)
                       offsets  where each document begins, and the end (64 bit)
                       ids      the documents' ids, UTF-8, a line feed behind each

The bytes depend on the documents and options alone: no times, no paths, no ranks.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.tasks.files import read_json

FORMAT, VERSION = "hvcod-tokens", 1
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
        """Documents of one part."""
        return self.training_documents if part == "training" else self.validation_documents

    def tokens(self, part: str) -> int:
        """Tokens of one part."""
        return self.training_tokens if part == "training" else self.validation_tokens


def shard_image(
    documents: Sequence[tuple[str, Tokens]], in_validation: Sequence[bool], dtype: np.dtype[Any]
) -> tuple[bytes, dict[str, int]]:
    """A shard as the bytes of an HDF5 file, and its counts in the words of `ShardInfo`."""
    counts = {}
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        file.attrs.update(format=FORMAT, version=VERSION)
        for part in PARTS:
            chosen = [
                document
                for document, held_out in zip(documents, in_validation, strict=True)
                if held_out == (part == "validation")
            ]
            _add_part(file.create_group(part), chosen, dtype)
            counts[f"{part}_documents"] = len(chosen)
            counts[f"{part}_tokens"] = sum(len(tokens) for _, tokens in chosen)
        file.flush()
        return file.id.get_file_image(), counts


def _add_part(
    group: h5py.Group, documents: Sequence[tuple[str, Tokens]], dtype: np.dtype[Any]
) -> None:
    tokens = [document for _, document in documents]
    lengths = np.array([len(document) for document in tokens], dtype="<i8")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
    ids = "".join(f"{name}\n" for name, _ in documents).encode()
    stored = dtype.newbyteorder("<")
    joined = np.concatenate(tokens) if tokens else np.empty(0, dtype=stored)
    group.create_dataset("tokens", data=joined.astype(stored, copy=False))
    group.create_dataset("offsets", data=offsets)
    group.create_dataset("ids", data=np.frombuffer(ids, dtype=np.uint8))


class Shard:
    """One part of an open shard: its index in memory, its tokens read from the file when asked for.

    Attributes:
        offsets: Where each document begins, and the end.
    """

    def __init__(self, path: Path, part: str) -> None:
        self._path, self._part = path, part
        try:
            with h5py.File(path, "r", locking=False) as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                    raise HvcodError(f"{path} is not a token shard of version {VERSION}")
                tokens = file[part]["tokens"]
                self.dtype = np.dtype(tokens.dtype)
                self.offsets: npt.NDArray[np.int64] = file[part]["offsets"][:]
                self._start: int = tokens.id.get_offset() or 0
            self._file = os.open(path, os.O_RDONLY)
        except (OSError, KeyError) as error:
            raise HvcodError(
                f"cannot read the token shard {path}: {error}; prepare the data again"
            ) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, start: int, stop: int) -> Tokens:
        """Tokens ``start`` to ``stop`` of the part, read-only.

        Raises:
            HvcodError: The file ends too early.
        """
        width = self.dtype.itemsize
        size, begin = (stop - start) * width, self._start + start * width
        data = os.pread(self._file, size, begin)
        while len(data) < size:  # Linux gives at most 2 GiB at once
            more = os.pread(self._file, size - len(data), begin + len(data))
            if not more:
                raise HvcodError(f"the token shard {self._path} is cut off; prepare the data again")
            data += more
        return np.frombuffer(data, dtype=self.dtype)

    def document(self, index: int) -> Tokens:
        """The tokens of one document."""
        return self.read(int(self.offsets[index]), int(self.offsets[index + 1]))

    def ids(self) -> list[str]:
        """The ids of the documents."""
        with h5py.File(self._path, "r", locking=False) as file:
            joined: str = file[self._part]["ids"][:].tobytes().decode()
        return joined.split("\n")[:-1]


class TokenDataset:
    """A prepared dataset; opening it reads ``dataset.json`` and nothing else.

    Attributes:
        folder: Where it lies.
        vocabulary_size: Pieces of its tokenizer, special tokens among them.
        shards: What each shard holds.
        unigram_counts: How often each token occurs in the training part.

    Raises:
        HvcodError: The folder holds no dataset, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "dataset.json").is_file():
            raise HvcodError(f"{folder} holds no finished data of `hvcod data commoncrawl`")
        content = read_json(folder / "dataset.json")
        try:
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise HvcodError(f"{folder} holds data of another format than this hvcod reads")
            self.vocabulary_size: int = content["vocabulary_size"]
            self.shards = [ShardInfo(**shard) for shard in content["shards"]]
            self.unigram_counts = np.array(content["unigram_counts"], dtype=np.int64)
        except (KeyError, TypeError, ValueError) as error:
            raise HvcodError(f"{folder / 'dataset.json'} is damaged: {error!r}") from error
        self._open: OrderedDict[tuple[int, str], Shard] = OrderedDict()
        self._starts: dict[str, npt.NDArray[np.int64]] = {}

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer that made the tokens; for `WordPieces.load`."""
        return self.folder / "tokenizer.json"

    def open_shard(self, index: int, part: str) -> Shard:
        """Opens one part of a shard for a caller that keeps it."""
        return Shard(self.folder / self.shards[index].file, part)

    def shard(self, index: int, part: str) -> Shard:
        """Opens one part of a shard, or returns it from the few that are kept open."""
        key = (index, part)
        if key not in self._open:
            self._open[key] = self.open_shard(index, part)
        self._open.move_to_end(key)
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return self._open[key]

    def between(self, part: str, start: int, stop: int) -> Tokens:
        """A range of the tokens of one part of all shards, taken as one sequence."""
        if part not in self._starts:
            counts = [info.tokens(part) for info in self.shards]
            self._starts[part] = np.concatenate([[0], np.cumsum(counts)])
        starts, pieces = self._starts[part], []
        first = int(np.searchsorted(starts, start, side="right")) - 1
        for index in range(first, len(self.shards)):
            before, after = int(starts[index]), int(starts[index + 1])
            if before >= stop:
                break
            if max(start, before) < min(stop, after):
                begin, end = max(start, before) - before, min(stop, after) - before
                pieces.append(self.shard(index, part).read(begin, end))
        return np.concatenate(pieces)

    def documents(self, part: str) -> int:
        """Documents of one part."""
        return sum(shard.documents(part) for shard in self.shards)

    def tokens(self, part: str) -> int:
        """Tokens of one part."""
        return sum(shard.tokens(part) for shard in self.shards)


def describe_dataset(
    vocabulary_size: int,
    shards: Sequence[ShardInfo],
    unigram_counts: npt.NDArray[np.int64],
    **more: Any,
) -> dict[str, Any]:
    """The content of ``dataset.json``; ``unigram_counts`` are those of the training tokens."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "vocabulary_size": vocabulary_size,
        **more,
        "shards": [asdict(shard) for shard in shards],
        "unigram_counts": unigram_counts.tolist(),
    }
