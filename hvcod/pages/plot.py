"""A plot as inline SVG: axes with round numbers, and the marks between them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

PALETTE = {
    "blue": ("#0072b2", "#4aa3e0"),
    "orange": ("#d55e00", "#f28a3c"),
    "green": ("#009e73", "#35c79a"),
    "pink": ("#cc79a7", "#e39ac4"),
    "yellow": ("#e69f00", "#f0b73a"),
    "light blue": ("#56b4e9", "#a5dcff"),
    "grey": ("#444444", "#b8bcc4"),
}
"""Colours that colour-blind people can tell apart, too (Okabe and Ito): on white, on black."""

WIDTH, HEIGHT = 560, 340
RIGHT, TOP, BOTTOM = 16, 12, 48
_TICKS = 5
_LINE = 13  # pixels between two lines of text
_LETTER = 7  # pixels of a letter, or so


def colour(number: int) -> str:
    """Returns the colour of a method or group, as a variable of the page's style."""
    return f"var(--c{number % len(PALETTE)})"


def colour_name(number: int) -> str:
    """Returns the word for the colour of a method or group."""
    return list(PALETTE)[number % len(PALETTE)]


@dataclass
class Plot:
    """A plot to which marks are added.

    Attributes:
        x: The range of the horizontal axis, and its name.
        y: The range of the vertical axis, and its name.
        height: Height in pixels; the width is `WIDTH`.
        left: Space for the labels of the vertical axis, in pixels.
        right_margin: Space for labels at the end of lines, in pixels.
        logarithmic: The vertical axis is; its range is positive.
        forms: Return a number of the horizontal and of the vertical axis as text.
        clipped: Marks end at the edges of the axes.
        marks: The SVG elements so far.
        outside: Those that may lie outside of the axes, whether marks are clipped or not.
        labels: The left end, the right end and the baseline of each label so far, in pixels.
    """

    x: tuple[float, float, str]
    y: tuple[float, float, str]
    height: int = HEIGHT
    left: int = 72
    right_margin: int = RIGHT
    logarithmic: bool = False
    forms: tuple[Callable[[float], str], Callable[[float], str]] = ("{:g}".format, "{:g}".format)
    clipped: bool = False
    marks: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    labels: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def bottom(self) -> int:
        """The lower edge of the axes, in pixels from the top."""
        return self.height - BOTTOM

    @property
    def end(self) -> int:
        """The right edge of the axes, in pixels from the left."""
        return WIDTH - self.right_margin

    def right(self, value: float) -> float:
        """Returns the distance of a value from the left edge, in pixels."""
        low, high, _ = self.x
        return self.left + (value - low) / (high - low) * (self.end - self.left)

    def down(self, value: float) -> float:
        """Returns the distance of a value from the top edge, in pixels."""
        low, high, _ = self.y
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.bottom - (value - low) / (high - low) * (self.bottom - TOP)

    def line(
        self,
        points: Sequence[tuple[float, float]],
        stroke: str,
        width: float = 2,
        *,
        dashes: Sequence[float] = (),
        opacity: float = 1,
        title: str = "",
    ) -> None:
        """Adds a line through points, in the units of the axes.

        Args:
            dashes: Lengths of dashes and gaps, in widths of the line.
            title: A tooltip.
        """
        path = " ".join(f"{self.right(x):.1f},{self.down(y):.1f}" for x, y in points)
        look = f'stroke="{stroke}" stroke-width="{width:g}"'
        if dashes:
            look += f' stroke-dasharray="{" ".join(f"{width * each:g}" for each in dashes)}"'
        if opacity < 1:
            look += f' stroke-opacity="{opacity:g}"'
        tooltip = f"<title>{escape(title)}</title>" if title else ""
        self.marks.append(f'<polyline points="{path}" fill="none" {look}>{tooltip}</polyline>')

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

    def inside(self, point: tuple[float, float], text: str) -> None:
        """Adds text in the middle of a box, on a patch of the page's colour."""
        x, y, width = self.right(point[0]), self.down(point[1]), 9.5 * len(text) + 4
        self.marks.append(
            f'<rect x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="18" rx="3" '
            f'fill="var(--paper)"/><text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )

    def at_end(self, texts: Sequence[tuple[float, str, str]]) -> None:
        """Adds texts beside the right edge, none over another: (value, text, colour)."""
        ordered = sorted(texts, reverse=True)
        downs = [min(max(self.down(value), TOP), self.bottom) for value, _, _ in ordered]
        for number in range(1, len(downs)):
            downs[number] = max(downs[number], downs[number - 1] + _LINE)
        for number in range(len(downs)):
            lowest = self.bottom - (len(downs) - 1 - number) * _LINE
            position = f'x="{self.end + 5}" y="{min(downs[number], lowest) + 4:.1f}"'
            _, text, fill = ordered[number]
            self.outside.append(f'<text {position} style="fill:{fill}">{escape(text)}</text>')

    def label(self, x: float, y: float, text: str) -> None:
        """Adds text beside a point, below the earlier labels that are in its way."""
        left, down = self.right(x) + 9, self.down(y) - 7
        right = left + _LETTER * len(text)
        while any(
            left < end and begin < right and abs(down - other) < _LINE
            for begin, end, other in self.labels
        ):
            down += 1
        self.labels.append((left, right, down))
        self.marks.append(f'<text x="{left:.1f}" y="{down:.1f}">{escape(text)}</text>')

    def svg(self, name: str, names: list[str] | None = None) -> str:
        """Returns the plot as an SVG element.

        Args:
            name: A description for people who cannot see the plot.
            names: Labels of the vertical axis, at 0.5, 1.5, ... from the top; numbers by default.
        """
        parts = [*self._frame(), *self._below(), *(self._words(names) if names else self._beside())]
        marks = "".join(self.marks)
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}" '
            f'role="img" aria-label="{escape(name)}">{"".join(parts)}'
            f"{self._inside(marks) if self.clipped else marks}{''.join(self.outside)}</svg>"
        )

    def _inside(self, marks: str) -> str:
        """Marks of which nothing is seen outside the axes, but for half the width of a line."""
        x, y, width, height = self.left, TOP - 1, self.end - self.left + 1, self.bottom - TOP + 2
        return (
            f'<svg x="{x}" y="{y}" width="{width}" height="{height}" '
            f'viewBox="{x} {y} {width} {height}">{marks}</svg>'
        )

    def _frame(self) -> list[str]:
        middle = (self.left + self.end) / 2
        upright = f"rotate(-90 16 {(TOP + self.bottom) / 2})"
        return [
            f'<path d="M{self.left},{TOP} V{self.bottom} H{self.end}" fill="none" '
            'stroke="var(--axis)"/>',
            f'<text x="{middle}" y="{self.height - 10}" text-anchor="middle">'
            f"{escape(self.x[2])}</text>",
            f'<text x="16" y="{(TOP + self.bottom) / 2}" text-anchor="middle" '
            f'transform="{upright}">{escape(self.y[2])}</text>',
        ]

    def _below(self) -> list[str]:
        positions = [(f"{self.right(tick):.1f}", tick) for tick in ticks(*self.x[:2])]
        return [
            f'<path d="M{x},{self.bottom} v5" stroke="var(--axis)"/>'
            f'<text x="{x}" y="{self.bottom + 18}" text-anchor="middle">'
            f"{escape(self.forms[0](tick))}</text>"
            for x, tick in positions
        ]

    def _beside(self) -> list[str]:
        found = (powers if self.logarithmic else ticks)(*self.y[:2])
        positions = [(self.down(tick), tick) for tick in found]
        return [
            f'<path d="M{self.left},{y:.1f} H{self.end}" stroke="var(--line)"/>'
            f'<text x="{self.left - 7}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(self.forms[1](tick))}</text>"
            for y, tick in positions
        ]

    def _words(self, names: list[str]) -> list[str]:
        return [
            f'<text x="{self.left - 7}" y="{self.down(len(names) - index - 0.5) + 4:.1f}" '
            f'text-anchor="end">{escape(name)}</text>'
            for index, name in enumerate(names)
        ]


def shortened(name: str, length: int = 24) -> str:
    """Returns a name, or the end of a long one, for a label of an axis."""
    return name if len(name) <= length else f"…{name[1 - length :]}"


def ticks(low: float, high: float) -> list[float]:
    """Returns some round numbers between two numbers."""
    step = 10 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _TICKS + 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def powers(low: float, high: float) -> list[float]:
    """Returns some round numbers between two positive numbers, for a logarithmic axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = math.ceil((last - first) / (_TICKS + 1))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [tick for tick in found if low <= tick <= high]
