"""The inputs of a data preparation: files, folders, globs and addresses, and their bytes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.reading.download import Patience, stream
from hvcod.tasks.reading.compression import codec_by_name
from hvcod.tasks.reading.files import chunks, fitting, readable

CHUNK_BYTES = 64 * 1024
WET_NAMES = (".warc.wet", ".wet")
JSON_LINES_NAMES = (".jsonl", ".ndjson", ".json")
TEXT_NAMES = (".txt", ".text")


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        location: Path or address.
        name: Its file name, with as many folders in front as set it apart from the other inputs'
            names. Documents that carry no id of their own are called after it.
    """

    location: str
    name: str

    @property
    def is_url(self) -> bool:
        """The source is read from a server."""
        return _is_url(self.location)

    def chunks(self, patience: Patience) -> Iterator[bytes]:
        """Yields the bytes as they are stored.

        Raises:
            HvcodError: The file or the server cannot be read.
        """
        if self.is_url:
            return stream(self.location, patience)
        return chunks(Path(self.location), CHUNK_BYTES)


def expand_inputs(inputs: Sequence[str]) -> list[Source]:
    """Finds the sources that the inputs stand for, sorted by location, each once.

    An input is a file, an http or https address, a glob (``**`` matches any folders), or a folder,
    of which every file below it counts that is called like WET, JSON lines or plain text.

    Raises:
        UsageError: An input matches nothing.
    """
    found = {given: _locations(given) for given in inputs}
    empty = [given for given, locations in found.items() if not locations]
    if empty or not found:
        problem = f"nothing matches {', '.join(empty)}" if empty else "no input given"
        raise UsageError(f"{problem}; give files, folders, globs or http(s) addresses")
    every = sorted(location for locations in found.values() for location in locations)
    unique = sorted({_identity(location): location for location in reversed(every)}.values())
    names = _short_names(unique)
    return [Source(location, names[location]) for location in unique]


def plain_name(name: str) -> str:
    """The name in lower case, without an address's query and the ending of the compression."""
    bare = name.partition("?")[0].lower()
    return bare.rpartition(".")[0] if codec_by_name(bare) else bare


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def _locations(given: str) -> list[str]:
    if _is_url(given):
        return [given]
    path = Path(given).expanduser()
    with readable(path):
        if path.is_dir():
            return [str(file) for file in path.rglob("*") if _belongs(file)]
        if path.exists():
            return [str(path)]
        files = [file for file in fitting(path) if file.is_file()]
    return [str(file) for file in files if not file.name.startswith(".")]


def _belongs(file: Path) -> bool:
    """The file is called like something that can be read; others may lie beside it."""
    endings = WET_NAMES + JSON_LINES_NAMES + TEXT_NAMES
    return plain_name(file.name).endswith(endings) and not file.name.startswith(".")


def _identity(location: str) -> str:
    return location if _is_url(location) else str(Path(location).resolve())


def _short_names(locations: Sequence[str]) -> dict[str, str]:
    """The shortest ends of the paths, cut at folders, that no two of them share."""
    parts = {location: location.split("/") for location in locations}
    names: dict[str, str] = {}
    depth = 1
    while len(names) < len(parts):
        ends = {location: "/".join(path[-depth:]) for location, path in parts.items()}
        counts = Counter(ends.values())
        for location, end in ends.items():
            if counts[end] == 1:
                names.setdefault(location, end)
        depth += 1
    return names
