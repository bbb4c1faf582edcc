"""Checks the options of a command before its job waits in a queue for a day.

``python -m hvcod.cli.job.check RANKS COMMAND...`` is the part that imports a task, which may import
MPI, but not start it. If the options are wrong, it exits with 2 and prints the reason as JSON.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hvcod.cli.job.request import Plan, parsed
from hvcod.errors import UsageError
from hvcod.terminal import show

_SECONDS = 120


def check_command(plan: Plan) -> str:
    """Refuses a training that would refuse to start.

    Returns why the options could not be checked, or an empty string.

    Raises:
        UsageError: There is no such task, preset, option, teacher or file of weights, or the batch
            cannot be shared.
    """
    words = plan.request.words
    if words[0] not in ("train", "experiment") and words[:2] != ("churn", "run"):
        return ""
    data = plan.parameters["data"]
    if data is not None and not plan.request.prepare and not data.is_dir():
        raise UsageError(f"--data {data}: no such folder; prepare the data first, or add --prepare")
    options = plan.options
    ranks = options.ranks if options.job_per_group else options.ranks // options.groups
    # In a process of its own: a login node may have no MPI that can be loaded, or one that ends
    # the process. No file of the current folder may take the place of a module (-P).
    command = [sys.executable, "-P", "-m", "hvcod.cli.job.check", str(ranks), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=False
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


def _main(ranks: int, words: Sequence[str]) -> int:
    """Returns the exit code of a check: 0 or 2."""
    with contextlib.suppress(ImportError):
        import mpi4py

        mpi4py.rc.initialize = False
    name, flags = parsed(words)
    try:
        (_check_experiment if name == "experiment" else check_training)(flags, ranks)
    except UsageError as error:
        show(json.dumps(str(error)))
        return 2
    return 0


def check_training(flags: Mapping[str, Any], ranks: int) -> None:
    """Refuses the options of a training by flag, for so many ranks of a group.

    Raises:
        UsageError: See `check_command`.
    """
    from hvcod.cli.options import layer
    from hvcod.config import TrainOptions
    from hvcod.groups.split import trainers_among
    from hvcod.runs.layers import resolve
    from hvcod.training.finished.found import find_init, find_teachers
    from hvcod.training.run.resume import per_rank

    options = resolve(flags["config_file"], flags["assignments"], layer(TrainOptions, flags))
    ranks = flags.get("ranks_per_group") or ranks
    per_rank(options, trainers_among(ranks, options.codistill.teacher_ranks))
    find_teachers(options.teacher)
    begun = options.run_dir is not None and (options.run_dir / "config.toml").exists()
    if options.init is not None and not begun:  # a run that goes on need not read the weights
        find_init(options.init, options.group or 0)


def _check_experiment(flags: Mapping[str, Any], ranks: int) -> None:
    from hvcod.cli.options import build
    from hvcod.experiments.options import ExperimentOptions
    from hvcod.experiments.running.plan import plan_of
    from hvcod.registry import EXPERIMENTS

    order = build(ExperimentOptions, flags)
    experiment = EXPERIMENTS.load(flags["name"])(order.scale)
    for run in [planned.run for planned in plan_of(experiment, order)]:
        if run.all_ranks > ranks:
            raise UsageError(f"{run.name} needs {run.all_ranks} ranks, but the job has {ranks}")


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), sys.argv[2:]))
