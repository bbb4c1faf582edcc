"""The inputs of text: files, folders, globs and addresses, and their bytes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.reading.download import USUAL, Patience, stream
from hvcod.tasks.reading.compression import codec_by_name
from hvcod.tasks.reading.files import Found, chunks, file_size, listed
from hvcod.terminal import one_line

CHUNK_BYTES = 64 * 1024
WET_NAMES = (".warc.wet", ".wet")
JSON_LINES_NAMES = (".jsonl", ".ndjson", ".json")
TEXT_NAMES = (".txt", ".text")
_PARQUET_NAMES = (".parquet",)


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        location: Path or address.
        name: Its file name, with as many folders in front as set it apart from the other inputs'
            names. Documents without an id of their own are named after it.
        patience: Time limits and attempts for a server.
    """

    location: str
    name: str
    patience: Patience = USUAL

    @property
    def path(self) -> Path | None:
        """The path of a file, None for an address."""
        return None if _is_url(self.location) else Path(self.location)

    @property
    def size(self) -> int | None:
        """Bytes of a file, by which a changed input is noticed; None for an address."""
        return file_size(self.path) if self.path else None

    def chunks(self) -> Iterator[bytes]:
        """Yields the stored bytes.

        Raises:
            HvcodError: The file or the server cannot be read.
        """
        path = self.path
        return chunks(path, CHUNK_BYTES) if path else stream(self.location, self.patience)


def expand_inputs(inputs: Sequence[str]) -> Found[Source]:
    """Returns the sources that the inputs stand for, sorted by location, each once.

    An input is a file, an http or https address, a glob, or a folder, which stands for every file
    below it that is named like WET, JSON lines, Parquet or plain text.

    Raises:
        UsageError: An input matches nothing, or there is none.
    """
    if not inputs:
        raise UsageError("no input given; give files, folders, globs or http(s) addresses")
    listings = [listed(text, _is_text_name) for text in inputs if not _is_url(text)]
    every = sorted(
        [str(file) for listing in listings for file in listing.files]
        + [text for text in inputs if _is_url(text)]
    )
    aside = (path for listing in listings for path in (*listing.left_alone, *listing.other))
    left_alone = dict.fromkeys(map(str, aside))
    unique = sorted({_identity(location): location for location in reversed(every)}.values())
    names = _short_names(unique)
    # Names of files may hold bytes that are not UTF-8, which ids of documents cannot.
    sources = [Source(location, one_line(names[location])) for location in unique]
    return Found(sources, list(left_alone))


def plain_name(name: str) -> str:
    """Returns the name in lower case, without an address's query and a compression's suffix."""
    bare = name.partition("?")[0].lower()
    return bare.rpartition(".")[0] if codec_by_name(bare) else bare


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def _is_text_name(name: str) -> bool:
    return plain_name(name).endswith(WET_NAMES + JSON_LINES_NAMES + TEXT_NAMES + _PARQUET_NAMES)


def _identity(location: str) -> str:
    return location if _is_url(location) else str(Path(location).resolve())


def _short_names(locations: Sequence[str]) -> dict[str, str]:
    """Returns the shortest ends of the paths, cut at folders, that no two of them share."""
    names: dict[str, str] = {}
    depth = 1
    while len(names) < len(locations):
        ends = {location: "/".join(location.split("/")[-depth:]) for location in locations}
        counts = Counter(ends.values())
        names = {location: end for location, end in ends.items() if counts[end] == 1} | names
        depth += 1
    return names
