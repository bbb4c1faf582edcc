"""The result of a comparison: as one object, and as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from hvcod.churn.files.rows import Columns
from hvcod.churn.measures.comparison import MethodFigures
from hvcod.churn.measures.fragile import FragileRow
from hvcod.churn.measures.model import ModelFigures
from hvcod.churn.production import against_production
from hvcod.churn.sliced import OF_PAIRS, SliceFigures, changes_of, slice_figures
from hvcod.churn.split import FLOORS, SOURCES, SourceFigures, by_distance, floor_of, split_of
from hvcod.churn.statistics import Estimate, of_all_pairs, of_independent_pairs, of_retrains

OF_RETRAINS = ("log_loss", "accuracy", "calibration", "calibration_error")
RANKS = "rank_correlation"
DIRECTED = ("good_churn", "bad_churn", "churn_ratio")
"""Measures of pairs that depend on the order of the two retrains.

A good retrain raises them as the second of a pair and lowers them as the first, so they are not a
sum of two equal parts, and the statistics of all pairs do not apply: their means are over the
independent pairs.
"""


@dataclass(frozen=True)
class Matched:
    """By what the rows of the files were matched, and what was read of each.

    Attributes:
        kind: The kind of the ids, ``number`` or ``text``; ``row`` for the number of the row.
        columns: {name of the retrain: the columns of its file}.
    """

    kind: str
    columns: Mapping[str, Columns]

    def __str__(self) -> str:
        ids = {str(each.id) for each in self.columns.values()}
        kind = "as numbers" if self.kind == "number" else "as text"
        by = f"by {_names(ids)} {kind}" if self.kind != "row" else "by the number of the row"
        predictions = {_range(each.prediction) for each in self.columns.values()}
        labels = {each.label for each in self.columns.values()} - {None}
        shown = f"labels from {_names(labels)}" if labels else "no labels"
        return f"matched {by}; predictions from {_names(predictions)}, {shown}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the object that ``--json`` prints."""
        read = ("id", "prediction", "label", "slice")
        columns = {
            name: {column: getattr(columns, column) for column in read}
            for name, columns in self.columns.items()
        }
        return {"ids": self.kind, "columns": columns}


def _names(names: Iterable[str | None]) -> str:
    # pandas writes its index as a column without a name.
    return " or ".join(name or "the column without a name" for name in sorted(map(str, names)))


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


