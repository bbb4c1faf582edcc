"""Counts of what was read, and of what was damaged and where."""

from collections import Counter
from dataclasses import dataclass, field

EXAMPLES_KEPT = 10


@dataclass
class ReadReport:
    """Counts over everything that was read so far.

    Attributes:
        documents: Documents that could be read.
        damaged: Places that could not be read: each a record, a line, or a stretch of bytes.
        reasons: The number of places by reason; the values add up to ``damaged``.
        examples: The first damaged places, one line each: source, position, reason.
        replaced: Documents in which bytes that are not UTF-8, or surrogates, became U+FFFD.
        bytes_read: Bytes taken from files and servers, before decompression.
        truncated: Sources that end too early.
    """

    documents: int = 0
    damaged: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    replaced: int = 0
    bytes_read: int = 0
    truncated: list[str] = field(default_factory=list)

    def damage(self, source: str, position: str, reason: str, truncated: bool = False) -> None:
        """Counts one damaged place and keeps it as an example if there are few."""
        self.damaged += 1
        if truncated and source not in self.truncated:
            self.truncated.append(source)
        self.reasons[reason] += 1
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(f"{source}, {position}: {reason}")
