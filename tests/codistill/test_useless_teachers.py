"""Teachers whose predictions are not finite, or far worse than the student's: real files."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mpi4py import MPI
from tensorfile.crafting import encode
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.guard import Guard, Verdict
from hvcod.codistill.losses import named_loss
from hvcod.codistill.scores import BATCHES, Scores
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.exchange import published_directory
from hvcod.files.whole import write_whole
from hvcod.groups.split import Group, split
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path

INTERVAL, ROWS, SIZE, CLASSES = 5, 8, 4, 3
HUGE = 8e24


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(SIZE, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def group(index: int, groups: int) -> Group:
    return Group(index, groups, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)


class Student:
    """Group 0, and files that its teachers, the other groups, are said to have published."""

    def __init__(self, run: Path, groups: int = 2, **options: Any) -> None:
        torch.manual_seed(0)
        self.run, self.model, self.groups = run, net(), groups
        self.options = CodistillOptions(exchange_interval=INTERVAL, burn_in=0, **options)
        self.codistiller = self._codistiller()
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        self.source = torch.Generator().manual_seed(1)
        self.steps = 0

    def publish(
        self, teacher: int, step: int, factor: float = 1.0, model: nn.Module | None = None
    ) -> Path:
        """Publishes the weights of a model, or those that the student began with, scaled."""
        torch.manual_seed(0)
        weights = (model or net()).state_dict()
        directory = published_directory(self.run, teacher)
        directory.mkdir(parents=True, exist_ok=True)
        path = checkpoint_path(directory, step)
        scaled = {name: tensor * factor for name, tensor in weights.items()}
        write_whole(path, encode(scaled, Origin("run", "test", teacher, step)))
        return path

    def learn(self, steps: int = 1, scored: bool = True) -> list[float]:
        """Makes some steps; returns the distillation terms. Every gradient must be finite."""
        terms = []
        for _ in range(steps):
            inputs = torch.randn(ROWS, SIZE, generator=self.source)
            targets = inputs[:, :CLASSES].argmax(1)
            logits = self.model(inputs)
            score = (lambda each, right=targets: F.cross_entropy(each, right)) if scored else None
            term = self.codistiller.loss(logits, inputs, score)
            self.optimizer.zero_grad()
            (F.cross_entropy(logits, targets) + term).backward()
            assert all(bool(each.grad.isfinite().all()) for each in self.model.parameters())  # type: ignore[union-attr]
            self.optimizer.step()
            self.codistiller.step()
            self.steps += 1
            terms.append(term.item())
        return terms

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(20_000):
            if condition():
                return
            self.learn()
            time.sleep(0.002)
        pytest.fail("waited in vain")

    def resumed(self) -> None:
        """Goes on from a saved state, as another process would."""
        state = copy.deepcopy(self.codistiller.state_dict())
        hidden = copy.deepcopy(self.codistiller.hidden)
        self.codistiller.close(publish=False)
        self.codistiller = self._codistiller()
        self.codistiller.load_state_dict(state, hidden)

    def _codistiller(self) -> Codistiller:
        origin = Origin("run", "test", 0)
        mine = group(0, self.groups)
        return Codistiller(self.model, mine, self.run, self.options, origin=origin)


def test_a_diverged_teacher_is_dropped_and_only_fresher_weights_teach_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    student = Student(tmp_path)
    codistiller = student.codistiller
    path = student.publish(1, 50, HUGE)
    student.until(lambda: codistiller.problems)
    assert codistiller.problems == {"group 1: not finite": 1}
    told = codistiller.reasons["group 1: not finite"]
    assert told.startswith(f"{path}: in step {student.steps - 1} its logits are NaN or infinite")
    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert f"teacher of group 1, step 50 ({path})" in line
    assert student.learn(3 * INTERVAL) == [0.0] * 3 * INTERVAL
    assert codistiller.teachers_used == {}
    student.publish(1, 100)
    student.until(lambda: codistiller.teachers_used == {1: 100})
    assert student.learn()[0] > 0
    assert codistiller.problems == {"group 1: not finite": 1}
    codistiller.close(publish=False)


def test_healthy_teachers_go_on_beside_a_diverged_one(tmp_path: Path) -> None:
    student = Student(tmp_path, groups=3)
    student.publish(1, 50, HUGE)
    student.publish(2, 50)
    student.until(lambda: student.codistiller.problems and student.codistiller.exchanges == 2)
    assert list(student.codistiller.problems) == ["group 1: not finite"]
    student.learn(2)
    assert student.codistiller.teachers_used == {2: 50}
    student.codistiller.close(publish=False)


@pytest.mark.parametrize("interrupted", [None, 0, 1, 2])
def test_a_resumed_state_drops_a_diverged_teacher_at_the_same_step(
    tmp_path: Path, interrupted: int | None
) -> None:
    """One that holds such a teacher, one that knows the fault, and one that has dropped it."""
    student = Student(tmp_path)
    student.publish(1, 50, HUGE)
    student.until(lambda: student.codistiller.exchanges)
    used = []
    for turn in range(4):
        if turn == interrupted:
            student.resumed()
        assert student.learn() == [0.0]
        used.append(student.codistiller.teachers_used)
    assert used == [{1: 50}, {1: 50}, {}, {}]
    student.publish(1, 100)
    student.until(lambda: student.codistiller.teachers_used == {1: 100})
    student.codistiller.close(publish=False)


def test_a_state_of_an_earlier_version_drops_a_diverged_teacher_too(tmp_path: Path) -> None:
    student = Student(tmp_path)
    student.publish(1, 50, HUGE)
    student.until(lambda: student.codistiller.exchanges)
    state = student.codistiller.state_dict()
    for later in ("scores", "faults"):
        del state[later]
    del state["teachers"][1]["dropped"]
    student.codistiller.close(publish=False)
    student.codistiller = student._codistiller()
    student.codistiller.load_state_dict(state)
    student.learn(2)
    assert student.codistiller.problems == {"group 1: not finite": 1}
    student.codistiller.close(publish=False)


@pytest.mark.parametrize("comes", [True, False])
def test_with_exact_staleness_a_dropped_teacher_is_not_waited_for_for_ever(
    tmp_path: Path, comes: bool
) -> None:
    student = Student(tmp_path, staleness="exact")
    student.publish(1, INTERVAL, HUGE)
    path = student.publish(1, 2 * INTERVAL)
    if not comes:  # at once, as if the time to wait were over
        path.write_bytes(b"")
    student.learn(3 * INTERVAL)
    problems = student.codistiller.problems
    assert problems.pop("group 1: not finite") == 1
    assert problems == ({} if comes else {"group 1: given up": 1})
    if comes:
        assert student.learn()[0] > 0
        assert student.codistiller.teachers_used == {1: 2 * INTERVAL}
    else:
        reason = student.codistiller.reasons["group 1: given up"]
        assert reason.startswith(str(path))
        assert student.learn(4 * INTERVAL) == [0.0] * 4 * INTERVAL
    student.codistiller.close(publish=False)


class Carried(nn.Module):
    """Its hidden state is the sum of its logits, as a state that is never reset."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, CLASSES)

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        logits = self.layer(inputs)
        logits = logits if state is None else logits + 0.1 * state
        return logits, logits.detach()


