"""The ranks of a group measure each part of the validation data as one of them does alone."""

import dataclasses
import sys
from pathlib import Path

import torch
from mpi4py import MPI

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.groups.split import Group, split
from hvcod.groups.world import world
from hvcod.tasks.commoncrawl.task import CommonCrawl
from hvcod.training.validation import Measured, validate

CPU = torch.device("cpu")
SMALL = {"validation_parts": 2, "validation_examples": 64, "model.hidden": 16}

together = split(world(), 1)
alone = dataclasses.replace(together, rank=0, size=1, comm=MPI.COMM_SELF)
options = config.resolve(
    TrainOptions,
    [CommonCrawl.presets["laptop"], SMALL, {"data": Path(sys.argv[1])}],
    CommonCrawl.Options,
)


def measured(group: Group) -> Measured:
    task = CommonCrawl(options, group)
    torch.manual_seed(1)
    return validate([(task, task.build_model())], CPU)


mine, one = measured(together), measured(alone)
assert mine == one, (mine, one)
first, second = mine.parts["loss"]
assert first != second
assert min(first, second) < mine.whole["loss"] < max(first, second)
assert together.size == 3
