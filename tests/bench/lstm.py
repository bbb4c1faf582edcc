"""The layer-normalised LSTM against the library's LSTM, which has no layer normalisation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from bench.row import Row, measure_pair
from torch import Tensor, nn

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM

STEPS, BATCH, EMBEDDING, HIDDEN, LAYERS = 32, 32, 256, 1024, 2  # the paper's


def lstm_layer_norm(tiny: bool) -> Row:
    """Forward and backward of a window at the paper's sizes, on one core."""
    inputs = torch.randn(STEPS, BATCH, EMBEDDING, requires_grad=True)
    grad_outputs = torch.randn(STEPS, BATCH, _hidden(tiny))

    def training(lstm: nn.Module) -> Callable[[], None]:
        return lambda: lstm(inputs)[0].backward(grad_outputs)

    return _compare("lstm_layer_norm", training, tiny, target=2.0, repeats=7)


def lstm_layer_norm_inference(tiny: bool) -> Row:
    """The same without gradient, as a teacher and the validation run it."""
    inputs = torch.randn(STEPS, BATCH, EMBEDDING)

    def inference(lstm: nn.Module) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                outputs: Tensor = lstm(inputs)[0]
            return outputs

        return run

    return _compare("lstm_layer_norm_inference", inference, tiny, target=2.0, repeats=11)


def _compare(
    name: str,
    workload: Callable[[nn.Module], Callable[[], object]],
    tiny: bool,
    target: float,
    repeats: int,
) -> Row:
    sizes = EMBEDDING, _hidden(tiny), LAYERS
    ours, reference = workload(LayerNormLSTM(*sizes)), workload(nn.LSTM(*sizes))
    with _one_thread():
        pair = measure_pair(ours, reference, 2 if tiny else repeats)
    return Row(name, pair.measured, pair.reference, target, spread=pair.spread)


def _hidden(tiny: bool) -> int:
    return 32 if tiny else HIDDEN


@contextmanager
def _one_thread() -> Iterator[None]:
    """As on saturated cores; several threads on a machine that others use measure those others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
