"""The layer-normalised LSTM against the library's LSTM, which has no layer normalisation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from bench.row import Row, measure_pair
from torch import Tensor, nn

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM

STEPS, BATCH, EMBEDDING, HIDDEN, LAYERS = 32, 32, 256, 1024, 2  # the paper's


def lstm_layer_norm() -> Row:
    """Forward and backward of a window at the paper's sizes, on one core."""
    inputs = torch.randn(STEPS, BATCH, EMBEDDING, requires_grad=True)
    grad_outputs = torch.randn(STEPS, BATCH, HIDDEN)

    def training(lstm: nn.Module) -> Callable[[], None]:
        return lambda: lstm(inputs)[0].backward(grad_outputs)

    return _compare("lstm_layer_norm", training, target=2.0, repeats=7)


def lstm_layer_norm_inference() -> Row:
    """The same without gradient, as a teacher and the validation run it."""
    inputs = torch.randn(STEPS, BATCH, EMBEDDING)

    def inference(lstm: nn.Module) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                outputs: Tensor = lstm(inputs)[0]
            return outputs

        return run

    return _compare("lstm_layer_norm_inference", inference, target=2.0, repeats=11)


def _compare(
    name: str, workload: Callable[[nn.Module], Callable[[], object]], target: float, repeats: int
) -> Row:
    ours = workload(LayerNormLSTM(EMBEDDING, HIDDEN, LAYERS))
    reference = workload(nn.LSTM(EMBEDDING, HIDDEN, LAYERS))
    with _one_thread():
        pair = measure_pair(ours, reference, repeats)
    return Row(name, pair.measured, pair.reference, target, spread=pair.spread)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As on saturated cores; several threads on a machine that others use measure those others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
