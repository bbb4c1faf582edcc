"""One step of a group of all ranks; saves the gradients. Arguments: data, batch size, file.

In double precision: what is not the mean of the group then differs far beyond rounding.
"""

import sys
from pathlib import Path

import torch

from hvcod import config
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.tasks.commoncrawl.task import CommonCrawl
from hvcod.training.sgd.synchronous import Synchronous

group = split(world(), 1)
layer = {
    "data": sys.argv[1],
    "batch_size": int(sys.argv[2]),
    "model.hidden": 32,
    "model.embedding": 16,
    "optimizer.clip": 0.0,
}
options = config.resolve(config.TrainOptions, [layer], CommonCrawl.Options)
task = CommonCrawl(options, group)
torch.manual_seed(5)
model = task.build_model().double()
optimizer = Synchronous(model, group, options)
batch = task.training_data().next()
logits, _ = task.predict(model, batch.inputs, None)
optimizer.step(task.loss(logits, batch.targets))
if group.is_root:
    found = {name: each.grad for name, each in model.named_parameters()}
    torch.save(found, Path(sys.argv[3]))
