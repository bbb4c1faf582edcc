"""``hvcod churn run``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.churn.options import CompareOptions, StudyOptions
from hvcod.cli.options import PATH, build, dataclass_options, json_option, layer, training_options
from hvcod.cli.sectioned import SectionedCommand, option_of
from hvcod.config import TrainOptions, parse_assignment
from hvcod.errors import PREEMPTED, UsageError
from hvcod.runs.crew import crew_of
from hvcod.runs.options import CrewOptions
from hvcod.sections import Section
from hvcod.terminal import show

if TYPE_CHECKING:
    from hvcod.churn.run.study import Outcome

EXAMPLES = """\b
Examples:
  laptop   hvcod churn run --task criteo --data data/criteo --preset laptop \\
             --methods dnn,ensemble,codistill --repeats 6 --output churn
           mpirun -np 4 hvcod churn run --task criteo --repeats 24 --output churn
           hvcod churn run --task criteo --data data/criteo --data-sample days --output days
  cluster  srun --mpi=pmix -n 64 hvcod churn run --task criteo --data /scratch/criteo \\
             --preset paper --ranks-per-group 8 --output /scratch/churn
           hvcod churn run ... --output /scratch/churn --share 3/24    # in a job of its own
"""

OF_A_STUDY = (
    "run_dir",
    "groups",
    "group",
    "fresh",
    "force",
    "order_seed",
    "keep_states",
    "other_data",
)
"""Options of training that the study sets for each retrain."""

OF_FILES = (
    *("by_row", "common", "slice_column", "id_column", "ids", "prediction_column", "scale"),
    *("labels", "classes"),
)
"""Options of a comparison that apply only to files from elsewhere."""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@option_of(
    Section.STUDY,
    "--output",
    required=True,
    type=PATH,
    help="Folder of the study; the same command continues it, and reuses finished retrains.",
)
@dataclass_options(StudyOptions)
@dataclass_options(CrewOptions)
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
    """Train a model repeatedly, by several methods, and compare the retrains.

    Each retrain is a normal `hvcod train` in its own folder, with its own initialisation and its
    own order of the data. All retrains predict the same examples; then the log loss and the churn
    of the methods are compared.

    Without a launcher it trains --at-once retrains at a time, each group in a process on this
    machine. Under mpirun or srun the ranks train as many retrains at a time as there are ranks for.
    On a cluster, several jobs can train one --share each.
    """
    study = build(StudyOptions, flags)
    # Before anything is imported that starts MPI.
    crew = crew_of(build(CrewOptions, flags))
    if given := {parse_assignment(text)[0] for text in assignments} & set(OF_A_STUDY):
        raise UsageError(f"--set {given.pop()}: hvcod churn run sets it for each retrain")
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
        text += "continues" if outcome.preempted else "without --share trains the rest and compares"
        done = {"done": outcome.done, "retrains": outcome.retrains}
        show(json.dumps(done) if as_json else text)
        return
    figures, page = (output / f"churn.{kind}" for kind in ("csv", "html"))
    rows = output / "fragile.csv" if outcome.report.fragile else None
    give_out(outcome.report, figures, page, rows, as_json)
    if not as_json:
        show(f"\npictures: {page}\nall figures: {figures}")
        if rows:
            show(f"fragile rows: {rows}")
