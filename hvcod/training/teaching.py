"""The work of a teacher rank: it predicts what the trainers of its group train on next.

It reads the trainers' own streams, whose order is known in advance, from where the trainers are,
and keeps a hidden state of each teacher for each trainer. All teacher ranks of a group go through
the steps together, and take over fresher weights at the same step. A batch that would come too late
is skipped; with ``--staleness exact`` none is.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hvcod.codistill.exchanges.alone import Alone
from hvcod.codistill.exchanges.base import MakeExchange
from hvcod.codistill.exchanges.files import files
from hvcod.codistill.handover.messages import (
    HEADER,
    PAUSE,
    TO_TEACHER,
    Bytes,
    End,
    Header,
    Notice,
    Outbox,
    Progress,
    Start,
    Verdict,
    wait_for,
)
from hvcod.codistill.handover.pairs import AHEAD, Pair, share_out
from hvcod.codistill.predictions.packing import sent
from hvcod.codistill.predictions.sampled import offsets
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.codistill.teachers.collection import Teachers
from hvcod.codistill.teachers.fixed import numbered
from hvcod.codistill.teachers.model import ModelTeacher
from hvcod.errors import GroupFailedError
from hvcod.exchange.poll import Failure
from hvcod.groups.agreement import any_rank
from hvcod.groups.communicator import of_mpi
from hvcod.tasks import load_task
from hvcod.tasks.base import Batch, Task
from hvcod.tasks.batches import training_data_of
from hvcod.training.compiling import outputs_of
from hvcod.training.other_models import teachers_of_groups
from hvcod.training.precision import computing
from hvcod.training.prefetch import Prefetch
from hvcod.training.run.directory import Run
from hvcod.tree import map_tensors

_MARGIN = 3
"""Steps by which predictions must be early: trainers agree a step ahead that all have them."""

_PATIENCE = 10.0
"""Seconds until messages that a trainer does not take are given up at the end."""

log = logging.getLogger("hvcod.training")


@dataclass
class Trainer:
    """A trainer, as a teacher rank sees it.

    Attributes:
        rank: Its rank in the group.
        keys: The teachers that this teacher rank answers for.
        data: The trainer's stream of batches.
        hidden: {key: hidden state} after the last batch that was predicted.
        done: Steps that it has done; -1 before it has begun.
        ended: Whether it needs no more predictions.
    """

    rank: int
    keys: list[int]
    data: Prefetch
    hidden: dict[int, Any] = field(default_factory=dict)
    done: int = -1
    ended: bool = False


def teach(task: Task, run: Run, fixed: Sequence[Teacher], device: torch.device) -> None:
    """Works as a teacher rank until its trainers have ended. Collective over the teacher ranks.

    A failure ends the teaching, not the training: trainers are told, and go on without the term,
    unless they need it (``--staleness exact``).
    """
    rank = TeacherRank(task, run, fixed, device)
    rank.teach()
    rank.leave()


class TeacherRank:
    """One rank that only teaches."""

    def __init__(
        self, task: Task, run: Run, fixed: Sequence[Teacher], device: torch.device
    ) -> None:
        """Collective over the teacher ranks of the group.

        Raises:
            UsageError: There is not enough to do.
        """
        options, group = task.options, task.group
        assert group.whole is not None
        self._whole = of_mpi(group.whole)
        self._task, self._options, self._group = task, options, group
        self._device, self._outbox = device, Outbox(self._whole)
        make: MakeExchange = files if group.count > 1 else Alone
        student = task.build_model().to(device)
        origin = run.origin(options, group)
        specs = teachers_of_groups(task, student, origin)
        self._exchange = make(group, run.directory, options.codistill, specs, self._is_stopped)
        self._exchange.steps = options.steps
        outputs = outputs_of(task)
        others = numbered(fixed, student, outputs, None)
        models = {key: one for key, one in others.items() if isinstance(one, ModelTeacher)}
        self._teachers = Teachers(self._exchange.teachers(outputs, None) | models)
        pairs = share_out(group.trainers, self._teachers.keys, group.size)[group.rank]
        self._trainers = {trainer.rank: trainer for trainer in _trainers(task, pairs)}
        self._exchange.begin(origin, {})
        self._exact = task.options.codistill.staleness == "exact"
        self._verdicts: set[Verdict] = set()
        self._passed, self._late, self._failure = 0, False, ""
        self._first = 1
        self._told: Mapping[str, Failure] = {}

    def teach(self) -> None:
        """Predicts batch after batch, until the trainers end or a teacher rank fails."""
        self._wait_until(lambda: self._done >= 0)
        # Meanwhile the trainers may have made steps, whose batches come first.
        for step in range(self._first, self._options.steps + 1):
            if not self._goes_on(step):
                return
            try:
                self._refresh(step)
                self._answer(step)
            except GroupFailedError as error:
                self._failure = str(error)
            # Whatever it is: the trainers need not fail with it.
            except Exception as error:
                log.exception("this teacher rank has failed at the batch of step %d", step)
                self._failure = f"{type(error).__name__}: {error}"

    def leave(self) -> None:
        """Waits for the end of the trainers, and ends what other ranks wait for. Collective."""
        if self._failure:
            self._notify(Notice(failed=self._failure))
        self._wait_until(lambda: False)
        # A trainer takes what was sent to it until it hears that this rank leaves.
        wait_for(self._outbox.left, _PATIENCE)
        self._exchange.close(None)
        for trainer in self._trainers.values():
            trainer.data.close()
        self._notify(Notice(leaving=True))
        wait_for(self._outbox.left, _PATIENCE)

    def _is_stopped(self) -> bool:
        self._listen()
        return self._ended

    @property
    def _done(self) -> int:
        return min(trainer.done for trainer in self._trainers.values())

    @property
    def _ended(self) -> bool:
        return all(trainer.ended for trainer in self._trainers.values())

    def _goes_on(self, step: int) -> bool:
        """Waits until the batch of a step may be predicted, unless it is too late for it.

        Returns whether all teacher ranks go on. Collective.
        """
        # A step more for every four: no two batches take the same time.
        lead = 0 if self._exact else _MARGIN + self._passed + self._passed // 4
        self._wait_until(lambda: step <= self._done + max(AHEAD, lead))
        late = step < self._done + lead
        flags = self._ended, bool(self._failure), late
        ended, failed, self._late = any_rank(self._group.comm, *flags)
        if failed:
            self._failure = self._failure or "another teacher rank of the group has failed"
        return not ended and not failed

    def _refresh(self, step: int) -> None:
        """Takes over the weights that teach in a step, and the verdicts about them. Collective."""
        for update in self._exchange.take(step - 1):
            weights = update.tensors, update.model, update.base
            if self._teachers.load(update.group, update.step, *weights):
                self._forget(update.group)
        due = {verdict for verdict in self._verdicts if verdict.effect <= step}
        self._verdicts -= due
        for verdict in sorted(due):
            teacher = self._teachers[verdict.key]
            self._forget(verdict.key)
            if teacher.here and teacher.step == verdict.weights:
                teacher.drop()
                if verdict.weights is not None:
                    self._exchange.reject(verdict.key, verdict.weights)
        problems = self._exchange.problems()
        if problems != self._told:
            self._told = problems
            self._notify(Notice(problems))

    def _forget(self, key: int) -> None:
        """Begins the hidden states of a teacher anew."""
        for trainer in self._trainers.values():
            trainer.hidden[key] = None

    def _answer(self, step: int) -> None:
        """Sends the answers to the batch of a step, once the burn-in is over."""
        before = self._done
        for trainer in self._trainers.values():
            batch = trainer.data.next()
            if step > self._options.codistill.burn_in:
                batch = batch.to(self._device)
                for key in trainer.keys:
                    self._answer_with(key, trainer, step, batch)
        self._listen()
        if not self._late:
            self._passed = self._done - before

    def _answer_with(self, key: int, trainer: Trainer, step: int, batch: Batch) -> None:
        teacher = self._teachers[key]
        header, body = Header(step, key, teacher.step, "absent"), None
        if teacher.usable:
            header, body = self._predicted(teacher, header, trainer, batch)
        self._outbox.send(header, trainer.rank, HEADER, body)

    def _predicted(
        self, teacher: Teacher, header: Header, trainer: Trainer, batch: Batch
    ) -> tuple[Header, Bytes | None]:
        if self._late:
            return replace(header, state="late"), None
        part, rows = batch.part, self._task.state_rows
        hidden = part.settled(trainer.hidden.get(header.key), rows)
        question = Question(batch.inputs, torch.empty(0, device=self._device))
        with computing(self._options.precision, self._device):
            logits, following = teacher.predict(question, part.before(hidden, rows))
        assert isinstance(logits, Tensor), "the teachers of a teacher rank are models"
        finite = bool(logits.isfinite().all())
        # What is not finite must not stay in a hidden state: the batch may be to blame.
        trainer.hidden[header.key] = hidden = (
            part.after(hidden, following, rows) if finite else hidden
        )
        kept = map_tensors(_on_host, hidden) if self._exact else None
        if not finite:
            return replace(header, state="not finite", hidden=kept), None
        packing = sent(self._options.codistill, logits, self._task.likelihood)
        body = packing.pack(logits, self._offsets(logits, header, trainer)).view(np.uint8)
        form = packing.to_dict()
        return replace(header, state="here", size=body.size, packing=form, hidden=kept), body

    def _offsets(self, logits: Tensor, header: Header, trainer: Trainer) -> Any:
        if self._options.codistill.teacher_sample is None:
            return None
        seed = self._group.seed(self._options.seed, header.step, trainer.rank, 1 + abs(header.key))
        return offsets(logits[..., 0].numel(), seed)

    def _notify(self, notice: Notice) -> None:
        for rank in self._trainers:
            self._outbox.send(notice, rank, HEADER)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds or the trainers have ended; mostly asleep."""
        self._listen()
        while not condition() and not self._ended:
            self._outbox.left()
            time.sleep(PAUSE)
            self._listen()

    def _listen(self) -> None:
        """Receives what the trainers have sent."""
        for trainer in self._trainers.values():
            while (found := self._whole.improbe(trainer.rank, TO_TEACHER)) is not None:
                self._note(trainer, found.recv())

    def _note(self, trainer: Trainer, message: Start | Progress | End) -> None:
        if isinstance(message, End):
            trainer.ended = True
            return
        if isinstance(message, Start):
            self._first = message.step + 1
            trainer.data.load_state_dict(message.position)
            trainer.hidden = {
                key: map_tensors(lambda tensor: tensor.to(self._device), state)
                for key, state in message.hidden.items()
            }
        trainer.done = message.step
        self._verdicts |= set(message.verdicts)


def _trainers(task: Task, pairs: Sequence[Pair]) -> list[Trainer]:
    """Returns the trainers that a teacher rank serves, with the data of each."""
    kind, options = load_task(task.options.task), task.options
    trainers = []
    for rank in sorted({pair.trainer for pair in pairs}):
        data = training_data_of(kind(options, task.group.seat(rank)))
        keys = [pair.key for pair in pairs if pair.trainer == rank]
        trainers.append(Trainer(rank, keys, Prefetch(data)))
    return trainers


def _on_host(tensor: Tensor) -> Tensor:
    # A copy, as a message holds the whole memory of which a tensor is a part.
    return tensor.detach().cpu().clone()
