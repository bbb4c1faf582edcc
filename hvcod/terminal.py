"""Text that is safe to show on a terminal, whatever file it comes from.

Names of files, reasons of failures and fields of tables may have been written by somebody else.
Sequences of control characters can set a terminal's title, fill its clipboard or clear it, and
characters that turn the direction of writing can make a line look like another one. They are shown
as escapes, such as ``\\x1b``.
"""


def printable(text: str) -> str:
    """Returns text with escapes in place of all that is not shown as such, except line ends."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """Returns text with escapes in place of all that is not shown as such, line ends included."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()
