"""The Transformer against a literal transcription of its equations, and its memory of windows."""

import cmath
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.model import LanguageModel
from hvcod.tasks.commoncrawl.transformer import Transformer, TransformerLayer

INPUT, WIDTH, LAYERS, HEADS, MEMORY, ROWS = 6, 8, 2, 2, 5, 3
VOCABULARY = 11


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Seeded; tiny products on several threads of a busy machine take a hundred times as long."""
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_layers(memory: int = MEMORY, layers: int = LAYERS) -> Transformer:
    """In float64, every parameter drawn at random, so that none hides behind a 0 or a 1."""
    made = Transformer(INPUT, WIDTH, layers, HEADS, memory).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return made


def make_model(memory: int = MEMORY, dropout: float = 0.0) -> LanguageModel:
    layers = Transformer(INPUT, WIDTH, LAYERS, HEADS, memory, dropout)
    return LanguageModel(VOCABULARY, INPUT, layers, dropout)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


def normalise(values: Tensor, norm: torch.nn.Module) -> Tensor:
    assert isinstance(norm, torch.nn.LayerNorm)
    centred = values - values.mean()
    return norm.weight * centred / (centred.square().mean() + norm.eps).sqrt() + norm.bias


def turned(values: Tensor, position: int) -> Tensor:
    """RoPE as Su et al. (2021), equation 13, write it: pairs are complex numbers, turned."""
    half = len(values) // 2
    angles = [position * 10_000 ** (-i / half) for i in range(half)]
    turns = torch.tensor([cmath.exp(1j * angle) for angle in angles])
    return torch.complex(values[:half], values[half:]) * turns


def literal_attention(layer: TransformerLayer, normal: list[Tensor], at: int) -> Tensor:
    """Position `at` looks at itself and the `MEMORY` before it, head by head."""
    size, parts = WIDTH // HEADS, []
    for head in range(HEADS):
        mine = slice(head * size, (head + 1) * size)
        query = turned(layer.query(normal[at])[mine], at)
        scores, values = [], []
        for place in range(max(0, at - MEMORY), at + 1):
            key, value = layer.key_value(normal[place]).chunk(2)
            pairs = query * turned(key[mine], place).conj()
            scores.append(pairs.real.sum() / math.sqrt(size))
            values.append(value[mine])
        weights = torch.stack(scores).softmax(0)
        parts.append(weights @ torch.stack(values))
    attended: Tensor = layer.attended(torch.cat(parts))
    return attended


def literal(made: Transformer, inputs: Tensor) -> Tensor:
    """One text [T, INPUT] from its beginning, position by position."""
    hidden = [made.widen(each) * math.sqrt(WIDTH) for each in inputs]
    for layer in made.layers:
        assert isinstance(layer, TransformerLayer)
        normal = [normalise(each, layer.attention_norm) for each in hidden]
        hidden = [each + literal_attention(layer, normal, at) for at, each in enumerate(hidden)]
        hidden = [each + layer.mlp(normalise(each, layer.mlp_norm)) for each in hidden]
    return torch.stack([normalise(each, made.norm) for each in hidden])


def test_outputs_and_all_gradients_are_those_of_the_equations() -> None:
    made, inputs = make_layers(), draw(9, ROWS, INPUT)
    weights = torch.randn(9, ROWS, WIDTH)
    ours, _ = made(inputs)
    theirs = torch.stack([literal(made, row) for row in inputs.unbind(1)], dim=1)
    torch.testing.assert_close(ours, theirs)
    wanted = [inputs, *made.parameters()]
    gradients = [torch.autograd.grad((each * weights).sum(), wanted) for each in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("window", [1, 3, 4, 12])
def test_windows_that_carry_the_state_equal_one_long_window(window: int) -> None:
    # Texts longer than the memory, too: what is seen does not depend on how they are cut.
    made, inputs = make_layers(), draw(12, ROWS, INPUT)
    whole, last_state = made(inputs)
    state, parts = None, []
    for each in inputs.split(window):
        outputs, state = made(each, state)
        parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last_state)
    assert last_state.shape == (LAYERS, MEMORY, ROWS, WIDTH)


def test_a_layer_sees_as_far_as_the_memory_and_no_further() -> None:
    made, inputs = make_layers(layers=1), draw(12, 1, INPUT)
    outputs, _ = made(inputs)
    for at in range(12):
        (gradient,) = torch.autograd.grad(outputs[at].sum(), inputs, retain_graph=True)
        seen = gradient.flatten(1).abs().sum(1) > 0
        assert seen.tolist() == [0 <= at - place <= MEMORY for place in range(12)]


def test_the_state_grows_to_the_memory_and_begins_empty() -> None:
    made = make_layers(memory=7)
    state, lengths = None, []
    for _ in range(4):
        _, state = made(draw(3, ROWS, INPUT), state)
        lengths.append(state.shape[1])
    assert lengths == [3, 6, 7, 7]


def test_a_state_cut_by_rows_goes_on_as_the_rows_would() -> None:
    # As when a group goes on with more ranks: dimension 2 counts rows (Task.state_rows).
    made, inputs = make_layers(), draw(8, 4, INPUT)
    whole, state = made(inputs[:4])[1], None
    expected, _ = made(inputs[4:], whole)
    for rows in (slice(0, 1), slice(1, 4)):
        state = whole[:, :, rows]
        outputs, _ = made(inputs[4:, rows], state)
        torch.testing.assert_close(outputs, expected[:, rows])


def test_a_prediction_depends_on_earlier_tokens_and_on_no_later_one() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY - 1, (1, 6))
    changed = tokens.clone()
    changed[0, 3] += 1
    differs = (model(tokens)[0] != model(changed)[0]).any(dim=-1)[0]
    assert differs.tolist() == [False] * 3 + [True] * 3


def test_the_carried_state_matters_and_cuts_the_gradient() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY, (ROWS, 8))
    first, state = model(tokens[:, :4])
    second, _ = model(tokens[:, 4:], state)
    alone, _ = model(tokens[:, 4:])
    assert (second - alone).abs().max() > 1e-4
    first.sum().backward()
    second.sum().backward()  # would fail, had the graph of the first window been part of it


def test_keys_and_values_of_remembered_positions_teach_their_weights() -> None:
    # As in Transformer-XL: what is remembered is fixed, what is made of it is not.
    made = make_layers(layers=1)
    _, state = made(draw(4, ROWS, INPUT))
    outputs, _ = made(draw(1, ROWS, INPUT), state.detach())
    layer = made.layers[0]
    assert isinstance(layer, TransformerLayer)
    weight = layer.key_value.weight
    (with_memory,) = torch.autograd.grad(outputs.square().sum(), weight)
    # Of keys, the sole position of a window without memory tells nothing: its weight is one.
    assert with_memory[:WIDTH].abs().max() > 1e-6


def test_dropout_only_while_training_and_in_every_sublayer() -> None:
    made = Transformer(INPUT, WIDTH, LAYERS, HEADS, MEMORY, dropout=0.5)
    inputs = torch.randn(4, ROWS, INPUT)
    assert not torch.equal(made(inputs)[0], made(inputs)[0])
    made.eval()
    torch.testing.assert_close(made(inputs), made(inputs), rtol=0, atol=0)
    assert sum(isinstance(part, torch.nn.Dropout) for part in made.modules()) == LAYERS


def test_autocast_keeps_state_and_gradients_in_the_parameters_precision() -> None:
    made = Transformer(INPUT, WIDTH, LAYERS, HEADS, MEMORY)
    inputs = torch.randn(5, ROWS, INPUT)
    exact, exact_state = made(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, state = made(inputs)
        outputs.square().sum().backward()
    assert outputs.dtype == state.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in made.parameters())
    torch.testing.assert_close((outputs, state), (exact, exact_state), rtol=0.05, atol=0.05)
    assert not torch.equal(outputs, exact)


def test_its_size_at_the_width_of_the_papers_model() -> None:
    with torch.device("meta"):
        made = Transformer(256, 1024, layers=2, heads=8, memory=128)
    layer = 12 * 1024**2 + (1 + 2 + 1 + 4 + 1) * 1024 + 2 * 2 * 1024
    parameters = sum(parameter.numel() for parameter in made.parameters())
    assert parameters == 256 * 1024 + 2 * layer + 2 * 1024
    # Nothing beside the weights is published or saved.
    assert not list(made.buffers())


def test_embeddings_of_the_layers_width_need_no_map() -> None:
    made = Transformer(WIDTH, WIDTH, LAYERS, HEADS, MEMORY)
    assert "widen.weight" not in made.state_dict()
    assert made(torch.randn(2, ROWS, WIDTH))[0].shape == (2, ROWS, WIDTH)


def test_sublayers_begin_by_adding_about_as_much_as_there_is() -> None:
    made = Transformer(128, 128, layers=6, heads=8, memory=16)
    inputs = torch.randn(32, 4, 128) / math.sqrt(128)
    hidden = inputs * math.sqrt(128)
    _, state = made(inputs)
    assert state[-1].var() < 2 * hidden.var()
    assert state[-1].var() > 1.1 * hidden.var()


def test_it_learns_what_only_the_carried_state_can_tell() -> None:
    """A period of 6 in windows of 4: each begins with a 0; what follows depends on the last."""
    model = make_model(memory=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    stream = torch.tensor([0, 1, 0, 2, 0, 3]).repeat(300)
    state, losses = None, []
    for start in range(0, 1200, 4):
        tokens, labels = stream[start : start + 4], stream[start + 1 : start + 5]
        logits, state = model(tokens.unsqueeze(0), state)
        loss = F.cross_entropy(logits[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Without the state one token in four is one of three: ln(3) / 4 = 0.27 nats at best.
    assert sum(losses[-50:]) / 50 < 0.05


@pytest.mark.parametrize("shape", [(1, 4, 3, 8), (2, 4, 4, 8), (2, 4, 3, 6)])
def test_a_state_of_another_model_or_batch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(HvcodError, match=r"Transformer state.* needs \(2, \.\.\., 3, 8\)"):
        make_layers()(draw(2, ROWS, INPUT), torch.zeros(shape))


def test_heads_that_cannot_share_out_the_width_are_refused() -> None:
    for width, heads in ((10, 4), (6, 2)):
        with pytest.raises(UsageError, match=f"model.hidden={width}.*model.heads={heads}"):
            Transformer(INPUT, width, LAYERS, heads, MEMORY)
