"""The language model: its size, its contract with the training loop, and that it can learn."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel

VOCABULARY, OUTPUTS = 11, 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products on several threads of a busy machine take a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_model(dropout: float = 0.0) -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(VOCABULARY, 6, LayerNormLSTM(6, 8, 2, dropout), dropout)


def test_the_papers_model_has_44_million_parameters() -> None:
    with torch.device("meta"):
        model = LanguageModel(24006, 256, LayerNormLSTM(256, 1024, layers=2))
    embedding, softmax = 24006 * 256, 24016 * (1024 + 1)
    weights = 4096 * (256 + 1024) + 4096 * (1024 + 1024)
    normalisation = 2 * (3 * 4096 + 2 * 1024)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == embedding + softmax + weights + normalisation == 44_422_096


def test_logits_are_in_the_order_of_the_tokens_without_a_copy() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY, (3, 5))
    logits, state = model(tokens)
    assert logits.shape == (3, 5, OUTPUTS)
    assert logits.is_contiguous()
    for document in range(3):
        alone, _ = model(tokens[document : document + 1])
        torch.testing.assert_close(alone[0], logits[document])
    assert state.shape == (2, 2, 3, 8)


def test_outputs_beyond_the_vocabulary_take_no_part() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY, (3, 5))
    logits, _ = model(tokens)
    exact = F.cross_entropy(logits[..., :VOCABULARY].flatten(0, 1), tokens.flatten())
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    torch.testing.assert_close(loss, exact, rtol=0, atol=1e-6)
    loss.backward()
    for parameter in model.softmax.parameters():
        assert parameter.grad is not None
        assert parameter.grad[VOCABULARY:].abs().max() < 1e-8 < parameter.grad.abs().max()


def test_a_vocabulary_that_fits_gets_no_further_output() -> None:
    assert LanguageModel(32, 6, LayerNormLSTM(6, 8, layers=1)).softmax.out_features == 32


def test_a_prediction_depends_on_earlier_tokens_and_on_no_later_one() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY - 1, (1, 6))
    changed = tokens.clone()
    changed[0, 3] += 1
    before, _ = model(tokens)
    after, _ = model(changed)
    differs = (before != after).any(dim=-1)[0]
    assert differs.tolist() == [False] * 3 + [True] * 3


def test_windows_carry_the_state_and_cut_the_gradient() -> None:
    model = make_model()
    tokens = torch.randint(VOCABULARY, (3, 8))
    whole, last_state = model(tokens)
    first, state = model(tokens[:, :4])
    second, state = model(tokens[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(state, last_state)
    first.sum().backward()
    second.sum().backward()  # would fail, had the graph of the first window been part of it


def test_dropout_only_while_training() -> None:
    model = make_model(dropout=0.5)
    tokens = torch.randint(VOCABULARY, (2, 4))
    assert not torch.equal(model(tokens)[0], model(tokens)[0])
    model.eval()
    assert torch.equal(model(tokens)[0], model(tokens)[0])


def test_it_learns_what_only_the_carried_state_can_tell() -> None:
    """A period of 6 in windows of 4: each begins with a 0; what follows depends on the last."""
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    stream = torch.tensor([0, 1, 0, 2, 0, 3]).repeat(300)
    state = None
    losses = []
    for start in range(0, 1600, 4):
        tokens, labels = stream[start : start + 4], stream[start + 1 : start + 5]
        logits, state = model(tokens.unsqueeze(0), state)
        loss = F.cross_entropy(logits[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Without the state one token in four is one of three: ln(3) / 4 = 0.27 nats at best.
    assert sum(losses[-50:]) / 50 < 0.05
