"""The looks of an experiment's figure: readable at the width of a column, in grey, by anybody.

A journal's column is about 3.3 inches wide. Lines differ in colour, dashes and marker at once, so
that a grey print or a colour-blind reader loses nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

COLUMN = 3.3
"""Width of a column, in inches."""

_RULES: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "hvcod",  # the same picture has the same bytes
    "svg.fonttype": "path",  # no font of the reader's can move a label
    "text.parse_math": False,  # no name of an arm is a formula
    "text.usetex": False,
}


@dataclass(frozen=True)
class Style:
    """The look of an arm.

    Attributes:
        color: Of the line and the marker.
        dashes: Lengths of dashes and gaps, in widths of the line; empty: solid.
        marker: The shape of points, by matplotlib's letters.
        width: Of the line, in points.
    """

    color: str
    dashes: tuple[float, ...]
    marker: str
    width: float = 1.2

    @property
    def of_line(self) -> dict[str, Any]:
        """The arguments of a line with some markers."""
        dashed = (0, self.dashes) if self.dashes else "solid"
        point = {"marker": self.marker, "markersize": 3.6, "markeredgewidth": 0.8}
        filled = {"markerfacecolor": "white"}
        return {
            "color": self.color,
            "linestyle": dashed,
            "linewidth": self.width,
            **point,
            **filled,
        }


BASELINE = Style("#000000", (4, 1.5), "s")
"""The arm that all others are measured against."""

OTHERS = (
    Style("#0072b2", (), "o", 1.6),
    Style("#d55e00", (7, 1), "^"),
    Style("#009e73", (1, 1), "D"),
    Style("#e69f00", (5, 1.5, 1, 1.5), "v"),
    Style("#cc79a7", (2.5, 1), "P"),
    Style("#56b4e9", (9, 2.5), "X"),
    Style("#777777", (5, 1, 1, 1, 1, 1), "*"),
    Style("#8c510a", (1, 2), "h"),
)
"""Colours of Okabe and Ito, those that are far apart in grey next to each other."""


def style(number: int) -> Style:
    """Returns the look of an arm; 0 is the baseline."""
    return OTHERS[(number - 1) % len(OTHERS)] if number else BASELINE


@contextmanager
def rules() -> Iterator[None]:
    """Sets matplotlib's parameters for as long as it lasts."""
    from matplotlib import rc_context

    with rc_context(_RULES):
        yield
