"""The gradient noise scale that some groups of ranks measure. Argument: the number of groups.

Each reading is compared with a literal transcription, all of them with the true noise scale, and
the weights with those of a training that measures nothing.
"""

import math
import sys

import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.noise.meter import NoiseMeter
from hvcod.training.noise.scale import Reading, reading, scale_of
from hvcod.training.sgd.synchronous import Synchronous

STEPS, ROWS, SIZE, NOISE = 80, 6, 30, 12.0
GRADIENT = 4.0
HALVES = {"none": torch.float32, "fp16": torch.float16}


class Slope(nn.Module):
    """Its gradient at any weights is the mean of the rows that it is given, in two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(SIZE, 1, sparse=True)
        self.weight = nn.Parameter(torch.zeros(SIZE))

    def forward(self, rows: Tensor) -> Tensor:
        everything = self.table(torch.arange(SIZE))[:, 0]
        first, second = rows.chunk(2, dim=1)
        slope: Tensor = (first @ everything + second @ self.weight).mean()
        return slope


def transcribed(rows: Tensor, compress: str) -> Reading:
    """The reading of the ranks' rows."""
    own = rows.mean(0).to(HALVES[compress]).double()
    everyones = torch.stack(group.comm.allgather(own))
    small = float(everyones.square().sum(1).mean())
    return reading(small, float(everyones.mean(0).square().sum()), ROWS, ROWS * group.size)


def trained(interval: int, compress: str) -> tuple[dict[str, Tensor], list[Reading]]:
    options = TrainOptions(
        steps=STEPS,
        noise_interval=interval,
        batch_size=ROWS,
        compress=compress,
        accumulate=2,
        optimizer=OptimizerOptions("adagrad", clip=0.5),
    )
    torch.manual_seed(1)
    algorithm = Synchronous(model := Slope(), group, options)
    meter, expected = NoiseMeter(algorithm.updates, group, options), []
    torch.manual_seed(1 + 100 * group.index + group.rank)
    for _ in range(STEPS):
        noise = torch.randn(ROWS, 2 * SIZE) * math.sqrt(GRADIENT * NOISE / (2 * SIZE))
        rows = math.sqrt(GRADIENT / (2 * SIZE)) + noise
        assert meter.begin() == 2  # no more parts than without
        first, second = rows.chunk(2)
        algorithm.accumulate(model(first) / 2)
        assert algorithm.step(model(second) / 2)
        meter.end(True, taught=False)
        expected.append(transcribed(rows, compress))
    found = [Reading(*each) for each in meter.state_dict()["window"]]
    if interval:
        assert len(found) == STEPS // 2
        # The mean travels as halves, too.
        tolerance = 1e-4 if compress == "none" else 1e-2
        pair = torch.tensor(found), torch.tensor(expected[-len(found) :])
        torch.testing.assert_close(*pair, rtol=tolerance, atol=tolerance)
    return model.state_dict(), found


group = split(world(), int(sys.argv[1]))
for compress in HALVES:
    weights, readings = trained(1, compress)
    others, none = trained(0, compress)
    assert not none
    assert all(torch.equal(weights[name], others[name]) for name in others)
    scale = scale_of(readings)
    assert scale.low <= NOISE <= scale.high < 3 * scale.low, scale
print("ok", flush=True)
