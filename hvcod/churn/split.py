"""Churn split by its source: initialisation, order of the data, and sample of the data.

Retrains of a *floor* share some of these sources and differ in the others. Let V be the expected
squared difference between two retrains that differ in everything. As in the analysis of variance
(Sobol' 1993), retrains that differ in one source only have a squared difference of that source and
of all its interactions with the others, and retrains that share one source lack what that source
does by itself. If sources do not interact, the shares of the squared differences add up to one; if
they do, the shares of the sources alone add up to more. The mean absolute difference is no sum of
parts (of independent parts it grows like the root of the sum of their squares), so both are given.

All retrains of a floor share one value of what they share: with another one the figures may differ
by more than their intervals say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from hvcod.churn.measures.comparison import MethodFigures
from hvcod.churn.measures.pair import PairFigures
from hvcod.churn.statistics import Estimate, reduction

BASELINE = "dnn"
"""The method whose floors have no name in front."""

SOURCES = ("initialisation", "order", "data")
"""The sources of churn that retrains may share or not."""

FLOORS = {
    "same": (),
    "same-init": ("order", "data"),
    "same-order": ("initialisation", "data"),
    "same-data": ("initialisation", "order"),
    "only-init": ("initialisation",),
    "only-order": ("order",),
    "only-data": ("data",),
}
"""The sources in which the retrains of a floor differ, by its name; they share the others."""

Pairs = Sequence[PairFigures]


@dataclass(frozen=True)
class SourceFigures:
    """The part of a method's churn that one source causes; None: no retrains tell.

    Attributes:
        alone: Churn of retrains that differ in this source only, as a share of the method's churn.
        alone_squared: The same of the mean squared difference.
        shared: Reduction of churn of retrains that share this source and differ in all others.
    """

    alone: Estimate | None
    alone_squared: Estimate | None
    shared: Estimate | None

    @property
    def estimates(self) -> dict[str, Estimate]:
        """{name: estimate} of those that are known."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: estimate for name, estimate in every.items() if estimate}

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain values."""
        return asdict(self)


def split_of(
    methods: Mapping[str, MethodFigures], sampled: bool
) -> dict[str, dict[str, SourceFigures]]:
    """Returns {method: {source: its figures}} of the methods that have floors.

    Args:
        methods: All methods by name; `FLOORS` are those of `BASELINE`, ``codistill:same-init`` is
            that of another method.
        sampled: Whether the retrains learned from different samples of the data.
    """
    sources = SOURCES if sampled else SOURCES[:2]
    pairs: dict[str, dict[tuple[str, ...], Pairs]] = {}
    for name, method in methods.items():
        base, floor = floor_of(name)
        if floor and base in methods and method.pairs and methods[base].pairs:
            differing = tuple(source for source in FLOORS[floor] if source in sources)
            pairs.setdefault(base, {})[differing] = method.pairs
    return {
        base: {source: _figures(source, sources, methods[base].pairs, floors) for source in sources}
        for base, floors in pairs.items()
        if set(floors) - {()}
    }


def floor_of(name: str) -> tuple[str, str]:
    """Returns the method and the floor of a name; the floor is empty if it is not one."""
    base, _, floor = name.rpartition(":")
    return (base or BASELINE, floor) if floor in FLOORS else (name, "")


def _figures(
    source: str, sources: Sequence[str], base: Pairs, floors: Mapping[tuple[str, ...], Pairs]
) -> SourceFigures:
    others = tuple(other for other in sources if other != source)
    alone, shared = floors.get((source,)), floors.get(others)
    return SourceFigures(
        alone=_share(alone, base, lambda pair: pair.overall.churn),
        alone_squared=_share(alone, base, lambda pair: pair.mean_square),
        shared=_reduction(shared, base, lambda pair: pair.overall.churn),
    )


def _share(
    pairs: Pairs | None, base: Pairs, measure: Callable[[PairFigures], float | None]
) -> Estimate | None:
    less = _reduction(pairs, base, measure)
    if less is None:
        return None
    interval = less.interval and (1 - less.interval[1], 1 - less.interval[0])
    return Estimate(1 - less.mean, None, interval, less.repeats)


def _reduction(
    pairs: Pairs | None, base: Pairs, measure: Callable[[PairFigures], float | None]
) -> Estimate | None:
    ours, theirs = ([measure(pair) or 0.0 for pair in some] for some in (pairs or (), base))
    return reduction(ours, theirs) if ours else None


def by_distance(method: MethodFigures) -> dict[int, float]:
    """Returns {distance of the numbers of two retrains: mean churn of such pairs}."""
    churns: dict[int, list[float]] = {}
    numbers = {model.name: number for number, model in enumerate(method.models)}
    for pair in method.pairs:
        apart = numbers[pair.second] - numbers[pair.first]
        churns.setdefault(apart, []).append(pair.overall.churn or 0.0)
    return {apart: sum(values) / len(values) for apart, values in sorted(churns.items())}
