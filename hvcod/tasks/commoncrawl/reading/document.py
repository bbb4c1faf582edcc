"""A document, which every reader yields."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One document of a source.

    Attributes:
        id: One line that names it. WET: the WARC-Record-ID without its brackets. JSON lines: the
            field ``id``, else ``NAME#LINE``. Plain text: ``NAME#PART``. NAME is the source's name.
        text: The text, line breaks kept; bytes that are not UTF-8 are U+FFFD.
        hard_wrapped: Paragraphs are separated by blank lines; otherwise every line is one.
    """

    id: str
    text: str
    hard_wrapped: bool = False


def decode(data: bytes) -> tuple[str, bool]:
    """Returns the text of bytes, and whether some were not UTF-8 and became U+FFFD."""
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode(errors="replace"), True
