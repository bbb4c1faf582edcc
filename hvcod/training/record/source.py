"""The contract of the parts of a training whose figures and problems are recorded."""

from collections.abc import Mapping
from typing import Protocol


class Source(Protocol):
    """A part of a training that has figures or problems to report.

    It is asked on every rank of the group at the same step; what the group root answers is written.
    """

    @property
    def problems(self) -> Mapping[str, int]:
        """{what failed: how often} since the launch began; empty if nothing did."""
        ...

    @property
    def reasons(self) -> Mapping[str, str]:
        """The last reason, with the path, of those problems that have one."""
        return {}

    def figures(self, step: int) -> Mapping[str, object]:
        """Returns figures for a line of metrics after so many steps. May be collective."""
        return {}

    def counters(self) -> Mapping[str, int]:
        """Returns {what is counted: how much} since the launch began, such as bytes.

        Lines and the summary show the sums over all launches.
        """
        return {}

    def summary(self) -> Mapping[str, object]:
        """Returns figures for the summary at the end."""
        return {}
