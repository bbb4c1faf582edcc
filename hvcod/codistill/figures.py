"""Figures about the teachers of a group: how stale they were, how often they came."""

import contextlib
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hvcod.codistill.exchanges.base import Update
from hvcod.codistill.teachers.base import Label

_SAVED = ("exchanges", "seconds", "staleness", "distilled")


@dataclass
class Figures:
    """Counts of a group's exchange since its first step.

    Attributes:
        exchanges: How often fresher teacher weights were taken over.
        seconds: Training-thread time spent on the exchange.
        staleness: The sum over all steps of the mean staleness of groups that taught, in steps.
        distilled: Steps in which groups taught.
        teachers_used: {key: step} of the teachers in the last loss, None for fixed ones; empty
            without a term.
        weight: The weight of the last loss; zero without a term.
        taken_bytes: Bytes of all teacher weights that this launch took over.
        delays: Seconds for which the last of those had been published, by the clocks of both nodes.
    """

    exchanges: int = 0
    seconds: float = 0.0
    staleness: float = 0.0
    distilled: int = 0
    teachers_used: dict[int, int | None] = field(default_factory=dict)
    weight: float = 0.0
    counted: int = -1
    taken_bytes: int = 0
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))

    @property
    def mean_staleness(self) -> float | None:
        """Mean of student's minus teacher's step, in steps; ``None`` before any distillation."""
        return self.staleness / self.distilled if self.distilled else None

    def of_teachers(self, step: int, labels: Mapping[int, Label]) -> dict[str, object]:
        """Returns the steps of the teachers in the last loss and their staleness, by label.

        A fixed teacher has no step and no staleness.
        """
        used = {labels[key]: taught for key, taught in self.teachers_used.items()}
        staleness = {label: step - taught for label, taught in used.items() if taught is not None}
        return {"teachers": used, "staleness": staleness}

    def take(self, update: Update) -> None:
        """Notes that a teacher takes over fresher weights."""
        self.exchanges += 1
        self.taken_bytes += sum(tensor.nbytes for tensor in update.tensors.values())
        # A file may say anything.
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            delay = datetime.now(UTC) - datetime.fromisoformat(update.created)
            self.delays.append(delay.total_seconds())

    def use(self, step: int, teachers: dict[int, int | None], weight: float) -> None:
        """Notes {key: step} of the teachers of a loss, and its weight if there are any.

        Several losses of a step count once.
        """
        self.teachers_used, self.weight = teachers, weight if teachers else 0.0
        ages = [step - taught for taught in teachers.values() if taught is not None]
        if ages and self.counted != step:
            self.counted = step
            self.staleness += sum(ages) / len(ages)
            self.distilled += 1

    def summary(self) -> dict[str, object]:
        """Returns what a finished run shows, with the median of the `delays`."""
        return {
            "exchanges": self.exchanges,
            "mean_staleness": self.mean_staleness,
            "exchange_delay_s": statistics.median(self.delays) if self.delays else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters as plain values."""
        return {name: getattr(self, name) for name in _SAVED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        vars(self).update({name: state[name] for name in _SAVED})
