"""The record that a group keeps of its run: log lines, validations, events, and the summary."""

import logging
import math
import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hvcod.codistill.teachers.base import Label
from hvcod.config import TrainOptions
from hvcod.errors import DivergedError
from hvcod.groups.split import Group
from hvcod.progress import Progress
from hvcod.tasks.batches import learned
from hvcod.training.record.means import Means
from hvcod.training.record.metrics import MetricsFile
from hvcod.training.record.processors import Processors
from hvcod.training.record.profile import profile_of
from hvcod.training.record.source import Source
from hvcod.training.record.times import StepTimes
from hvcod.training.record.trackers.about import tracked
from hvcod.training.record.trackers.feed import Trackers
from hvcod.training.run.directory import Run

log = logging.getLogger("hvcod.training")

Update = tuple[Tensor, Tensor, float, bool]
"""Task loss, distillation loss times its weight, that weight, and whether the weights changed."""

_CPU = torch.device("cpu")


class Journal:
    """Writes down what happens; all ranks of the group take part in the means, its root writes.

    A line is a mean over the steps since the line before, and holds the figures of all sources.

    Attributes:
        losses: The means that the next line will hold.
    """

    def __init__(
        self, options: TrainOptions, group: Group, run: Run, device: torch.device = _CPU
    ) -> None:
        self._options, self._group, self._run = options, group, run
        self._processors = Processors(group, device)
        self._sources: list[Source] = [self._processors]
        self._file: MetricsFile | None = None
        self._trackers: Trackers | None = None
        self.losses, self._times = Means("losses"), StepTimes()
        self._metrics: dict[str, float] = {}
        self._counted: dict[str, int] = {}
        self._steps = self._restarts = 0
        self._profile = profile_of(options, group, run.group, self._times, device)

    def add(self, source: Source) -> None:
        """Registers a source: its figures, summary and problems are written from now on."""
        self._sources.append(source)

    def begin(self, step: int) -> None:
        """Opens the files, to go on after so many steps.

        Raises:
            HvcodError: The metrics cannot be written.
        """
        options, group, wall_s = self._options, self._group, 0.0
        if group.is_root:
            self._file = MetricsFile(self._run.group / "metrics.jsonl", after=step)
            wall_s = self._file.wall_s
            if options.tracker:
                run = tracked(options, group, self._run, step)
                self._trackers = Trackers(options.tracker.names, run, self._file.kept)
                self.add(self._trackers)
        shown = group.is_root and (group.index == 0 or options.group is not None)
        name = f"group {group.index}"
        self._progress = Progress(options.steps, name, "step", shown, begin=step)
        self._steps = step
        self._begun = time.monotonic() - wall_s
        if self._restarts:
            log.info("resumed after step %d", step)
        kind = self._processors.begin(step)
        self.event("resumed" if self._restarts else "started", processor=kind)
        if self._profile:
            self._profile.begin(step)
        self._times.start()

    def step(self, step: int, updates: Iterable[Update]) -> None:
        """Records a training step, counted from 1, and this rank's updates in it.

        The losses of an update that was skipped do not count. Collective where `Group.total` is.

        Raises:
            DivergedError: The loss is NaN or infinite.
        """
        # From call to call: what is queued on a GPU is waited for in some step.
        self._times.step()
        self._steps = step
        for task_loss, distill_loss, weight, updated in updates:
            self.losses.add(
                updated,
                task_loss=task_loss.detach(),
                distill_loss=distill_loss.detach(),
                distill_weight=weight,
            )
        figures = ""
        if step % self._options.log_interval == 0 or step == self._options.steps:
            figures = f"{self._log(step)}{self._validation()}"
        self._progress.update(figures=figures)
        if self._profile:
            self._profile.step(step)

    def pause(self) -> Iterator[None]:
        """Yields once; what happens meanwhile does not count as a step of this group."""
        self._times.stop()
        yield
        self._times.start()

    def validated(
        self,
        step: int,
        metrics: Mapping[str, float],
        more: Mapping[str, Mapping[Label, object]],
    ) -> None:
        """Records what a validation measured: metrics, and {figure: {label: value}} beside them."""
        self._metrics = dict(metrics)
        measured = {**metrics, **more}
        self._write(step, {f"validation_{name}": value for name, value in measured.items()})
        self._times.lap()

    def event(self, event: str, **more: object) -> None:
        """Records something that happens to the run, at the last step."""
        self._write(self._steps, {"event": event, **more, **self._troubles()})

    def sync(self) -> None:
        """Puts the lines so far on disk, if the file system takes them. For other threads."""
        if self._file is not None:
            self._file.sync()

    def state_dict(self) -> dict[str, Any]:
        """Returns what the summary needs of former lives, the same on all ranks."""
        return {
            "restarts": self._restarts,
            "training_s": self._times.training_s,
            "times": self._times.state_dict(),
            "metrics": self._metrics,
            "counters": self._counters(),
            "processors": self._processors.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Goes on from what `state_dict` returned."""
        self._restarts = state["restarts"] + 1
        self._times.training_s = state["training_s"]
        self._metrics = state["metrics"]
        # States of earlier versions have none of these.
        self._counted = state.get("counters", {})
        self._times.load_state_dict(state.get("times", {}))
        self._processors.load_state_dict(state.get("processors", []))

    def close(
        self, weights: str, ended: str, reason: str, diverged: bool = False
    ) -> dict[str, Any]:
        """Ends the record.

        Args:
            weights: SHA-256 of the final weights.
            ended: ``finished``, ``preempted`` (saved, to be submitted again) or ``failed``.
            reason: Why, if it is not finished.
            diverged: Whether it failed because its loss or gradient was NaN or infinite.

        Returns:
            The summary: what is here, the figures of the sources, and

            - steps: training steps made, in all lives of the run;
            - restarts: how often the group was resumed from a saved state;
            - validation_loss, metrics: what the last validation measured, if there was one;
            - step_s: mean seconds of a training step, without validation;
            - times: what they went to on the group root, by `hvcod.spans.PARTS`;
            - peak_memory: most bytes that the group root's process held in memory;
            - allreduce_bytes, published_bytes, taken_bytes and other counters of the sources: sums
              over all lives, on the group root;
            - problems: how often something failed, by what; the reasons are in the log.
        """
        self._times.stop()
        if self._profile:
            self._profile.close(self._steps)
        about = {"reason": reason, "diverged": diverged}
        self.event(ended, **{name: value for name, value in about.items() if value})
        self._progress.close(self._validation().removeprefix(", "))
        if self._file is not None:
            self._file.close()
        summary: dict[str, Any] = {
            "group": self._group.index,
            "ended": ended,
            "reason": reason,
            "steps": self._steps,
            "restarts": self._restarts,
            "validation_loss": self._metrics.get("loss"),
            "metrics": self._metrics,
            "step_s": self._times.training_s / max(1, self._steps),
            "times": self._times.summary(),
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "weights": weights,
            "run_dir": str(self._run.directory),
        }
        if self._trackers:
            self._trackers.close(summary)
        summary["problems"] = self._troubles().get("problems", {})
        for source in self._sources:
            summary |= source.summary()
        return summary | self._counters()

    def _validation(self) -> str:
        shown = [f"{name} {value:.3f}" for name, value in self._metrics.items()]
        return f", validation {', '.join(shown)}" if shown else ""

    def _log(self, step: int) -> str:
        losses = self.losses.take(self._group)
        figures: dict[str, object] = {**losses, **self._times.take(self._group)}
        for source in self._sources:
            figures |= source.figures(step)
        figures |= self._counters()
        if not losses:
            self._write(step, figures | self._troubles())
            return "all steps skipped" if self._group.pace is None else "no update so far"
        loss = losses["task_loss"] + losses["distill_loss"]
        if not math.isfinite(loss):
            problem = f"the loss is {loss} at step {step}"
            advice = "start a new run with a lower --learning-rate or --clip"
            self._group.fail(DivergedError(f"{problem}; {advice}"))
        self._write(step, {"loss": loss} | figures | self._troubles())
        return f"task loss {losses['task_loss']:.3f}{self._term(losses)}"

    def _term(self, losses: Mapping[str, float]) -> str:
        """Returns the distillation loss of a line, and its weight unless that is 1."""
        weight = losses.get("distill_weight")  # absent from states of earlier versions
        if not weight:
            return ""
        term = "distillation" if self._options.smoothing == "none" else "smoothing"
        times = "" if weight == 1 else f"{weight:.3g} x "
        return f", {term} {times}{losses['distill_loss'] / weight:.3f}"

    def _counters(self) -> dict[str, int]:
        """Returns what the sources have counted in all lives of the run."""
        counters = dict(self._counted)
        for source in self._sources:
            for name, count in source.counters().items():
                counters[name] = self._counted.get(name, 0) + count
        return counters

    def _troubles(self) -> dict[str, Any]:
        """Returns what went wrong so far, in counts and with reasons; nothing if nothing did."""
        problems: dict[str, int] = {}
        reasons: dict[str, str] = {}
        for source in self._sources:
            problems |= source.problems
            reasons |= source.reasons
        if self._file is not None and self._file.lost:
            problems["metrics lost"] = self._file.lost
        return {"problems": problems, "reasons": reasons} if problems else {}

    def _write(self, step: int, figures: dict[str, object]) -> None:
        if self._file is None:
            return
        if self._restarts:
            figures = {"restarts": self._restarts} | figures
        examples = learned(self._group, self._options, step)
        wall_s = round(time.monotonic() - self._begun, 3)
        line = {"step": step, "examples": examples, "wall_s": wall_s} | figures
        self._file.write(line)
        if self._trackers:
            self._trackers.log(step, line)
