"""Groups that train different architectures teach each other (Zhang et al. 2017)."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exchange.support import arrival_of, wait_until
from tensorfile.crafting import encode
from torch import Tensor, nn
from training.towers import CLASSES, INPUTS, text_of, towers

from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.model import GroupTeacher, TeacherSpec
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.exchange import published_directory
from hvcod.exchange.assemble import Assembler
from hvcod.exchange.poll import Poller
from hvcod.files.whole import write_whole
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path
from hvcod.training.other_models import OtherModels, teachers_of_groups
from hvcod.training.state.part import RandomNumbers

CPU = torch.device("cpu")
SIZES: tuple[dict[str, Any], ...] = (
    {"hidden": 8},
    {"hidden": 3, "layers": 2, "scale": 0.5},
)
INTERVAL, BURN_IN, WEIGHT, STEPS = 2, 4, 0.7, 8


def others() -> OtherModels:
    return OtherModels(towers(), CPU)


def tower(seed: int, **sizes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return towers(**sizes).build_model()


def drawn() -> list[float]:
    """What each generator draws next, without drawing it."""
    numbers = RandomNumbers(CPU)
    before = numbers.state_dict()
    next_ones = [torch.rand(1).item(), np.random.rand(), random.random()]
    numbers.load_state_dict(before)
    return next_ones


def test_a_model_is_built_from_its_text_and_draws_nothing() -> None:
    text, expected = text_of(**SIZES[1]), tower(1, **SIZES[1])
    before = drawn()
    model, predict = others().build(text)
    tensors = specification(expected.state_dict())
    assert others().tensors(text, tensors) == tensors
    assert before == drawn()
    model.load_state_dict(expected.state_dict())
    inputs = torch.randn(4, INPUTS)
    assert torch.equal(predict(model, inputs, None)[0], expected(inputs, None)[0])
    assert vars(model)["scale"] == 0.5


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"layers": 10**6}, "it has far more tensors than the file"),
        ({"layers": 10**9}, "with layers=1000000000, and a file of 101 values"),
        ({"hidden": 2**62}, "with hidden=.*, and a file of 101 values"),
        ({"hidden": 2**20, "layers": 2}, r"a model of 4\.\d TB, and this machine has"),
        ({"awkward": True}, "cannot be built: .*meta"),
    ],
)
def test_senseless_models_are_refused_before_they_have_memory(
    sizes: dict[str, object], reason: str
) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        others().tensors(text_of(**sizes), specification(tower(1).state_dict()))
    assert len(str(caught.value)) < 300


def publish(
    run: Path, weights: dict[str, Tensor], text: str, group: int = 1, step: int = 2
) -> Path:
    folder = published_directory(run, group)
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, step)
    origin = Origin("run", "test", group, step, model=text)
    write_whole(path, encode(dict(weights), origin))
    return path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (text_of(hidden=4), "does not hold the model that it describes: tensor layers.0.weight"),
        (text_of(layers=2), "does not hold the model that it describes: tensor layers.1.weight is"),
        (text_of(layers=10**6), "it has far more tensors than the file"),
        (text_of(hidden=2**60), "with hidden=1152921504606846976, and a file of 65 values"),
        ('{"hidden": 0}', "hidden=0: must be at least 1"),
        ('{"exec": "rm"}', "no option 'exec'"),
    ],
)
def test_a_file_that_describes_another_model_than_it_holds_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    own = tower(1, hidden=5)
    path = publish(tmp_path, own.state_dict(), text)
    ours = Origin("run", "test", 0, model=text_of(hidden=5))
    expected = specification(own.state_dict())
    with pytest.raises(HvcodError, match=f"{path} .*{reason}"):
        Assembler(path.parent, 1, expected, ours, others().tensors).fetch(2)
    # Who cannot build other models goes by the tensors alone.
    assert Assembler(path.parent, 1, expected, ours).fetch(2) is not None


def test_a_poller_brings_other_models_and_counts_those_that_make_no_sense(tmp_path: Path) -> None:
    own, other = tower(1), tower(2, **SIZES[1])
    folder = publish(tmp_path, other.state_dict(), text_of(layers=10**9)).parent
    ours = Origin("run", "test", 0, model=text_of())
    expected = {1: specification(own.state_dict())}
    poller = Poller({1: folder}, expected, ours, others=others().tensors)
    poller.look(2)
    wait_until(lambda: poller.counters.failures["refused"] == 1)
    reason = "describes a model with layers=1000000000"
    assert reason in poller.failures[1]["refused"].last
    origin = Origin("run", "test", 1, 4, model=text_of(**SIZES[1]))
    write_whole(checkpoint_path(folder, 4), encode(dict(other.state_dict()), origin))
    arrival = arrival_of(poller)
    poller.close()
    assert (arrival.step, arrival.origin.model) == (4, origin.model)
    assert arrival.tensors.keys() == other.state_dict().keys()


def test_a_file_of_earlier_versions_is_of_the_readers_own_architecture(tmp_path: Path) -> None:
    own = tower(1, hidden=5)
    ours, expected = Origin("run", "test", model=text_of()), specification(own.state_dict())
    path = publish(tmp_path, own.state_dict(), "")
    arrival = Assembler(path.parent, 1, expected, ours, others().tensors).fetch(2)
    assert arrival is not None
    assert arrival.origin.model == ""


def answer(teacher: GroupTeacher, question: Question) -> Tensor:
    logits = teacher.answer(question)
    assert isinstance(logits, Tensor)
    return logits


def has_state(teacher: GroupTeacher) -> bool:
    return teacher.state is not None


def test_a_teacher_becomes_what_its_group_trains() -> None:
    student = tower(0)
    tensors = specification(student.state_dict())
    spec = TeacherSpec(1, lambda: tower(0), tensors, text_of(), others())
    teacher = GroupTeacher(spec, towers().predict, None)
    inputs = torch.randn(4, INPUTS)
    question = Question(inputs, torch.empty(4, CLASSES))
    teacher.load(2, tower(1).state_dict(), text_of())
    answer(teacher, question)
    other = tower(2, **SIZES[1])
    teacher.load(4, other.state_dict(), text_of(**SIZES[1]))
    # A hidden state of another model means nothing here.
    assert not has_state(teacher)
    assert torch.equal(answer(teacher, question), other(inputs, None)[0])
    assert not any(each.requires_grad for each in teacher.model.parameters())
    again = GroupTeacher(spec, towers().predict, None)
    again.load_state_dict(teacher.state_dict())
    again.state = teacher.state
    assert torch.equal(answer(again, question), answer(teacher, question))
    # Fresher weights of the same model go on with the hidden state.
    teacher.load(6, other.state_dict(), text_of(**SIZES[1]))
    assert has_state(teacher)
    wide = tower(3, classes=CLASSES + 1)
    teacher.load(8, wide.state_dict(), text_of(classes=CLASSES + 1))
    assert answer(teacher, question).isnan().all()
    teacher.load(10, student.state_dict(), "")
    assert torch.equal(answer(teacher, question), student(inputs, None)[0])


class Member:
    """One group with an architecture of its own, of one rank, in this process."""

    def __init__(self, index: int, run: Path) -> None:
        self.task = towers(index, len(SIZES), **SIZES[index])
        self.model = tower(index, **SIZES[index])
        self.hidden: Tensor | None = None
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.05, momentum=0.9)
        options = CodistillOptions(
            exchange_interval=INTERVAL, burn_in=BURN_IN, distill_weight=WEIGHT, staleness="exact"
        )
        origin = Origin("run", "test", index, model=text_of(**SIZES[index]))
        self.codistiller = Codistiller(
            self.model,
            self.task.group,
            run,
            options,
            origin=origin,
            predict=self.task.predict,
            teachers=teachers_of_groups(self.task, self.model, origin),
        )

    def learn(self, step: int) -> Tensor:
        """Makes a step; returns the distillation term."""
        inputs, labels = batch(step)
        logits, self.hidden = self.task.predict(self.model, inputs, self.hidden)
        term = self.codistiller.loss(logits, inputs)
        self.optimizer.zero_grad()
        (nn.functional.cross_entropy(logits, labels) + term).backward()
        self.optimizer.step()
        self.codistiller.step()
        return term.detach()

    def state(self) -> list[Any]:
        parts = self.model, self.optimizer, self.codistiller
        return [*(part.state_dict() for part in parts), self.codistiller.hidden, self.hidden]

    def load(self, state: list[Any]) -> None:
        model, optimizer, codistiller, hidden, self.hidden = state
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.codistiller.load_state_dict(codistiller, hidden)


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(16, INPUTS, generator=generator)
    return inputs, torch.randint(CLASSES, (16,), generator=generator)


def halves(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.half().float() for name, tensor in model.state_dict().items()}


def test_the_term_is_that_of_algorithm_1_and_a_saved_run_goes_on_bit_for_bit(
    tmp_path: Path,
) -> None:
    members = [Member(index, tmp_path) for index in range(len(SIZES))]
    # The transcription: all published weights, and a hidden state for each student's teacher.
    published: dict[tuple[int, int], dict[str, Tensor]] = {}
    hidden: dict[tuple[int, int], Tensor | None] = {}
    saved: list[list[Any]] = []
    for step in range(STEPS):
        published |= {(index, step): halves(each.model) for index, each in enumerate(members)}
        if step == STEPS - 2:
            saved = [copy.deepcopy(member.state()) for member in members]
        for index, member in enumerate(members):
            inputs, _ = batch(step)
            with torch.no_grad():
                logits, _ = member.model(inputs, member.hidden)
                mean, teachers = torch.zeros(16, CLASSES), set(range(len(SIZES))) - {index}
                for teacher in teachers if step >= BURN_IN else set():
                    model = tower(0, **SIZES[teacher])
                    model.load_state_dict(published[teacher, (step // INTERVAL - 1) * INTERVAL])
                    key = index, teacher
                    answer, hidden[key] = model(inputs, hidden.get(key))
                    mean += answer.softmax(-1) / len(teachers)
                psi = -(mean * logits.log_softmax(-1)).sum(-1).mean()
            torch.testing.assert_close(member.learn(step), WEIGHT * psi, rtol=1e-4, atol=1e-6)
    again = [Member(index, tmp_path) for index in range(len(SIZES))]
    for member, state in zip(again, saved, strict=True):
        member.load(state)
        for step in (STEPS - 2, STEPS - 1):
            member.learn(step)
    for before, after in zip(members, again, strict=True):
        weights = before.model.state_dict(), after.model.state_dict()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        before.codistiller.close()
        after.codistiller.close()
