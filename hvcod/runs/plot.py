"""A picture of the learning curves of runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvcod.errors import HvcodError
from hvcod.runs.curves import GroupCurves, read_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = "validation_loss"
NO_CURVE: tuple[tuple[()], tuple[()]] = (), ()


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draws validation and training loss over steps for every group of some runs.

    A vertical line marks the first step with a teacher. Other metrics of the validation, such as
    an accuracy, get a panel each.

    Args:
        runs: Run directories; the runs may still be training.
        output: The picture; its name ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        HvcodError: Matplotlib is not installed, or a run has no metrics.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HvcodError("hvcod plot needs: pip install 'hvcod[plot]'") from error
    groups = [
        (f"{run.name}, group {curves.group}", curves) for run in runs for curves in read_curves(run)
    ]
    names = {name for _, curves in groups for name in curves.metrics}
    metrics = sorted(name for name in names - {LOSS} if name.startswith("validation_"))
    figure = Figure(figsize=(7.5 + 4.5 * len(metrics), 4.2), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(metrics), squeeze=False)[0]
    losses.set_ylabel("loss (nats)")
    for axes, metric in zip(others, metrics, strict=True):
        axes.set_ylabel(metric.replace("_", " "))
    for name, curves in groups:
        color = _draw_losses(losses, name, curves)
        for axes, metric in zip(others, metrics, strict=True):
            axes.plot(*curves.metrics.get(metric, NO_CURVE), marker="o", color=color)
    for axes in (losses, *others):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    losses.legend(fontsize="small")
    figure.savefig(output, dpi=120)


def _draw_losses(axes: "Axes", name: str, curves: GroupCurves) -> Any:
    """Draws the losses of a group, marks its first teacher, and returns the colour."""
    (drawn,) = axes.plot(*curves.metrics.get("task_loss", NO_CURVE), alpha=0.35, linewidth=1)
    color = drawn.get_color()
    label = f"{name}: validation (training: pale)"
    axes.plot(*curves.metrics.get(LOSS, NO_CURVE), marker="o", color=color, label=label)
    if curves.first_teacher is not None:
        label = f"{name}: first teacher"
        axes.axvline(curves.first_teacher, color=color, linestyle=":", label=label)
    return color
