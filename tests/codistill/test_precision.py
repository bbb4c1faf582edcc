"""Teachers that are held and run in less than single precision."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.fixed import FixedTeacher
from hvcod.codistill.teachers.int8 import Int8Embedding, Int8Linear
from hvcod.codistill.teachers.model import GroupTeacher, TeacherSpec
from hvcod.codistill.teachers.precision import bytes_of, held, takes_changes
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel
from hvcod.tasks.commoncrawl.transformer import Transformer
from hvcod.tasks.criteo.model import ClickModel
from hvcod.tasks.imagenet.resnet import small_resnet
from hvcod.tensorfile.format import specification

NARROW = ("bf16", "fp16", "int8")
VOCABULARY, ROWS = 61, 512


def text(seed: int) -> tuple[Tensor, Tensor]:
    """Windows in which a token follows from the one before, most of the time."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (16, 17), generator=generator)
    for position in range(1, 17):
        follows = torch.rand(16, generator=generator) < 0.7
        tokens[follows, position] = (7 * tokens[follows, position - 1] + 3) % VOCABULARY
    return tokens[:, :-1], tokens[:, 1:]


def clicks(seed: int) -> tuple[Any, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    integers = torch.randn(256, 13, generator=generator)
    integers[integers > 2] = torch.nan
    categories = torch.randint(ROWS, (256, 26), generator=generator)
    score = integers.nan_to_num().sum(1) / 3 + (categories % 7 - 3).sum(1) / 6
    return (integers, categories), (torch.rand(256, generator=generator) < score.sigmoid()).float()


def images(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (64,), generator=generator)
    noise = torch.randint(0, 120, (64, 3, 8, 8), generator=generator)
    for row, label in enumerate(labels.tolist()):
        noise[row, :, 2 * label : 2 * label + 2] += 130
    return noise.to(torch.uint8), labels


def lstm() -> nn.Module:
    return LanguageModel(VOCABULARY, 16, LayerNormLSTM(16, 40, 1))


def transformer() -> nn.Module:
    return LanguageModel(VOCABULARY, 16, Transformer(16, 32, 1, 4, 24))


TASKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Any, Tensor]]]] = {
    "commoncrawl, lstm": (lstm, text),
    "commoncrawl, transformer": (transformer, text),
    "criteo": (lambda: ClickModel(ROWS, 8, [64, 32]), clicks),
    "imagenet": (lambda: small_resnet(4, [8, 16], 1), images),
}


def predict(model: nn.Module, inputs: Any, state: Any) -> tuple[Tensor, Any]:
    if isinstance(model, LanguageModel):
        logits, state = model(inputs, state)
        return logits, state
    return model(inputs), None


def trained(task: str) -> nn.Module:
    """A model that has learned most of what there is, so that its predictions are no accidents."""
    make, batch = TASKS[task]
    torch.manual_seed(1)
    model = make()
    dense = [each for each in model.parameters() if not is_table(model, each)]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, 2e-2)]
    if isinstance(model, ClickModel):
        optimizers.append(torch.optim.SparseAdam([model.table.weight], 2e-2))
    for step in range(30):
        inputs, targets = batch(step)
        logits, _ = predict(model, inputs, None)
        loss = (
            F.binary_cross_entropy_with_logits(logits, targets)
            if isinstance(model, ClickModel)
            else F.cross_entropy(logits.flatten(0, -2), targets.flatten())
        )
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    return model.eval()


def is_table(model: nn.Module, parameter: nn.Parameter) -> bool:
    return isinstance(model, ClickModel) and parameter is model.table.weight


def distributions(logits: Tensor) -> Tensor:
    two = torch.stack([torch.zeros_like(logits), logits], -1) if logits.dim() == 1 else logits
    return two.flatten(0, -2).log_softmax(-1)


BOUNDS = {"bf16": (1e-4, 0.03), "fp16": (2e-6, 0.005), "int8": (1e-3, 0.1)}
"""Largest mean KL divergence from fp32, in nats, and largest difference of a probability."""


