"""The only place where hvcod prints, so that whatever it prints is safe to look at.

Names of files, reasons of failures and fields of tables may have been written by somebody else.
Control characters can set a terminal's title, fill its clipboard or clear it; characters that turn
the direction of writing can make a line look like another one. They are shown as escapes, such as
``\\x1b``.
"""

import copy
import logging
import shutil
import sys
import warnings
from collections.abc import Sequence


def printable(text: str) -> str:
    """Returns text with escapes in place of all that is not shown as such, except line ends."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """Returns text with escapes in place of all that is not shown as such, line ends included."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def show(text: object = "", *, err: bool = False, end: str = "\n") -> None:
    """Prints text, by which nothing but lines appear, on standard output or standard error."""
    _print(printable(str(text)) + end, err=err)


def show_file(content: str) -> None:
    """Prints a file that the user asked for, as it is unless it goes to a terminal."""
    _print(printable(content) if sys.stdout and sys.stdout.isatty() else content)


def redraw(lines: Sequence[str]) -> None:
    """Shows lines from the top of the terminal, in place of those that are there."""
    columns, rows = shutil.get_terminal_size()
    shown = [one_line(line)[: columns - 1] for line in lines[: rows - 1]]
    # Home, then each line over the old one: clearing the screen first would flicker.
    _print("\033[H" + "".join(f"{line}\033[K\n" for line in shown) + "\033[J")


class LogLines(logging.Formatter):
    """Formats a record of the log as one line, followed by its traceback if it has one."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the text."""
        shown = copy.copy(record)
        shown.msg, shown.args = one_line(record.getMessage()), ()
        return printable(super().format(shown))


def guard_libraries() -> None:
    """Makes warnings and log records of libraries safe to look at, too."""
    formatted = warnings.formatwarning
    warnings.formatwarning = lambda *words, **more: printable(formatted(*words, **more))
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogLines())


def _print(text: str, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.write(text)
        stream.flush()


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "backslashreplace").decode()
