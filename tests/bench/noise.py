"""What measuring the gradient noise scale costs of a step, at the interval that is recommended."""

import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from bench.row import Row, summarise_pair
from bench.training import CORE, PAPER, SMALL, data, train
from training.handmade import ALONE, run_in

from hvcod.runs.layers import resolve
from hvcod.tasks import load_task
from hvcod.training.copy import Copy

INTERVAL = 50
"""Steps between two readings, as docs/advise.md recommends."""

REPEATS, TINY_REPEATS = 5, 2


def noise_share(tiny: bool) -> Row:
    """A group of two ranks, a core each: their gradients beside the mean, wall time."""
    pairs, steps = [], 8 if tiny else 80
    for _ in range(TINY_REPEATS if tiny else REPEATS):
        words = ["--noise-interval", 2]
        lines = train(2, SMALL, 8, steps, *words, env=CORE)["metrics"]
        timed = [line for line in lines if "step_s" in line][2:]
        seconds = [[each["step_s"] for each in timed if each["step"] % 2 == odd] for odd in (0, 1)]
        pairs.append(_share(*seconds))
    return _row("noise_share", pairs)


def noise_share_alone(tiny: bool) -> Row:
    """A group of one rank: two halves of its batch, CPU time of one thread."""
    return _alone("noise_share_alone", tiny, SMALL, 4 if tiny else 8)


def noise_share_paper_alone(tiny: bool) -> Row:
    """The same, the paper's model."""
    return _alone("noise_share_paper_alone", tiny, SMALL if tiny else PAPER, 3)


def _alone(name: str, tiny: bool, sizes: dict[str, int], rounds: int) -> Row:
    os.environ |= CORE
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        copy, pairs = _copy(Path(folder), sizes), []
        copy.begin()
        for repeat in range(1 + (TINY_REPEATS if tiny else REPEATS)):
            plain, measured = [], []
            for _ in range(rounds):
                plain.append(_cpu_s(copy))
                measured.append(_cpu_s(copy))
            if repeat:
                pairs.append(_share(measured, plain))
        copy.data.close()
    return _row(name, pairs)


def _copy(folder: Path, sizes: dict[str, int]) -> Copy:
    more = {f"model.{name}": size for name, size in sizes.items()}
    fixed = {"data": data(), "batch_size": 32, "run_dir": folder, "device": "cpu"}
    options = resolve(None, [], {**fixed, **more, "noise_interval": 2})
    task = load_task(options.task)(options, ALONE)
    return Copy(task, run_in(folder), torch.device("cpu"), lambda: False)


def _cpu_s(copy: Copy) -> float:
    begun = time.process_time()
    copy.learn()
    return time.process_time() - begun


def _share(measured: list[float], plain: list[float]) -> tuple[float, float]:
    """Additional seconds a step, at the interval, and the seconds of a step."""
    reference = statistics.median(plain)
    return (statistics.median(measured) - reference) / INTERVAL, reference


def _row(name: str, pairs: list[tuple[float, float]]) -> Row:
    pair = summarise_pair([ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    return pair.row(name, 0.01)
