"""Means over the steps and ranks of a group."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hvcod.groups.split import Group


class Means:
    """Running means of named scalars; tensors stay on their device until the means are taken."""

    def __init__(self, subject: str) -> None:
        """`subject` tells these means from others of the group."""
        self._subject = subject
        self._sums: dict[str, Tensor | float] = {}
        self._count = 0

    def add(self, counts: bool = True, /, **values: Tensor | float) -> None:
        """Adds one value for each name, unless it does not count on this rank.

        The names are the same at every call and on all ranks.
        """
        if not counts:
            values = {name: torch.zeros_like(torch.as_tensor(v)) for name, v in values.items()}
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in values.items()}
        self._count += counts

    def state_dict(self) -> dict[str, Tensor]:
        """Returns this rank's sums and their count, on the host."""
        sums = {name: torch.as_tensor(value).cpu() for name, value in self._sums.items()}
        return sums | {"count": torch.tensor(self._count)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state_dict` returned."""
        self._sums = {**state}
        self._count = int(self._sums.pop("count"))

    def take(self, group: Group) -> dict[str, float]:
        """Returns the means over all ranks since the last call; empty if nothing counted.

        What the group root gets counts. Collective where `Group.total` is.
        """
        sums = {name: float(total) for name, total in self._sums.items()} | {"count": self._count}
        self._sums, self._count = {}, 0
        totals = group.total(self._subject, sums)
        count = totals.pop("count")
        return {name: total / count for name, total in totals.items()} if count else {}
