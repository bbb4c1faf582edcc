"""A step without a gradient: prints which parameters shrink. Arguments: data."""

import sys

import torch

from hvcod import config
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.tasks.imagenet.task import ImageNet
from hvcod.training.sgd.synchronous import Synchronous

group = split(world(), 1)
one = {"data": sys.argv[1], "model.kind": "resnet18", "steps": 1, "batch_size": 16384}
layers = [ImageNet.presets["paper"], one]
options = config.resolve(config.TrainOptions, layers, ImageNet.Options)
torch.manual_seed(0)
model = ImageNet(options, group).build_model()
for parameter in model.parameters():
    parameter.data.fill_(1.0)
optimizer = Synchronous(model, group, options)
optimizer.step(sum(parameter.sum() for parameter in model.parameters()) * torch.zeros(()))
if group.is_root:
    for name, parameter in model.named_parameters():
        if (parameter < 1).all():
            print(name)
