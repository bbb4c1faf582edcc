"""Pictures of runs: their learning curves, or what their steps spent their time on."""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.whole import write_output
from hvcod.runs import times
from hvcod.runs.curves import GroupCurves, read_curves
from hvcod.terminal import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS = "validation_loss"
DISAGREEMENT = "disagreement with teachers (nats)"
STYLES = ("-", "--", "-.", ":")
NO_CURVE: tuple[tuple[()], tuple[()]] = (), ()


def draw(runs: Sequence[Path], output: Path, step_times: bool = False) -> None:
    """Draws validation and training loss over steps for every group of some runs.

    A vertical line marks the first step with a teacher. Other metrics of the validation, such as
    an accuracy, get a panel each, as the disagreement with teachers does.

    Args:
        runs: Run directories; the runs may still be training.
        output: The picture; its name ends in ``.png``, ``.svg`` or ``.pdf``.
        step_times: Draw the parts of a step instead, see `hvcod.runs.times`.

    Raises:
        UsageError: The picture's name has another ending.
        HvcodError: Matplotlib is not installed, a run has no metrics, or none of step times, or
            the picture cannot be written.
    """
    # It says that a full or closed home has no room for its cache of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise HvcodError("hvcod plot needs: pip install 'hvcod[plot]'") from error
    # Libraries warn of values and of letters that a font lacks, which is nobody's concern here. No
    # name of a run is a formula.
    with warnings.catch_warnings(), rc_context({"text.parse_math": False, "text.usetex": False}):
        warnings.simplefilter("ignore")
        groups = [
            (f"{_name(run)}, group {curves.group}", curves)
            for run in runs
            for curves in read_curves(run)
        ]
        _write(times.figure(groups) if step_times else _figure(groups), output)


def _write(figure: "Figure", output: Path) -> None:
    """Writes the picture; what was there stays if it cannot be."""
    content, kind = io.BytesIO(), output.suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise UsageError(f"--output {output}: end the name with .png, .svg or .pdf")
    figure.savefig(content, dpi=120, format=kind)
    try:
        write_output(output, content.getvalue())
    except OSError as error:
        raise HvcodError(
            f"cannot write {output}: {reason_of(error)}; name a picture elsewhere with --output"
        ) from error


def _name(run: Path) -> str:
    """Returns the name of a run in the legend, from which names that begin with _ are left out."""
    name = one_line(run.resolve().name)
    return f"./{name}" if name.startswith("_") else name


def _figure(groups: Sequence[tuple[str, GroupCurves]]) -> "Figure":
    from matplotlib.figure import Figure

    names = {name for _, curves in groups for name in curves.metrics}
    metrics = sorted(name for name in names - {LOSS} if name.startswith("validation_"))
    panels = [one_line(metric).replace("_", " ") for metric in metrics]
    panels += [DISAGREEMENT] if any(curves.disagreement for _, curves in groups) else []
    figure = Figure(figsize=(7.5 + 4.5 * len(panels), 4.2), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    for axes, label in zip((losses, *others), ("loss (nats)", *panels), strict=True):
        axes.set_ylabel(label)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    for name, curves in groups:
        color = _draw_losses(losses, name, curves)
        for axes, metric in zip(others, metrics, strict=False):
            axes.plot(*curves.metrics.get(metric, NO_CURVE), marker="o", color=color)
        if curves.disagreement:
            _draw_disagreement(others[-1], curves, color)
    losses.legend(fontsize="small")
    return figure


def _draw_disagreement(axes: "Axes", curves: GroupCurves, color: Any) -> None:
    """Draws one line for each teacher of a group, and names them if there are several."""
    for number, (teacher, curve) in enumerate(curves.disagreement.items()):
        style = STYLES[number % len(STYLES)]
        axes.plot(*curve, marker=".", color=color, linestyle=style)
        if len(curves.disagreement) > 1:
            axes.annotate(one_line(teacher), (curve.steps[-1], curve.values[-1]), fontsize="small")


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
