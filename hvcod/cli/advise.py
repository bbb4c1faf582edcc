"""``hvcod advise``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.advice.options import AdviceOptions
from hvcod.advice.trial.options import TrialOptions
from hvcod.cli.completing import runs
from hvcod.cli.options import PATH, build, dataclass_options, json_option, layer
from hvcod.cli.tables import columns
from hvcod.errors import PREEMPTED, UsageError
from hvcod.runs.crew import crew_of
from hvcod.runs.options import CrewOptions
from hvcod.schema import flag_of
from hvcod.terminal import one_line, show

if TYPE_CHECKING:
    from hvcod.advice.advise import Advice

EXAMPLES = """\b
Examples:
  laptop   hvcod advise runs/first
           hvcod advise runs/books --trial 200
  cluster  srun --mpi=pmix -n 8 hvcod advise /scratch/runs/cc --doctor doctor.json
           srun --mpi=pmix -n 32 hvcod advise /scratch/runs/cc --trial 2000 --ranks-per-group 16
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", type=PATH, metavar="RUN", shell_complete=runs)
@dataclass_options(AdviceOptions)
@dataclass_options(TrialOptions)
@dataclass_options(CrewOptions, without=("share",))
@click.option("--task", help="The run's task again, if its module lies in the current folder.")
@json_option
def command(run: Path, task: str | None, as_json: bool, **flags: Any) -> None:
    """Tell whether a second group, or a larger batch, would help a run.

    Measures the gradient noise scale of the last saved state on training batches, and on validation
    data how much the mean prediction of the run's groups beats each of them. Nothing is trained or
    written; the run may be training meanwhile. Under mpirun or srun the ranks share the work.
    docs/advise.md explains the figures.

    With --trial three runs go on from the last saved state of RUN, which is only read: one group
    (B), one group with twice the batch (2B), and two groups that teach each other. Then a table
    shows the loss of each, and the steps, seconds and bytes that it took to B's best loss, beside
    the saving that B's gradient noise scale predicts for 2B.

    Without a launcher this machine trains them; under mpirun or srun the ranks do, B with
    --ranks-per-group of them, the others with twice as many. Killed at any time, the same command
    goes on.
    """
    trial: TrialOptions = build(TrialOptions, flags)
    _check(flags, trial.trial is not None)
    if trial.trial is not None:
        _try(run, trial, task, as_json, flags)
        return
    options = build(AdviceOptions, flags)
    from hvcod.advice.advise import advise
    from hvcod.groups.split import split
    from hvcod.groups.world import world

    everyone = split(world())
    advice = advise(run, options, everyone, task)
    if everyone.is_root:
        show(shown(advice, as_json))


def shown(advice: "Advice", as_json: bool) -> str:
    """Returns advice as text, or as one JSON object."""
    from hvcod.advice.text import assumptions, findings, sentence, table
    from hvcod.training.record.lines import finite

    if as_json:
        return json.dumps(finite(advice.tree() | {"advice": sentence(advice)}))
    rows = table(advice)
    notes = [*assumptions(advice), "", sentence(advice)]
    shown_rows = columns(rows, right=range(len(rows[0])))
    return "\n".join([*map(one_line, findings(advice)), "", shown_rows, "", *map(one_line, notes)])


def _check(flags: dict[str, Any], tries: bool) -> None:
    """Raises UsageError for an option of the other kind of advice."""
    others = [AdviceOptions] if tries else [TrialOptions, CrewOptions]
    given = [key for options in others for key in layer(options, flags)]
    if given and tries:
        raise UsageError(f"{flag_of(given[0])} changes nothing with --trial: leave it out")
    if given:
        raise UsageError(f"{flag_of(given[0])} is for a branch test: add --trial STEPS")


def _try(
    run: Path, trial: TrialOptions, task: str | None, as_json: bool, flags: dict[str, Any]
) -> None:
    # Before anything is imported that starts MPI.
    crew = crew_of(build(CrewOptions, flags))
    from hvcod.advice.trial.text import notes, rows
    from hvcod.advice.trial.trial import conduct
    from hvcod.training.record.lines import finite

    outcome = conduct(run, trial, crew, task)
    if outcome is None:
        click.get_current_context().exit(PREEMPTED)
    if crew.is_root:
        if as_json:
            show(json.dumps(finite(outcome.tree())))
        else:
            show(columns(rows(outcome)))
            show("\n".join(["", *map(one_line, notes(outcome))]))
