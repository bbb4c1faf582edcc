"""``hvcod job render``."""

import json
from typing import Any

import click

from hvcod.cli.job.request import job_options, plan_of
from hvcod.cli.options import json_option
from hvcod.cli.sectioned import SectionedCommand
from hvcod.cluster.jobs.script import text
from hvcod.terminal import show, show_file

EXAMPLES = """\b
Examples:
  laptop   hvcod job render --scheduler slurm --nodes 2 --ranks-per-node 4 --groups 2 \\
             -- train --task commoncrawl --run-dir runs/first > train.sh
           hvcod job render --scheduler pbs --nodes 2 --groups 2 --job-per-group \\
             -- train --task commoncrawl --run-dir runs/first
  cluster  hvcod job render --profile olcf --account abc123 --nodes 16 --ranks-per-node 8 \\
             --gpus-per-node 8 --groups 2 --time 2h --evaluate \\
             -- train --data /scratch/cc --preset paper --run-dir /scratch/runs/cc
           hvcod job render --shares 24 --ranks-per-node 8 \\
             -- churn run --task criteo --data /scratch/criteo --output /scratch/churn
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@job_options
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Print the batch scripts for a command of hvcod, such as `-- train --run-dir R ...`.

    A job that is told to stop saves and goes back into the queue; see docs/jobs.md. Flags replace
    the options of a --profile. Nothing is submitted, and no scheduler is needed.
    """
    plan = plan_of(**options)
    rendered = {script.name: text(script, plan.request.folder) for script in plan.scripts}
    if as_json:
        show(json.dumps(rendered))
    elif len(rendered) == 1:
        show_file(next(iter(rendered.values())))
    else:
        show("\n".join(f"==> {name}.sh <==\n{body}" for name, body in rendered.items()))
