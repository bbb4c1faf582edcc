"""``hvcod evaluate``."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.evaluation import load, sources
from hvcod.cli.options import build, dataclass_options, json_option
from hvcod.cli.tables import columns
from hvcod.evaluation.options import EvaluationOptions
from hvcod.terminal import show
from hvcod.units import figure

if TYPE_CHECKING:
    from hvcod.evaluation.evaluate import Evaluation

EXAMPLES = """\b
Examples:
  laptop   hvcod evaluate runs/first
           hvcod evaluate runs/first/group-0/published/step-00000400.h5 --part training
  cluster  srun --mpi=pmix -n 32 hvcod evaluate /scratch/runs/a /scratch/runs/b --data /scratch/d
"""


@click.command(epilog=EXAMPLES)
@sources
@dataclass_options(EvaluationOptions)
@json_option
def command(sources: Sequence[Path], groups: Sequence[int], as_json: bool, **flags: Any) -> None:
    """Measure trained models on prepared data: each group, and the ensemble of all.

    A SOURCE is a run directory, a training state, a published checkpoint or an exported file. The
    ensemble predicts the mean of the models' predictive distributions. Under mpirun or srun the
    ranks share the data; the results do not depend on the number of ranks.
    """
    options = build(EvaluationOptions, flags)
    models, ranks = load(sources, groups, options)
    from hvcod.evaluation.evaluate import evaluate
    from hvcod.training.record.lines import finite

    evaluations = evaluate(models, options.part, ranks)
    if ranks.is_root:
        plain = finite([dataclasses.asdict(evaluation) for evaluation in evaluations])
        show(json.dumps(plain) if as_json else _table(evaluations))


def _table(evaluations: "Sequence[Evaluation]") -> str:
    metrics = list(evaluations[0].metrics)
    rows = [["model", "step", *metrics]]
    for evaluation in evaluations:
        values = (f"{evaluation.metrics[name]:.4f}" for name in metrics)
        rows.append([evaluation.name, figure(evaluation.step), *values])
    return columns(rows)
