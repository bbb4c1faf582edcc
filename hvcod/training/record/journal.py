"""The record that a group keeps of its run: log lines, validations, events, and the summary."""

import logging
import math
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from hvcod.codistill.codistiller import Codistiller
from hvcod.errors import GroupFailedError
from hvcod.progress import Progress
from hvcod.tasks.base import Task
from hvcod.training.record.metrics import Means, MetricsFile
from hvcod.training.run.directory import Run
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.state.saver import Saver

log = logging.getLogger("hvcod.training")


@dataclass(frozen=True)
class Summary:
    """What a group has to show at the end.

    Attributes:
        group: The group.
        ended: ``finished``, ``preempted`` (saved, to be submitted again) or ``failed``.
        reason: Why it ended early.
        steps: Training steps made, in all lives of the run.
        restarts: How often the group was resumed from a saved state.
        validation_loss: The last one; ``None`` if there was none.
        metrics: All that the last validation measured, by name; empty if there was none.
        exchanges: How often fresher teacher weights were taken over.
        mean_staleness: Mean of student's minus teacher's step, in steps, over the steps with a
            distillation term; ``None`` if there was none.
        step_s: Mean seconds of a training step, validation left out.
        exchange_s: Mean training-thread seconds a step that went into publishing, polling and
            switching teachers.
        skipped: Steps left out as their gradient was NaN or infinite.
        peak_memory: Most bytes that the group root's process held in memory.
        weights: SHA-256 of the final weights, the same on all ranks of the group.
        problems: How often something failed, by what; the reasons are in the log.
        run_dir: The run directory.
    """

    group: int
    ended: str
    reason: str
    steps: int
    restarts: int
    validation_loss: float | None
    metrics: dict[str, float]
    exchanges: int
    mean_staleness: float | None
    step_s: float
    exchange_s: float
    skipped: int
    peak_memory: int
    weights: str
    problems: dict[str, int]
    run_dir: str

    def to_dict(self) -> dict[str, object]:
        """The summary as plain values."""
        return asdict(self)


