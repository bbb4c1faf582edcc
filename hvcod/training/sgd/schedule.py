"""The learning rate and the weight decay of each step."""

import math

from hvcod.config import OptimizerOptions


def learning_rate(step: int, steps: int, examples: float, options: OptimizerOptions) -> float:
    """Returns the learning rate of a step, counted from 0, of a schedule of some `steps`.

    `examples` is the batch of a group, for linear scaling (Goyal et al. 2017).
    """
    scale = examples / options.scale_batch if options.scale_batch else 1.0
    return options.learning_rate * scale * _factor(step, steps, options)


def weight_decay(step: int, steps: int, options: OptimizerOptions) -> float:
    """Returns the weight decay of a step; it may fall where the learning rate drops.

    Codistillation regularises, so less decay is needed late in training (Sodhani et al. 2020).
    """
    stages = [options.weight_decay, *options.weight_decay_drops.values]
    return stages[min(_drops_before(step, steps, options), len(stages) - 1)]


def _factor(step: int, steps: int, options: OptimizerOptions) -> float:
    if step < options.warmup:
        return (step + 1) / options.warmup
    progress = min(1.0, (step - options.warmup) / max(1, steps - options.warmup))
    match options.schedule:
        case "linear":
            return 1.0 - progress
        case "cosine":
            return (1 + math.cos(math.pi * progress)) / 2
        case "drops":
            return float(0.1 ** _drops_before(step, steps, options))
    return 1.0


def _drops_before(step: int, steps: int, options: OptimizerOptions) -> int:
    return sum(step >= share * steps for share in options.drops.values)
