"""The record that a group keeps of its run: log lines, validations, and the summary at the end."""

import math
import resource
import time
from dataclasses import asdict, dataclass

from torch import Tensor

from hvcod.codistill.codistiller import Codistiller
from hvcod.errors import HvcodError
from hvcod.progress import Progress
from hvcod.tasks.base import Task
from hvcod.training.metrics import Means, MetricsFile
from hvcod.training.optimizer import Optimizer
from hvcod.training.run import Run


@dataclass(frozen=True)
class Summary:
    """What a group has to show at the end.

    Attributes:
        group: The group.
        steps: Training steps made.
        validation_loss: The last one.
        exchanges: How often fresher teacher weights were taken over.
        mean_staleness: Mean of student's minus teacher's step, in steps, over the steps with a
            distillation term; ``None`` if there was none.
        step_s: Mean seconds of a training step, validation left out.
        exchange_s: Mean training-thread seconds a step that went into publishing, polling and
            switching teachers.
        peak_memory: Most bytes that the group root's process held in memory.
        weights: SHA-256 of the final weights, the same on all ranks of the group.
        problems: How often something of the exchange failed, by cause; see the log.
        run_dir: The run directory.
    """

    group: int
    steps: int
    validation_loss: float
    exchanges: int
    mean_staleness: float | None
    step_s: float
    exchange_s: float
    peak_memory: int
    weights: str
    problems: dict[str, int]
    run_dir: str

    def to_dict(self) -> dict[str, object]:
        """The summary as plain values."""
        return asdict(self)


class Journal:
    """Writes what happened; all ranks of the group take part in the means, its root writes."""

    def __init__(
        self, task: Task, run: Run, optimizer: Optimizer, codistiller: Codistiller
    ) -> None:
        options, group = task.options, task.group
        self._options, self._group, self._run = options, group, run
        self._optimizer, self._codistiller = optimizer, codistiller
        self._file = None
        if group.is_root:
            events = run.group / "tensorboard" if options.tensorboard else None
            self._file = MetricsFile(run.group / "metrics.jsonl", events)
        shown = group.is_root and (group.index == 0 or options.group is not None)
        self._progress = Progress(options.steps, f"group {group.index}", "step", shown)
        self._means = Means()
        self._validation_loss: float | None = None
        self._training_s = 0.0
        self._begun = self._lap = time.monotonic()

    def step(self, step: int, task_loss: Tensor, distill_loss: Tensor) -> None:
        """Takes note of a training step. Collective.

        Raises:
            HvcodError: The loss is no number any more.
        """
        # From call to call: what is queued on a GPU is waited for in some step.
        now = time.monotonic()
        elapsed, self._lap = now - self._lap, now
        self._training_s += elapsed
        self._means.add(
            task_loss=task_loss.detach(), distill_loss=distill_loss.detach(), step_s=elapsed
        )
        figures = ""
        if step % self._options.log_interval == 0 or step == self._options.steps:
            figures = f"loss {self._log(step):.3f}{self._validation()}"
        self._progress.update(figures=figures)

    def validated(self, step: int, validation_loss: float) -> None:
        """Takes note of a validation."""
        self._validation_loss = validation_loss
        self._write(step, {"validation_loss": validation_loss})
        self._lap = time.monotonic()

    def close(self, weights: str) -> Summary:
        """Ends the record; `weights` is the digest of the final ones."""
        self._progress.close(self._validation().removeprefix(", "))
        if self._file is not None:
            self._file.close()
        return Summary(
            group=self._group.index,
            steps=self._options.steps,
            validation_loss=math.nan if self._validation_loss is None else self._validation_loss,
            exchanges=self._codistiller.exchanges,
            mean_staleness=self._codistiller.mean_staleness,
            step_s=self._training_s / self._options.steps,
            exchange_s=self._codistiller.seconds / self._options.steps,
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            weights=weights,
            problems=self._codistiller.problems,
            run_dir=str(self._run.directory),
        )

    def _validation(self) -> str:
        return "" if self._validation_loss is None else f", validation {self._validation_loss:.3f}"

    def _log(self, step: int) -> float:
        means = self._means.take(self._group.comm)
        loss = means["task_loss"] + means["distill_loss"]
        if not math.isfinite(loss):
            raise HvcodError(
                f"group {self._group.index}: the loss is {loss} at step {step}; "
                "lower --learning-rate, or clip the gradient with --clip"
            )
        teachers = self._codistiller.teachers_used
        figures = {
            "loss": loss,
            **means,
            "learning_rate": self._optimizer.learning_rate,
            "teachers": teachers,
            "staleness": {group: step - its_step for group, its_step in teachers.items()},
        }
        self._write(step, figures)
        return loss

    def _write(self, step: int, figures: dict[str, object]) -> None:
        if self._file is None:
            return
        examples = step * self._group.size * self._options.batch_size
        wall_s = round(time.monotonic() - self._begun, 3)
        self._file.write({"step": step, "examples": examples, "wall_s": wall_s} | figures)
