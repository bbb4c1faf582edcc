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
from hvcod.tasks.commoncrawl.reading.document import Document, Fields, ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import Source
from hvcod.tasks.commoncrawl.tokens.tokenizer import count_characters
from hvcod.tasks.files import read_arrays, write_arrays, writing
from hvcod.tasks.preparing.pipeline import Look, Report
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.tasks.reading.compression import zstd

KEPT = Stage("collected", "reading", "document")  # "kept" in version 0.1, without texts' hashes

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


def hash_text(text: str) -> int:
    """Returns 64 bits of an id or a text: what becomes of it depends on neither ranks nor files.

    Among ten million texts two share them with a probability of 3 in a million; the later document
    then counts as a duplicate.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class DocumentList:
    """The documents of a ``--document-ids`` file.

    Quotes, spaces around a name and a byte order mark are no part of it; a number stands for the
    documents that have it as their id, in any file.

    Raises:
        UsageError: The file cannot be read or lists nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.hashes: Hashes = np.unique(
                np.fromiter((hash_text(name) for name in self._names()), dtype=np.uint64)
            )
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--document-ids {path}: {error}") from error
        if not len(self.hashes):
            raise UsageError(f"--document-ids {path} lists no documents")

    def accept(self, document: Document) -> str | None:
        """Returns None if the document is listed, else the name of the rule that drops it."""
        return None if self.match(document) else NOT_LISTED

    def match(self, document: Document) -> int:
        """Returns the hash of the name that lists a document, or 0."""
        for name in (document.id, document.number):
            hashed = hash_text(_bare(name))
            index = int(np.searchsorted(self.hashes, np.uint64(hashed)))
            if index < len(self.hashes) and self.hashes[index] == hashed:
                return hashed
        return 0

    def report(self, matched: Hashes) -> Report:
        """Returns the numbers of names that are listed and missing, and a few missing ones."""
        absent = np.setdiff1d(self.hashes, matched)
        wanted = set(absent[:_EXAMPLES].tolist())
        names = dict.fromkeys(name for name in self._names() if hash_text(name) in wanted)
        return {"listed": len(self.hashes), "missing": len(absent), "examples": list(names)}

    def _names(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8-sig") as file:
            for line in file:
                if name := _bare(line):
                    yield name


def _bare(name: str) -> str:
    """Returns the name of a document without what tables and editors put around it."""
    name = " ".join(name.split())
    for begin, end in ('""', "''", "<>"):
        if len(name) > 1 and name.startswith(begin) and name.endswith(end):
            name = name[1:-1].strip()
    return name


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
    """The kept documents of one input, in order, and the characters that they use.

    Attributes:
        hashes: Of the documents' ids.
        texts: Of their texts.
        matched: Of the names that list them, or 0.
        sizes: Characters of each.
        codes: The characters in use.
        counts: How often each of them occurs.
    """

    hashes: Hashes
    texts: Hashes
    matched: Hashes
    sizes: Integers
    codes: Integers
    counts: Integers


class Choice(NamedTuple):
    """The rules by which the documents of an input are read and kept.

    Attributes:
        fields: The fields of JSON lines.
        accept: Returns the name of the rule that drops a document, or None.
        listed: The list of documents that takes the place of the rules.
    """

    fields: Fields
    accept: Accept
    listed: DocumentList | None = None


class _Kept(NamedTuple):
    """A kept document; `matched` is the hash of the name that lists it, or 0."""

    id: str
    text: str
    matched: int


def collect(workspace: Workspace, index: int, source: Source, choice: Choice, look: Look) -> Report:
    """Reads one input, writes what is kept to the work folder and returns the counts.

    `look` is called with the number of documents read so far.
    """
    read, dropped = ReadReport(), Counter[str]()
    documents = _write(
        workspace.file(KEPT, index, ".zst"), _kept(source, choice, read, dropped, look)
    )
    write_arrays(workspace.file(KEPT, index, ".npz"), **documents._asdict())
    return {"name": source.name, "dropped": dict(sorted(dropped.items())), **vars(read)}


def read_index(workspace: Workspace, index: int) -> KeptIndex:
    """Reads the index of a finished input."""
    return KeptIndex(**read_arrays(workspace.file(KEPT, index, ".npz")))


def write_first(workspace: Workspace, index: int, first: Mask, hashes: Hashes) -> None:
    """Writes which documents of an input are not duplicates, and the hashes that select these."""
    write_arrays(workspace.file(KEPT, index, ".first.npz"), first=first, hashes=hashes)


def read_first(workspace: Workspace, index: int) -> tuple[Mask, Hashes]:
    """Reads what `write_first` wrote."""
    arrays = read_arrays(workspace.file(KEPT, index, ".first.npz"))
    return arrays["first"], arrays["hashes"]


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
    source: Source, choice: Choice, read: ReadReport, dropped: Counter[str], look: Look
) -> Iterator[_Kept]:
    for document in read_documents(source, read, choice.fields):
        look(read.documents)
        read.first = read.first or document.id
        reason = choice.accept(document)
        text = "" if reason else normalise(document.text, document.hard_wrapped)
        if text:
            yield _Kept(document.id, text, choice.listed.match(document) if choice.listed else 0)
        else:
            dropped[reason or EMPTY] += 1


def _write(path: Path, documents: Iterable[_Kept]) -> KeptIndex:
    """Writes documents chunk by chunk and returns their index."""
    hashed: list[tuple[int, int, int, int]] = []
    used = np.zeros(_CODE_POINTS, dtype=np.int64)
    with writing(path) as raw, zstd.open(raw, "wb", level=1) as file:
        for chunk in grouped(documents, CHUNK):
            hashed += [
                (hash_text(one.id), hash_text(one.text), one.matched, len(one.text))
                for one in chunk
            ]
            counts = count_characters("".join(one.text for one in chunk))
            used[: len(counts)] += counts
            joined = "".join(f"{one.id}{_ID_END}{one.text}{_TEXT_END}" for one in chunk)
            file.write(joined.encode())
    hashes, texts, matched, sizes = np.array(hashed, dtype=np.uint64).reshape(-1, 4).T
    codes = np.flatnonzero(used)
    return KeptIndex(hashes, texts, matched, sizes.astype(np.int64), codes, used[codes])
