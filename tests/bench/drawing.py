"""Pictures of what was measured, for docs/performance.md: legible in a column, and in grey."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
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
                xytext=(0, 7 if (groups == 1) == (speed < speeds[-1]) else -15),
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


def draw_goodput(content: Mapping[str, Any], path: Path) -> None:
    """Draws the share of useful steps, and one repetition's steps over time with its failures."""
    figure = Figure(figsize=(WIDTH, 6.0), layout="constrained")
    share, steps = figure.subplots(2, 1, height_ratios=[1, 2.2])
    for groups, label, style in ((1, "one group of 4", ONE), (2, "two groups of 2", TWO)):
        found = [100 * row["goodput"] for row in content["rows"] if row["groups"] == groups]
        mean = sum(found) / len(found)
        hatch = "" if groups == 1 else "//"
        share.barh(
            [label], [mean], color=style["color"], alpha=0.75, hatch=hatch, edgecolor="white"
        )
        share.plot(found, [label] * len(found), "o", color="black", markersize=4)
        share.annotate(f"{mean:.0f}%", (3, label), va="center", color="white", weight="bold")
    share.set_xlim(0, 100)
    share.set_xlabel("useful steps, % of an undisturbed run (dots: repetitions)")
    share.invert_yaxis()
    _draw_trace(steps, content, content["traces"][-1])
    figure.savefig(path, dpi=150)


def _draw_trace(axes: Axes, content: Mapping[str, Any], trace: Mapping[str, Any]) -> None:
    """Draws the steps of all groups of a repetition, in seconds of undisturbed training."""
    undisturbed = list(content["undisturbed"]["steps"].values())
    lasted = content["undisturbed"]["times"][-1]
    for (name, steps), before in zip(trace["steps"].items(), undisturbed, strict=True):
        for group in range(len(steps[0])):
            pace = (before[-1][group] - before[0][group]) / lasted
            style = (ONE if len(steps[0]) == 1 else TWO)["color"]
            line = "-" if len(steps[0]) == 1 else ("--", ":")[group]
            label = "one group" if len(steps[0]) == 1 else f"two groups: group {group}"
            done = [(each[group] - steps[0][group]) / pace for each in steps]
            axes.plot(trace["times"], done, color=style, linestyle=line, label=label)
            killed = [now for now, of in trace["kills"][name] if of == group]
            at = [
                min(range(len(done)), key=lambda i: abs(trace["times"][i] - now)) for now in killed
            ]
            axes.plot(killed, [done[i] for i in at], "x", color="black", markersize=7, mew=2)
    for begun, ended in trace["stalls"]:
        axes.axvspan(begun, ended, color="grey", alpha=0.25, label="file system stalls")
    axes.plot([], [], "x", color="black", mew=2, label="a rank is killed")
    axes.plot(trace["times"], trace["times"], color="grey", linewidth=1, label="undisturbed")
    axes.set_xlabel("seconds")
    axes.set_ylabel("seconds of undisturbed training")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
