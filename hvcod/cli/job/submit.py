"""``hvcod job submit``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hvcod.cli.job.check import check_command
from hvcod.cli.job.request import Plan, job_options, plan_of
from hvcod.cli.options import json_option
from hvcod.cli.sectioned import SectionedCommand, option_of
from hvcod.cluster.jobs.record import Submitted, note, refer, waiting_or_running
from hvcod.cluster.jobs.script import text
from hvcod.errors import HvcodError, UsageError
from hvcod.files.folder import hold, make_folder
from hvcod.files.whole import write_below
from hvcod.sections import Section
from hvcod.terminal import one_line, show

EXAMPLES = """\b
Examples:
  laptop   hvcod job submit --scheduler slurm --ranks-per-node 4 --groups 2 --dry-run \\
             -- train --task commoncrawl --run-dir runs/first
  cluster  hvcod job submit --profile nersc --account m1234 --nodes 8 --ranks-per-node 4 \\
             --gpus-per-node 4 --groups 2 --time 12h --evaluate \\
             -- train --data /scratch/cc --preset paper --run-dir /scratch/runs/cc
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@job_options
@option_of(Section.JOB, "--dry-run", is_flag=True, help="Only write, show and check the scripts.")
@json_option
def command(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Check the batch scripts for a command of hvcod, and submit them to the scheduler.

    The scripts are written to RUN/jobs and shown. The options of the command are checked, and
    Slurm is asked whether it would take the jobs. Then they are submitted and noted for `hvcod job
    list` and `cancel`. Logs go to RUN/logs.
    """
    plan = plan_of(**options)
    if warning := check_command(plan):
        show(f"warning: {one_line(warning)}", err=True)
    _refuse_twice(plan)
    paths = _written(plan)
    for path in paths.values():
        if not as_json:
            show(f"==> {path} <==\n{path.read_text(encoding='utf-8')}")
        if answer := plan.options.batch_system.test(path):
            show(answer, err=True)
    ids = {} if dry_run else _submitted(plan, paths)
    if as_json:
        rows = [{"name": k, "script": str(v), "id": ids.get(k)} for k, v in paths.items()]
        show(json.dumps(rows))
    else:
        for name, job in ids.items():
            show(f"submitted {name}: {job}")


def _refuse_twice(plan: Plan) -> None:
    for folder in {plan.request.folder: None, plan.run or plan.request.folder: None}:
        for job in waiting_or_running(folder):
            raise UsageError(
                f"job {job.id} ({job.name}) of {folder} still waits or runs: "
                f"hvcod job cancel {folder} first"
            )


def _written(plan: Plan) -> dict[str, Path]:
    folder = plan.request.folder
    try:
        with hold(folder):
            make_folder(folder / "logs")
            return {
                script.name: write_below(
                    folder, f"jobs/{script.name}.sh", text(script, folder).encode()
                )
                for script in plan.scripts
            }
    except OSError as error:
        raise HvcodError(
            f"cannot write the scripts of the jobs in {folder}: {error.strerror}"
        ) from error


def _submitted(plan: Plan, paths: dict[str, Path]) -> dict[str, str]:
    scheduler, folder = str(plan.options.scheduler), plan.request.folder
    if plan.run and plan.run.absolute() != folder.absolute():
        refer(plan.run, folder)
    ids: dict[str, str] = {}
    for script in plan.scripts:
        after = [ids[name] for name in script.after]
        submit = plan.options.batch_system.submit
        try:
            ids[script.name] = submit(paths[script.name], after, script.after_any)
            note(folder, Submitted(scheduler, script.name, ids[script.name]))
        except HvcodError as error:
            raise HvcodError(f"{script.name}: {error}{_taken_back(plan, ids)}") from error
    return ids


def _taken_back(plan: Plan, ids: Mapping[str, str]) -> str:
    """Cancels the first jobs of a chain of which one was refused; returns what became of them."""
    if not ids:
        return ""
    names = ", ".join(f"{name} ({job})" for name, job in ids.items())
    try:
        plan.options.batch_system.cancel([*ids.values()])
    except HvcodError as error:
        return f"; still in the queue: {names}, as {error}"
    scripts = plan.request.folder / "jobs"
    return (
        f"; cancelled what was submitted: {names}; where a queue takes one job at a time, submit "
        f"the scripts in {scripts} one after the other"
    )
