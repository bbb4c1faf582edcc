"""The seam of the journal: whatever has figures to be written down is a source."""

from collections.abc import Mapping
from typing import Protocol


class Source(Protocol):
    """A part of a training that has figures or problems to report.

    It is asked on every rank of the group at the same step; what the group root answers is written.
    """

    @property
    def problems(self) -> Mapping[str, int]:
        """How often something failed since the launch began, by what; empty if nothing did."""
        ...

    @property
    def reasons(self) -> Mapping[str, str]:
        """The last reason, with the path, of those problems that have one."""
        return {}

    def figures(self, step: int) -> Mapping[str, object]:
        """Returns figures for a line of metrics after so many steps. May be collective."""
        return {}

    def summary(self) -> Mapping[str, object]:
        """Returns figures for the summary at the end."""
        return {}
