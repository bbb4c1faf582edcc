"""From options to a finished run: MPI, groups, Horovod, task, loop."""

import logging
from contextlib import closing
from typing import Any

from hvcod.config import TrainOptions
from hvcod.groups.horovod import choose_device, start_horovod
from hvcod.groups.launch import wait_quietly, world
from hvcod.groups.split import split
from hvcod.tasks import load_task
from hvcod.training.loop import train
from hvcod.training.preemption import StopSignals
from hvcod.training.run.directory import open_run
from hvcod.training.run.resume import per_rank, shared_out


def launch(options: TrainOptions) -> list[dict[str, Any]]:
    """Runs a training and gathers what each group of this launch has to show.

    Collective over the world; every rank gets the summaries of all groups.
    """
    signals = StopSignals()
    everyone = world()
    group = split(everyone, options.groups, options.group)
    options = per_rank(options, group.size)
    level = logging.INFO if group.is_root else logging.ERROR
    logging.basicConfig(level=level, format=f"[group {group.index}] %(message)s")
    with closing(open_run(options, group, everyone)) as run:
        options = shared_out(options, group.size, run.examples)
        start_horovod(group)
        device = choose_device(group, options.device)
        task = load_task(options.task)(options, group)
        summary = train(task, run, device, signals).to_dict()
        summary["reference"] = dict(task.reference())
    # A group that has finished leaves its cores to those that have not.
    wait_quietly(everyone)
    gathered = everyone.allgather(summary if group.is_root else None)
    return [each for each in gathered if each is not None]
