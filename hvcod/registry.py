"""Names that a user may choose, and the code behind each.

To add a loss, a topology, an exchange, a base algorithm, a tracker, a scheduler or an experiment to
hvcod, write its file and add one line here. Another package brings those of its own by entry points
(docs/extending.md). Code is imported when its name is first used: the help page lists names and
stays light.
"""

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from hvcod.errors import UsageError, reason_of

if TYPE_CHECKING:
    from hvcod.cluster.jobs.schedulers.base import Scheduler
    from hvcod.codistill.exchanges.base import MakeExchange
    from hvcod.codistill.losses import Loss
    from hvcod.experiments.base import Experiment, Study
    from hvcod.training.record.trackers.base import Tracker
    from hvcod.training.sgd.base import BaseAlgorithm

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Place:
    """The place of some code, as ``module:attribute``, and the installed package that brings it."""

    place: str
    package: str


def places_of_packages(group: str) -> dict[str, Place]:
    """Returns what installed packages bring under a group of entry points; imports nothing.

    Of two packages that bring the same name the first one found counts.
    """
    return _places(group, tuple(sys.path))


@functools.cache
def _places(group: str, path: tuple[str, ...]) -> dict[str, Place]:
    """Looks for them once: it takes a file of every installed package, which may be far away."""
    places: dict[str, Place] = {}
    for point in sorted(entry_points(group=group)):
        places.setdefault(point.name, Place(point.value, _package(point)))
    return places


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"


class Registry(Collection[str], Generic[Entry]):
    """The names that one option accepts, in the order of the help page; `load` returns the code.

    Those of hvcod come first. A package cannot take one of their names.
    """

    def __init__(self, option: str, places: Mapping[str, str], entry_points: str = "") -> None:
        """
        Args:
            option: The flag of the command line, for messages.
            places: {name: ``module:attribute``} of hvcod's own.
            entry_points: The group of entry points by which other packages add names; empty: none.
        """
        self._option, self._entry_points = option, entry_points
        self._own: dict[str, str | Entry] = {**places}
        self._loaded: dict[str, Entry] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._packages

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (name for name in self._packages if name not in self._own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def elsewhere(self) -> str:
        """A hint for messages: where else a name may come from; empty if from nowhere."""
        if not self._entry_points:
            return ""
        return f"; or install the package that brings it (entry point {self._entry_points})"

    def load(self, name: str) -> Entry:
        """Returns the code behind a name.

        Raises:
            UsageError: The name is unknown, or its package cannot be imported.
        """
        if name not in self:
            known = f"choose one of {', '.join(self)}"
            raise UsageError(f"{self._option} {name}: {known}{self.elsewhere}")
        if name not in self._loaded:
            self._loaded[name] = self._import(name)
        return self._loaded[name]

    @contextlib.contextmanager
    def added(self, name: str, entry: Entry) -> Iterator[None]:
        """Adds a name for as long as the context lasts, such as for a test."""
        self._own[name] = entry
        try:
            yield
        finally:
            del self._own[name]
            self._loaded.pop(name, None)

    @cached_property
    def _packages(self) -> Mapping[str, Place]:
        return places_of_packages(self._entry_points) if self._entry_points else {}

    def _import(self, name: str) -> Entry:
        entry = self._own[name] if name in self._own else self._packages[name].place
        if not isinstance(entry, str):
            return entry
        module, _, attribute = entry.partition(":")
        try:
            code: Entry = getattr(importlib.import_module(module), attribute)
        # Code of others may fail in any way as it is imported.
        except Exception as error:
            if name in self._own:
                raise
            package = self._packages[name].package
            raise UsageError(
                f"{self._option} {name}: the package {package} says that it is {entry}, which "
                f"cannot be imported: {reason_of(error)}"
            ) from error
        return code


LOSSES: Registry["Loss"] = Registry(
    "--distill-loss",
    {
        "cross-entropy": "hvcod.codistill.losses:cross_entropy",
        "kl": "hvcod.codistill.losses:kl",
        "mse": "hvcod.codistill.losses:mse",
    },
    "hvcod.losses",
)
"""Distillation losses: (student's logits, each teacher's, likelihood, temperature) -> scalar."""

EXCHANGES: Registry["MakeExchange"] = Registry(
    "--exchange",
    {
        "files": "hvcod.codistill.exchanges.files:files",
        "predictions": "hvcod.codistill.exchanges.predictions:Predictions",
        "in-process": "hvcod.codistill.exchanges.in_process:InProcess",
    },
    "hvcod.exchanges",
)
"""Ways in which the weights of groups reach each other: (`Exchange`'s arguments) -> exchange."""

TOPOLOGIES: Registry[Callable[[int, int], list[int]]] = Registry(
    "--topology",
    {
        "full": "hvcod.codistill.topology:full",
        "ring": "hvcod.codistill.topology:ring",
        "pairs": "hvcod.codistill.topology:pairs",
    },
    "hvcod.topologies",
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

BASE_ALGORITHMS: Registry["type[BaseAlgorithm]"] = Registry(
    "--sgd",
    {
        "sync": "hvcod.training.sgd.synchronous:Synchronous",
        "local": "hvcod.training.sgd.local:LocalSGD",
        "async": "hvcod.training.sgd.asynchronous:Asynchronous",
    },
    "hvcod.base_algorithms",
)
"""Ways in which the ranks of a group train one model: subclasses of `BaseAlgorithm`."""

TRACKERS: Registry["type[Tracker]"] = Registry(
    "--tracker",
    {
        "tensorboard": "hvcod.training.record.trackers.tensorboard:TensorBoard",
        "mlflow": "hvcod.training.record.trackers.mlflow:MLflow",
        "wandb": "hvcod.training.record.trackers.wandb:WandB",
    },
    "hvcod.trackers",
)
"""Libraries that follow a group's training: subclasses of `Tracker`."""

EXPERIMENTS: Registry[Callable[[str], "Experiment | Study"]] = Registry(
    "hvcod experiment",
    {
        "figure1": "hvcod.experiments.text:figure1",
        "figure2a": "hvcod.experiments.text:figure2a",
        "figure2b": "hvcod.experiments.text:figure2b",
        "figure3": "hvcod.experiments.images:figure3",
        "figure4": "hvcod.experiments.text:figure4",
        "multiphase": "hvcod.experiments.variants:multiphase",
        "table1": "hvcod.experiments.clicks:table1",
        "topology": "hvcod.experiments.variants:topology",
        "precision": "hvcod.experiments.variants:precision",
        "alternatives": "hvcod.experiments.variants:alternatives",
    },
)
"""The paper's figures and tables: (scale) -> what is trained, claimed and drawn."""
