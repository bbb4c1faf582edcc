"""The Codistiller: what a training loop calls to make its group learn from the other groups."""

import atexit
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hvcod import config
from hvcod.codistill import identity
from hvcod.codistill.exchanges.exact import ExactTeachers
from hvcod.codistill.exchanges.freshest import FreshestTeachers
from hvcod.codistill.losses import DistillationLoss, named_loss
from hvcod.codistill.outputs import Logits, call, logits_of
from hvcod.codistill.student import check_unchanged, check_weights, device_of, specified
from hvcod.codistill.teachers import Predict, Teachers
from hvcod.codistill.topology import teachers_of
from hvcod.config import CodistillOptions
from hvcod.errors import GroupFailedError, HvcodError
from hvcod.exchange.directory import published_directory
from hvcod.exchange.poll import Failure
from hvcod.exchange.publish import Publisher, snapshot
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_json
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.origin import Origin

log = logging.getLogger("hvcod.codistill")


class Codistiller:
    """Publishes this group's weights, keeps its teachers fresh and gives the distillation term.

    The calls of Algorithm 1's loop: `loss` before the update, `step` after it, `close` at the end.
    Nothing here waits for the file system or for another group, unless the teachers' age is to be
    exact. With one group every call works and does nothing.

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
        about: Origin | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Collective over the group; over all groups of the launch, if it has to name the run.

        Args:
            model: The student, on its device. It is only read; teachers are copies of it.
            group: This rank's group; a script makes it with `hvcod.Groups`.
            run_dir: Shared by the groups of the run.
            options: Interval, burn-in, weight, topology.
            logits: Which part of the outputs the logits are: the item of a tuple (a number) or
                mapping (a name), an attribute (a name), what a function finds; None: all.
            predict: How a teacher of a model with a hidden state predicts: (model, inputs, state)
                -> (outputs, next state). The default calls the model.
            likelihood: What the logits predict: ``classes`` in the last dimension, or ``binary``:
                the probability of a yes each.
            distillation_loss: psi of Algorithm 1: (student's logits, logits of each teacher) ->
                scalar. By default the one that the options name, for the likelihood.
            reuse_logits: Whether the memory of a teacher's logits may be overwritten, which saves
                the largest temporary of a step: they must not be part of its hidden state.
            run_id: Names the run; needed where the other groups are other launches.
            examples_per_step: Of the whole group; 0 if unknown.
            about: What published checkpoints say of themselves, if more is known than `run_id`.
            stop: Whether this rank has been told to stop: ends a wait for an exact teacher.

        Raises:
            UsageError: An option is wrong, the topology does not fit the number of groups, or the
                run needs a `run_id`.
            HvcodError: The model cannot be published or copied.
        """
        given = vars(options or CodistillOptions())
        self._options: CodistillOptions = config.resolve(CodistillOptions, [given])
        self._model, self._group, self._run_dir = model, group, Path(run_dir).absolute()
        self._logits, self._stop = logits, stop
        self._psi = distillation_loss or named_loss(
            self._options.distill_loss, likelihood, reuse_logits
        )
        self._examples_per_step = examples_per_step
        self._sources = teachers_of(group.index, group.count, self._options.topology)
        self._specification: dict[str, TensorSpec] = specified(model) if self._sources else {}
        self._device = device_of(model)
        self._teachers = Teachers(model, self._sources, predict, logits)
        self._is_script, self._id_is_new = about is None, about is None and run_id is None
        self._about = about or identity.of_script(group, run_id)
        self._done, self._counted = 0, -1
        self._staleness, self._distilled = 0.0, 0
        self._late: set[int] = set()
        self._exact = self._options.staleness == "exact"
        self._begun = self._closed = False
        self._publisher: Publisher | None = None
        self._source: ExactTeachers | FreshestTeachers | None = None
        self.exchanges = 0
        self.teachers_used: dict[int, int] = {}
        self.validation_loss: float | None = None
        self.seconds = 0.0

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

    def figures(self, step: int) -> dict[str, object]:
        """Returns what a line of metrics shows: the teachers' steps and their staleness, in steps.

        Args:
            step: The student's.
        """
        teachers = self.teachers_used
        staleness = {group: step - taught for group, taught in teachers.items()}
        return {"teachers": teachers, "staleness": staleness}

    def summary(self) -> dict[str, object]:
        """Returns what a finished run shows: exchanges, mean staleness in steps, seconds a step."""
        return {
            "exchanges": self.exchanges,
            "mean_staleness": self.mean_staleness,
            "exchange_s": self.seconds / max(1, self._done),
        }

    @property
    def hidden(self) -> dict[int, Any]:
        """{teacher group: hidden state} of this rank."""
        return self._teachers.hidden

    @hidden.setter
    def hidden(self, states: Mapping[int, Any]) -> None:
        self._teachers.set_hidden(states)

    def state_dict(self) -> dict[str, Any]:
        """Counters and teachers, the same on all ranks of the group; with `hidden` it is all.

        Numbers, strings and tensors: what `torch.save` writes.
        """
        return {
            "run_id": self._about.run_id,
            "group": self._group.index,
            "done": self._done,
            "exchanges": self.exchanges,
            "seconds": self.seconds,
            "staleness": self._staleness,
            "distilled": self._distilled,
            "validation_loss": self.validation_loss,
            "teachers": self._teachers.state_dict(),
        }

    def load_state_dict(
        self, state: Mapping[str, Any], hidden: Mapping[int, Any] | None = None
    ) -> None:
        """Goes on from what `state_dict` and `hidden` gave, before the first step.

        Collective over the group; with exact staleness it waits for teachers that are due.

        Args:
            state: What `state_dict` gave; the run goes on under its id.
            hidden: What `hidden` gave on this rank, if the model carries a state.

        Raises:
            HvcodError: The state is of another run, group or model.
            GroupFailedError: Exact teachers do not come.
        """
        self._check_state(state)
        self._about = dataclasses.replace(self._about, run_id=state["run_id"])
        self._done, self.exchanges = state["done"], state["exchanges"]
        self.seconds = state["seconds"]
        self._staleness, self._distilled = state["staleness"], state["distilled"]
        self.validation_loss = state["validation_loss"]
        for group, teacher in state["teachers"].items():
            self._teachers.load(group, teacher["step"], teacher["weights"])
        self._teachers.set_hidden(hidden or {})
        self._begin()
        if self._source:
            self._source.hold(self._teachers.steps)
            self._switch()

    def loss(self, outputs: Any, inputs: Any) -> Tensor:
        """The weighted distillation term of this step; zero in the burn-in or without a teacher.

        With gradient accumulation it may be called several times a step.

        Args:
            outputs: The student's, from `inputs`; gradients flow into its logits.
            inputs: What the student saw, as the teachers are to see it: a tensor, a tuple of
                positional arguments or a mapping of keyword arguments; or what `predict` takes.

        Raises:
            HvcodError: The outputs hold no logits, or others than the teachers', the model is on
                another device than before, or the Codistiller is closed.
        """
        self._check_usable()
        logits = logits_of(outputs, self._logits)
        self.teachers_used = self._fresh() if self._done >= self._options.burn_in else {}
        if not self.teachers_used:
            return logits.new_zeros(())
        if self._counted != self._done:
            self._counted = self._done
            behind = [self._done + 1 - step for step in self.teachers_used.values()]
            self._staleness += sum(behind) / len(behind)
            self._distilled += 1
        psi = self._psi(logits, self._teachers.predict(inputs, self.teachers_used))
        return self._options.distill_weight * psi

    def step(self) -> None:
        """Counts an update; at the interval publishes and looks for fresher teachers.

        Collective over the group: all ranks switch to fresher weights at the same step.

        Raises:
            HvcodError: The run directory belongs to another run, the model has other tensors than
                before, or the Codistiller is closed.
            GroupFailedError: With exact staleness: a publication failed, or a teacher did not come.
        """
        self._check_usable()
        begun = time.perf_counter()
        self._begin()
        self._done += 1
        if self._done % self._options.exchange_interval == 0:
            self._publish()
            self._confirm()
        self._switch()
        self.seconds += time.perf_counter() - begun

    def close(self, publish: bool = True) -> None:
        """Ends the exchange; the end of a script does so too. Collective over the group.

        Args:
            publish: Whether the weights are worth publishing once more.
        """
        atexit.unregister(self.close)
        if self._closed:
            return
        self._closed = True
        if self._source:
            self._source.close()
        # Teachers of an exact age are never of a step between two intervals.
        odd = self._done % self._options.exchange_interval and not self._exact
        if publish and odd:
            self._publish()
        if self._publisher:
            self._publisher.close()

    def _begin(self) -> None:
        """Starts the exchange; not before it is known which run this is. Collective."""
        if self._begun or not self._sources:
            return
        self._begun = True
        group, options = self._group, self._options
        directories = {each: published_directory(self._run_dir, each) for each in self._sources}
        given = group, options, directories, self._specification, self._about.run_id
        if self._is_script:
            identity.check_directory(self._run_dir, group, self._specification, self._about.run_id)
            # Other groups would miss the last weights, and MPI must not end under a transfer.
            atexit.register(self.close)
        if group.is_root:
            # A group that goes on from an old state asks for teachers of long ago.
            keep = None if self._exact else options.keep_published
            self._publisher = Publisher(published_directory(self._run_dir, group.index), keep)
        self._source = (
            ExactTeachers(*given, self._stop) if self._exact else FreshestTeachers(*given)
        )

    def _check_usable(self) -> None:
        if self._closed:
            raise HvcodError("the Codistiller is closed: call close() after the last step")
        if (device := device_of(self._model)) != self._device:
            raise HvcodError(
                f"the model was on {self._device} when the Codistiller was made and is on {device} "
                "now: move it to its device first"
            )

    def _check_state(self, state: Mapping[str, Any]) -> None:
        if self._begun:
            raise HvcodError("call load_state_dict() before the first step of the Codistiller")
        if state["group"] != self._group.index:
            raise HvcodError(
                f"this is group {self._group.index}, and the state is that of group "
                f"{state['group']}: each group goes on from its own"
            )
        if not self._id_is_new and state["run_id"] != self._about.run_id:
            raise HvcodError(
                f"the state belongs to run {state['run_id']!r}, not to {self._about.run_id!r}"
            )
        if strange := sorted(set(state["teachers"]).difference(self._sources)):
            raise HvcodError(
                f"the state has a teacher of group {strange[0]}, which does not teach here: go on "
                "with the same groups and topology"
            )
        for teacher in state["teachers"].values():
            check_weights(teacher["weights"], self._specification)

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
        if self._begun:
            check_unchanged(self._model, self._specification)
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
