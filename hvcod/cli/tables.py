"""Tables of text."""

from collections.abc import Collection, Sequence

from hvcod.terminal import one_line

WIDTH = 120
"""The largest number of characters of a line of `fitting` tables."""


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Returns rows of equally many cells as lines; the columns `right` are aligned to the right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        aligned = (cell.rjust(w) if n in right else cell.ljust(w) for n, (cell, w) in cells)
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def fitting(rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Returns rows as `columns` does, in several tables if one would be wider than `WIDTH`.

    Each of them begins with the first `names` columns.
    """
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) + 2 for column in zip(*shown, strict=True)]
    parts: list[list[int]] = []
    used = WIDTH
    for number, width in enumerate(widths[names:], names):
        if used + width > WIDTH + 2:  # the last column has no blanks behind it
            parts.append([])
            used = sum(widths[:names])
        parts[-1].append(number)
        used += width
    return "\n\n".join(
        columns([[*row[:names], *(row[number] for number in part)] for row in shown])
        for part in parts
    )
