"""A file of JSON lines, such as ``metrics.jsonl``: written whole, mended, read from its end.

Nothing heavy is imported: commands that only look at a run use it too.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hvcod.files.folder import opened
from hvcod.files.regular import open_regular

LARGEST_INTEGER = 2**53
"""The largest step that a line may have: larger integers are not exact in every reader of JSON."""

LARGEST_FIGURE = 1e300
"""The largest number that counts as a figure: sums and ratios of such must be finite."""

_LONGEST_LINE = 2**20  # longer ones are garbage
_BLOCK = 2**16


def to_line(figures: Mapping[str, Any]) -> bytes:
    """Returns figures as one line of standard JSON, in which NaN and infinity become null."""
    return json.dumps(finite(figures), allow_nan=False).encode() + b"\n"


def from_line(line: bytes) -> dict[str, Any] | None:
    """Returns the figures of a whole line; None if the line is cut short or garbage."""
    if not line.endswith(b"\n"):
        return None
    try:
        figures = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = figures.get("step") if isinstance(figures, dict) else None
    return figures if type(step) is int and 0 <= step <= LARGEST_INTEGER else None


def number(figures: Mapping[str, Any], name: str, otherwise: Any = None) -> Any:
    """Returns a figure that is a finite number; `otherwise` if it is anything else."""
    value = figures.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    return value if abs(value) <= LARGEST_FIGURE else otherwise


def keep_lines(path: Path, after: float = math.inf) -> dict[str, Any]:
    """Keeps the lines of a file up to step `after`; returns the last of them (empty if none).

    The file ends before the first line of a later step, and before a last line that was cut short;
    garbage among the lines that stay (a zeroed block, say) is overwritten with spaces, which is
    white space in front of the next line. It is made if it is not there. Killed at any moment, it
    leaves a file for which it does the same again.

    Raises OSError if it cannot be read or written, or is not a file to be changed in place.
    """
    last: dict[str, Any] = {}
    with opened(path.parent) as folder:
        descriptor = folder.open_own(path.name, append=False)
    with os.fdopen(descriptor, "r+b") as file:
        position = end = 0
        garbage: list[tuple[int, int]] = []
        while line := file.readline(_LONGEST_LINE):
            figures = from_line(line)
            if figures is None:
                garbage.append((position, len(line)))
            elif figures["step"] > after:
                break
            else:
                last, end = figures, position + len(line)
            position += len(line)
        file.truncate(end)
        for start, length in garbage:
            if start < end:
                file.seek(start)
                file.write(b" " * length)
    return last


def last_lines(path: Path, limit: int) -> Iterator[bytes]:
    """Yields the whole lines in the last `limit` bytes of a file, the last first.

    The file may be growing, and is not held in memory.

    Raises:
        HvcodError: It is not a regular file; the message does not name the path.
        OSError: It cannot be read.
    """
    with open_regular(path) as file:
        position = file.seek(0, os.SEEK_END)
        first = max(0, position - limit)
        rest = b""
        whole = False
        while position > first:
            size = min(_BLOCK, position - first)
            position -= size
            block = os.pread(file.fileno(), size, position)
            start, *lines = (block + rest).split(b"\n")
            for line in reversed(lines):
                if whole:
                    yield line + b"\n"
                whole = True
            rest = start
        if position == 0 and whole:
            yield rest + b"\n"


def finite(value: Any) -> Any:
    """Returns a value with None, JSON's null, in place of each number that is NaN or infinite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
