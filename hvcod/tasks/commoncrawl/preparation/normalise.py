"""The one rule for white space and paragraphs.

A paragraph is a line; in hard-wrapped text it is a block between blank lines, whose line breaks are
spaces. Inside a paragraph every run of white space and control characters (Unicode's Z categories
and Cc: C0, DEL and C1) becomes one space; its ends are stripped; empty paragraphs are dropped. The
normalised text is the paragraphs, one a line. Everything else is kept, zero-width and format
characters (Cf) included. Normalising twice changes nothing.
"""

import re

# str.split takes care of the others: U+0009 to U+000D, U+001C to U+0020, U+0085, U+00A0, ...
_CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
_CONTROLS = re.compile(f"[{_CONTROL}]")
_BLANK_LINES = re.compile(rf"\n[\s{_CONTROL}]*\n")


def split_paragraphs(text: str, hard_wrapped: bool = False) -> list[str]:
    """Returns the paragraphs of a text, not normalised, empty ones among them."""
    return _BLANK_LINES.split(text) if hard_wrapped else text.split("\n")


def paragraphs(text: str, hard_wrapped: bool = False) -> list[str]:
    """Returns the normalised paragraphs of a text; none is empty or holds a line break."""
    pieces = split_paragraphs(_CONTROLS.sub(" ", text), hard_wrapped)
    return [paragraph for piece in pieces if (paragraph := " ".join(piece.split()))]


def normalise(text: str, hard_wrapped: bool = False) -> str:
    """Returns the normalised text, which is tokenized and which decoding returns."""
    return "\n".join(paragraphs(text, hard_wrapped))
