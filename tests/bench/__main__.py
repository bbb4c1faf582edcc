"""``bin/bench``: prints a table with a line for every row of the benchmark (Markdown).

Each row is measured in a process of its own: MPI leaves marks in the environment of the process
that imports it, and the peak memory of a child counts that of its parent at the fork.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from bench.row import NotMeasuredError, Row

ROWS = {
    "training": [
        "plain_step",
        "plain_step_alone",
        "plain_step_paper",
        "plain_step_paper_alone",
        "startup",
        "help_page",
        "distillation_step",
        "distillation_step_bf16",
        "bf16_step",
        "prediction_exchange",
        "sampled_prediction_exchange",
        "exchange_share",
        "text_waiting",
        "teacher_memory",
    ],
    "noise": ["noise_share", "noise_share_alone", "noise_share_paper_alone"],
    "loss": ["loss_time", "loss_memory", "loss_time_gpu", "loss_memory_gpu"],
    "lstm": ["lstm_paper_32", "lstm_paper_128", "lstm_small", "lstm_inference", "lstm_gpu"],
    "data": ["data_preparation", "data_memory"],
    "commoncrawl": ["text_datatrove", "text_datatrove_same", "text_ranks"],
    "criteo": [
        "criteo_preparation",
        "criteo_polars",
        "criteo_memory",
        "criteo_embedding_rows",
        "criteo_exchange",
        "criteo_waiting",
    ],
    "files": [
        "publish_copy",
        "publish_torch",
        "publish_safetensors",
        "publish_memory",
        "load_bytes",
        "load_torch",
        "load_safetensors",
        "load_memory",
        "teacher_reads",
        "exchange_share_large",
    ],
    "imagenet": [
        "image_accuracy",
        "image_waiting",
        "image_decoding",
        "image_torchvision",
        "image_turbojpeg",
    ],
    "evaluation": ["predict_forward", "evaluate_forward"],
    "churn": ["churn_compare", "churn_compare_shuffled", "churn_memory"],
}
"""The functions that measure a row, by module; each takes `tiny` and returns a `Row`."""

MODULES = {name: module for module, names in ROWS.items() for name in names}
COLUMNS = {"row": 28, "hvcod": 14, "against": 14, "ratio (quartiles)": 22, "target": 7, "": 7}
"""The columns of the table but the last one, and their widths."""

NOT_MEASURED = 3
"""The exit code of a process that could not measure its row."""


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(MODULES)), help="Run this row alone.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the rows there.")
@click.option("--tiny", is_flag=True, help="Only try whether rows work: their ratios mean nothing.")
def bench(only: Sequence[str], file: Path | None, tiny: bool) -> None:
    """Measure hvcod side by side with what it is compared with: a ratio and its target a row."""
    rows = []
    click.echo(cells([*COLUMNS, "command"]))
    click.echo("|".join(["", *("-" * (width + 2) for width in COLUMNS.values()), "---", ""]))
    for name in only or MODULES:
        begun = time.monotonic()
        try:
            row = measure(name, tiny)
        except NotMeasuredError as reason:
            click.echo(cells([name, *[""] * (len(COLUMNS) - 1), f"not measured: {reason}"]))
            continue
        click.echo(line(row))
        click.echo(f"{name}: {time.monotonic() - begun:.0f} s", err=True)
        rows.append(row)
        if file:
            file.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")


def measure(name: str, tiny: bool = False) -> Row:
    """Measures a row in a process of its own.

    Raises:
        NotMeasuredError: This machine lacks what the row needs.
    """
    words = [sys.executable, "-m", "bench.one", MODULES[name], name, str(int(tiny))]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    shown = done.stdout.splitlines()
    if done.returncode == NOT_MEASURED:
        raise NotMeasuredError(shown[-1])
    if done.returncode:
        raise click.ClickException(f"{name} could not be measured")
    return Row.from_dict(json.loads(shown[-1]))


def line(row: Row) -> str:
    """A row of the table; a target that is missed is followed by what bounds it."""
    spread = f" ({row.spread[0]:.3f} to {row.spread[1]:.3f})" if row.spread else ""
    found = [f"{value:.4g} {row.unit}" for value in (row.measured, row.reference)]
    target = f"{'≤' if row.lower_is_better else '≥'} {row.target:g}"
    bound = f" - {row.bound}" if row.bound and not row.met else ""
    last = f"`bin/bench --only {row.name}`{bound}"
    verdict = "met" if row.met else "missed"
    return cells([row.name, *found, f"{row.ratio:.3f}{spread}", target, verdict, last])


def cells(texts: Sequence[str]) -> str:
    """Cells of the table as a line."""
    widths = [*COLUMNS.values(), 0]
    return f"| {' | '.join(f'{text:{width}}' for text, width in zip(texts, widths, strict=True))} |"


if __name__ == "__main__":
    bench()
