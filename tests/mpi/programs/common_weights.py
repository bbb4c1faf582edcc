"""Equal weights give a digest, different ones an error on every rank."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.sgd.base import BaseAlgorithm


class Same(BaseAlgorithm):
    """All parameters are to be equal."""

    def step(self, loss: Tensor) -> bool:
        return True


class Different(Same):
    """Only the first parameter is to be equal."""

    def replicated(self) -> Iterable[Tensor]:
        return [next(self.model.parameters())]


group = split(world(), 1)
model = nn.Linear(3, 2)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.fill_(0.5)
same, different = (kind(model, group, TrainOptions()) for kind in (Same, Different))
digest = same.common_weights()
assert len(digest) == 64
with torch.no_grad():
    model.bias[1] += 1e-7 * group.rank
try:
    same.common_weights()
except HvcodError as error:
    assert "ranks [1] ended with other weights than rank 0" in str(error)
else:
    raise AssertionError("a difference of one bit was not noticed")
assert (different.common_weights() == digest) == group.is_root
