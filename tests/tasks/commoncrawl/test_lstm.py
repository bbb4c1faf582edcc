"""The LSTM with layer normalisation against a literal transcription of its equations."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl import recurrence
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM, LayerNormLSTMLayer

INPUT, HIDDEN, LAYERS = 5, 6, 2


def normalise(values: Tensor, gain: Tensor) -> Tensor:
    """LN of Ba et al. (2016), equations 15 and 16, without a bias."""
    centred = values - values.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def exactly(inputs: Tensor, weight: Tensor) -> Tensor:
    return inputs @ weight.t()


def in_bf16(inputs: Tensor, weight: Tensor) -> Tensor:
    """The product that autocast makes, and its gradients."""
    return (inputs.bfloat16() @ weight.bfloat16().t()).to(weight.dtype)


def literal_layer(
    layer: LayerNormLSTMLayer,
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    product: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Ba et al. (2016), equations 20 to 22, one step after the other."""
    outputs = []
    for step in inputs:
        gates = (
            normalise(product(hidden, layer.recurrent_weight), layer.recurrent_gain)
            + normalise(product(step, layer.input_weight), layer.input_gain)
            + layer.bias
        )
        o, f, i, g = gates.chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * (normalise(cell, layer.cell_gain) + layer.cell_bias).tanh()
        outputs.append(hidden)
    return torch.stack(outputs), cell


def literal(
    lstm: LayerNormLSTM,
    inputs: Tensor,
    state: Tensor,
    product: Callable[[Tensor, Tensor], Tensor] = exactly,
) -> tuple[Tensor, Tensor]:
    new_state = []
    for layer, (hidden, cell) in zip(lstm.layers, state, strict=True):
        assert isinstance(layer, LayerNormLSTMLayer)
        inputs, cell = literal_layer(layer, inputs, hidden, cell, product)
        new_state.append(torch.stack([inputs[-1], cell]))
    return inputs, torch.stack(new_state)