def carry(model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    logits, state = model(inputs, state)
    return logits, state


def carried(run: Path) -> tuple[Carried, Codistiller]:
    torch.manual_seed(0)
    model = Carried()
    options = CodistillOptions(exchange_interval=INTERVAL, burn_in=0)
    origin = Origin("run", "test", 0)
    return model, Codistiller(model, group(0, 2), run, options, origin=origin, predict=carry)


@pytest.mark.parametrize("both", [True, False])
def test_a_batch_that_nobody_can_predict_is_not_the_teachers_fault(
    tmp_path: Path, both: bool
) -> None:
    """Nor does it spoil the hidden state that its teacher carries on."""
    model, codistiller = carried(tmp_path)
    directory = published_directory(tmp_path, 1)
    directory.mkdir(parents=True)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = checkpoint_path(directory, 50)
    write_whole(path, encode(weights, Origin("run", "test", 1, 50)))
    while not codistiller.exchanges:
        codistiller.step()
        time.sleep(0.002)
    good = torch.ones(ROWS, SIZE)
    bad = good * math.nan
    for inputs in (good, bad, good, good):
        mine = inputs if both else good
        term = codistiller.loss(carry(model, mine, None)[0], inputs)
        assert math.isfinite(term.item())
        codistiller.step()
    assert codistiller.problems == ({} if both else {"group 1: not finite": 1})
    assert bool(term > 0) == both
    codistiller.close(publish=False)


def test_the_hidden_state_of_a_diverged_teacher_is_forgotten(tmp_path: Path) -> None:
    model, codistiller = carried(tmp_path)
    directory = published_directory(tmp_path, 1)
    directory.mkdir(parents=True)
    inputs = torch.ones(ROWS, SIZE)
    for step, value in ((50, 3e38), (100, 1.0)):
        weights = {name: torch.full_like(each, value) for name, each in model.state_dict().items()}
        origin = Origin("run", "test", 1, step)
        write_whole(checkpoint_path(directory, step), encode(weights, origin))
        for _ in range(20_000):
            term = codistiller.loss(carry(model, inputs, None)[0], inputs)
            codistiller.step()
            if codistiller.problems and (value > 1 or codistiller.teachers_used):
                break
            time.sleep(0.002)
    assert codistiller.teachers_used == {1: 100}
    assert term > 0
    assert codistiller.problems == {"group 1: not finite": 1}
    codistiller.close(publish=False)


# The guard itself, as it runs on a CPU and as on a device that nothing may wait for.


@pytest.fixture(params=["here", "elsewhere"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    there = request.param == "elsewhere"
    if there:
        monkeypatch.setattr("hvcod.codistill.guard._is_here", lambda tensor: False)
    return bool(there)


def squares(student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
    return sum((student - each).square().mean() for each in teachers)  # type: ignore[return-value]


CROSS_ENTROPY = named_loss("cross-entropy", "classes", reuse_logits=False)
BINARY = named_loss("cross-entropy", "binary", reuse_logits=False)
GOOD, INF, NAN = [1.0, -2.0, 0.5], math.inf, math.nan


@pytest.mark.parametrize("psi", [CROSS_ENTROPY, BINARY, squares])
@pytest.mark.parametrize(
    ("teachers", "faults"),
    [
        ([GOOD, GOOD], {}),
        ([GOOD, [1.0, NAN, 0.0]], {2: 2}),
        ([[INF, 0.0, 0.0], GOOD], {1: 2}),
        ([[0.0, -INF, 0.0], [NAN] * 3], {1: 2, 2: 2}),
    ],
)
def test_no_nan_reaches_the_student(
    elsewhere: bool, psi: Any, teachers: list[list[float]], faults: dict[int, int]
) -> None:
    guard = Guard(psi)
    student = torch.tensor([[0.3, -0.2, 1.0]], requires_grad=True)
    logits = {group: torch.tensor([row]) for group, row in enumerate(teachers, 1)}
    term = guard.term(student, dict(logits))
    assert guard.verdict() == Verdict(faults)
    assert guard.verdict() == Verdict()
    (term + student.sum()).backward()
    assert student.grad is not None
    if faults:
        assert term == 0
        assert bool((student.grad == 1).all())
    else:
        plain = student.detach().requires_grad_()
        expected = psi(plain, list(logits.values()))
        expected.backward()
        torch.testing.assert_close(term, expected)
        torch.testing.assert_close(student.grad - 1, plain.grad)


@pytest.mark.parametrize("size", [3e38, 1e18, 1e7])
def test_of_finite_logits_whose_loss_overflows_the_largest_are_to_blame(
    elsewhere: bool, size: float
) -> None:
    guard = Guard(squares)
    student = torch.tensor([0.3, -0.2], requires_grad=True)
    term = guard.term(student, {1: torch.tensor([1.0, 2.0]), 2: torch.tensor([size, -size])})
    (term + student.sum()).backward()
    assert term == 0
    assert student.grad is not None
    assert student.grad.tolist() == [1, 1]
    assert guard.verdict() == Verdict({2: 1})


@pytest.mark.parametrize("teacher", [GOOD, [NAN] * 3])
def test_a_student_whose_own_logits_are_nan_blames_nobody(
    elsewhere: bool, teacher: list[float]
) -> None:
    guard = Guard(CROSS_ENTROPY)
    guard.term(torch.tensor([[NAN, 0.0, 1.0]], requires_grad=True), {1: torch.tensor([teacher])})
    excused = set() if teacher == GOOD else {1}
    assert guard.verdict() == Verdict({}, excused)


def test_half_precision_and_empty_batches_are_judged_alike(elsewhere: bool) -> None:
    guard = Guard(CROSS_ENTROPY)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        student = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
        assert guard.term(student, {1: torch.full((2, 3), 6e4, dtype=dtype)}) > 0
        assert guard.verdict() == Verdict()
    assert guard.term(torch.zeros(2, 3), {1: torch.full((2, 3), 7e4).half()}) == 0
    assert guard.verdict() == Verdict({1: 2})
    empty = Guard(lambda student, teachers: (student - teachers[0]).sum())
    assert empty.term(torch.zeros(0, 3), {1: torch.zeros(0, 3)}) == 0
    assert empty.verdict() == Verdict()


# Teachers that are finite, but far worse.


@pytest.mark.parametrize(
    ("teacher", "student", "far", "over"),
    [
        (0.9, 0.55, True, False),
        (0.8, 0.55, False, False),
        (1.2, 0.55, True, True),
        (0.09, 0.03, False, True),  # both are good
        (10.1, 4.9, True, True),
        (math.nan, 0.55, True, True),
        (math.inf, 0.55, True, True),
        (0.9, math.nan, False, False),
        (-0.2, -1.0, True, False),
        (0.2, -1.0, True, True),
        (0.2, 0.55, False, False),
    ],
)
def test_worse_is_a_factor_of_the_students_loss(
    teacher: float, student: float, far: bool, over: bool
) -> None:
    scores = Scores(limit=2.0)
    for _ in range(BATCHES):
        told = [torch.tensor(student), torch.tensor(teacher)]
        scores.measure(lambda each: each, told[0], {1: told[1]}, {1: 50})
        assert scores.settle(split(MPI.COMM_SELF)) == [1]
        assert scores.is_over_limit(1) == over
    assert scores.is_news(1, None) == far
    assert not scores.is_news(1, None)
    scores.validated(60, 0.5)
    assert scores.is_news_then(1, 50, 9.0) != far
    assert scores.is_news_then(1, 100, 9.0)
    assert json.dumps(scores.state_dict())


def test_a_student_that_knows_its_batches_by_heart_does_not_blame_its_teacher() -> None:
    scores = Scores(None)
    for _ in range(BATCHES):
        mine, theirs = torch.tensor(0.1), torch.tensor(0.9)
        scores.measure(lambda each: each, mine, {1: theirs}, {1: 50})
        scores.settle(split(MPI.COMM_SELF))
    assert not scores.is_news(1, validation_loss=0.8)
    assert scores.is_news(1, validation_loss=0.2)


@pytest.mark.parametrize(
    ("step", "teacher", "far"),
    [
        (100, 0.69, False),  # the student itself was no better then
        (100, 0.76, True),
        (150, 0.69, False),
        (200, 0.69, True),  # a click model that knows nothing
        (200, 0.60, False),
        (50, 0.75, False),  # nobody knows how good the student was then
        (50, 1.2, True),
    ],
)
def test_at_validations_a_teacher_must_be_as_good_as_the_student_was_at_its_age(
    step: int, teacher: float, far: bool
) -> None:
    scores = Scores(None)
    for past, loss in ((100, 0.65), (200, 0.56), (300, 0.7)):
        scores.validated(past, loss)
    resumed = Scores(None)
    resumed.load_state_dict(scores.state_dict())
    assert resumed.is_news_then(1, step, teacher) == far
    assert not resumed.is_news_then(1, step, teacher)


@pytest.mark.parametrize("factor", [0.0, 1000.0, 65504.0])
@pytest.mark.parametrize("limit", [None, 2.0])
def test_a_teacher_far_worse_than_the_student_is_reported_and_may_be_left_out(
    tmp_path: Path, factor: float, limit: float | None
) -> None:
    student = Student(tmp_path, teacher_limit=limit)
    published_directory(tmp_path, 1).mkdir(parents=True)
    student.learn(200)  # a student that has learned something
    path = student.publish(1, 350, factor)
    student.until(lambda: student.codistiller.problems)
    kind = "far worse" if limit is None else "beyond --teacher-limit"
    assert student.codistiller.problems == {f"group 1: {kind}": 1}
    reason = student.codistiller.reasons[f"group 1: {kind}"]
    assert reason.startswith(f"{path}: its loss is ")
    assert student.codistiller.figures(student.steps)["teachers"] == (
        {1: 350} if limit is None else {}
    )
    terms = student.learn(2 * INTERVAL)
    assert (sum(terms) == 0) == (limit is not None)
    figures = student.codistiller.figures(student.steps)
    assert figures["teachers"] == ({1: 350} if limit is None else {})
    assert "teacher_losses" in figures
    student.publish(1, 400, model=student.model)
    student.until(lambda: student.codistiller.teachers_used == {1: 400})
    student.learn(BATCHES)
    assert student.codistiller.problems == {f"group 1: {kind}": 1}
    student.codistiller.close(publish=False)


def test_with_a_limit_weights_teach_only_once_they_were_measured(tmp_path: Path) -> None:
    student = Student(tmp_path, teacher_limit=2.0)
    student.publish(1, 50)
    student.until(lambda: student.codistiller.exchanges)
    terms = student.learn(3)
    assert (terms[0], all(term > 0 for term in terms[1:])) == (0.0, True)
    with pytest.raises(HvcodError, match="teacher_limit needs the task loss"):
        student.learn(scored=False)
    student.codistiller.close(publish=False)


def test_a_validation_reports_a_teacher_once(tmp_path: Path) -> None:
    student = Student(tmp_path)
    student.publish(1, 50)
    student.until(lambda: student.codistiller.exchanges)
    assert list(student.codistiller.teachers) == [1]
    for _ in range(2):
        student.codistiller.compare(0.5, {1: 2.0})
    assert student.codistiller.problems == {"group 1: far worse": 1}
    told = student.codistiller.reasons["group 1: far worse"]
    assert told.endswith("its loss is 2 on validation data, this group's 0.5")
    student.codistiller.close(publish=False)
