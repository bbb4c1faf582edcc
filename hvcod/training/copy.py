"""One copy of the model, and how it learns (paper, Algorithm 1)."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvcod.codistill.average import Average
from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.teachers.base import Label, Teacher
from hvcod.registry import BASE_ALGORITHMS
from hvcod.spans import DATA, FORWARD, UPDATE
from hvcod.tasks.base import Batch, Task
from hvcod.tasks.batches import begun_after, learned, training_data_of
from hvcod.training.compiling import explained, outputs_of, uncompiled
from hvcod.training.ensemble import Ensemble
from hvcod.training.initial import begin_with_init
from hvcod.training.noise.meter import NoiseMeter
from hvcod.training.other_models import teachers_of_groups
from hvcod.training.precision import computing
from hvcod.training.prefetch import Prefetch
from hvcod.training.run.directory import Run
from hvcod.training.smoothing import smoothing_teachers, term_options
from hvcod.training.state.keeper import NOISE, Keeper
from hvcod.training.state.part import Attribute, Buffers
from hvcod.training.stored.teacher import with_stored
from hvcod.training.validation import compare, lent, validate


class Losses(NamedTuple):
    """The losses of an update on this rank, and its outcome.

    Attributes:
        task: The task loss (phi of Algorithm 1).
        distill: The weighted distillation loss (psi); zero without a teacher.
        weight: Its weight; zero without a teacher.
        updated: Whether the weights were updated; a gradient that is NaN or infinite may be left
            out.
    """

    task: Tensor
    distill: Tensor
    weight: float
    updated: bool


class Copy:
    """The copy of the model that a group trains, as one of its ranks sees it.

    Attributes:
        optimizer: The base algorithm, which makes one model of what all ranks of the group learn.
        noise: Measures the gradient noise scale, if that is asked for.
        codistiller: Brings teachers from the other groups, and publishes the student for them.
        average: The moving average of the weights, if one is published or kept beside them.
        hidden: The hidden state that the student carries from batch to batch; None at first.
    """

    def __init__(
        self,
        task: Task,
        run: Run,
        device: torch.device,
        stop: Callable[[], bool],
        fixed: Sequence[Teacher] = (),
        ensemble: Ensemble | None = None,
    ) -> None:
        """Collective over the group; a wait for a teacher ends when `stop` returns True.

        Args:
            fixed: Teachers beside those that an exchange brings.
            ensemble: Of the groups of this process, for ``--validate-ensemble``.
        """
        options, group = task.options, task.group
        self._task, self._group, self._device = task, group, device
        torch.manual_seed(group.seed(options.seed))
        self.model = task.build_model().to(device)
        begin_with_init(self.model, task, run)
        # All ranks of a group have the same weights, but each drops out units of its own.
        torch.manual_seed(group.seed(options.seed, 1 + group.rank))
        self.optimizer = BASE_ALGORITHMS.load(options.sgd)(self.model, group, options)
        self.noise = NoiseMeter(self.optimizer.updates, group, options)
        self._outputs = outputs_of(task)
        origin = run.origin(options, group)
        self.codistiller = Codistiller(
            self.model,
            group,
            run.directory,
            term_options(options),
            origin=origin,
            examples_per_step=lambda steps: learned(group, options, steps),
            steps=options.steps,
            predict=self._outputs,
            likelihood=task.likelihood,
            reuse_logits=True,
            state_rows=task.state_rows,
            teachers=teachers_of_groups(task, self.model, origin),
            fixed=[*fixed, *smoothing_teachers(task)],
            stop=stop,
        )
        self.codistiller.student.weights_now = self.optimizer.weights
        self.codistiller.student.changed_now = self.optimizer.changed_rows
        self.average, self._kept = self.codistiller.student.average, None
        if self.average is None and options.average is not None:
            self.average = self._kept = Average(self.model, options.average)
        self.data = Prefetch(with_stored(training_data_of(task), fixed, options.accumulate))
        self.hidden: Any = None
        self._ensemble = ensemble if options.validate_ensemble else None
        if self._ensemble:
            self._ensemble.join(self)

    def begin(self) -> None:
        """Begins to teach the other groups, and to be taught. Collective over the group.

        Raises:
            GroupFailedError: See `Codistiller.begin`.
        """
        self.codistiller.begin(self.data.state_dict())

    def learn(self) -> list[Losses]:
        """Makes one step of Algorithm 1; returns the losses of each update that this rank made.

        That is one, unless the base algorithm is asynchronous. Collective over the group if not.

        Raises:
            GroupFailedError: The group cannot go on; the other groups do.
        """
        with explained(self._task.options.compile), self.noise.explained():
            losses = [self._update() for _ in self.optimizer.rounds()]
        self.codistiller.step()
        if self._kept:
            self._kept.update()
        return losses

    def _update(self) -> Losses:
        """Makes one update from a batch, of which each part is learned when its turn comes."""
        before = self.hidden
        with DATA:
            batch = self.data.next()
            *earlier, last = batch.micro_batches(self.noise.begin())
        learned = [self._accumulate(part) for part in earlier]
        loss, task_loss, distill_loss = self._losses(last)
        with UPDATE:
            updated = self.optimizer.step(loss)
        self.noise.end(updated, taught=self.codistiller.weight > 0)
        if not updated:
            self.hidden = batch.part.settled(before, self._task.state_rows)
        for task, distill in learned:
            task_loss, distill_loss = task_loss + task, distill_loss + distill
        return Losses(task_loss, distill_loss, self.codistiller.weight, updated)

    def _accumulate(self, part: Batch) -> tuple[Tensor, Tensor]:
        """Adds the gradients of a part of a batch to those before it; returns its losses."""
        loss, task_loss, distill_loss = self._losses(part)
        self.optimizer.accumulate(loss)
        return task_loss.detach(), distill_loss.detach()

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the sum of both losses of a batch, and each; or a part's share in those."""
        rows, part, share = self._task.state_rows, batch.part, batch.part.count
        with DATA:
            batch = batch.to(self._device)
        phi = self._task.phi(batch)
        with computing(self._task.options.precision, self._device):
            with FORWARD:
                state = part.before(self.hidden, rows)
                outputs, state = self._outputs(self.model, batch.inputs, state)
            losses = self.codistiller.losses(outputs, batch.inputs, phi, batch.places, part)
        self.hidden = part.after(self.hidden, state, rows)
        return losses.total / share, losses.task / share, losses.distill / share

    def validate(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Measures the student on the validation data, see `validate`, and its teachers on some.

        Returns:
            The student's metrics, and further figures by name: its metrics over ``parts`` of the
            data, and by label of a teacher its loss and its disagreement with the student, see
            `compare`. Collective.
        """
        with self.shown() as shown:
            measured = validate([shown], self._device)
            self.codistiller.validation_loss = measured.whole["loss"]
            taught = self._beside_teachers() if self.codistiller.is_taught else {}
        if self.averaged:
            with self.shown(average=True) as shown:
                average = validate([shown], self._device)
            measured = measured.beside(average.named("average_"))
        if self._ensemble:
            measured = measured.beside(self._ensemble.measured(self).named("ensemble_"))
        figures = {"parts": measured.parts, **taught}
        return measured.whole, {name: values for name, values in figures.items() if values}

    @contextlib.contextmanager
    def shown(self, average: bool = False) -> Iterator[tuple[Task, nn.Module]]:
        """Gives the task, and the model with the weights that are validated, or their average.

        For as long as it lasts, in which no rank learns. Collective.
        """
        with self.optimizer.still(), uncompiled(self._task.options.compile):
            weights = self.optimizer.weights()
            if average and self.average:
                weights = self.average.weights()
            with lent(self.model, weights):
                yield self._task, self.model

    @property
    def averaged(self) -> bool:
        """True if an average of the weights is validated, too."""
        return self._task.options.validate_average and self.average is not None

    @property
    def done(self) -> int:
        """The number of steps that have been made."""
        return self.codistiller.done

    def _beside_teachers(self) -> dict[str, dict[Label, float]]:
        """Returns {figure: {label: value}} of the teachers."""
        teachers = self.codistiller.teachers
        compared = compare(self._task, self.model, teachers, self._device)
        self.codistiller.compare(compared.loss, compared.losses)
        figures = {"teachers": compared.losses, "disagreement": compared.disagreement}
        return {
            name: {teachers[key].label: value for key, value in values.items()}
            for name, values in figures.items()
        }

    def register(self, keeper: Keeper) -> None:
        """Registers everything that a training state holds of the copy."""
        rows = self._task.state_rows
        self.optimizer.register(keeper)
        if self._task.options.noise_interval:
            keeper.shared(NOISE, self.noise)
        keeper.shared("codistiller", self.codistiller)
        if self._kept:
            keeper.shared("average", self._kept)
        keeper.own("data", self.data, rows=0, of_examples=True, anew=self._begin_data)
        keeper.own("hidden", Attribute(self, "hidden", self._device), rows)
        keeper.own("teachers", Attribute(self.codistiller, "hidden", self._device), rows)
        keeper.own("buffers", Buffers(self.model))

    def _begin_data(self, step: int) -> None:
        """Begins other examples after so many steps of the training."""
        self.data.load_state_dict(begun_after(step, self.data.state_dict()))

    def close(self, publish: bool) -> None:
        """Ends its threads, and publishes the weights if they are worth it. Collective."""
        if self._ensemble:
            self._ensemble.leave(self)
        self.data.close()
        with self.optimizer.still():
            self.codistiller.close(publish)

    @property
    def problems(self) -> dict[str, int]:
        """The number of skipped steps; on the group root."""
        skipped = self.optimizer.skipped
        return {"skipped steps": skipped} if skipped and self._group.is_root else {}

    @property
    def reasons(self) -> dict[str, str]:
        """Nothing: why a step was skipped is in the log."""
        return {}

    def figures(self, step: int) -> dict[str, object]:
        """Returns the figures of the base algorithm, and the gradient noise scale."""
        return self.optimizer.figures() | self.noise.figures()

    def counters(self) -> dict[str, int]:
        """Returns the bytes that this rank has given to its group to be averaged."""
        return {"allreduce_bytes": self.optimizer.sent}

    def summary(self) -> dict[str, object]:
        """Returns the summary of the base algorithm."""
        return self.optimizer.summary()
