"""Checks the options of a command before its job waits in a queue for a day."""

import json
import subprocess
import sys

from hvcod.cli.job.request import Plan
from hvcod.errors import UsageError

_SECONDS = 120


def check_command(plan: Plan) -> str:
    """Refuses a training that would refuse to start.

    Returns why the options could not be checked, or an empty string.

    Raises:
        UsageError: There is no such task, preset or option, or the batch cannot be shared.
    """
    words = plan.request.words
    if words[0] != "train" and words[:2] != ("churn", "run"):
        return ""
    data = plan.parameters["data"]
    if data is not None and not plan.request.prepare and not data.is_dir():
        raise UsageError(f"--data {data}: no such folder; prepare the data first, or add --prepare")
    options = plan.options
    ranks = options.ranks if options.job_per_group else options.ranks // options.groups
    # In a process of its own: a login node may have no MPI that can be loaded, or one that ends
    # the process.
    command = [sys.executable, "-m", "hvcod.cli.job.resolved", str(ranks), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the options of the command could not be checked within {_SECONDS} s"
    answer = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == 2 and answer:
        raise UsageError(json.loads(answer))
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        return f"the options of the command could not be checked here: {last}"
    return ""
