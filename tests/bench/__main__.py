"""``bin/bench``: prints every row of the benchmark, and writes them to a file on request."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
from bench import criteo, data, evaluation, imagenet, lstm, training
from bench.row import Row

ROWS = {
    row.__name__: row
    for row in (
        # First, while this process is small: a child's peak memory counts its parent's at the fork.
        data.data_memory,
        criteo.criteo_memory,
        training.plain_step,
        training.distillation_step,
        training.exchange_share,
        training.text_waiting,
        training.teacher_memory,
        lstm.lstm_layer_norm,
        lstm.lstm_layer_norm_inference,
        data.data_preparation,
        criteo.criteo_preparation,
        criteo.criteo_embedding_rows,
        criteo.criteo_waiting,
        imagenet.image_accuracy,
        imagenet.image_waiting,
        imagenet.image_decoding,
        evaluation.predict_forward,
    )
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="Run this row alone.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the rows there.")
def bench(only: Sequence[str], file: Path | None) -> None:
    """Measure hvcod side by side with what it is compared with: a ratio and its target a row."""
    rows = []
    for name in only or ROWS:
        rows.append(ROWS[name]())
        click.echo(line(rows[-1]))
        if file:
            file.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")


def line(row: Row) -> str:
    """A row for people."""
    spread = f" (quartiles {row.spread[0]:.3f} to {row.spread[1]:.3f})" if row.spread else ""
    bound = "at most" if row.lower_is_better else "at least"
    verdict = "met" if row.met else "MISSED"
    values = f"{row.measured:.4g} {row.unit} against {row.reference:.4g}"
    return f"{row.name}: {row.ratio:.3f}{spread}, {bound} {row.target}: {verdict} [{values}]"


if __name__ == "__main__":
    bench()
