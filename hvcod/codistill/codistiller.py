"""The Codistiller: a training loop calls it so that its group learns from the other groups."""

import atexit
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from hvcod import config
from hvcod.codistill.assembly import all_teachers, exchange_of
from hvcod.codistill.exchanges.base import Offer, Update
from hvcod.codistill.figures import Figures
from hvcod.codistill.identity import Identity, ScriptIdentity
from hvcod.codistill.judge import Judge, Losses
from hvcod.codistill.losses import DistillationLoss, chosen_loss
from hvcod.codistill.outputs import Logits, call, logits_of
from hvcod.codistill.parts import WHOLE, Part
from hvcod.codistill.predictions.sampled import AnyPrediction
from hvcod.codistill.projected import Predicted, computed
from hvcod.codistill.rows import precision_of
from hvcod.codistill.schedule import Schedule
from hvcod.codistill.scores import Score
from hvcod.codistill.student import Student
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.codistill.teachers.model import Predict, TeacherSpec
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.exchange.poll import Failure
from hvcod.groups.split import Group
from hvcod.spans import EXCHANGE, TEACHERS
from hvcod.tensorfile.origin import Origin


class Codistiller:
    """Publishes this group's weights, keeps its teachers fresh and returns the distillation term.

    The calls of Algorithm 1's loop: `loss` before the update, `step` after it, `close` at the end.
    Nothing here waits for the file system or for another group, unless the exchange has to. Without
    other groups and fixed teachers every call works and does nothing.

    Attributes:
        student: The model, and what of it is published.
        done: The updates so far.
        validation_loss: Noted in the next published checkpoint; set it when it is known.
    """

    validation_loss: float | None = None

    def __init__(
        self,
        model: nn.Module,
        group: Group,
        run_dir: Path | str,
        options: CodistillOptions | None = None,
        *,
        logits: Logits = None,
        predict: Predict = call,
        likelihood: str = "classes",
        distillation_loss: DistillationLoss | None = None,
        reuse_logits: bool = False,
        state_rows: int = 0,
        run_id: str | None = None,
        examples_per_step: int | Callable[[int], int] = 0,
        steps: int | None = None,
        meaning: Mapping[str, Any] | None = None,
        origin: Origin | None = None,
        teachers: Sequence[TeacherSpec] | None = None,
        fixed: Sequence[nn.Module | Teacher] = (),
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Collective over the group; over all groups of the launch, if it has to name the run.

        Args:
            model: The student, on its device; it is only read.
            group: This rank's group; a script makes it with `hvcod.Groups`.
            run_dir: Shared by the groups of the run.
            options: Interval, burn-in, weight, loss, topology, exchange.
            logits: Which part of the outputs: an item, attribute or function's result; None: all.
            predict: (model, inputs, hidden state) -> (outputs, next state); by default a call.
            likelihood: What the logits predict: ``classes`` (their last dimension) or ``binary``.
            distillation_loss: (student's logits, each teacher's) -> scalar; overrides the options.
            reuse_logits: Teachers' logits may be overwritten, which saves the largest temporary.
            state_rows: The dimension of hidden states that counts examples, to take a `Part`.
            run_id: Names the run; needed if the other groups are other launches.
            examples_per_step: Of the group, 0 if unknown; or a function: those of so many steps.
            steps: Of the whole run; checkpoints of later ones are refused. None: unknown.
            meaning: Of inputs and outputs, such as ``{"classes": names}``; others are refused.
            origin: Describes the run, if hvcod keeps its run directory.
            teachers: Given if they are not copies of the student in the topology's groups.
            fixed: Further teachers: finished models, on the student's device, or a `Teacher` each.
            stop: Returns whether this rank has been asked to stop: ends any wait for a teacher.

        Raises:
            UsageError: An option or the topology does not fit, or the run needs a `run_id`.
            HvcodError: The model cannot be published or copied, or teaches itself.
        """
        self._options: CodistillOptions = _checked(options)
        self.student = Student(model, self._options)
        self._group, self._run_dir, self._logits = group, Path(run_dir).absolute(), logits
        self._examples_per_step, self._state_rows = examples_per_step, state_rows
        self._identity = Identity(origin) if origin else ScriptIdentity(group, run_id, meaning)
        common = self.student, self._options
        self._exchange = exchange_of(*common, group, self._run_dir, teachers, steps, stop)
        self._teachers = all_teachers(*common, self._exchange, fixed, predict, logits)
        psi = distillation_loss or chosen_loss(self._options, likelihood, reuse_logits)
        self._judge = Judge(self._teachers, self._exchange, psi, self._options.teacher_limit)
        self._schedule, self._figures = Schedule(self._options, steps), Figures()
        self.done, self._begun, self._closed = 0, False, False

    @property
    def teachers_used(self) -> dict[int, int]:
        """{group: step} of the groups that taught in the last loss; empty without a term."""
        used = self._figures.teachers_used
        return {key: step for key, step in used.items() if step is not None}

    @property
    def weight(self) -> float:
        """The weight of the term in the last loss; zero without one."""
        return self._figures.weight

    @property
    def exchanges(self) -> int:
        """The number of times that fresher teacher weights were taken over."""
        return self._figures.exchanges

    @property
    def mean_staleness(self) -> float | None:
        """Mean of student's minus teacher's step, in steps; ``None`` before any distillation."""
        return self._figures.mean_staleness

    @property
    def problems(self) -> dict[str, int]:
        """{kind of failure: how often it occurred}; on the group root, empty elsewhere."""
        return {what: failure.count for what, failure in self._failures()}

    @property
    def reasons(self) -> dict[str, str]:
        """The last reason, with the path, of each of the `problems`."""
        return {what: failure.last for what, failure in self._failures() if failure.last}

    def figures(self, step: int) -> dict[str, object]:
        """Returns the teachers' steps, their staleness, in steps, and their losses if known."""
        labels = {key: self._teachers[key].label for key in self._figures.teachers_used}
        losses = self._judge.teacher_losses()
        shown = {"teacher_losses": losses} if losses else {}
        more = self._exchange.figures() if self._begun else {}
        return {**self._figures.of_teachers(step, labels), **shown, **more}

    def counters(self) -> dict[str, int]:
        """Returns the bytes that were published for other groups, and taken over from them."""
        return {**self._exchange.counters(), "taken_bytes": self._figures.taken_bytes}

    def summary(self) -> dict[str, object]:
        """Returns what a finished run shows: `Figures.summary`, and seconds a step."""
        return {
            **self._figures.summary(),
            "exchange_s": self._figures.seconds / max(1, self.done),
            **self._exchange.summary(),
        }

    @property
    def is_taught(self) -> bool:
        """True if there are teachers, which may have no weights yet."""
        return bool(self._teachers.keys)

    @property
    def teachers(self) -> dict[int, Teacher]:
        """{key: teacher} of those that are here and of use, and can answer any batch."""
        usable = {key: self._teachers[key] for key in self._teachers.usable}
        return {key: teacher for key, teacher in usable.items() if teacher.general}

    @property
    def hidden(self) -> dict[int, Any]:
        """{key of a teacher: hidden state} of this rank."""
        return self._teachers.hidden

    @hidden.setter
    def hidden(self, states: Mapping[int, Any]) -> None:
        self._teachers.hidden = states

    def state_dict(self) -> dict[str, Any]:
        """Returns counters and teachers, the same on all ranks of the group.

        With `hidden` it is everything: numbers, strings and tensors, which `torch.save` writes.
        """
        return {
            "run_id": self._identity.origin.run_id,
            "meaning": self._identity.origin.meaning,
            "group": self._group.index,
            "done": self.done,
            "validation_loss": self.validation_loss,
            "teachers": self._teachers.state_dict(),
            "exchange": self._exchange.state_dict() if self._begun else {},
            **self._judge.state_dict(),
            **self._figures.state_dict(),
            **self.student.state_dict(),
        }

    def load_state_dict(
        self, state: Mapping[str, Any], hidden: Mapping[int, Any] | None = None
    ) -> None:
        """Goes on from what `state_dict` and this rank's `hidden` returned, before the first step.

        The run goes on under its id. Collective over the group; with exact staleness it waits for
        teachers that are due.

        Raises:
            HvcodError: The state is of another run, group or model, or other fixed teachers.
            GroupFailedError: Exact teachers do not come.
        """
        if self._begun:
            raise HvcodError("call load_state_dict() before the first step of the Codistiller")
        if state["group"] != self._group.index:
            raise HvcodError(
                f"this is group {self._group.index}, and the state is that of group "
                f"{state['group']}: each group goes on from its own"
            )
        self._identity.resume(state["run_id"], state.get("meaning", ""))
        self.student.load_state_dict(state)
        self._teachers.load_state_dict(state["teachers"])
        self._teachers.hidden = hidden or {}
        self._figures.load_state_dict(state)
        self._judge.load_state_dict(state)
        self.done, self.validation_loss = state["done"], state["validation_loss"]
        self._begin()
        self._exchange.load_state_dict(state.get("exchange", {}))
        self._switch(self._exchange.take(self.done) if self._begun else [])

    def begin(self, position: Mapping[str, Tensor] | None = None) -> None:
        """Starts the exchange and offers the weights before the first step.

        Without it the first `step` starts the exchange. `position` is where this rank's data go on,
        for those who predict them ahead. Collective over the group.

        Raises:
            GroupFailedError: Exact predictions do not come.
        """
        self._begin()
        if self._begun:
            self._exchange.prepare(self._offer())
            self._exchange.follow(self.done, position or {})

    def loss(
        self,
        outputs: Any,
        inputs: Any,
        score: Score | None = None,
        places: npt.NDArray[np.int64] | None = None,
        part: Part = WHOLE,
    ) -> Tensor:
        """Returns the weighted distillation term; zero in the burn-in or without a teacher.

        Zero as well where it would be NaN or infinite, whatever the reason; a teacher that is to
        blame is left out from the next step but one, until fresher weights come. With gradient
        accumulation it may be called several times a step.

        Args:
            outputs: The student's, from `inputs`; gradients flow into its logits.
            inputs: Those of the student, as the teachers are to see them: a tensor, a tuple of
                positional arguments or a mapping of keyword arguments; or anything that `predict`
                takes.
            score: Returns the task loss of logits on this batch, to measure teachers; on all ranks
                or on none.
            places: The places of the predictions in the training data, for stored teachers.
            part: The part of the step's batch that this is; its rows have their own hidden states.

        Raises:
            HvcodError: The outputs hold no logits, or others than the teachers', the model is on
                another device than before, the Codistiller is closed, or the options have a
                `teacher_limit`, but there is no `score`.
        """
        logits = computed(logits_of(outputs, self._logits))
        question = Question(inputs, logits.detach(), places, part, self._state_rows)
        answers = self._answers(question, logits, score)
        if not answers:
            return logits.new_zeros((), dtype=precision_of(logits))
        return self.weight * self._judge.term(logits, answers)

    def losses(
        self,
        outputs: Any,
        inputs: Any,
        phi: Score,
        places: npt.NDArray[np.int64] | None = None,
        part: Part = WHOLE,
    ) -> Losses:
        """Returns the task loss, which `phi` returns of logits, what `loss` returns, and their sum.

        If the outputs are `Projected` and `phi` is a `CrossEntropy`, both are computed in one pass,
        which stores no model's logits. Raises what `loss` raises.
        """
        logits = self._judge.joined(logits_of(outputs, self._logits), phi)
        question = Question(inputs, logits.detach(), places, part, self._state_rows)
        with TEACHERS:
            answers = self._answers(question, logits, phi)
        return self._judge.losses(logits, answers, phi, self.weight)

    def compare(self, student: float, teachers: Mapping[int, float]) -> None:
        """Takes note of the task losses of the student and its teachers on validation data.

        Always the same data, and the same figures on all ranks. A teacher that is far worse is
        reported, but goes on teaching.
        """
        self._judge.compare(self.done, student, teachers)

    def step(self) -> None:
        """Counts an update; publishes weights and takes over fresher teachers when it is time to.

        Collective over the group: all ranks switch to fresher weights at the same step.

        Raises:
            HvcodError: The run directory belongs to another run, the model has other tensors than
                before, or the Codistiller is closed.
            GroupFailedError: With exact staleness: a publication failed, or a teacher did not come.
        """
        self._check_usable()
        self._group.begin_step()
        begun = time.perf_counter()
        with EXCHANGE:
            self._step()
        self._figures.seconds += time.perf_counter() - begun

    def _step(self) -> None:
        self._begin()
        self.done += 1
        self.student.updated()
        if self._begun:
            self._exchange.offer(self._offer())
            self._judge.settle(self.done, self._group, self.validation_loss)
        self._switch(self._exchange.take(self.done) if self._begun else [])

    def close(self, publish: bool = True) -> None:
        """Ends the exchange, with the final weights if they are worth publishing.

        The end of a script does so, too. Collective over the group.
        """
        atexit.unregister(self.close)
        closing, self._closed = not self._closed, True
        if closing and self._begun:
            self._exchange.close(self._offer() if publish else None)
            self._judge.agreed.close()

    def _answers(
        self, question: Question, logits: Predicted, score: Score | None
    ) -> dict[int, AnyPrediction]:
        """Returns {key: predictions} of the teachers that may teach on a batch."""
        self._check_usable()
        step = self.done + 1
        self._switch(self._exchange.newest(step) if self._begun else [])
        fresh = self._teachers.fresh(step) if self._schedule.is_on(step) else {}
        answers = self._teachers.answers(question, fresh)
        used = self._judge.admitted(fresh, answers, logits, score)
        self._figures.use(step, used, self._schedule.weight(step))
        return {key: answers[key] for key in used}

    def _begin(self) -> None:
        """Starts the exchange; not before it is known which run this is. Collective."""
        if not self._begun and (self._group.count > 1 or self.is_taught):
            self._begun = True
            self._identity.begin(self._run_dir, self.student.tensors, self.close)
            self._exchange.begin(self._identity.origin, self._teachers.steps)
            self._judge.begin(self._group)

    def _offer(self) -> Offer:
        each = self._examples_per_step
        origin = dataclasses.replace(
            self._identity.origin,
            step=self.done,
            average_decay=self._options.publish_average,
            examples=each(self.done) if callable(each) else self.done * each,
            validation_loss=self.validation_loss,
        )
        return Offer(self.student.weights, origin, self.student.changed)

    def _switch(self, updates: Iterable[Update]) -> None:
        for update in updates:
            weights = update.tensors, update.model, update.base
            self._teachers.load(update.group, update.step, *weights)
            self._figures.take(update)

    def _failures(self) -> Iterable[tuple[str, Failure]]:
        if not self._begun:
            return []
        mine = self._judge.troubles.failures if self._group.is_root else {}
        return (self._exchange.problems() | mine).items()

    def _check_usable(self) -> None:
        if self._closed:
            raise HvcodError("the Codistiller is closed: call close() after the last step")
        self.student.check_device()


def _checked(options: CodistillOptions | None) -> Any:
    return config.resolve(CodistillOptions, [vars(options or CodistillOptions())])