@pytest.mark.parametrize("task", TASKS)
def test_predictions_agree_with_those_of_single_precision(task: str) -> None:
    model = trained(task)
    inputs, _ = TASKS[task][1](1000)
    weights = {name: rounded(tensor) for name, tensor in model.state_dict().items()}
    expected = None
    for precision in ("fp32", *NARROW):
        teacher = held(copy.deepcopy(model), precision)
        teacher.load(weights)
        state: Any = None
        with torch.no_grad(), teacher.running():
            # The second window of a text begins with the hidden state of the first.
            for _ in range(2):
                logits, state = predict(teacher.model, inputs, state)
        answer = teacher.answer(logits)
        assert answer.dtype is torch.float32
        logs = distributions(answer)
        if expected is None:
            expected = logs
            certainty = logs.exp().amax(-1).mean().item()
            assert certainty > (0.15 if "commoncrawl" in task else 0.55)
            continue
        divergence = F.kl_div(logs, expected, reduction="batchmean", log_target=True).item()
        largest = (logs.exp() - expected.exp()).abs().max().item()
        share = bytes_of(model, precision) / bytes_of(model, "fp32")
        print(
            f"{task}: {precision} from fp32: mean KL {divergence:.1e} nats, largest difference of "
            f"a probability {largest:.1e}, memory {share:.0%}"
        )
        bounds = BOUNDS[precision]
        assert -1e-6 < divergence < bounds[0]
        assert largest < bounds[1]
        if task == "imagenet" and precision == "int8":
            assert share > 0.9  # torch has no integer convolutions to offer
        else:
            assert largest > 0
            assert share < (0.7 if precision == "int8" else 0.6)


