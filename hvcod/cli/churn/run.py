"""``hvcod churn run``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.churn.options import CompareOptions, StudyOptions
from hvcod.cli.options import build, dataclass_options, json_option, layer, training_options
from hvcod.config import TrainOptions, parse_assignment
from hvcod.errors import PREEMPTED, UsageError
from hvcod.runs.crew import crew_of
from hvcod.runs.options import CrewOptions

if TYPE_CHECKING:
    from hvcod.churn.run.study import Outcome

EXAMPLES = """\b
Examples:
  laptop   hvcod churn run --task criteo --data data/criteo --preset laptop \\
             --methods dnn,ensemble,codistill --repeats 6 --output churn
           mpirun -np 4 hvcod churn run --task criteo --repeats 24 --output churn
  cluster  srun --mpi=pmix -n 64 hvcod churn run --task criteo --data /scratch/criteo \\
             --preset paper --ranks-per-group 8 --output /scratch/churn
           hvcod churn run ... --output /scratch/churn --share 3/24    # in a job of its own
"""

OF_A_STUDY = ("run_dir", "groups", "group", "fresh", "force", "order_seed", "keep_states")
"""What is decided for each retrain, and so is no option here."""

OF_FILES = ("by_row", "common", "slice_column")
"""What only files need that others have written."""


@click.command(epilog=EXAMPLES)
@dataclass_options(StudyOptions)
@dataclass_options(CrewOptions)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the study; the same command goes on there, and reuses what is finished.",
)
@training_options(without=OF_A_STUDY)
@dataclass_options(CompareOptions, without=OF_FILES)
@json_option
def command(
    output: Path,
    config_file: Path | None,
    assignments: Sequence[str],
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a model again and again, in several ways, and compare the retrains.

    Each retrain is a normal `hvcod train` with initialisation and order of its own, in a folder of
    its own. All predict the same examples; then log loss and churn of the methods are compared.

    Alone it trains one retrain after the other, each group in a process of this machine. Under
    mpirun or srun the ranks train as many at the same time as they can. Jobs of a cluster take a
    --share each.
    """
    study = build(StudyOptions, flags)
    # Before anything is imported that starts MPI.
    crew = crew_of(build(CrewOptions, flags))
    if given := {parse_assignment(each)[0] for each in assignments} & set(OF_A_STUDY):
        raise UsageError(f"--set {given.pop()}: hvcod churn run decides it for each retrain")
    from hvcod.churn.run.study import conduct
    from hvcod.runs.layers import resolve

    train = resolve(config_file, assignments, layer(TrainOptions, flags))

    outcome = conduct(study, train, build(CompareOptions, flags), output, crew)
    if crew.is_root:
        _give_out(outcome, output, as_json)
    click.get_current_context().exit(PREEMPTED if outcome.preempted else 0)


def _give_out(outcome: "Outcome", output: Path, as_json: bool) -> None:
    from hvcod.cli.churn.output import give_out

    if outcome.report is None:
        text = f"{outcome.done} of {outcome.retrains} retrains are done; the same command "
        text += "goes on" if outcome.preempted else "without --share trains the rest and compares"
        click.echo(
            json.dumps({"done": outcome.done, "retrains": outcome.retrains}) if as_json else text
        )
        return
    figures, page = (output / f"churn.{kind}" for kind in ("csv", "html"))
    give_out(outcome.report, figures, page, as_json)
    if not as_json:
        click.echo(f"\n{page} has the pictures, {figures} every figure")
