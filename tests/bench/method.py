"""Costs and gains of each variant of the method on the laptop presets (docs/method.md).

    PYTHONPATH=tests python -m bench.method --seeds 3 --json method.json

Each variant of tests/method/variants.py trains for each seed, with one rank per group, or two where
its base algorithm needs them. Its cost is the time of a step after the burn-in, divided by that
before it in the same run; its gain is the best validation loss, the mean over groups and seeds,
beside that of two groups of as many ranks that do not teach each other, or of one group alone: the
data that a group reads matter more than most variants.
"""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from method.variants import VARIANTS, Variant

TASKS = ("criteo", "commoncrawl")
BURN_IN = 150  # of both laptop presets

Figures = dict[str, float | None]


@click.command()
@click.option("--only", multiple=True, help="This variant, and its baseline.")
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASKS), default=TASKS)
@click.option("--seeds", default=1, help="Seeds of each variant.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write figures there.")
def main(only: Sequence[str], tasks: Sequence[str], seeds: int, file: Path | None) -> None:
    """Measure the variants; print a row of Markdown for each."""
    known = chosen(only)
    table: dict[str, dict[str, Figures]] = {each.name: {} for each in known}
    with tempfile.TemporaryDirectory() as folder:
        for variant in known:
            for task in tasks:
                runs = [train(variant, task, seed, Path(folder)) for seed in range(1, seeds + 1)]
                table[variant.name][task] = mean_of(runs)
            click.echo(row(variant, table, tasks))
            if file:
                file.write_text(json.dumps(table, indent=1) + "\n")


def baseline_of(variant: Variant) -> str:
    """Returns the name of the variant to compare with: the same groups without teachers."""
    if variant.groups == 1:
        return "alone"
    return "apart" if variant.ranks == 1 else "apart, two ranks each"


def chosen(only: Sequence[str]) -> list[Variant]:
    """Returns the variants of these names and their baselines; without names, all."""
    named = [each for each in VARIANTS if not only or each.name in only]
    names = {each.name for each in named} | {baseline_of(each) for each in named}
    return [each for each in VARIANTS if each.name in names]


def train(variant: Variant, task: str, seed: int, folder: Path) -> Figures:
    """Trains a variant, and before it the teachers that it needs; returns its figures."""
    for number in range(variant.teachers):
        teacher = folder / f"{task}-teacher-{number}"
        if not teacher.exists():
            launch(0, "train", "--task", task, "--run-dir", teacher, "--seed", 100 + number)
    teacher, store = folder / f"{task}-teacher-0", folder / f"{task}-store"
    if variant.stored is not None and not store.exists():
        launch(0, "predict", teacher, "--teacher-store", store, *variant.stored[task])
    run = folder / f"{variant.name}-{task}-{seed}".replace(" ", "-")
    flags = [flag.format(teacher=teacher, store=store) for flag in variant.flags]
    ranks = variant.groups * (variant.ranks + variant.further_ranks) if variant.launched else 0
    words = ["--task", task, "--run-dir", run, "--seed", seed, "--groups", variant.groups]
    launch(ranks, "train", *words, *flags)
    metrics = [lines(run / f"group-{group}") for group in range(variant.groups)]
    return {
        "cost": cost(metrics[0]),
        "loss": statistics.mean(
            min(line["validation_loss"] for line in group if "validation_loss" in line)
            for group in metrics
        ),
    }


def launch(ranks: int, *words: object) -> None:
    """Runs a command of hvcod, under mpirun if there are ranks."""
    launcher = ["mpirun", "-np", str(ranks)] if ranks else []
    command = [*launcher, "hvcod", *map(str, words)]
    subprocess.run(command, env=os.environ, stdout=subprocess.DEVNULL, check=True)


def lines(group: Path) -> list[dict[str, Any]]:
    """Returns the metrics of a group."""
    return [json.loads(line) for line in (group / "metrics.jsonl").read_text().splitlines()]


def cost(metrics: Iterable[dict[str, Any]]) -> float | None:
    """Returns a step's time with teachers over that without; None if it had none, or always."""
    timed = [line for line in metrics if "step_s" in line]
    # The first line holds the start.
    alone = [line for line in timed[1:] if line["step"] <= BURN_IN and not line.get("teachers")]
    before = [line["step_s"] for line in alone]
    after = [line["step_s"] for line in timed if line.get("teachers")]
    return statistics.median(after) / statistics.median(before) if before and after else None


def mean_of(runs: Sequence[Figures]) -> Figures:
    """Returns the means over seeds."""
    means: Figures = {}
    for name in runs[0]:
        known = [value for run in runs if (value := run[name]) is not None]
        means[name] = statistics.mean(known) if known else None
    return means


def row(variant: Variant, table: dict[str, dict[str, Figures]], tasks: Sequence[str]) -> str:
    """Returns the row of a variant: for each task its cost, and its loss beside the baseline's."""
    name, cells = variant.name, [variant.name]
    for task in tasks:
        figures, baseline = table[name][task], table[baseline_of(variant)][task]["loss"]
        assert figures["loss"] is not None
        assert baseline is not None
        cells.append("-" if figures["cost"] is None else f"{figures['cost']:.2f}")
        cells.append(f"{figures['loss']:.4f} ({figures['loss'] - baseline:+.4f})")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
