"""What every reader hands out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One document as its source has it.

    Attributes:
        id: One line that names it. WET: the WARC-Record-ID without its brackets. JSON lines: the
            field ``id``, else ``NAME#LINE``. Plain text: ``NAME#PART``. NAME is the source's name.
        text: The text, line breaks kept; what was no UTF-8 is U+FFFD.
        hard_wrapped: Blank lines separate the paragraphs, not every line is one.
    """

    id: str
    text: str
    hard_wrapped: bool = False


def decode(data: bytes) -> tuple[str, bool]:
    """The text of UTF-8 bytes, and whether some of them were none and became U+FFFD."""
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode(errors="replace"), True
