"""The options of a command, checked before its job waits in a queue for a day."""

import json
import subprocess
import sys

from hvcod.cli.job.wish import Planned
from hvcod.errors import UsageError

_SECONDS = 120


def check_command(plan: Planned) -> str:
    """Refuses a training that would refuse to start; what could not be checked, if anything.

    Raises:
        UsageError: There is no such task, preset or option, or the batch cannot be shared.
    """
    if plan.wish.words[0] != "train" and plan.wish.words[:2] != ("churn", "run"):
        return ""
    data = plan.parameters["data"]
    if data is not None and not plan.wish.prepare and not data.is_dir():
        raise UsageError(f"--data {data}: no such folder; prepare it first, or with --prepare")
    options = plan.options
    ranks = options.ranks if options.job_per_group else options.ranks // options.groups
    # In a process of its own: a login node may have no MPI that can be loaded, or one that ends
    # the process.
    words = [sys.executable, "-m", "hvcod.cli.job.resolved", str(ranks), *plan.wish.words]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"the options of the command could not be checked within {_SECONDS} s"
    answer = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == 2 and answer:
        raise UsageError(json.loads(answer))
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        return f"the options of the command could not be checked here: {last}"
    return ""
