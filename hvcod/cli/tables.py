"""Tables of text."""

from collections.abc import Collection, Sequence

from hvcod.terminal import one_line


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