@dataclass(frozen=True)
class Report:
    """The result of a comparison.

    Attributes:
        rows: The number of rows that were compared.
        matched: By what they were matched.
        classes: The number of classes; None for a single number per row.
        threshold: The probability from which the decision was yes.
        methods: {method: the measures of its retrains}.
        production: The measures of the model in production, if there is one.
        slices: {slice: the number of its rows}.
        warnings: Warnings for the user.
        fragile: {method: the rows that flip most often among its retrains}, with ``--fragile``.
        data_sample: The samples of the data from which the retrains learned, see `StudyOptions`;
            None if that is unknown, because the report is of files.
        note: Sentences about these samples, and what else the retrains share; may be empty.
    """

    rows: int
    matched: Matched
    classes: int | None
    threshold: float
    methods: Mapping[str, MethodFigures]
    production: ModelFigures | None = None
    slices: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = field(default_factory=list)
    fragile: Mapping[str, Sequence[FragileRow]] = field(default_factory=dict)
    data_sample: str | None = None
    note: str = ""

    @property
    def with_pairs(self) -> dict[str, MethodFigures]:
        """The methods with two retrains or more, which therefore have churn."""
        return {name: method for name, method in self.methods.items() if method.pairs}

    @cached_property
    def in_pictures(self) -> list[str]:
        """The methods that pictures show: of a study, those that are no floors if there are any."""
        if self.data_sample is None:
            return list(self.methods)
        return [name for name in self.methods if not floor_of(name)[1]] or list(self.methods)

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """{method: {measure: its mean over the retrains, or over all pairs of them}}.

        The means of `DIRECTED` measures are over the independent pairs.
        """
        return {name: _estimates(method) for name, method in self.methods.items()}

    @cached_property
    def independent(self) -> dict[str, dict[str, Estimate]]:
        """{method: {measure of pairs: its mean over pairs that share no retrain}}."""
        return {
            name: {key: of_independent_pairs(pairs) for key, pairs in pair_values(method).items()}
            for name, method in self.methods.items()
        }

    @cached_property
    def against_first(self) -> dict[str, dict[str, Estimate | None]]:
        """{later method: its churn reduction and log loss difference against the first}."""
        (_, first), *later = self.methods.items()
        return {name: _change(method, first) for name, method in later}

    @cached_property
    def against_production(self) -> dict[str, dict[str, Estimate | None]]:
        """{method: what changes from the model in production to its retrains}; empty without one.

        See `hvcod.churn.production.against_production`.
        """
        if self.production is None:
            return {}
        first = next(iter(self.methods.values()))
        return {
            name: against_production(method, None if method is first else first)
            for name, method in self.methods.items()
        }

    @cached_property
    def by_slice(self) -> dict[str, dict[str, SliceFigures]]:
        """{method: {slice: its measures}}."""
        first = next(iter(self.methods.values()))
        return {
            name: {
                part: slice_figures(method, None if method is first else first, part)
                for part in self.slices
            }
            for name, method in self.methods.items()
        }

    @cached_property
    def sources(self) -> dict[str, dict[str, SourceFigures]]:
        """{method with floors: {source of churn: its part}}, of studies.

        In files a ``same-init`` may share more than it would without samples of the data.
        """
        if self.data_sample is None:
            return {}
        return split_of(self.methods, sampled=self.data_sample != "none")

    @cached_property
    def days_apart(self) -> dict[str, dict[int, float]]:
        """{method: {days between the data of two retrains: their mean churn}}, of windows only."""
        if self.data_sample != "days":
            return {}
        moving = {
            name: method
            for name, method in self.with_pairs.items()
            if "data" in FLOORS.get(floor_of(name)[1], SOURCES)
        }
        return {name: by_distance(method) for name, method in moving.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values: the object that ``--json`` prints.

        A measure that does not exist (without labels, or for several classes) is None.
        """
        return {
            "rows": self.rows,
            "matched": self.matched.to_dict(),
            "classes": self.classes,
            "threshold": self.threshold,
            "warnings": list(self.warnings),
            "production": self.production and asdict(self.production),
            "data_sample": self.data_sample,
            "note": self.note,
            "sources": {
                name: {source: figures.to_dict() for source, figures in split.items()}
                for name, split in self.sources.items()
            },
            "methods": {name: self._method(name) for name in self.methods},
        }

    def _method(self, name: str) -> dict[str, Any]:
        method = self.methods[name]
        estimates: dict[str, Any] = dict.fromkeys((*OF_RETRAINS, *OF_PAIRS, RANKS))
        estimates |= {key: asdict(estimate) for key, estimate in self.estimates[name].items()}
        for key, estimate in self.independent[name].items():
            estimates[key]["independent_pairs"] = asdict(estimate)
        changes = self.against_first.get(name, {})
        return {
            **estimates,
            "against_first": {key: value and asdict(value) for key, value in changes.items()},
            "against_production": self._of_production(name),
            "slices": {
                part: {"rows": self.slices[part], **figures.to_dict()}
                for part, figures in self.by_slice[name].items()
            },
            "days_apart": self.days_apart.get(name, {}),
            "fragile": [row.to_dict() for row in self.fragile.get(name, ())],
            "models": [asdict(model) for model in method.models],
            "pairs": [pair.to_dict() for pair in method.pairs],
        }

    def _of_production(self, name: str) -> dict[str, Any]:
        if self.production is None:
            return {}
        changes = self.against_production[name]
        pairs = [pair.to_dict() for pair in self.methods[name].against_production]
        return {**{key: value and asdict(value) for key, value in changes.items()}, "pairs": pairs}


def _estimates(method: MethodFigures) -> dict[str, Estimate]:
    estimates = {}
    for measure in OF_RETRAINS:
        values = [getattr(model, measure) for model in method.models]
        if None not in values:
            estimates[measure] = of_retrains(values)
    for measure, pairs in pair_values(method).items():
        estimate = of_independent_pairs if measure in DIRECTED else of_all_pairs
        estimates[measure] = estimate(pairs)
    return estimates


def pair_values(method: MethodFigures) -> dict[str, list[float]]:
    """Returns {measure: its values for all pairs}, for the measures that all pairs have."""
    known = {}
    for measure in (*OF_PAIRS, RANKS):
        parts = [pair if measure == RANKS else pair.overall for pair in method.pairs]
        values = [getattr(part, measure) for part in parts]
        if values and None not in values:
            known[measure] = values
    return known


def _change(method: MethodFigures, first: MethodFigures) -> dict[str, Estimate | None]:
    churns = [pair_values(one).get("churn") for one in (method, first)]
    losses = [[model.log_loss for model in one.models] for one in (method, first)]
    return changes_of(churns, losses)


_KEYS = ("method", "of", "first", "second", "slice", "measure")
_FIGURES = ("value", "half_range", "low", "high", "repeats")


def to_csv(report: Report) -> str:
    """Returns the report as CSV, with a line for every figure."""
    text = io.StringIO()
    lines = csv.DictWriter(text, (*_KEYS, *_FIGURES), lineterminator="\n")
    lines.writeheader()
    for name, method in report.methods.items():
        lines.writerows({"method": name, **line} for line in _lines(report, name, method))
    return text.getvalue()


def rows_csv(report: Report) -> str:
    """Returns the fragile rows as CSV, those that flip most often first."""
    text = io.StringIO()
    names = [each.name for each in fields(FragileRow)]
    lines = csv.DictWriter(text, ("method", *names), lineterminator="\n")
    lines.writeheader()
    for method, rows in report.fragile.items():
        lines.writerows({"method": method, **row.to_dict()} for row in rows)
    return text.getvalue()


def _lines(report: Report, name: str, method: MethodFigures) -> Iterator[dict[str, object]]:
    for measure, estimate in report.estimates[name].items():
        if measure not in DIRECTED:
            of = "retrains" if measure in OF_RETRAINS else "all pairs"
            yield _estimate_line(of, measure, estimate)
    for measure, estimate in report.independent[name].items():
        yield _estimate_line("independent pairs", measure, estimate)
    for measure, change in report.against_first.get(name, {}).items():
        if change:
            yield _estimate_line("against the first method", measure, change)
    for measure, change in report.against_production.get(name, {}).items():
        if change:
            yield _estimate_line("against production", measure, change)
    for source, caused in report.sources.get(name, {}).items():
        for kind, estimate in caused.estimates.items():
            yield _estimate_line("source", f"{source} {kind}", estimate)
    for days, churn in report.days_apart.get(name, {}).items():
        yield {"of": "pairs of windows", "measure": f"churn {days} days apart", "value": churn}
    for model in method.models:
        one = {"of": "retrain", "first": model.name}
        for measure in OF_RETRAINS:
            yield {**one, "measure": measure, "value": getattr(model, measure)}
    for pair in (*method.pairs, *method.against_production):
        both = {"of": "pair", "first": pair.first, "second": pair.second}
        for measure in OF_PAIRS:
            yield {**both, "measure": measure, "value": getattr(pair.overall, measure)}
        yield {**both, "measure": RANKS, "value": pair.rank_correlation}
        yield {**both, "measure": "mean_square", "value": pair.mean_square}
        for share, value in pair.quantiles.items():
            yield {**both, "measure": f"quantile_{share}", "value": value}
    for part, figures in report.by_slice[name].items():
        one = {"slice": part}
        yield {"of": "rows", **one, "measure": "rows", "value": report.slices[part]}
        for measure, mean in figures.means.items():
            of = "all pairs" if measure in OF_PAIRS else "retrains"
            yield {"of": of, **one, "measure": measure, "value": mean}
        for measure, change in figures.against_first.items():
            if change:
                yield {**one, **_estimate_line("against the first method", measure, change)}


def _estimate_line(of: str, measure: str, estimate: Estimate) -> dict[str, object]:
    interval = estimate.interval or (None, None)
    figures = (estimate.mean, estimate.half_range, *interval, estimate.repeats)
    return {"of": of, "measure": measure, **dict(zip(_FIGURES, figures, strict=True))}
