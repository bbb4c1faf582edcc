"""``hvcod predict``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.cli.evaluation import load, sources
from hvcod.cli.options import PATH, build, dataclass_options, json_option
from hvcod.evaluation.options import EvaluationOptions
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod predict runs/clicks --ensemble --output predictions.csv
           hvcod predict runs/first --group 0 --part test --data data/test --output group-0.h5
  cluster  srun --mpi=pmix -n 32 hvcod predict /scratch/runs/a --group 0 --output /scratch/a.h5
"""


@click.command(epilog=EXAMPLES)
@sources
@click.option(
    "--output",
    required=True,
    type=PATH,
    help="The file to write: .h5 (datasets id, prediction, label) or .csv (columns of the same "
    "names). Each of several models gets its own file: out.h5 becomes out.group-0.h5.",
)
@click.option(
    "--ensemble", is_flag=True, help="Write one file: the mean of the models' predictions."
)
@dataclass_options(EvaluationOptions)
@json_option
def command(
    sources: Sequence[Path],
    groups: Sequence[int],
    output: Path,
    ensemble: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the predictions of trained models for each example of prepared data.

    A SOURCE is a run directory, a training state or a published checkpoint. A prediction is a
    probability, or one probability per class. Under mpirun or srun the ranks share the data; the
    file does not depend on the number of ranks.
    """
    options = build(EvaluationOptions, flags)
    models, ranks = load(sources, groups, options)
    from hvcod.evaluation.predict import predict

    wanted = {output: models}
    if len(models) > 1 and not ensemble:
        wanted = {_own(output, model.name): [model] for model in models}
    written = {
        str(path): predict(chosen, options.part, path, ranks) for path, chosen in wanted.items()
    }
    if ranks.is_root:
        lines = [f"{path}: {count} predictions" for path, count in written.items()]
        show(json.dumps(written) if as_json else "\n".join(lines))


def _own(output: Path, name: str) -> Path:
    own = name.replace(" ", "-").replace("/", "-")
    return output.with_name(f"{output.stem}.{own}{output.suffix}")
