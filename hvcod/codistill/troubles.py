"""Counts what went wrong with teachers, with the last reason of each kind."""

from hvcod.exchange.poll import Failure


class Troubles:
    """Troubles since the launch began.

    Attributes:
        failures: {what went wrong: its count and the last reason}.
    """

    def __init__(self) -> None:
        self.failures: dict[str, Failure] = {}

    def add(self, what: str, reason: str) -> None:
        """Counts something that went wrong."""
        before = self.failures.get(what)
        self.failures[what] = Failure(before.count + 1 if before else 1, reason)
