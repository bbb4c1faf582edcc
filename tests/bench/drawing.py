"""Pictures of what was measured, for docs/performance.md: legible in a column, and in grey."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

WIDTH, HEIGHT = 6.4, 3.8
ONE: Mapping[str, Any] = {"color": "#b2182b", "marker": "s", "linestyle": "-"}
TWO: Mapping[str, Any] = {"color": "#2166ac", "marker": "o", "linestyle": "--"}


def draw_links(rows: Sequence[Mapping[str, Any]], step_s: float, path: Path) -> None:
    """Draws step time against the speed of the link: medians, and all repetitions behind them."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    names = {row["bits_per_s"]: row["link"] for row in rows}
    speeds = sorted(names)
    for groups, label, style in (
        (1, "one group of 4 ranks across both hosts", ONE),
        (2, "two groups of 2 ranks, one on each host", TWO),
    ):
        times = [
            sorted(r["step_s"] for r in rows if (r["groups"], r["bits_per_s"]) == (groups, speed))
            for speed in speeds
        ]
        medians = [each[len(each) // 2] for each in times]
        axes.plot(speeds, medians, label=label, **style)
        axes.vlines(speeds, [t[0] for t in times], [t[-1] for t in times], color=style["color"])
        for speed, median in zip(speeds, medians, strict=True):
            axes.annotate(
                f"{median:.2f}",
                (speed, median),
                xytext=(0, 7 if groups == 1 else -15),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
    axes.axhline(step_s, color="grey", linewidth=1, linestyle=":")
    axes.annotate(
        "computing alone",
        (speeds[-1], step_s),
        xytext=(0, 3),
        ha="right",
        textcoords="offset points",
        fontsize="small",
        color="#444444",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(speeds, [names[speed] for speed in speeds])
    axes.minorticks_off()
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 4], ["0.1", "0.2", "0.5", "1", "2", "4"])
    axes.set_ylim(0.12, 5)
    axes.set_xlabel("link between the two hosts")
    axes.set_ylabel("seconds a step (median)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
