"""Learning curves of runs, drawn from their ``metrics.jsonl``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError
from hvcod.training.record.lines import from_line


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draws validation and training loss over steps for every group of some runs.

    A vertical line marks the first step with a teacher.

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
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (nats)")
    for run in runs:
        for group, lines in _groups(run):
            name = f"{run.name}, group {group}"
            scored = [line for line in lines if "validation_loss" in line]
            trained = [line for line in lines if "task_loss" in line]
            (curve,) = axes.plot(*_points(trained, "task_loss"), alpha=0.35, linewidth=1)
            axes.plot(
                *_points(scored, "validation_loss"),
                marker="o",
                color=curve.get_color(),
                label=f"{name}: validation (training: pale)",
            )
            taught = next((line["step"] for line in trained if line.get("teachers")), None)
            if taught is not None:
                name = f"{name}: first teacher"
                axes.axvline(taught, color=curve.get_color(), linestyle=":", label=name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(output, dpi=120)


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
    return [line["step"] for line in lines], [line[name] for line in lines]