class Journal:
    """Writes what happens; all ranks of the group take part in the means, its root writes.

    A line is a mean over the steps since the line before.

    Attributes:
        losses: The means that the next line will hold.
    """

    def __init__(
        self, task: Task, run: Run, optimizer: BaseAlgorithm, codistiller: Codistiller, saver: Saver
    ) -> None:
        self._task, self._options, self._group, self._run = task, task.options, task.group, run
        self._optimizer, self._codistiller, self._saver = optimizer, codistiller, saver
        self._file: MetricsFile | None = None
        self.losses, self._times = Means(), Means()
        self._metrics: dict[str, float] = {}
        self._training_s = self._waited = 0.0
        self._steps = self._restarts = 0

    def begin(self, step: int) -> None:
        """Opens the files, to go on after so many steps.

        Raises:
            HvcodError: The metrics cannot be written.
        """
        options, group, wall_s = self._options, self._group, 0.0
        if group.is_root:
            events = self._run.group / "tensorboard" if options.tensorboard else None
            self._file = MetricsFile(self._run.group / "metrics.jsonl", events, after=step)
            wall_s = self._file.wall_s
        shown = group.is_root and (group.index == 0 or options.group is not None)
        name = f"group {group.index}"
        self._progress = Progress(options.steps, name, "step", shown, begin=step)
        self._steps = step
        self._lap = time.monotonic()
        self._begun = self._lap - wall_s
        if self._restarts:
            log.info("resumed after step %d", step)
        self.event("resumed" if self._restarts else "started")

    def step(
        self,
        step: int,
        task_loss: Tensor,
        distill_loss: Tensor,
        updated: bool,
        waited: float,
    ) -> None:
        """Takes note of a training step. Collective.

        Args:
            step: Its number, from 1.
            task_loss: This rank's.
            distill_loss: This rank's, weighted.
            updated: Whether the weights were changed; the losses of a skipped step do not count.
            waited: Seconds that this rank has waited for data since the start.

        Raises:
            GroupFailedError: The loss is NaN or infinite.
        """
        # From call to call: what is queued on a GPU is waited for in some step.
        now = time.monotonic()
        elapsed, self._lap = now - self._lap, now
        self._steps, self._training_s = step, self._training_s + elapsed
        self._times.add(step_s=elapsed, data_s=waited - self._waited)
        self._waited = waited
        if updated:
            self.losses.add(task_loss=task_loss.detach(), distill_loss=distill_loss.detach())
        figures = ""
        if step % self._options.log_interval == 0 or step == self._options.steps:
            figures = f"{self._log(step)}{self._validation()}"
        self._progress.update(figures=figures)

    def validated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes note of what a validation measured; the next published weights tell the loss."""
        self._metrics = dict(metrics)
        self._codistiller.validation_loss = metrics["loss"]
        self._write(step, {f"validation_{name}": value for name, value in metrics.items()})
        self._lap = time.monotonic()

    def event(self, event: str, **more: object) -> None:
        """Takes note of something that happens to the run, at the last step."""
        self._write(self._steps, {"event": event, **more, **self._troubles()})

    def state_dict(self) -> dict[str, Any]:
        """What the summary needs of former lives, the same on all ranks."""
        return {
            "restarts": self._restarts,
            "training_s": self._training_s,
            "metrics": self._metrics,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._restarts = state["restarts"] + 1
        self._training_s = state["training_s"]
        self._metrics = state["metrics"]

    def close(self, weights: str, ended: str, reason: str) -> Summary:
        """Ends the record.

        Args:
            weights: The digest of the final ones.
            ended: ``finished``, ``preempted`` or ``failed``.
            reason: Why, if it is not finished.
        """
        self.event(ended, **({"reason": reason} if reason else {}))
        self._progress.close(self._validation().removeprefix(", "))
        if self._file is not None:
            self._file.close()
        return Summary(
            group=self._group.index,
            ended=ended,
            reason=reason,
            steps=self._steps,
            restarts=self._restarts,
            validation_loss=self._metrics.get("loss"),
            metrics=self._metrics,
            exchanges=self._codistiller.exchanges,
            mean_staleness=self._codistiller.mean_staleness,
            step_s=self._training_s / max(1, self._steps),
            exchange_s=self._codistiller.seconds / max(1, self._steps),
            skipped=self._optimizer.skipped,
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            weights=weights,
            problems=self._troubles().get("problems", {}),
            run_dir=str(self._run.directory),
        )

    def _validation(self) -> str:
        shown = [f"{name} {value:.3f}" for name, value in self._metrics.items()]
        return f", validation {', '.join(shown)}" if shown else ""

    def _log(self, step: int) -> str:
        losses, times = self.losses.take(self._group.comm), self._times.take(self._group.comm)
        teachers = self._codistiller.teachers_used
        figures: dict[str, object] = {
            **losses,
            **times,
            "learning_rate": self._optimizer.learning_rate,
            "teachers": teachers,
            "staleness": {group: step - its_step for group, its_step in teachers.items()},
        }
        if not losses:
            self._write(step, figures | self._troubles())
            return "all steps skipped"
        loss = losses["task_loss"] + losses["distill_loss"]
        if not math.isfinite(loss):
            raise GroupFailedError(
                f"the loss is {loss} at step {step}; start a new run with a lower --learning-rate "
                "or --clip"
            )
        self._write(step, {"loss": loss} | figures | self._troubles())
        return f"loss {loss:.3f}"

    def _troubles(self) -> dict[str, Any]:
        """What went wrong so far, in counts and with reasons; nothing if nothing did."""
        problems, reasons = self._codistiller.problems, self._codistiller.reasons
        if self._saver.failed:
            problems["not saved"], reasons["not saved"] = self._saver.failed, self._saver.error
        if self._file is not None and self._file.lost:
            problems["metrics lost"] = self._file.lost
        if self._optimizer.skipped and self._group.is_root:
            problems["skipped steps"] = self._optimizer.skipped
        return {"problems": problems, "reasons": reasons} if problems else {}

    def _write(self, step: int, figures: dict[str, object]) -> None:
        if self._file is None:
            return
        if self._restarts:
            figures = {"restarts": self._restarts} | figures
        examples = step * self._group.trainers * self._options.batch_size
        wall_s = round(time.monotonic() - self._begun, 3)
        self._file.write({"step": step, "examples": examples, "wall_s": wall_s} | figures)
