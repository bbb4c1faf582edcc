"""The first stage: every input is read once, and what is kept goes to the work folder.

For each input it holds the texts (zstd), an index of the documents (their hashes and sizes, and the
characters they use), and the counts for the report.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.preparation.normalise import normalise
from hvcod.tasks.commoncrawl.reading.document import Document, ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import Source
from hvcod.tasks.commoncrawl.tokens.tokenizer import count_characters
from hvcod.tasks.files import read_arrays, write_arrays, writing
from hvcod.tasks.preparing.pipeline import Look, Report
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.tasks.reading.compression import zstd

KEPT = Stage("kept", "reading", "document")

CHUNK = 1 << 20
"""Characters that are compressed, and bytes that are decompressed, at once."""

EMPTY, NOT_LISTED = "dropped_empty", "dropped_not_listed"
_ID_END, _TEXT_END = "\x1f", "\x1e"
_EXAMPLES = 10
_CODE_POINTS = sys.maxunicode + 1

Hashes = npt.NDArray[np.uint64]
Accept = Callable[[Document], str | None]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Item = TypeVar("Item", bound=tuple[Any, ...])


def hash_id(document_id: str) -> int:
    """Returns 64 bits that decide what becomes of a document, whichever ranks and files are used.

    Among ten million documents two share them with a probability of 3 in a million; the later one
    then counts as a duplicate.
    """
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class DocumentList:
    """The documents of a ``--document-ids`` file.

    Raises:
        UsageError: The file cannot be read or lists nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.hashes: Hashes = np.unique(
                np.fromiter((hash_id(name) for name in self._names()), dtype=np.uint64)
            )
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--document-ids {path}: {error}") from error
        if not len(self.hashes):
            raise UsageError(f"--document-ids {path} lists no documents")

    def accept(self, document: Document) -> str | None:
        """Returns None if the document is listed, else the name of the rule that drops it."""
        hashed = np.uint64(hash_id(document.id))
        index = int(np.searchsorted(self.hashes, hashed))
        listed = index < len(self.hashes) and self.hashes[index] == hashed
        return None if listed else NOT_LISTED

    def report(self, kept: Hashes) -> Report:
        """Returns the numbers of documents that are listed and missing, and a few missing ones."""
        absent = np.setdiff1d(self.hashes, kept)
        wanted = set(absent[:_EXAMPLES].tolist())
        names = dict.fromkeys(name for name in self._names() if hash_id(name) in wanted)
        return {"listed": len(self.hashes), "missing": len(absent), "examples": list(names)}

    def _names(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                if name := line.rstrip("\n"):
                    yield name


def grouped(documents: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields groups of documents with about a size in all, that of their second fields."""
    group, total = [], 0
    for document in documents:
        group.append(document)
        total += len(document[1])
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group


class KeptIndex(NamedTuple):
    """The kept documents of one input, in order, and the characters that they use."""

    hashes: Hashes
    sizes: Integers
    codes: Integers
    counts: Integers


def collect(workspace: Workspace, index: int, source: Source, accept: Accept, look: Look) -> Report:
    """Reads one input, writes what is kept to the work folder and returns the counts.

    `accept` returns the name of the rule that drops a document, or None; `look` is called with the
    number of documents read so far.
    """
    read, dropped = ReadReport(), Counter[str]()
    kept = _kept(source, accept, read, dropped, look)
    documents = _write(workspace.file(KEPT, index, ".zst"), kept)
    write_arrays(workspace.file(KEPT, index, ".npz"), **documents._asdict())
    return {"name": source.name, "dropped": dict(sorted(dropped.items())), **vars(read)}


def read_index(workspace: Workspace, index: int) -> KeptIndex:
    """Reads the index of a finished input."""
    return KeptIndex(**read_arrays(workspace.file(KEPT, index, ".npz")))


def write_first(workspace: Workspace, index: int, first: Mask) -> None:
    """Writes which documents of an input are not duplicates."""
    write_arrays(workspace.file(KEPT, index, ".first.npz"), first=first)


def read_first(workspace: Workspace, index: int) -> Mask:
    """Reads what `write_first` wrote."""
    return read_arrays(workspace.file(KEPT, index, ".first.npz"))["first"]


def read_kept(workspace: Workspace, index: int, wanted: Mask) -> Iterator[tuple[str, str]]:
    """Yields the (id, normalised text) of the wanted documents of an input, in order."""
    for document, is_wanted in zip(_read_texts(workspace, index), wanted, strict=True):
        if is_wanted:
            yield document


def _read_texts(workspace: Workspace, index: int) -> Iterator[tuple[str, str]]:
    path = workspace.file(KEPT, index, ".zst")
    rest = ""
    if path.stat().st_size == 0:  # nothing was kept
        return
    try:
        with zstd.open(path, "rt", encoding="utf-8", newline="\n") as file:
            while block := file.read(CHUNK):
                *documents, rest = (rest + block).split(_TEXT_END)
                for document in documents:
                    name, _, text = document.partition(_ID_END)
                    yield name, text
    except (OSError, EOFError, zstd.ZstdError) as error:
        raise HvcodError(f"{path} is damaged: remove {workspace.folder} and begin again") from error


def _kept(
    source: Source, accept: Accept, read: ReadReport, dropped: Counter[str], look: Look
) -> Iterator[tuple[str, str]]:
    for document in read_documents(source, read):
        look(read.documents)
        reason = accept(document)
        text = "" if reason else normalise(document.text, document.hard_wrapped)
        if text:
            yield document.id, text
        else:
            dropped[reason or EMPTY] += 1


def _write(path: Path, documents: Iterable[tuple[str, str]]) -> KeptIndex:
    """Writes documents chunk by chunk and returns their index."""
    hashes, sizes = [], []
    used = np.zeros(_CODE_POINTS, dtype=np.int64)
    with writing(path) as raw, zstd.open(raw, "wb", level=1) as file:
        for chunk in grouped(documents, CHUNK):
            hashes += [hash_id(name) for name, _ in chunk]
            sizes += [len(text) for _, text in chunk]
            counts = count_characters("".join(text for _, text in chunk))
            used[: len(counts)] += counts
            joined = "".join(f"{name}{_ID_END}{text}{_TEXT_END}" for name, text in chunk)
            file.write(joined.encode())
    codes = np.flatnonzero(used)
    return KeptIndex(
        np.array(hashes, dtype=np.uint64), np.array(sizes, dtype=np.int64), codes, used[codes]
    )
