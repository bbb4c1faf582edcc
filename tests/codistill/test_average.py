"""The moving average of the weights: equal to a literal one, whatever it saves itself."""

import copy
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import MpiRun
from mpi.test_resume import command, lines
from mpi4py import MPI
from torch import Tensor, nn

from hvcod.codistill.average import Average, averaged, decay_of
from hvcod.codistill.codistiller import Codistiller
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.tensorfile.decode import decode_tensors, read_file

ROWS, STEPS = 40, 60

# Unless it is set, torch warns of the default.
torch.sparse.check_sparse_tensor_invariants.disable()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 3, sparse=True)
        self.norm, self.out = nn.BatchNorm1d(3), nn.Linear(3, 3)
        self.again = self.out  # one parameter, two names

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self.table(ids)
        outputs: Tensor = self.again(self.out(self.norm(rows)))
        return outputs


def optimizers(model: Model) -> Sequence[torch.optim.Optimizer]:
    dense = [each for name, each in model.named_parameters() if "table" not in name]
    return torch.optim.SGD(dense, 0.1), torch.optim.Adagrad(model.table.parameters(), 0.1)


def train(model: Model, step: int, steps: Sequence[torch.optim.Optimizer]) -> None:
    """Makes an update from a few of the table's rows; the first ten are never used."""
    torch.manual_seed(step)
    model.zero_grad()
    model(torch.randint(10, ROWS, (4,))).square().mean().backward()
    for optimizer in steps:
        optimizer.step()


def check_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.01, 0.5, 0.9, 0.999])
def test_it_is_the_literal_average_of_all_rows_at_each_step(decay: float) -> None:
    torch.manual_seed(0)
    model = Model().double()
    average, steps = Average(model, decay), optimizers(model)
    literal = {name: torch.zeros_like(each) for name, each in model.state_dict().items()}
    for step in range(1, STEPS + 1):
        train(model, step, steps)
        average.update()
        for name, now in model.state_dict().items():
            keep = min(decay, 1 - 1 / step)  # Tarvainen & Valpola's code
            learned = name not in dict(model.named_buffers())
            literal[name] = keep * literal[name] + (1 - keep) * now if learned else now.clone()
        if step % 30 == 7 or step == STEPS:
            check_equal(average.weights(), literal)
    assert torch.equal(average.weights()["table.weight"][:10], model.table.weight[:10])


def test_an_update_may_take_several_steps_of_optimisers() -> None:
    torch.manual_seed(0)
    model = Model().double()
    average, steps = Average(model, 0.9), optimizers(model)
    literal = torch.zeros_like(model.table.weight)
    for update in range(1, 30):
        for part in range(2):
            train(model, 2 * update + part, steps)
        average.update()
        keep = min(0.9, 1 - 1 / update)
        literal = keep * literal + (1 - keep) * model.table.weight.detach()
    check_equal({"": average.weights()["table.weight"]}, {"": literal})


def test_at_first_it_is_the_plain_mean() -> None:
    assert [decay_of(update, 0.75) for update in (1, 2, 3, 4, 5)] == [0, 0.5, 1 - 1 / 3, 0.75, 0.75]


def test_rows_that_no_update_touches_are_not_visited() -> None:
    model = Model()
    average, steps = Average(model, 0.9), optimizers(model)
    for step in range(1, 4):
        train(model, step, steps)
        average.update()
    updated = average.state_dict()["rows"]["table.weight"]
    assert (updated == 0).sum() >= ROWS - 3 * 4
    assert set(updated.tolist()) == {0, 1, 2, 3}


def test_it_goes_on_bit_for_bit() -> None:
    model = Model()
    average, steps = Average(model, 0.9), optimizers(model)
    for step in range(1, STEPS + 1):
        train(model, step, steps)
        average.update()
        if step == STEPS // 2:
            file = io.BytesIO()
            torch.save([average.state_dict(), model.state_dict()], file)
            file.seek(0)
            state, weights = torch.load(file)
            check_equal(averaged(state, weights), averaged(average.state_dict(), weights))
            other = copy.deepcopy(model)
            later, others = Average(other, 0.9), optimizers(other)
            later.load_state_dict(state)
            for mine, theirs in zip(others, steps, strict=True):
                mine.load_state_dict(copy.deepcopy(theirs.state_dict()))
        elif step > STEPS // 2:
            train(other, step, others)
            later.update()
    for name, tensor in average.weights().items():
        assert torch.equal(later.weights()[name], tensor)


