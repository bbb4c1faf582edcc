"""Names that a user may choose, and the code behind each.

To add a loss, a topology, an exchange, a base algorithm or a scheduler, write its file and add one
line here. Code is imported when its name is first used: the help page lists names and stays light.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from hvcod.errors import UsageError

if TYPE_CHECKING:
    from hvcod.cluster.jobs.schedulers.base import Scheduler
    from hvcod.codistill.exchanges.base import MakeExchange
    from hvcod.codistill.losses import Loss
    from hvcod.training.sgd.base import BaseAlgorithm

Entry = TypeVar("Entry")


class Registry(dict[str, str | Entry], Generic[Entry]):
    """The names that one option accepts, in the order of the help page, and the code or its place.

    Use `load` to get the code. A place is ``module:attribute``.
    """

    def __init__(self, option: str, places: Mapping[str, str]) -> None:
        super().__init__(places)
        self._option = option

    def load(self, name: str) -> Entry:
        """Returns the code behind a name.

        Raises:
            UsageError: The name is unknown.
        """
        if name not in self:
            raise UsageError(f"{self._option} {name}: choose one of {', '.join(self)}")
        entry = self[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            code: Entry = getattr(importlib.import_module(module), attribute)
            self[name] = entry = code
        return entry

    @contextlib.contextmanager
    def added(self, name: str, entry: Entry) -> Iterator[None]:
        """Adds a name for as long as the context lasts, such as for a test."""
        self[name] = entry
        try:
            yield
        finally:
            del self[name]


LOSSES: Registry["Loss"] = Registry(
    "--distill-loss",
    {
        "cross-entropy": "hvcod.codistill.losses:cross_entropy",
        "kl": "hvcod.codistill.losses:kl",
        "mse": "hvcod.codistill.losses:mse",
    },
)
"""Distillation losses: (student's logits, each teacher's, likelihood, temperature) -> scalar."""

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
        "lsf": "hvcod.cluster.jobs.schedulers.lsf:Lsf",
    },
)
"""Batch schedulers; where several are on PATH, the first is the default."""

BASE_ALGORITHMS: Registry[type["BaseAlgorithm"]] = Registry(
    "--sgd", {"sync": "hvcod.training.sgd.synchronous:Synchronous"}
)
