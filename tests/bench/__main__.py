"""``bin/bench``: prints every row of the benchmark, and writes them to a file on request.

Each row is measured in a process of its own: MPI leaves marks in the environment of the process
that imports it, and the peak memory of a child counts that of its parent at the fork.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from bench.row import Row

ROWS = {
    "training": [
        "plain_step",
        "distillation_step",
        "prediction_exchange",
        "sampled_prediction_exchange",
        "exchange_share",
        "text_waiting",
        "teacher_memory",
    ],
    "lstm": ["lstm_layer_norm", "lstm_layer_norm_inference"],
    "data": ["data_preparation", "data_memory"],
    "criteo": [
        "criteo_preparation",
        "criteo_memory",
        "criteo_embedding_rows",
        "criteo_waiting",
    ],
    "imagenet": ["image_accuracy", "image_waiting", "image_decoding"],
    "evaluation": ["predict_forward"],
}
"""The functions that measure a row, by module."""

MODULES = {name: module for module, names in ROWS.items() for name in names}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(MODULES)), help="Run this row alone.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the rows there.")
def bench(only: Sequence[str], file: Path | None) -> None:
    """Measure hvcod side by side with what it is compared with: a ratio and its target a row."""
    rows = []
    for name in only or MODULES:
        rows.append(measure(name))
        click.echo(line(rows[-1]))
        if file:
            file.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")


def measure(name: str) -> Row:
    """Measures a row in a process of its own."""
    program = f"import json, bench.{MODULES[name]} as m; print(json.dumps(m.{name}().as_dict()))"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"{name} could not be measured")
    return Row.from_dict(json.loads(done.stdout.splitlines()[-1]))


def line(row: Row) -> str:
    """A row for people."""
    spread = f" (quartiles {row.spread[0]:.3f} to {row.spread[1]:.3f})" if row.spread else ""
    bound = "at most" if row.lower_is_better else "at least"
    verdict = "met" if row.met else "MISSED"
    values = f"{row.measured:.4g} {row.unit} against {row.reference:.4g}"
    return f"{row.name}: {row.ratio:.3f}{spread}, {bound} {row.target}: {verdict} [{values}]"


if __name__ == "__main__":
    bench()
