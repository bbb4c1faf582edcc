"""The Codistiller: what a training loop calls to make its group learn from the other groups."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hvcod.codistill.exact import ExactTeachers
from hvcod.codistill.freshest import FreshestTeachers
from hvcod.codistill.teachers import Predict, Teachers
from hvcod.codistill.topology import teachers_of
from hvcod.config import CodistillOptions
from hvcod.errors import GroupFailedError
from hvcod.exchange.directory import published_directory
from hvcod.exchange.format import Metadata, specification
from hvcod.exchange.poll import Failure
from hvcod.exchange.publish import Publisher, snapshot
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_json

log = logging.getLogger("hvcod.codistill")

DistillationLoss = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(student's logits, logits of each teacher) -> scalar."""


class Codistiller:
    """Publishes this group's weights, keeps its teachers fresh and gives the distillation term.

    The three calls of Algorithm 1's loop: `loss` before the update, `step` after it, `close` at the
    end. Nothing here waits for the file system or for another group, unless the teachers' age is to
    be exact.

    Attributes:
        exchanges: How often fresher teacher weights were taken over.
        teachers_used: {group: step} of the teachers in the last loss; empty without a term.
        validation_loss: Noted in what is published next; set it when it is known.
        seconds: Training-thread time spent in `step`: publishing, polling, switching.
    """

    def __init__(
        self,
        model: nn.Module,
        group: Group,
        options: CodistillOptions,
        run_dir: Path,
        about: Metadata,
        *,
        examples_per_step: int,
        predict: Predict,
        distillation_loss: DistillationLoss,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Collective over the group.

        Args:
            model: The student; it has its initial weights.
            group: This rank's group.
            options: Interval, burn-in, weight, topology.
            run_dir: Shared by the groups of the run.
            about: What published checkpoints say of themselves; step, examples and validation loss
                are filled in.
            examples_per_step: Examples that the whole group sees in a step.
            predict: How a teacher predicts.
            distillation_loss: psi of Algorithm 1.
            stop: Whether this rank has been told to stop: ends a wait for an exact teacher.

        Raises:
            UsageError: The topology does not fit the number of groups.
        """
        self._model, self._group, self._options, self._about = model, group, options, about
        self._examples_per_step = examples_per_step
        self._teachers = Teachers(model, predict)
        self._distillation_loss = distillation_loss
        self._done = 0
        self._staleness, self._distilled = 0.0, 0
        self._late: set[int] = set()
        self._exact = options.staleness == "exact"
        self.exchanges = 0
        self.teachers_used: dict[int, int] = {}
        self.validation_loss: float | None = None
        self.seconds = 0.0
        self._publisher: Publisher | None = None
        self._source: ExactTeachers | FreshestTeachers | None = None
        sources = teachers_of(group.index, group.count, options.topology)
        if not sources:
            return
        if group.is_root:
            # A group that goes on from an old state asks for teachers of long ago.
            keep = None if self._exact else options.keep_published
            self._publisher = Publisher(published_directory(run_dir, group.index), keep)
        directories = {each: published_directory(run_dir, each) for each in sources}
        given = group, options, directories, specification(model.state_dict()), about.run_id
        self._source = ExactTeachers(*given, stop) if self._exact else FreshestTeachers(*given)

    @property
    def mean_staleness(self) -> float | None:
        """Mean of student's minus teacher's step, in steps; ``None`` before any distillation."""
        return self._staleness / self._distilled if self._distilled else None

    @property
    def problems(self) -> dict[str, int]:
        """How often something failed, by what; on the group root, empty elsewhere."""
        return {what: failure.count for what, failure in self._failures.items()}

    @property
    def reasons(self) -> dict[str, str]:
        """The last reason, with the path, of each of the `problems`."""
        return {what: failure.last for what, failure in self._failures.items() if failure.last}

    @property
    def hidden(self) -> dict[int, Any]:
        """{teacher group: hidden state} of this rank."""
        return self._teachers.hidden

    def state_dict(self) -> dict[str, Any]:
        """Counters and teachers, the same on all ranks of the group; with `hidden` it is all."""
        return {
            "done": self._done,
            "exchanges": self.exchanges,
            "seconds": self.seconds,
            "staleness": self._staleness,
            "distilled": self._distilled,
            "validation_loss": self.validation_loss,
            "teachers": self._teachers.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], hidden: Mapping[int, Any]) -> None:
        """Goes on from what `state_dict` and `hidden` gave.

        Collective over the group; with exact staleness it waits for teachers that are due, and
        raises GroupFailedError if they do not come.
        """
        self._done, self.exchanges = state["done"], state["exchanges"]
        self.seconds = state["seconds"]
        self._staleness, self._distilled = state["staleness"], state["distilled"]
        self.validation_loss = state["validation_loss"]
        for group, teacher in state["teachers"].items():
            self._teachers.load(group, teacher["step"], teacher["weights"])
        self._teachers.set_hidden(hidden)
        if self._source:
            self._source.hold(self._teachers.steps)
            self._switch()

    def loss(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """The weighted distillation term of this step; zero in the burn-in or without a teacher.

        Args:
            logits: The student's, from `inputs`; gradients flow into them.
            inputs: What the student saw; the teachers see the same.
        """
        self.teachers_used = self._fresh() if self._done >= self._options.burn_in else {}
        if not self.teachers_used:
            return logits.new_zeros(())
        behind = [self._done + 1 - step for step in self.teachers_used.values()]
        self._staleness += sum(behind) / len(behind)
        self._distilled += 1
        psi = self._distillation_loss(logits, self._teachers.predict(inputs, self.teachers_used))
        return self._options.distill_weight * psi

    def step(self) -> None:
        """Counts an update; at the interval publishes and looks for fresher teachers.

        Collective over the group: all ranks switch to fresher weights at the same step.

        Raises:
            GroupFailedError: With exact staleness: a publication failed, or a teacher did not come.
        """
        begun = time.perf_counter()
        self._done += 1
        if self._done % self._options.exchange_interval == 0:
            self._publish()
            self._confirm()
        self._switch()
        self.seconds += time.perf_counter() - begun

    def close(self, publish: bool = True) -> None:
        """Ends the exchange. Collective over the group.

        Args:
            publish: Whether the weights are worth publishing once more.
        """
        if self._source:
            self._source.close()
        # Teachers of an exact age are never of a step between two intervals.
        odd = self._done % self._options.exchange_interval and not self._exact
        if publish and odd:
            self._publish()
        if self._publisher:
            self._publisher.close()

    @property
    def _failures(self) -> dict[str, Failure]:
        by_teacher = self._source.failures if self._source else {}
        found = {
            f"group {teacher}: {cause}": failure
            for teacher, causes in by_teacher.items()
            for cause, failure in causes.items()
        }
        if self._publisher and (failed := self._publisher.counters.failed):
            found["not published"] = Failure(failed, self._publisher.counters.last_error)
        return found

    def _fresh(self) -> dict[int, int]:
        """{group: step} of the teachers that are not too far behind."""
        limit, step, teachers = self._options.max_staleness, self._done + 1, self._teachers.steps
        late = {each for each, its in teachers.items() if limit is not None and step - its > limit}
        for each in late - self._late:
            log.warning(
                "step %d: group %d is %d steps behind, more than --max-staleness %s: left out "
                "until it catches up",
                step,
                each,
                step - teachers[each],
                limit,
            )
        for each in self._late - late:
            log.info("step %d: group %d has caught up and teaches again", step, each)
        self._late = late
        return {each: its for each, its in teachers.items() if each not in late}

    def _switch(self) -> None:
        for update in self._source.step(self._done) if self._source else []:
            self._teachers.load(update.group, update.step, update.tensors)
            self.exchanges += 1

    def _publish(self) -> None:
        if self._publisher is None:
            return
        about = dataclasses.replace(
            self._about,
            step=self._done,
            examples=self._done * self._examples_per_step,
            validation_loss=self.validation_loss,
        )
        self._publisher.publish(snapshot(self._model.state_dict()), about)

    def _confirm(self) -> None:
        """Waits until a publication that others will wait for is there. Collective.

        It must be there before any later state is: a group that went on from one would never
        publish it again.
        """
        if not self._exact or self._source is None:
            return
        problem = ""
        if self._publisher and not self._publisher.flush(self._options.teacher_wait):
            problem = self._publisher.counters.last_error or "the file system does not take it"
        if problem := broadcast_json(self._group.comm, problem):
            raise GroupFailedError(
                f"step {self._done} could not be published, which --staleness exact depends on: "
                f"{problem}"
            )
