"""``hvcod job submit``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.cli.job.check import check_command
from hvcod.cli.job.wish import Planned, job_options, planned
from hvcod.cli.options import json_option
from hvcod.cluster.jobs import queue
from hvcod.cluster.jobs.plan import text
from hvcod.cluster.jobs.record import Submitted, note, waiting_or_running
from hvcod.errors import HvcodError, UsageError

EXAMPLES = """\b
Examples:
  laptop   hvcod job submit --scheduler slurm --ranks-per-node 4 --groups 2 --dry-run \\
             -- train --task commoncrawl --run-dir runs/first
  cluster  hvcod job submit --profile nersc --account m1234 --nodes 8 --ranks-per-node 4 \\
             --gpus-per-node 4 --groups 2 --time 12h --evaluate \\
             -- train --data /scratch/cc --preset paper --run-dir /scratch/runs/cc
"""


@click.command(epilog=EXAMPLES)
@job_options
@click.option("--dry-run", is_flag=True, help="Write, show and check the scripts, no more.")
@json_option
def command(
    words: Sequence[str],
    profile: str | None,
    folder: Path | None,
    prepare: str | None,
    evaluate: bool,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check the batch scripts for a command of hvcod, and hand them to the scheduler.

    The scripts are written to RUN/jobs and shown, the options of the command are checked as it
    would check them, and Slurm is asked whether it would take the jobs. Then they are submitted and
    noted for `hvcod job list` and `cancel`. Logs go to RUN/logs.
    """
    plan = planned(words, profile, folder, prepare, evaluate, flags)
    warning = check_command(plan)
    if warning:
        click.echo(f"warning: {warning}", err=True)
    _refuse_twice(plan)
    paths = _written(plan)
    for path in paths.values():
        if not as_json:
            click.echo(f"==> {path} <==\n{path.read_text()}")
        said = queue.test(str(plan.options.scheduler), path)
        if said:
            click.echo(said, err=True)
    jobs = [] if dry_run else _submitted(plan, paths)
    if as_json:
        ids = {job.name: job.id for job in jobs}
        shown = [{"name": k, "script": str(v), "id": ids.get(k)} for k, v in paths.items()]
        click.echo(json.dumps(shown))
    else:
        for job in jobs:
            click.echo(f"submitted {job.name}: {job.id}")


def _refuse_twice(plan: Planned) -> None:
    names = {script.name for script in plan.scripts}
    for job in waiting_or_running(plan.folder):
        if job.name in names:
            raise UsageError(
                f"job {job.id} ({job.name}) of {plan.folder} still waits or runs: "
                f"hvcod job cancel {plan.folder} first"
            )


def _written(plan: Planned) -> dict[str, Path]:
    try:
        for name in ("jobs", "logs"):
            (plan.folder / name).mkdir(parents=True, exist_ok=True)
        paths = {each.name: plan.folder / f"jobs/{each.name}.sh" for each in plan.scripts}
        for script in plan.scripts:
            paths[script.name].write_text(text(script, plan.folder))
    except OSError as error:
        raise HvcodError(f"cannot write {error.filename}: {error.strerror}") from error
    return paths


def _submitted(plan: Planned, paths: dict[str, Path]) -> list[Submitted]:
    scheduler = str(plan.options.scheduler)
    ids: dict[str, str] = {}
    jobs = []
    for script in plan.scripts:
        after = [ids[name] for name in script.after]
        ids[script.name] = queue.submit(scheduler, paths[script.name], after, script.however)
        jobs.append(Submitted(scheduler, script.name, ids[script.name]))
        note(plan.folder, jobs[-1])
    return jobs