def rounded(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def teacher_of(model: nn.Module, precision: str, keeps: bool = True) -> GroupTeacher:
    spec = TeacherSpec(1, lambda: copy.deepcopy(model), specification(model.state_dict()))
    return GroupTeacher(spec, predict, None, precision, keeps)


def question(task: str, seed: int) -> Question:
    return Question(TASKS[task][1](seed)[0], torch.empty(0))


def halves(model: nn.Module) -> dict[str, Tensor]:
    return {name: rounded(tensor) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("precision", NARROW)
def test_a_saved_teacher_goes_on_bit_for_bit_and_in_any_precision(precision: str) -> None:
    torch.manual_seed(2)
    first, second = lstm(), lstm()
    teacher = teacher_of(first, precision)
    for step, model in enumerate((first, second)):
        teacher.load(step, halves(model))
        teacher.answer(question("commoncrawl, lstm", step))
    state = copy.deepcopy(teacher.state_dict())
    published = halves(second)
    for name, tensor in state["weights"].items():
        assert torch.equal(tensor.half(), published[name])
    last = question("commoncrawl, lstm", 3)
    for other in (precision, "fp32"):
        again = teacher_of(first, other)
        again.load_state_dict(state)
        again.state = teacher.state
        answers = [tensor_of(each.predict(last, each.state)) for each in (teacher, again)]
        assert torch.equal(*answers) == (other == precision)


@pytest.mark.parametrize("value", [0.25, 1e-7])
@pytest.mark.parametrize("precision", [p for p in ("fp32", *NARROW) if takes_changes(p)])
def test_changes_of_a_table_in_place_are_like_whole_weights(precision: str, value: float) -> None:
    """Those too small for half precision, which come wide, as well."""
    torch.manual_seed(3)
    model = ClickModel(40, 4, [8])
    before = halves(model)
    rows, dtype = torch.tensor([3, 7, 30]), torch.float32 if value < 1e-4 else torch.float16
    table = before["table.weight"].to(dtype, copy=True)
    table[rows] = value
    dense = {name: tensor + 1 for name, tensor in before.items() if name != "table.weight"}
    teachers = [teacher_of(model, precision) for _ in range(2)]
    for teacher in teachers:
        teacher.load(50, {name: tensor.clone() for name, tensor in before.items()})
    changes = {"table.weight": table[rows], "table.weight:rows": rows.int()}
    teachers[0].load(100, dense | changes, base=50)
    teachers[1].load(100, dense | {"table.weight": table})
    states = [teacher.state_dict() for teacher in teachers]
    assert states[0]["step"] == 100
    for name in before:
        assert torch.equal(*(state["weights"][name].float() for state in states)), name
        assert torch.equal(*(teacher.model.state_dict()[name] for teacher in teachers)), name
    with pytest.raises(HvcodError, match="has step 100, and changes upon step 50"):
        teachers[0].load(150, dense | changes, base=50)


def tensor_of(answer: tuple[Any, Any]) -> Tensor:
    assert isinstance(answer[0], Tensor)
    return answer[0]


def test_only_the_rank_that_keeps_them_has_weights_to_save() -> None:
    model = lstm()
    for precision, kept in (("fp32", True), ("fp16", True), ("bf16", False), ("int8", False)):
        teacher = teacher_of(model, precision, keeps=False)
        teacher.load(5, halves(model))
        assert bool(teacher.state_dict()["weights"]) == kept
    with pytest.raises(HvcodError, match="no weights of group 1: with --teacher-precision int8"):
        teacher.load_state_dict(teacher.state_dict())


def test_what_fp16_would_spoil_stays_wide() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    weights = halves(model) | {"0.weight": torch.full((3, 4), 1e-7)}
    teacher = held(model, "fp16")
    teacher.load(weights)
    types = {name: tensor.dtype for name, tensor in teacher.model.state_dict().items()}
    assert types == {
        "0.weight": torch.float32,
        "0.bias": torch.float32,
        "1.weight": torch.float16,
        "1.bias": torch.float32,
    }
    assert torch.equal(teacher.model.state_dict()["0.weight"], weights["0.weight"])
    teacher.load(halves(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))))
    assert teacher.model.state_dict()["0.weight"].dtype is torch.float16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_predict_as_autocast_does(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    model = ClickModel(ROWS, 4, [16])
    inputs, _ = clicks(0)
    teacher = held(copy.deepcopy(model), "bf16" if dtype is torch.bfloat16 else "fp16")
    teacher.load(model.state_dict() if dtype is torch.bfloat16 else halves(model))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.to(dtype).float()
    with torch.no_grad(), torch.autocast("cpu", dtype):
        expected = model(inputs)
    with torch.no_grad(), teacher.running():
        assert torch.equal(teacher.model(inputs), expected)


def test_an_integer_layer_is_what_the_text_books_say() -> None:
    """Jacob et al. 2018, section 2: r = S (q - Z); sums of products in 32-bit integers."""
    torch.manual_seed(4)
    weight, bias, inputs = torch.randn(5, 24), torch.randn(5), torch.randn(9, 24)
    layer = Int8Linear(weight, bias)
    scale = weight.abs().amax(1, keepdim=True) / 127.5
    integers = (layer.weight / scale).round()
    torch.testing.assert_close(layer.weight, integers * scale)
    assert integers.abs().max() <= 128
    # The largest weight is half a step from an integer.
    assert ((layer.weight - weight).abs() <= 0.501 * scale).all()
    low, high = inputs.min().clamp(max=0), inputs.max().clamp(min=0)
    literal = []
    for levels in (255, 127):  # all 8 bits, or 7 without VNNI
        step = (high - low) / levels
        zero = (-low / step).round()
        quantised = (inputs / step + zero).round().clamp(0, levels)
        literal.append((quantised - zero) @ integers.t() * step * scale.t() + bias)
    assert min((layer(inputs) - each).abs().max() for each in literal) < 1e-5


def test_an_integer_table_has_a_scale_for_each_row() -> None:
    table, indices = torch.randn(7, 16), torch.tensor([[3, 0], [6, 3]])
    low, high = table.aminmax(dim=1, keepdim=True)
    scale = (high - low) / 255
    expected = ((table - low) / scale).round() * scale + low
    layer = Int8Embedding(table)
    torch.testing.assert_close(layer(indices), expected[indices], rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.weight, expected, rtol=0, atol=1e-5)


class Tied(nn.Module):
    """A model that uses the weights of its layers in other ways than by calling them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.attention = nn.Embedding(9, 8), nn.MultiheadAttention(8, 2)
        self.output = nn.Linear(8, 9)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        attended, _ = self.attention(embedded, embedded, embedded)
        logits: Tensor = F.linear(attended, self.embedding.weight) + self.output(embedded)
        return logits


def test_a_model_may_use_its_layers_in_ways_of_its_own() -> None:
    torch.manual_seed(5)
    model, tokens = Tied(), torch.tensor([[1, 2], [3, 4]])
    expected = model(tokens)
    for precision in NARROW:
        teacher = held(copy.deepcopy(model), precision)
        teacher.load(model.state_dict())
        with torch.no_grad(), teacher.running():
            torch.testing.assert_close(teacher.model(tokens).float(), expected, rtol=0, atol=0.1)


def test_a_finished_model_is_known_by_the_weights_that_it_was_given() -> None:
    model = lstm()
    kinds = [FixedTeacher(copy.deepcopy(model), predict, None, "a", "", p) for p in NARROW]
    assert {kind.digest for kind in kinds} == {FixedTeacher(model, predict, None, "a").digest}
    logits = [tensor_of(each.predict(question("commoncrawl, lstm", 0), None)) for each in kinds]
    assert not torch.equal(logits[0], logits[2])


def test_integers_are_for_cpus() -> None:
    with pytest.raises(UsageError, match="int8: the integer layers of torch run on CPUs, and"):
        held(nn.Linear(2, 2).to("meta"), "int8")
