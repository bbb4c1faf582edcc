"""``hvcod job render``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.cli.job.wish import job_options, planned
from hvcod.cli.options import json_option
from hvcod.cluster.jobs.plan import text

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


@click.command(epilog=EXAMPLES)
@job_options
@json_option
def command(
    words: Sequence[str],
    profile: str | None,
    folder: Path | None,
    prepare: str | None,
    evaluate: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Print the batch scripts for a command of hvcod, such as `-- train --run-dir R ...`.

    A job that is told to stop saves and goes back into the queue; see docs/jobs.md. Flags replace
    what a --profile says. Nothing is submitted, and no scheduler need be here.
    """
    plan = planned(words, profile, folder, prepare, evaluate, flags)
    rendered = {script.name: text(script, plan.folder) for script in plan.scripts}
    if as_json:
        click.echo(json.dumps(rendered))
    elif len(rendered) == 1:
        click.echo(next(iter(rendered.values())), nl=False)
    else:
        click.echo("\n".join(f"==> {name}.sh <==\n{each}" for name, each in rendered.items()))
