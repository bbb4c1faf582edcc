"""Prediction exchange without ranks: who serves whom, what arrives, and what packing loses."""

from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch import Tensor

from hvcod.codistill.handover.mailbox import Answer, Mailbox
from hvcod.codistill.handover.messages import (
    HEADER,
    TO_TEACHER,
    Header,
    Notice,
    Outbox,
    Verdict,
    wait_for,
)
from hvcod.codistill.handover.pairs import AHEAD, share_out
from hvcod.codistill.handover.received import ReceivedTeacher
from hvcod.codistill.losses import cross_entropy
from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import offsets
from hvcod.codistill.teachers.base import Question
from hvcod.errors import UsageError

ROWS, CLASSES = 256, 2000


@pytest.mark.parametrize(
    ("trainers", "keys", "ranks"), [(4, [1], 2), (1, [0, 2, 3], 3), (3, [1], 2)]
)
def test_each_pair_has_one_teacher_rank_and_all_have_equally_much(
    trainers: int, keys: list[int], ranks: int
) -> None:
    shares = share_out(trainers, keys, ranks)
    pairs = [(trainer, key) for trainer in range(trainers) for key in keys]
    assert [tuple(pair) for share in shares for pair in share] == pairs
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_teacher_ranks_without_anything_to_do_are_refused() -> None:
    with pytest.raises(UsageError, match="which keep 2 ranks busy at most"):
        share_out(2, [1], 3)
    with pytest.raises(UsageError, match="no teacher whose predictions could be computed"):
        share_out(2, [], 1)


def test_a_trainer_gets_the_answers_to_coming_batches_and_drops_late_ones() -> None:
    comm = MPI.COMM_SELF.Dup()
    mailbox, outbox = Mailbox(comm, {7: 0}), Outbox(comm)
    body = np.arange(3000, dtype=np.uint8)
    mailbox.tell(10, ())
    outbox.send(Header(10, 7, 5, "here", body.size), 0, HEADER, body)
    outbox.send(Header(11, 7, 5, "here", body.size), 0, HEADER, body[::-1].copy())
    outbox.send(Header(12, 7, 5, "late"), 0, HEADER)
    assert wait_for(lambda: mailbox.get(12, 7) is not None, 60)
    assert wait_for(lambda: mailbox.get(11, 7) is not None, 60)
    assert mailbox.get(10, 7) is None
    answer = mailbox.get(11, 7)
    assert answer is not None and answer.body is not None
    assert np.array_equal(answer.body, body[::-1])
    assert mailbox.ahead() == 2
    outbox.send(Notice(failed="no chalk", leaving=True), 0, HEADER)
    assert mailbox.close() == []
    assert mailbox.failed == "no chalk"
    while (found := comm.improbe(0, TO_TEACHER)) is not None:
        found.recv()
    assert wait_for(outbox.left, 60)


def answer(step: int, weights: int) -> Answer:
    return Answer(Header(step, 1, weights, "not finite"), None)


def test_a_verdict_holds_until_answers_with_other_weights_were_made_with_it_in_mind() -> None:
    teacher = ReceivedTeacher("group 1", 1)
    teacher.key = 1
    teacher.receive(20, answer(20, 10))
    assert teacher.usable
    predicted, _ = teacher.predict(Question(None, torch.zeros(3)), None)
    assert isinstance(predicted, Tensor)
    assert predicted.isnan().all()
    teacher.drop()
    assert teacher.verdict == Verdict(20, 1, 10)
    for step in range(21, 21 + AHEAD):
        teacher.receive(step, answer(step, 15))
        assert not teacher.usable, "made before the teacher rank knew"
    again = ReceivedTeacher("group 1", 1)
    again.load_state_dict(teacher.state_dict())
    for one in (teacher, again):
        one.receive(21 + AHEAD, answer(21 + AHEAD, 10))
        assert not one.usable, "the same weights"
        one.receive(22 + AHEAD, answer(22 + AHEAD, 15))
        assert one.usable


def loss_and_gradient(student: Tensor, teacher: Any) -> tuple[float, Tensor]:
    student = student.clone().requires_grad_()
    loss = cross_entropy(student, [teacher], "classes")
    loss.backward()
    assert student.grad is not None
    return loss.item(), student.grad


def test_half_precision_loses_next_to_nothing_and_a_sample_only_for_a_single_batch() -> None:
    random = torch.Generator().manual_seed(0)
    student, teacher = (4 * torch.randn(ROWS, CLASSES, generator=random) for _ in range(2))
    loss, gradient = loss_and_gradient(student, teacher.clone())

    def lost(packing: Packing, *seeds: int) -> tuple[float, float]:
        """The relative errors of the mean loss and of the mean gradient over some draws."""
        made = [
            loss_and_gradient(student, packing.unpack(packing.pack(teacher, offsets(ROWS, seed))))
            for seed in seeds
        ]
        mean = torch.stack([each for _, each in made]).mean(0)
        off = float((mean - gradient).norm() / gradient.norm())
        return abs(sum(each for each, _ in made) / len(made) / loss - 1), off

    whole = lost(Packing(CLASSES), 0)
    assert whole[0] < 1e-5
    assert whole[1] < 2e-3
    one, many = (lost(Packing(CLASSES, "sample", 64), *range(draws)) for draws in (1, 50))
    assert one[0] < 0.01
    assert one[1] < 0.1
    assert many[1] < one[1] / 4
    print(f"whole {whole}, a sample of 64 {one}, fifty of them {many}")