def test_a_model_in_half_precision_is_averaged_in_float32() -> None:
    model = nn.Linear(2, 2).bfloat16()
    average = Average(model, 0.99)
    for step in range(50):
        with torch.no_grad():
            model.weight.fill_(1 + step / 128)
        average.update()
    kept = average.state_dict()["parameters"]["weight"]
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, torch.full((2, 2), 1 + 24.5 / 128))
    assert average.weights()["weight"].dtype == torch.bfloat16


def codistiller(model: nn.Module, run: Path, decay: float | None) -> Codistiller:
    group = Group(0, 2, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    options = CodistillOptions(exchange_interval=2, publish_average=decay)
    return Codistiller(model, group, run, options, run_id="run")


def test_a_group_publishes_it_and_says_so(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    student = codistiller(model, tmp_path, 0.9)
    for number in (1.0, 2.0, 6.0):
        with torch.no_grad():
            model.weight.fill_(number)
        student.step()
    state = student.state_dict()
    student.close()
    published = tmp_path / "group-0/published/step-00000003.h5"
    origin, tensors = decode_tensors(read_file(published, 10**6))
    assert (origin.step, origin.average_decay) == (3, 0.9)
    assert tensors["weight"].tolist() == [[3.0, 3.0]]
    later = codistiller(model, tmp_path, 0.9)
    later.load_state_dict(state)
    assert later.student.average
    assert later.student.average.weights()["weight"].tolist() == [[3.0, 3.0]]
    later.close(publish=False)
    del state["average"]
    with pytest.raises(HvcodError, match="no average of the weights: it was saved without publi"):
        codistiller(model, tmp_path, 0.9).load_state_dict(state)


def test_a_group_is_taught_by_its_own_average(tmp_path: Path) -> None:
    alone = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    options = CodistillOptions(burn_in=1, publish_average=0.6, teach_self=True, distill_weight=2)
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    student = Codistiller(model, alone, tmp_path, options, run_id="run")
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    mean = copy.deepcopy(model).eval()
    for step in range(1, 6):
        inputs = torch.randn(5, 4)
        logits = model(inputs)
        term = student.loss(logits, inputs)
        target = mean(inputs).softmax(-1).detach()
        literal = -2 * (target * logits.log_softmax(-1)).sum(-1).mean()
        torch.testing.assert_close(term, literal if step > 1 else torch.tensor(0.0))
        assert student.figures(step)["teachers"] == ({"average": None} if step > 1 else {})
        model.zero_grad()
        (term + logits.square().mean()).backward()
        optimizer.step()
        student.step()
        keep = min(0.6, 1 - 1 / step)
        with torch.no_grad():
            for average, now in zip(mean.parameters(), model.parameters(), strict=True):
                average.copy_(keep * average + (1 - keep) * now)
    later = Codistiller(copy.deepcopy(model), alone, tmp_path, options, run_id="run")
    later.load_state_dict(student.state_dict(), student.hidden)
    logits, inputs = torch.randn(5, 3), torch.randn(5, 4)
    assert later.loss(logits, inputs) == student.loss(logits, inputs) > 0
    student.close()
    later.close()


def test_its_own_teacher_needs_an_average(tmp_path: Path) -> None:
    alone = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    with pytest.raises(UsageError, match="teach_self needs publish_average"):
        Codistiller(nn.Linear(2, 2), alone, tmp_path, CodistillOptions(teach_self=True))


def test_it_is_validated_and_evaluated(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    run, words = tmp_path / "run", ("--publish-average", 0.9, "--validate-average")
    fast_mpirun(0, *command(tiny_data, run, *words, steps=25))
    (validated,) = [line for line in lines(run) if "validation_loss" in line]
    assert validated["validation_average_loss"] != validated["validation_loss"]
    evaluate = ("hvcod", "evaluate", run, "--examples", 64, "--json", "--weights")
    for kind, figure in (("average", "average_loss"), ("auto", "loss")):
        (shown,) = json.loads(fast_mpirun(0, *evaluate, kind).stdout)
        assert shown["metrics"]["loss"] == validated[f"validation_{figure}"]
