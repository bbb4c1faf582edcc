"""The Codistiller: what a training loop calls to make its group learn from the other groups."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from hvcod.codistill.teachers import Predict, Teachers
from hvcod.codistill.topology import teachers_of
from hvcod.codistill.transfer import Transfer
from hvcod.config import CodistillOptions
from hvcod.exchange.directory import published_directory
from hvcod.exchange.format import Metadata, specification
from hvcod.exchange.poll import Poller
from hvcod.exchange.publish import Publisher, snapshot
from hvcod.groups.split import Group

DistillationLoss = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(student's logits, logits of each teacher) -> scalar."""


class Codistiller:
    """Publishes this group's weights, keeps its teachers fresh and gives the distillation term.

    The three calls of Algorithm 1's loop: `loss` before the update, `step` after it, `close` at the
    end. Nothing here waits for the file system or for another group.

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

        Raises:
            UsageError: The topology does not fit the number of groups.
        """
        self._model, self._group, self._options, self._about = model, group, options, about
        self._examples_per_step = examples_per_step
        self._teachers = Teachers(model, predict)
        self._distillation_loss = distillation_loss
        self._done = 0
        self._staleness, self._distilled = 0.0, 0
        self.exchanges = 0
        self.teachers_used: dict[int, int] = {}
        self.validation_loss: float | None = None
        self.seconds = 0.0
        self._publisher: Publisher | None = None
        self._poller: Poller | None = None
        self._transfer: Transfer | None = None
        sources = teachers_of(group.index, group.count, options.topology)
        if sources and group.is_root:
            self._publisher = Publisher(
                published_directory(run_dir, group.index), keep=options.keep_published
            )
            directories = {each: published_directory(run_dir, each) for each in sources}
            self._poller = Poller(directories, specification(model.state_dict()), about.run_id)
        if sources:
            self._transfer = Transfer(group, self._poller)

    @property
    def mean_staleness(self) -> float | None:
        """Mean of student's minus teacher's step, in steps; ``None`` before any distillation."""
        return self._staleness / self._distilled if self._distilled else None

    @property
    def problems(self) -> dict[str, int]:
        """How often something failed, by cause; on the group root, empty elsewhere.

        ``not_published`` counts publications; the other causes are those of reading
        (`hvcod.exchange.poll.PollerCounters`).
        """
        failures = dict(self._poller.counters.failures) if self._poller else {}
        failed = self._publisher.counters.failed if self._publisher else 0
        return failures | ({"not_published": failed} if failed else {})

    def loss(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """The weighted distillation term of this step; zero in the burn-in or without a teacher.

        Args:
            logits: The student's, from `inputs`; gradients flow into them.
            inputs: What the student saw; the teachers see the same.
        """
        if self._done < self._options.burn_in or not self._teachers:
            self.teachers_used = {}
            return logits.new_zeros(())
        self.teachers_used = self._teachers.steps
        behind = [self._done + 1 - step for step in self.teachers_used.values()]
        self._staleness += sum(behind) / len(behind)
        self._distilled += 1
        psi = self._distillation_loss(logits, self._teachers.predict(inputs))
        return self._options.distill_weight * psi

    def step(self) -> None:
        """Counts an update; at the interval publishes and looks for fresher teachers.

        Collective over the group: all ranks switch to fresher weights at the same step.
        """
        begun = time.perf_counter()
        self._done += 1
        if self._done % self._options.exchange_interval == 0:
            self._publish()
            if (
                self._poller
                and self._done >= self._options.burn_in - self._options.exchange_interval
            ):
                self._poller.look(self._done)
        if self._transfer and (update := self._transfer.step()):
            self._teachers.load(update.group, update.step, update.tensors)
            self.exchanges += 1
        self.seconds += time.perf_counter() - begun

    def close(self) -> None:
        """Publishes the final weights and ends the exchange. Collective over the group."""
        if self._transfer:
            self._transfer.close()
        if self._poller:
            self._poller.close()
        if self._done % self._options.exchange_interval:
            self._publish()
        if self._publisher:
            self._publisher.close()

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
