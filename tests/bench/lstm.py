"""The layer-normalised LSTM against the library's LSTM, which has no layer normalisation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from bench.row import NotMeasuredError, Pair, Row, measure_pair
from torch import Tensor, nn

from hvcod.groups.memory import keep_memory
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM

STEPS, LAYERS = 32, 2

PRODUCTS = "matrix products are four fifths, and take as long as all of the library's LSTM"
CALLS = "1300 calls of torch's operators and Python between them: the library makes one a layer"
"""What bounds the rows, by the profiles in docs/performance.md."""


@dataclass(frozen=True)
class Sizes:
    """Rows of a batch, units of the inputs, and units of each layer."""

    batch: int
    embedding: int
    hidden: int

    def inputs(self) -> Tensor:
        return torch.randn(STEPS, self.batch, self.embedding)

    def layers(self) -> tuple[nn.Module, nn.Module]:
        """Ours and the library's."""
        sizes = (self.embedding, self.hidden, LAYERS)
        return LayerNormLSTM(*sizes), nn.LSTM(*sizes)


TINY = Sizes(8, 16, 32)


def lstm_paper_32(tiny: bool) -> Row:
    """Forward and backward pass of a window at the paper's sizes, B = 32, on one core."""
    sizes = TINY if tiny else Sizes(32, 256, 1024)
    return _trained("lstm_paper_32", sizes, 1.10, 9, PRODUCTS)


def lstm_paper_128(tiny: bool) -> Row:
    """The same with the paper's batch of 128."""
    sizes = TINY if tiny else Sizes(128, 256, 1024)
    return _trained("lstm_paper_128", sizes, 1.10, 5, PRODUCTS)


def lstm_small(tiny: bool) -> Row:
    """The same at the size of the laptop's preset, where calls cost more than sums."""
    return _trained("lstm_small", TINY if tiny else Sizes(8, 64, 128), 1.5, 101, CALLS)


def lstm_inference(tiny: bool) -> Row:
    """The forward pass without gradient, as a teacher and the validation run it."""
    sizes = TINY if tiny else Sizes(32, 256, 1024)
    inputs = sizes.inputs()

    def inference(lstm: nn.Module) -> Callable[[], object]:
        return torch.no_grad()(lambda: lstm(inputs))

    ours, reference = map(inference, sizes.layers())
    with one_thread():
        return _row("lstm_inference", measure_pair(ours, reference, 2 if tiny else 15), 1.10)


def lstm_gpu(tiny: bool) -> Row:
    """Forward and backward pass at the paper's sizes on a GPU, against cuDNN."""
    if not torch.cuda.is_available():
        raise NotMeasuredError("needs a GPU")
    sizes = TINY if tiny else Sizes(128, 256, 1024)
    ours, reference = _training(sizes, torch.device("cuda"))
    return _row("lstm_gpu", measure_pair(ours, reference, 2 if tiny else 15), 1.3)


def _trained(name: str, sizes: Sizes, target: float, repeats: int, bound: str = "") -> Row:
    with one_thread():
        pair = measure_pair(*_training(sizes), 2 if sizes is TINY else repeats)
    return _row(name, pair, target, bound)


def _training(
    sizes: Sizes, device: torch.device | None = None
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Forward and backward passes of our layers and of the library's."""
    inputs = sizes.inputs().to(device).requires_grad_()
    grad_outputs = torch.randn(STEPS, sizes.batch, sizes.hidden, device=device)

    def workload(lstm: nn.Module) -> Callable[[], None]:
        lstm.to(device)

        def run() -> None:
            lstm(inputs)[0].backward(grad_outputs)
            if device:
                torch.cuda.synchronize()

        return run

    ours, reference = sizes.layers()
    return workload(ours), workload(reference)


def _row(name: str, pair: Pair, target: float, bound: str = "") -> Row:
    return pair.row(name, target, bound=bound)


@contextmanager
def one_thread() -> Iterator[None]:
    """As on saturated cores; several threads on a machine that others use measure those others.

    Memory is kept from step to step, as in a rank that trains.
    """
    keep_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
