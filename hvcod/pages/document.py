"""A page made of blocks, written as Markdown and as one self-contained file of HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from hvcod.pages.frame import html_page, table

_MARKS = ("\\", "`", "*", "_", "<", "|", "](")
"""Letters that Markdown could take for more than text; the backslash first."""


@dataclass(frozen=True)
class Heading:
    """The heading of the page, or of a section."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of items: some words that stand out, and plain text."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table of plain text; its first column holds names."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    """Lines to be typed."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        file: The name of its file, beside the Markdown page.
        svg: Its SVG element, for the HTML page.
        name: A description for people who cannot see it.
        caption: The text below it.
    """

    file: str
    svg: str
    name: str
    caption: str


Block = Heading | Paragraph | Bullets | Table | Code | Picture


def markdown(blocks: Sequence[Block]) -> str:
    """Returns the page as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def html(title: str, blocks: Sequence[Block]) -> str:
    """Returns the page as HTML."""
    return html_page(title, "".join(_html(block) for block in blocks))


def _markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_plain(block.text)}"
        case Paragraph():
            return _plain(block.text)
        case Bullets():
            return "\n".join(
                f"- **{_plain(strong)}** {_plain(text)}" for strong, text in block.items
            )
        case Table():
            line = "|".join(["", "---", *["---:"] * (len(block.head) - 1), ""])
            head, *rows = map(_row, (block.head, *block.rows))
            return "\n".join([head, line, *rows])
        case Code():
            return f"```\n{block.text}\n```"
        case Picture():
            return f"![{_plain(block.name)}]({block.file})\n\n{_plain(block.caption)}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _html(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{escape(block.text)}</p>"
        case Bullets():
            items = [f"<b>{escape(strong)}</b> {escape(text)}" for strong, text in block.items]
            return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
        case Table():
            head, *rows = [[escape(cell) for cell in row] for row in (block.head, *block.rows)]
            return table(head, rows)
        case Code():
            return f'<div class="wide"><pre>{escape(block.text)}</pre></div>'
        case Picture():
            return (
                f'<figure class="plot" role="img" aria-label="{escape(block.name)}">{block.svg}'
                f"<figcaption>{escape(block.caption)}</figcaption></figure>"
            )


def _plain(text: str) -> str:
    """Returns text, on one line, in which Markdown sees no tags, links or emphasis."""
    for mark in _MARKS:
        text = text.replace(mark, "".join(f"\\{letter}" for letter in mark))
    return " ".join(text.split())
