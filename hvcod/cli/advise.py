"""``hvcod advise``."""

import json
from pathlib import Path
from typing import Any

import click

from hvcod.advice.trial.options import TrialOptions
from hvcod.cli.options import PATH, build, dataclass_options, json_option
from hvcod.errors import PREEMPTED, UsageError
from hvcod.runs.crew import crew_of
from hvcod.runs.options import CrewOptions
from hvcod.terminal import one_line, show

EXAMPLES = """\b
Examples:
  laptop   hvcod advise runs/books --trial 200
  cluster  srun --mpi=pmix -n 32 hvcod advise /scratch/runs/cc --trial 2000 --ranks-per-group 16
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", type=PATH, metavar="RUN")
@dataclass_options(TrialOptions)
@dataclass_options(CrewOptions, without=("share",))
@click.option("--task", help="The run's task again, if its module lies in the current folder.")
@json_option
def command(run: Path, task: str | None, as_json: bool, **flags: Any) -> None:
    """Tell whether a second group would pay.

    With --trial three runs go on from the last saved state of RUN, which is only read: one group
    (B), one group with twice the batch (2B), and two groups that teach each other. Then a table
    shows the loss of each, and the steps, seconds and bytes that it took to B's best loss, beside
    the saving that B's gradient noise scale predicts for 2B.

    Without a launcher this machine trains them; under mpirun or srun the ranks do, B with
    --ranks-per-group of them, the others with twice as many. Killed at any time, the same command
    goes on.
    """
    order = build(TrialOptions, flags)
    # Before anything is imported that starts MPI.
    crew = crew_of(build(CrewOptions, flags))
    if order.trial is None:
        raise UsageError("name the steps of a branch test: --trial STEPS")
    from hvcod.advice.trial.text import notes, rows
    from hvcod.advice.trial.trial import conduct
    from hvcod.cli.tables import columns
    from hvcod.training.record.lines import finite

    outcome = conduct(run, order, crew, task)
    if outcome is None:
        click.get_current_context().exit(PREEMPTED)
    if crew.is_root:
        if as_json:
            show(json.dumps(finite(outcome.tree())))
        else:
            show(columns(rows(outcome)))
            show("\n".join(["", *map(one_line, notes(outcome))]))
