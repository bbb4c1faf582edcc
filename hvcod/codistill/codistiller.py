"""The Codistiller: a training loop calls it so that its group learns from the other groups."""

import atexit
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hvcod import config
from hvcod.codistill.exchanges.base import Exchange, MakeExchange, Offer
from hvcod.codistill.figures import Figures
from hvcod.codistill.guard import Agreed, Guard
from hvcod.codistill.identity import Identity, ScriptIdentity
from hvcod.codistill.losses import DistillationLoss, named_loss
from hvcod.codistill.outputs import Logits, call, logits_of
from hvcod.codistill.scores import Score, Scores
from hvcod.codistill.student import Student
from hvcod.codistill.teachers import Predict, Teachers, TeacherSpec, copy_of
from hvcod.codistill.topology import teachers_of
from hvcod.codistill.troubles import Troubles
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.exchange.poll import Failure
from hvcod.groups.split import Group
from hvcod.registry import EXCHANGES
from hvcod.tensorfile.origin import Origin

log = logging.getLogger("hvcod.codistill")


class Codistiller:
    """Publishes this group's weights, keeps its teachers fresh and returns the distillation term.

    The calls of Algorithm 1's loop: `loss` before the update, `step` after it, `close` at the end.
    Nothing here waits for the file system or for another group, unless the exchange has to. With
    one group every call works and does nothing.

    Attributes:
        validation_loss: Noted in the next published checkpoint; set it when it is known.
    """

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
        run_id: str | None = None,
        examples_per_step: int = 0,
        steps: int | None = None,
        meaning: Mapping[str, Any] | None = None,
        origin: Origin | None = None,
        teachers: Sequence[TeacherSpec] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Collective over the group; over all groups of the launch, if it has to name the run.

        Args:
            model: The student, on its device; it is only read.
            group: This rank's group; a script makes it with `hvcod.Groups`.
            run_dir: Shared by the groups of the run.
            options: Interval, burn-in, weight, loss, topology, exchange.
            logits: Which part of the outputs the logits are: an item (its number or name), an
                attribute (its name), or the result of a function; None: all.
            predict: (model, inputs, hidden state) -> (outputs, next state); by default a call.
            likelihood: What the logits predict: ``classes`` (their last dimension) or ``binary``.
            distillation_loss: (student's logits, each teacher's) -> scalar; overrides the options.
            reuse_logits: Teachers' logits may be overwritten, which saves the largest temporary.
            run_id: Names the run; needed if the other groups are other launches.
            examples_per_step: Of the whole group; 0 if unknown.
            steps: Of the whole run; checkpoints of later ones are refused. None: unknown.
            meaning: Of inputs and outputs, such as ``{"classes": names}``; others are refused.
            origin: Describes the run, if hvcod keeps its run directory.
            teachers: Given if they are not copies of the student in the topology's groups.
            stop: Returns whether this rank has been asked to stop: ends any wait for a teacher.

        Raises:
            UsageError: An option or the topology does not fit, or the run needs a `run_id`.
            HvcodError: The model cannot be published or copied.
        """
        self._options = _checked(options or CodistillOptions())
        self._student, self._group, self._run_dir = Student(model), group, Path(run_dir).absolute()
        self._logits, self._examples_per_step = logits, examples_per_step
        named = partial(named_loss, self._options.distill_loss, likelihood, reuse_logits)
        self._guard = Guard(distillation_loss or named(self._options.temperature))
        if teachers is None:
            teachers = _copies(self._student, group, self._options.topology)
        self._teachers = Teachers(teachers, predict, logits, self._options.max_staleness)
        self._identity = Identity(origin) if origin else ScriptIdentity(group, run_id, meaning)
        self._exchange = self._make_exchange(teachers, steps, stop)
        self._agreed = Agreed(self._teachers.groups)
        self._scores = Scores(self._options.teacher_limit)
        self._figures, self._troubles = Figures(), Troubles()
        self._done, self._begun, self._closed = 0, False, False
        self.validation_loss: float | None = None

    @property
    def teachers_used(self) -> dict[int, int]:
        """{group: step} of the teachers in the last loss; empty without a term."""
        return self._figures.teachers_used

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
        staleness = {group: step - taught for group, taught in self.teachers_used.items()}
        losses = self._scores.losses()
        shown = {"teacher_losses": losses} if losses else {}
        return {"teachers": self.teachers_used, "staleness": staleness, **shown}

    def summary(self) -> dict[str, object]:
        """Returns what a finished run shows: exchanges, mean staleness in steps, seconds a step."""
        return {
            "exchanges": self.exchanges,
            "mean_staleness": self.mean_staleness,
            "exchange_s": self._figures.seconds / max(1, self._done),
        }

    @property
    def models(self) -> dict[int, nn.Module]:
        """{group: model} of the teachers that are here and of use."""
        return self._teachers.models

    @property
    def hidden(self) -> dict[int, Any]:
        """{teacher group: hidden state} of this rank."""
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
            "done": self._done,
            "validation_loss": self.validation_loss,
            "teachers": self._teachers.state_dict(),
            "scores": self._scores.state_dict(),
            "faults": self._agreed.state_dict(),
            **self._figures.state_dict(),
        }

    def load_state_dict(
        self, state: Mapping[str, Any], hidden: Mapping[int, Any] | None = None
    ) -> None:
        """Goes on from what `state_dict` and this rank's `hidden` returned, before the first step.

        The run goes on under its id. Collective over the group; with exact staleness it waits for
        teachers that are due.

        Raises:
            HvcodError: The state is of another run, group or model.
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
        self._teachers.load_state_dict(state["teachers"])
        self._teachers.hidden = hidden or {}
        self._figures.load_state_dict(state)
        # Those of earlier versions know nothing of these two.
        self._scores.load_state_dict(state.get("scores", self._scores.state_dict()))
        self._agreed.load_state_dict(state.get("faults", self._agreed.state_dict()))
        self._done, self.validation_loss = state["done"], state["validation_loss"]
        self._begin()
        self._switch()

    def loss(self, outputs: Any, inputs: Any, score: Score | None = None) -> Tensor:
        """Returns the weighted distillation term; zero in the burn-in or without a teacher.

        Zero as well where it would be NaN or infinite, whatever the reason; a teacher that is to
        blame is left out from the next step but one, until fresher weights come. With gradient
        accumulation it may be called several times a step.

        Args:
            outputs: The student's, from `inputs`; gradients flow into its logits.
            inputs: Those of the student, as the teachers are to see them: a tensor, a tuple of
                positional arguments or a mapping of keyword arguments; or anything that `predict`
                takes.
            score: Returns the task loss of logits on this batch, to measure the teachers by; on all
                ranks or on none.

        Raises:
            HvcodError: The outputs hold no logits, or others than the teachers', the model is on
                another device than before, the Codistiller is closed, or the options have a
                `teacher_limit`, but there is no `score`.
        """
        self._check_usable()
        if self._scores.limit is not None and score is None:
            raise HvcodError(
                "teacher_limit needs the task loss: loss(..., score=lambda logits: ...)"
            )
        logits = logits_of(outputs, self._logits)
        step = self._done + 1
        teachers = self._teachers.fresh(step) if self._done >= self._options.burn_in else {}
        taught = self._teachers.logits(inputs, teachers)
        trial = self._scores.on_trial(teachers)
        if score is not None:
            self._scores.measure(score, logits, taught, teachers)
        used = {group: teachers[group] for group in teachers if group not in trial}
        self._figures.use(step, used)
        if not used:
            return logits.new_zeros(())
        psi = self._guard.term(logits, {group: taught.pop(group) for group in used})
        return self._options.distill_weight * psi

    def compare(self, student: float, teachers: Mapping[int, float]) -> None:
        """Takes note of the task losses of the student and its teachers on validation data.

        Always the same data, and the same figures on all ranks. A teacher that is far worse is
        reported, but goes on teaching.
        """
        self._scores.validated(self._done, student)
        for group, loss in teachers.items():
            if self._scores.is_news_then(group, self._teachers.steps[group], loss):
                told = f"its loss is {loss:.4g} on validation data, this group's {student:.4g}"
                self._report("far worse", group, told)

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
        self._begin()
        self._done += 1
        if self._exchange:
            self._exchange.offer(self._offer())
            self._judge()
        self._switch()
        self._figures.seconds += time.perf_counter() - begun

    def close(self, publish: bool = True) -> None:
        """Ends the exchange, with the final weights if they are worth publishing.

        The end of a script does so, too. Collective over the group.
        """
        atexit.unregister(self.close)
        closing, self._closed = not self._closed, True
        if closing and self._begun and self._exchange:
            self._exchange.close(self._offer() if publish else None)
            self._agreed.close()

    def _make_exchange(
        self, teachers: Sequence[TeacherSpec], steps: int | None, stop: Callable[[], bool]
    ) -> Exchange | None:
        if self._group.count == 1:
            return None
        make: MakeExchange = EXCHANGES.load(self._options.exchange)
        exchange = make(self._group, self._run_dir, self._options, teachers, stop)
        exchange.steps = steps
        return exchange

    def _begin(self) -> None:
        """Starts the exchange; not before it is known which run this is. Collective."""
        if self._exchange and not self._begun:
            self._begun = True
            self._identity.begin(self._run_dir, self._student.tensors, self.close)
            self._exchange.begin(self._identity.origin, self._teachers.steps)
            for group, step in self._teachers.dropped.items():
                self._exchange.reject(group, step)
            self._agreed.begin(self._group.comm)

    def _offer(self) -> Offer:
        origin = dataclasses.replace(
            self._identity.origin,
            step=self._done,
            examples=self._done * self._examples_per_step,
            validation_loss=self.validation_loss,
        )
        return Offer(self._student.weights, origin)

    def _judge(self) -> None:
        """Leaves out the teachers that are of no use, on all ranks at the same step. Collective."""
        verdict = self._guard.verdict()
        self._teachers.rewind(verdict.excused)
        faults = self._agreed.exchange(verdict.faults, self._teachers.usable)
        for group, fault in faults.items():
            self._drop("not finite", group, f"in step {self._done - 1} {fault}")
        for group in self._scores.settle(self._group.comm):
            if group in faults:
                continue
            if self._scores.is_over_limit(group):
                finite = math.isfinite(self._scores.losses()[group])
                kind = "beyond --teacher-limit" if finite else "not finite"
                self._drop(kind, group, self._scores.described(group))
            elif self._scores.is_news(group, self.validation_loss):
                self._report("far worse", group, self._scores.described(group))

    def _drop(self, what: str, group: int, reason: str) -> None:
        self._report(what, group, f"{reason}; left out until fresher weights come")
        step = self._teachers.steps[group]
        self._teachers.drop(group)
        if self._exchange:
            self._exchange.reject(group, step)

    def _report(self, what: str, group: int, reason: str) -> None:
        step = self._teachers.steps[group]
        source = self._exchange.source(group, step) if self._exchange else ""
        self._troubles.add(f"group {group}: {what}", f"{source}: {reason}")
        log.warning("teacher of group %d, step %d (%s): %s", group, step, source, reason)

    def _switch(self) -> None:
        for update in self._exchange.take(self._done) if self._exchange else []:
            self._teachers.load(update.group, update.step, update.tensors)
            self._figures.exchanges += 1

    def _failures(self) -> Iterable[tuple[str, Failure]]:
        if not self._exchange or not self._begun:
            return []
        mine = self._troubles.failures if self._group.is_root else {}
        return (self._exchange.problems() | mine).items()

    def _check_usable(self) -> None:
        if self._closed:
            raise HvcodError("the Codistiller is closed: call close() after the last step")
        self._student.check_device()


def _copies(student: Student, group: Group, topology: str) -> list[TeacherSpec]:
    """Teachers that are copies of the student."""
    build, groups = partial(copy_of, student.model), teachers_of(group.index, group.count, topology)
    return [TeacherSpec(teacher, build, student.tensors) for teacher in groups]


def _checked(options: CodistillOptions) -> CodistillOptions:
    checked: CodistillOptions = config.resolve(CodistillOptions, [vars(options)])
    return checked
