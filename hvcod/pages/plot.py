"""A plot as inline SVG: axes with round numbers, and the marks between them."""

import math
from dataclasses import dataclass, field
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Colours that colour-blind people can tell apart, too (Okabe and Ito)."""

WIDTH, HEIGHT = 560, 340
RIGHT, TOP, BOTTOM = 16, 12, 48
_TICKS = 5


def colour(number: int) -> str:
    """Returns the colour of a method."""
    return COLOURS[number % len(COLOURS)]


@dataclass
class Plot:
    """A plot to which marks are added.

    Attributes:
        x: The range of the horizontal axis, and its name.
        y: The range of the vertical axis, and its name.
        height: Height in pixels; the width is `WIDTH`.
        left: Space for the labels of the vertical axis, in pixels.
        marks: The SVG elements so far.
    """

    x: tuple[float, float, str]
    y: tuple[float, float, str]
    height: int = HEIGHT
    left: int = 72
    marks: list[str] = field(default_factory=list)

    def right(self, value: float) -> float:
        """Returns the distance of a value from the left edge, in pixels."""
        low, high, _ = self.x
        return self.left + (value - low) / (high - low) * (WIDTH - self.left - RIGHT)

    def down(self, value: float) -> float:
        """Returns the distance of a value from the top edge, in pixels."""
        low, high, _ = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def line(self, points: list[tuple[float, float]], stroke: str, width: float = 2) -> None:
        """Adds a line through points, in the units of the axes."""
        path = " ".join(f"{self.right(x):.1f},{self.down(y):.1f}" for x, y in points)
        self.marks.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"/>'
        )

    def point(self, x: float, y: float, fill: str, title: str) -> None:
        """Adds a point with a tooltip."""
        self.marks.append(
            f'<circle cx="{self.right(x):.1f}" cy="{self.down(y):.1f}" r="5" fill="{fill}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def box(
        self, corners: tuple[float, float, float, float], fill: str, title: str, opacity: float = 1
    ) -> None:
        """Adds a filled box with a tooltip from (x, y) to (x, y), in the units of the axes."""
        x0, y0, x1, y1 = corners
        left, top = self.right(x0), self.down(y1)
        self.marks.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{self.right(x1) - left:.2f}" '
            f'height="{self.down(y0) - top:.2f}" fill="{fill}" fill-opacity="{opacity:.3f}">'
            f"<title>{escape(title)}</title></rect>"
        )

    def label(self, x: float, y: float, text: str) -> None:
        """Adds text beside a point."""
        position = f'x="{self.right(x) + 9:.1f}" y="{self.down(y) - 7:.1f}"'
        self.marks.append(f"<text {position}>{escape(text)}</text>")

    def svg(self, name: str, names: list[str] | None = None) -> str:
        """Returns the plot as an SVG element.

        Args:
            name: A description for people who cannot see the plot.
            names: Labels of the vertical axis, at 0.5, 1.5, ... from the top; numbers by default.
        """
        parts = [*self._frame(), *self._below(), *(self._words(names) if names else self._beside())]
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}" '
            f'role="img" aria-label="{escape(name)}">{"".join(parts)}{"".join(self.marks)}</svg>'
        )

    def _frame(self) -> list[str]:
        bottom = self.height - BOTTOM
        middle = (self.left + WIDTH - RIGHT) / 2
        upright = f"rotate(-90 16 {(TOP + bottom) / 2})"
        return [
            f'<path d="M{self.left},{TOP} V{bottom} H{WIDTH - RIGHT}" fill="none" stroke="#888"/>',
            f'<text x="{middle}" y="{self.height - 10}" text-anchor="middle">'
            f"{escape(self.x[2])}</text>",
            f'<text x="16" y="{(TOP + bottom) / 2}" text-anchor="middle" transform="{upright}">'
            f"{escape(self.y[2])}</text>",
        ]

    def _below(self) -> list[str]:
        bottom = self.height - BOTTOM
        positions = [(f"{self.right(tick):.1f}", tick) for tick in ticks(*self.x[:2])]
        return [
            f'<path d="M{x},{bottom} v5" stroke="#888"/>'
            f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
            for x, tick in positions
        ]

    def _beside(self) -> list[str]:
        positions = [(self.down(tick), tick) for tick in ticks(*self.y[:2])]
        return [
            f'<path d="M{self.left},{y:.1f} H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{self.left - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
            for y, tick in positions
        ]

    def _words(self, names: list[str]) -> list[str]:
        return [
            f'<text x="{self.left - 7}" y="{self.down(len(names) - index - 0.5) + 4:.1f}" '
            f'text-anchor="end">{escape(name)}</text>'
            for index, name in enumerate(names)
        ]


def ticks(low: float, high: float) -> list[float]:
    """Returns some round numbers between two numbers."""
    step = 10 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _TICKS + 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
