"""A step without a gradient: prints which parameters shrink. Arguments: data."""

import sys

import torch

from hvcod import config
from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.tasks.imagenet.task import ImageNet
from hvcod.training.sgd.synchronous import Optimizer

group = split(world(), 1)
start_horovod(group)
layers = [ImageNet.presets["paper"], {"data": sys.argv[1], "model.kind": "resnet18"}]
options = config.resolve(config.TrainOptions, layers, ImageNet.Options)
torch.manual_seed(0)
model = ImageNet(options, group).build_model()
for parameter in model.parameters():
    parameter.data.fill_(1.0)
optimizer = Optimizer(model, options.optimizer, steps=1, examples=16384)
optimizer.step(sum(parameter.sum() for parameter in model.parameters()) * torch.zeros(()))
if group.is_root:
    for name, parameter in model.named_parameters():
        if (parameter < 1).all():
            print(name)
