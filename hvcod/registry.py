"""Names that a user may choose, and the code behind each.

To add a loss, a topology, an exchange, a base algorithm or a scheduler, write its file and add one
line here. Code is imported when its name is first used: the help page lists names and stays light.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from hvcod.errors import UsageError

if TYPE_CHECKING:
    from hvcod.cluster.jobs.schedulers.base import Scheduler
    from hvcod.codistill.exchanges.base import MakeExchange
    from hvcod.codistill.losses import Loss
    from hvcod.training.sgd.base import BaseAlgorithm

Entry = TypeVar("Entry")


class Registry(Sequence[str], Generic[Entry]):
    """The names that one option accepts, in the order in which the help page shows them."""

    def __init__(self, option: str, places: Mapping[str, str]) -> None:
        """
        Args:
            option: The flag that takes these names, for messages.
            places: Where the code of each name is: ``module:attribute``.
        """
        self._option = option
        self._entries: dict[str, str | Entry] = dict(places)

    def load(self, name: str) -> Entry:
        """Returns the code behind a name.

        Raises:
            UsageError: The name is unknown.
        """
        if name not in self._entries:
            raise UsageError(f"{self._option} {name}: choose one of {', '.join(self)}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            found: Entry = getattr(importlib.import_module(module), attribute)
            self._entries[name] = entry = found
        return entry

    @contextlib.contextmanager
    def added(self, name: str, entry: Entry) -> Iterator[None]:
        """Adds a name for as long as the context lasts, such as for a test."""
        self._entries[name] = entry
        try:
            yield
        finally:
            del self._entries[name]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return list(self._entries)[index]

    def __len__(self) -> int:
        return len(self._entries)


LOSSES: Registry["Loss"] = Registry(
    "--distill-loss", {"cross-entropy": "hvcod.codistill.losses:cross_entropy"}
)
"""Distillation losses: (student's logits, each teacher's logits, likelihood) -> scalar."""

EXCHANGES: Registry["MakeExchange"] = Registry(
    "--exchange", {"files": "hvcod.codistill.exchanges.files:files"}
)
"""Ways in which the weights of groups reach each other: (`Exchange`'s arguments) -> exchange."""

TOPOLOGIES: Registry[Callable[[int, int], list[int]]] = Registry(
    "--topology",
    {
        "full": "hvcod.codistill.topology:full",
        "ring": "hvcod.codistill.topology:ring",
        "pairs": "hvcod.codistill.topology:pairs",
    },
)
"""Who teaches whom: (group, number of groups) -> the groups that teach it."""

SCHEDULERS: Registry["type[Scheduler]"] = Registry(
    "--scheduler",
    {
        "slurm": "hvcod.cluster.jobs.schedulers.slurm:Slurm",
        "pbs": "hvcod.cluster.jobs.schedulers.pbs:Pbs",
    },
)
"""Batch schedulers; where several are on PATH, the first is the default."""

BASE_ALGORITHMS: Registry[type["BaseAlgorithm"]] = Registry(
    "--sgd", {"sync": "hvcod.training.sgd.synchronous:Synchronous"}
)
