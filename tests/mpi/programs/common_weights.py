"""Equal weights give a digest, different ones an error on every rank."""

import torch
from torch import nn

from hvcod.errors import HvcodError
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.validation import common_weights

group = split(world(), 1)
model = nn.Linear(3, 2)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.fill_(0.5)
assert len(common_weights(model, group)) == 64
with torch.no_grad():
    model.bias[1] += 1e-7 * group.rank
try:
    common_weights(model, group)
except HvcodError as error:
    assert "ranks [1] ended with other weights than rank 0" in str(error)
else:
    raise AssertionError("a difference of one bit was not noticed")
