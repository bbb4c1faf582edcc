"""Learning curves of runs, drawn from their ``metrics.jsonl``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvcod.errors import HvcodError
from hvcod.training.record.lines import from_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = "validation_loss"


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draws validation and training loss over steps for every group of some runs.

    A vertical line marks the first step with a teacher. Other metrics of the validation, such as
    an accuracy, get a panel each.

    Args:
        runs: Run directories, alive or finished.
        output: The picture; its ending says which kind (``.png``, ``.svg``, ``.pdf``).

    Raises:
        HvcodError: Matplotlib is not installed, or a run has no metrics.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HvcodError("hvcod plot needs: pip install 'hvcod[plot]'") from error
    curves = [
        (f"{run.name}, group {group}", lines) for run in runs for group, lines in _groups(run)
    ]
    seen = {name for _, lines in curves for line in lines for name in line}
    metrics = sorted(name for name in seen - {LOSS} if name.startswith("validation_"))
    figure = Figure(figsize=(7.5 + 4.5 * len(metrics), 4.2), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(metrics), squeeze=False)[0]
    losses.set_ylabel("loss (nats)")
    for axes, name in zip(others, metrics, strict=True):
        axes.set_ylabel(name.replace("_", " "))
    for curve, lines in curves:
        color = _draw_losses(losses, curve, lines)
        for axes, name in zip(others, metrics, strict=True):
            axes.plot(*_points(lines, name), marker="o", color=color)
    for axes in (losses, *others):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    losses.legend(fontsize="small")
    figure.savefig(output, dpi=120)


def _draw_losses(axes: "Axes", curve: str, lines: Sequence[dict[str, Any]]) -> Any:
    """Draws the losses of a group, and marks its first teacher; the color."""
    (drawn,) = axes.plot(*_points(lines, "task_loss"), alpha=0.35, linewidth=1)
    color = drawn.get_color()
    label = f"{curve}: validation (training: pale)"
    axes.plot(*_points(lines, LOSS), marker="o", color=color, label=label)
    taught = next((line["step"] for line in lines if line.get("teachers")), None)
    if taught is not None:
        axes.axvline(taught, color=color, linestyle=":", label=f"{curve}: first teacher")
    return color


def _groups(run: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    files = sorted(run.glob("group-*/metrics.jsonl"), key=lambda path: _index(path.parent))
    if not files:
        raise HvcodError(f"{run} is not a run: it has no group-*/metrics.jsonl")
    for path in files:
        # The last line of a run that is alive may not be whole yet.
        lines = map(from_line, path.read_bytes().splitlines(keepends=True))
        yield _index(path.parent), [line for line in lines if line]


def _index(folder: Path) -> int:
    return int(folder.name.removeprefix("group-"))


def _points(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    known = [line for line in lines if line.get(name) is not None]
    return [line["step"] for line in known], [line[name] for line in known]
