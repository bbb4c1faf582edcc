"""Figures about the teachers of a group: how stale they were, how often they came."""

from collections.abc import Mapping
from typing import Any


class Figures:
    """Counts of a group's exchange since its first step.

    Attributes:
        exchanges: How often fresher teacher weights were taken over.
        seconds: Training-thread time spent on the exchange.
        teachers_used: {group: step} of the teachers in the last loss; empty without a term.
    """

    def __init__(self) -> None:
        self.exchanges, self.seconds = 0, 0.0
        self.teachers_used: dict[int, int] = {}
        self._staleness, self._distilled = 0.0, 0
        self._counted = -1

    @property
    def mean_staleness(self) -> float | None:
        """Mean of student's minus teacher's step, in steps; ``None`` before any distillation."""
        return self._staleness / self._distilled if self._distilled else None

    def use(self, step: int, teachers: dict[int, int]) -> None:
        """Notes the teachers of a step's loss; a step counts once, however often it asks for one.

        Args:
            step: The student's, from 1.
            teachers: {group: step}.
        """
        self.teachers_used = teachers
        if teachers and self._counted != step:
            self._counted = step
            self._staleness += sum(step - taught for taught in teachers.values()) / len(teachers)
            self._distilled += 1

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters as plain values."""
        return {
            "exchanges": self.exchanges,
            "seconds": self.seconds,
            "staleness": self._staleness,
            "distilled": self._distilled,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self.exchanges, self.seconds = state["exchanges"], state["seconds"]
        self._staleness, self._distilled = state["staleness"], state["distilled"]
