"""``hvcod experiment``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.completing import names_of
from hvcod.cli.options import build, dataclass_options, json_option
from hvcod.cli.sectioned import SectionedCommand, option_of
from hvcod.cli.tables import columns
from hvcod.errors import PREEMPTED, HvcodError
from hvcod.experiments.options import ExperimentOptions
from hvcod.registry import EXPERIMENTS
from hvcod.runs.crew import crew_of
from hvcod.runs.options import CrewOptions
from hvcod.sections import Section
from hvcod.terminal import show
from hvcod.units import counted, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hvcod.experiments.running.conduct import Outcome
    from hvcod.experiments.running.plan import PlannedRun

EXAMPLES = """\b
Examples:
  laptop   hvcod experiment
           hvcod experiment figure2a --data data/books --plan
           hvcod experiment figure2a --data data/books --at-once 2
  cluster  hvcod job submit --profile nersc --account m1234 --shares 24 --time 4h \\
             -- experiment figure2a --scale gpu --data /scratch/cc --output /scratch/experiments
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("name", required=False, shell_complete=names_of(EXPERIMENTS))
@dataclass_options(ExperimentOptions)
@dataclass_options(CrewOptions, without=["ranks_per_group"])
@option_of(
    Section.EXPERIMENT,
    "--plan",
    "only_plan",
    is_flag=True,
    help="Show the runs and their commands only.",
)
@json_option
def command(name: str | None, only_plan: bool, as_json: bool, **flags: Any) -> None:
    """Train the runs of a figure or table of the paper, and report what they show.

    Without a NAME all experiments are listed. Each arm of an experiment is trained with --seeds
    seeds, --at-once runs at the same time. Runs that are finished are used again, also those of
    other experiments in the same --output, and interrupted ones go on: killed at any time, the same
    command continues.

    Under mpirun or srun the ranks train as many runs at a time as there are ranks for. On a
    cluster, several jobs can train one --share each.
    """
    if name is None:
        show(_listed(as_json))
        return
    order = build(ExperimentOptions, flags)
    options = build(CrewOptions, flags)
    experiment = EXPERIMENTS.load(name)(order.scale)
    if only_plan:
        from hvcod.experiments.running.plan import plan_of

        plan = plan_of(experiment, order)
        show(_planned(plan, options.at_once, as_json))
        return
    # Before anything is imported that starts MPI.
    crew = crew_of(options)
    from hvcod.experiments.running.conduct import conduct

    outcome = conduct(experiment, order, crew)
    if crew.is_root:
        _give_out(outcome, order.output / name, as_json)
    if outcome.failed:
        raise HvcodError("; ".join(f"{run} failed: {why}" for run, why in outcome.failed.items()))
    click.get_current_context().exit(PREEMPTED if outcome.preempted else 0)


def _listed(as_json: bool) -> str:
    titles = {name: EXPERIMENTS.load(name)("laptop").title for name in EXPERIMENTS}
    return json.dumps(titles) if as_json else columns([list(row) for row in titles.items()])


def _planned(plan: "Sequence[PlannedRun]", at_once: int, as_json: bool) -> str:
    from hvcod.experiments.running.plan import seconds_left

    left = seconds_left(plan, lambda run: at_once)
    if as_json:
        runs = [planned.to_dict() for planned in plan]
        return json.dumps({"runs": runs, "seconds_left": left})
    finished = sum(planned.state.over for planned in plan)
    rows = [["run", "ranks", "steps", "done", "time left"]]
    rows += [
        [
            planned.run.name,
            str(planned.run.all_ranks),
            str(planned.steps),
            str(planned.state.step),
            _left(planned),
        ]
        for planned in plan
    ]
    total = f"{finished} of {counted(len(plan), 'run')} finished"
    total += f"; about {duration(left)} left" if left is not None else "; time left unknown"
    commands = {planned.command: None for planned in plan if not planned.state.over}
    return "\n".join([*commands, *([""] if commands else []), columns(rows), "", total])


def _left(planned: "PlannedRun") -> str:
    if planned.state.over:
        return "finished" if planned.state.finished else "diverged"
    return duration(planned.seconds_left)


def _give_out(outcome: "Outcome", folder: Path, as_json: bool) -> None:
    done = {"done": outcome.done, "runs": outcome.runs, "summary": outcome.summary}
    if as_json:
        show(json.dumps(done))
        return
    text = f"{outcome.done} of {outcome.runs} runs are finished"
    if outcome.done < outcome.runs:
        text += "; the same command "
        text += "continues" if outcome.preempted else "without --share trains the rest and reports"
    show(text)
    if outcome.summary is not None:
        verdicts = [f"{each['claim']} {each['sentence']}" for each in outcome.summary["claims"]]
        show("\n".join([*verdicts, f"The page: {folder / 'index.html'}"]))
