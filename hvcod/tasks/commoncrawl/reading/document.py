"""The documents that every reader yields, and the counts of good and damaged ones."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

EXAMPLES_KEPT = 10


@dataclass(frozen=True)
class Document:
    """One document of a source.

    Attributes:
        id: One line that names it. WET: the WARC-Record-ID without its brackets. JSON lines: text
            in the field ``id``, ``NAME:NUMBER`` for a number there, else ``NAME#LINE``. Plain text:
            ``NAME#PART``. NAME is the source's name.
        text: The text, line breaks kept; bytes that are not UTF-8 are U+FFFD.
        hard_wrapped: Paragraphs are separated by blank lines; otherwise every line is one.
        number: The number in the id, if it is one.
    """

    id: str
    text: str
    hard_wrapped: bool = False
    number: str = ""


class Fields(NamedTuple):
    """The fields of JSON lines: ``a.b`` is the field ``b`` of the object in ``a``."""

    text: str = "text"
    id: str = "id"


DEFAULT_FIELDS = Fields()


def decode(data: bytes) -> tuple[str, bool]:
    """Returns the text of bytes, and whether some were not UTF-8 and became U+FFFD."""
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode(errors="replace"), True


@dataclass
class ReadReport:
    """Counts over everything that was read so far.

    A damaged place is a record, a line, or a stretch of bytes that could not be read.
    """

    documents: int = 0  # those that could be read
    damaged: int = 0  # places
    reasons: Counter[str] = field(default_factory=Counter)  # of damage; adds up to `damaged`
    examples: list[str] = field(default_factory=list)  # first places: source, position, reason
    replaced: int = 0  # documents in which bytes that are not UTF-8, or surrogates, became U+FFFD
    unchecked: Counter[str] = field(default_factory=Counter)  # digests, by algorithm
    first: str = ""  # id of the first document
    unnamed: int = 0  # documents in JSON lines without an id of their own
    bytes_read: int = 0  # from files and servers, before decompression
    truncated: list[str] = field(default_factory=list)  # sources that end too early

    def damage(
        self, source: str, position: str, reason: str, truncated: bool = False, detail: str = ""
    ) -> None:
        """Counts one damaged place and keeps it as an example if there are few."""
        self.damaged += 1
        if truncated and source not in self.truncated:
            self.truncated.append(source)
        self.reasons[reason] += 1
        if len(self.examples) < EXAMPLES_KEPT:
            more = f" ({detail})" if detail else ""
            self.examples.append(f"{source}, {position}: {reason}{more}")