def make_lstm(layers: int = LAYERS) -> LayerNormLSTM:
    """In float64, every parameter drawn at random, so that none hides behind a 0 or a 1."""
    lstm = LayerNormLSTM(INPUT, HIDDEN, layers).double()
    for parameter in lstm.parameters():
        torch.nn.init.normal_(parameter)
    return lstm


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Seeded; tiny products on several threads of a busy machine take a hundred times as long."""
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("steps", "batch"), [(7, 3), (1, 3), (7, 1), (1, 1)])
@pytest.mark.parametrize("rows", [2, 6, 1024])
def test_outputs_and_all_gradients_are_those_of_the_equations(
    steps: int, batch: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window goes through the layers whole, or in parts of a few rows."""
    monkeypatch.setattr(recurrence, "_ROWS", rows)
    lstm = make_lstm()
    inputs, state = draw(steps, batch, INPUT), draw(LAYERS, 2, batch, HIDDEN)
    weights = torch.randn(steps, batch, HIDDEN), torch.randn(LAYERS, 2, batch, HIDDEN)

    def run(function: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        outputs, new_state = function()
        total = (outputs * weights[0]).sum() + (new_state * weights[1]).sum()
        wanted = [inputs, state, *lstm.parameters()]
        return outputs, new_state, *torch.autograd.grad(total, wanted)

    ours = run(lambda: lstm(inputs, state))
    theirs = run(lambda: literal(lstm, inputs, state))
    assert len(ours) == 2 + 2 + 7 * LAYERS
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_what_torch_traces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = make_lstm()
    inputs, state = draw(3, 2, INPUT), draw(LAYERS, 2, 2, HIDDEN)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(lstm(inputs, state), literal(lstm, inputs, state))


def test_gradients_agree_with_finite_differences() -> None:
    lstm = make_lstm(layers=1)
    parameters = list(lstm.parameters())

    def function(inputs: Tensor, state: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = lstm(inputs, state)
        return outputs

    assert torch.autograd.gradcheck(
        function, (draw(3, 2, INPUT), draw(1, 2, 2, HIDDEN), *parameters)
    )


def test_no_state_is_a_state_of_zeros() -> None:
    lstm = make_lstm()
    inputs = draw(4, 3, INPUT)
    zeros = torch.zeros(LAYERS, 2, 3, HIDDEN, dtype=torch.double)
    torch.testing.assert_close(lstm(inputs), lstm(inputs, zeros), rtol=0, atol=0)


@pytest.mark.parametrize("with_gradient", [True, False])
def test_windows_that_carry_the_state_equal_one_long_window(with_gradient: bool) -> None:
    lstm = make_lstm()
    inputs = draw(12, 3, INPUT)
    with torch.set_grad_enabled(with_gradient):
        whole, last_state = lstm(inputs)
        state, parts = None, []
        for window in inputs.split(4):
            outputs, state = lstm(window, state)
            parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last_state)


def test_gradients_cross_windows_until_the_state_is_detached() -> None:
    lstm = make_lstm()
    first = draw(4, 3, INPUT)
    _, state = lstm(first)
    (through,) = torch.autograd.grad(lstm(draw(4, 3, INPUT), state)[0].sum(), first)
    assert through.abs().max() > 0
    _, state = lstm(first)
    outputs, _ = lstm(draw(4, 3, INPUT), state.detach())
    (cut,) = torch.autograd.grad(outputs.sum(), first, allow_unused=True)
    assert cut is None


def test_without_gradient_the_outputs_are_the_same_and_no_graph_is_kept() -> None:
    lstm = make_lstm()
    inputs, state = draw(6, 3, INPUT), draw(LAYERS, 2, 3, HIDDEN)
    before = inputs.detach().clone(), state.detach().clone()
    expected = lstm(inputs, state)
    with torch.no_grad():
        outputs, new_state = lstm(inputs, state)
    assert not outputs.requires_grad and not new_state.requires_grad
    torch.testing.assert_close((outputs, new_state), expected, rtol=0, atol=0)
    torch.testing.assert_close((inputs, state), before, rtol=0, atol=0)


def test_without_gradient_the_steps_share_their_memory() -> None:
    """Recurrent products (4 x units), cells and their tanh are those of one step."""
    steps, batch, units = 50, 8, 64
    lstm = LayerNormLSTM(units, units, 1)
    inputs = torch.randn(steps, batch, units)

    def allocated() -> int:
        with torch.profiler.profile(profile_memory=True) as profile:
            lstm(inputs)
        return sum(max(0, event.self_cpu_memory_usage) for event in profile.events())

    with_graph = allocated()
    with torch.no_grad():
        without_graph = allocated()
    assert with_graph - without_graph >= 6 * (steps - 1) * batch * units * inputs.itemsize


def test_dropout_falls_between_layers_and_only_while_training() -> None:
    torch.manual_seed(2)
    lstm = LayerNormLSTM(INPUT, HIDDEN, 2, dropout=0.5)
    inputs = torch.randn(4, 3, INPUT)
    (first, _), (again, _) = lstm(inputs), lstm(inputs)
    assert not torch.equal(first, again)
    assert (first != 0).all()
    lstm.eval()
    torch.testing.assert_close(lstm(inputs), lstm(inputs), rtol=0, atol=0)


def test_single_precision_at_sizes_that_onednn_takes() -> None:
    lstm = LayerNormLSTM(40, 64, LAYERS)
    inputs, state = torch.randn(5, 64, 40), torch.randn(LAYERS, 2, 64, 64)
    (ours, _), (theirs, _) = lstm(inputs, state), literal(lstm, inputs, state)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    parameters = list(lstm.parameters())
    gradients = (torch.autograd.grad(each.square().sum(), parameters) for each in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        assert (mine - other).norm() < 1e-5 * other.norm()


def test_autocast_multiplies_halves_and_keeps_all_else_in_the_parameters_precision() -> None:
    """At sizes that oneDNN takes, forward and back; sums of gradients differ in their order."""
    lstm = LayerNormLSTM(40, 64, LAYERS)
    inputs, state = torch.randn(5, 64, 40), torch.randn(LAYERS, 2, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, new_state = lstm(inputs, state)
        with torch.no_grad():
            without_gradient = lstm(inputs, state)
    assert outputs.dtype == new_state.dtype == torch.float32
    expected = literal(lstm, inputs, state, in_bf16)
    torch.testing.assert_close((outputs, new_state), expected, rtol=0, atol=0.02)
    torch.testing.assert_close(without_gradient, (outputs, new_state), rtol=0, atol=0.02)
    exact = literal(lstm, inputs, state)[0]
    assert (outputs - expected[0]).norm() < 0.3 * (exact - expected[0]).norm()
    parameters = list(lstm.parameters())
    ours = torch.autograd.grad(outputs.square().sum(), parameters)
    theirs = torch.autograd.grad(expected[0].square().sum(), parameters)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() < 0.02 * other.norm()


def test_initial_values() -> None:
    layer = LayerNormLSTM(INPUT, HIDDEN, 1).layers[0]
    assert isinstance(layer, LayerNormLSTMLayer)
    assert layer.bias.tolist() == [0.0] * HIDDEN + [1.0] * HIDDEN + [0.0] * 2 * HIDDEN
    for gate in layer.recurrent_weight.split(HIDDEN):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(HIDDEN))
    assert layer.input_weight.std() > 0


@pytest.mark.parametrize("halves", [False, True])
def test_the_same_bits_every_time(halves: bool) -> None:
    """So that a run that is resumed repeats what it would have done."""
    lstm = LayerNormLSTM(40, 64, LAYERS)
    inputs = torch.randn(5, 64, 40)

    def run() -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=halves):
            outputs, state = lstm(inputs)
        return [outputs, state, *torch.autograd.grad(outputs.sum(), list(lstm.parameters()))]

    assert all(map(torch.equal, run(), run()))


def test_gradients_of_gradients_raise() -> None:
    inputs = torch.randn(2, 3, INPUT, requires_grad=True)
    outputs, _ = LayerNormLSTM(INPUT, HIDDEN, LAYERS)(inputs)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_devices_without_autocast() -> None:
    """Sizes alone, as on other devices."""
    lstm = LayerNormLSTM(INPUT, HIDDEN, LAYERS).to("meta")
    inputs = torch.empty(4, 3, INPUT, device="meta", requires_grad=True)
    outputs, state = lstm(inputs)
    outputs.sum().backward()
    assert inputs.grad is not None
    assert (outputs.shape, state.shape) == ((4, 3, HIDDEN), (LAYERS, 2, 3, HIDDEN))


def test_a_state_of_another_batch_size_is_refused() -> None:
    lstm = LayerNormLSTM(INPUT, HIDDEN, LAYERS)
    _, state = lstm(torch.randn(2, 3, INPUT))
    with pytest.raises(HvcodError, match=r"\(2, 2, 3, 6\).* needs \(2, 2, 4, 6\)"):
        lstm(torch.randn(2, 4, INPUT), state)
