"""The result of a gate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from hvcod.churn.gate.judging import (
    BROKEN,
    KEPT,
    NOT_JUDGED,
    UNDECIDED,
    Judgement,
    Limit,
    judgements,
)
from hvcod.churn.gate.measures import Candidate
from hvcod.churn.measures.model import ModelFigures
from hvcod.churn.options import GateOptions
from hvcod.churn.report import Matched
from hvcod.folders import below_shared


@dataclass(frozen=True)
class GateReport:
    """Candidates against the model in production, and the verdicts on them.

    Attributes:
        rows: The number of rows that were compared.
        matched: By what they were matched.
        classes: The number of classes; None for a single number per row.
        threshold: The probability from which the decision was yes.
        options: The limits, and how they are judged.
        limits: The limits that were given, at least one.
        slices: {slice: the number of its rows}.
        production: Measures of the model in production.
        candidates: Measures of the candidates.
        warnings: Warnings for the user.
    """

    rows: int
    matched: Matched
    classes: int | None
    threshold: float
    options: GateOptions
    limits: Sequence[Limit]
    slices: Mapping[str, int]
    production: ModelFigures
    candidates: Sequence[Candidate]
    warnings: Sequence[str]

    @cached_property
    def folder(self) -> str:
        """The deepest folder that all files lie in, if tables are shorter without it; or empty."""
        return self._below_folder[0]

    @cached_property
    def _below_folder(self) -> tuple[str, list[str]]:
        """The folder, and the names of production and the candidates below it."""
        names = [self.production.name, *(each.name for each in self.candidates)]
        try:
            shared, below = below_shared([Path(name) for name in names])
        except ValueError:  # absolute and relative paths
            return "", names
        return ("", names) if shared in (Path("/"), Path()) else (str(shared), below)

    def below_folder(self) -> Self:
        """Returns the report with the paths of the files below `folder` as their names."""
        folder, (own, *names) = self._below_folder
        if not folder:
            return self
        candidates = [
            replace(each, model=replace(each.model, name=name))
            for each, name in zip(self.candidates, names, strict=True)
        ]
        return replace(self, production=replace(self.production, name=own), candidates=candidates)

    @cached_property
    def judgements(self) -> dict[str, list[Judgement]]:
        """{candidate: the verdict on each limit, by slice for limits of slices}."""
        return {
            candidate.name: list(judgements(candidate, self.limits, self.options))
            for candidate in self.candidates
        }

    def of_limit(self, limit: Limit) -> list[Judgement]:
        """Returns the verdicts on a limit, of all candidates and slices."""
        return [each for found in self.judgements.values() for each in found if each.limit is limit]

    def passes(self, candidate: str) -> bool:
        """Returns whether a candidate keeps all limits; an undecided one counts as not kept."""
        refused = {BROKEN, UNDECIDED}
        return not any(each.verdict in refused for each in self.judgements[candidate])

    @property
    def passed(self) -> bool:
        """True if a candidate passes."""
        return self.best is not None

    @cached_property
    def best(self) -> str | None:
        """The best candidate of those that pass: the first one of equals."""
        passing = [each for each in self.candidates if self.passes(each.name)]
        return max(passing, key=self._merit).name if passing else None

    def _merit(self, candidate: Candidate) -> float:
        value: float = getattr(candidate.overall, self.options.best_by).estimate
        return value if self.options.best_by == "gain" else -value

    @property
    def answer(self) -> str:
        """The answer in one line."""
        count, passing = len(self.candidates), sum(map(self.passes, self.judgements))
        if self.best is None:
            one = next(iter(self.judgements))
            return f"REFUSED: {one}" if count == 1 else f"REFUSED: none of {count} passes"
        if count == 1:
            return f"PASSED: {self.best}"
        return f"PASSED: {passing} of {count}; the best is {self.best} ({self.criterion})"

    @property
    def criterion(self) -> str:
        """The words for the measure by which the best candidate is chosen."""
        measure = self.options.best_by
        return f"{'largest' if measure == 'gain' else 'smallest'} {measure}"

    @property
    def level(self) -> str:
        """The confidence of the intervals, such as 95%."""
        return f"{100 * self.options.confidence:.5g}%"

    @property
    def judged_by(self) -> str:
        """A sentence that says when a limit is kept."""
        level, independent = self.level, "The intervals take the rows as independent."
        if self.options.judge == "estimate":
            return (
                "A limit is kept if the estimate keeps it, however uncertain that is (--judge "
                f"estimate); the {level} intervals over the rows do not count. {independent}"
            )
        return (
            f"A limit is kept only if the whole {level} interval over the rows keeps it; if the "
            "interval reaches beyond, the limit is undecided, which refuses (--judge interval). "
            f"{independent}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values: the object that ``--json`` prints."""
        return {
            "passed": self.passed,
            "best": self.best,
            "best_by": self.options.best_by,
            "judge": self.options.judge,
            "confidence": self.options.confidence,
            "rows": self.rows,
            "matched": self.matched.to_dict(),
            "classes": self.classes,
            "threshold": self.threshold,
            "limits": {limit.flag[2:].replace("-", "_"): limit.value for limit in self.limits},
            "slice_rows": dict(self.slices),
            "warnings": list(self.warnings),
            "production": asdict(self.production),
            "candidates": [self._candidate(each) for each in self.candidates],
        }

    def _candidate(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "passed": self.passes(candidate.name),
            **asdict(candidate.model),
            **candidate.overall.to_dict(),
            "quantiles": dict(candidate.quantiles),
            "slices": {name: each.to_dict() for name, each in candidate.slices.items()},
            "judgements": [each.to_dict() for each in self.judgements[candidate.name]],
        }

    def reasons(self, candidate: str) -> list[str]:
        """Returns what keeps a candidate from passing, or what was not judged, in words."""
        others = [each for each in self.judgements[candidate] if each.verdict != KEPT]
        return [reason(each) for each in others]


def reason(judgement: Judgement) -> str:
    """Returns a judgement in words, such as ``churn of slice rare: undecided, 0.03 [...]``."""
    limit, figure = judgement.limit, judgement.figure
    where = "" if judgement.slice is None else f" of slice {judgement.slice}"
    what = f"{limit.measure}{where}: {judgement.verdict}"
    if judgement.verdict == NOT_JUDGED:
        return f"{what}, {figure.rows:,} rows"
    if figure.estimate is None:
        return f"{what}, no row has a label"
    text = f"{what}, {figure.estimate:.5f}"
    if figure.interval:
        text += f" [{figure.interval[0]:.5f}, {figure.interval[1]:.5f}]"
    text += f", limit: {limit}"
    if judgement.verdict == UNDECIDED and figure.interval is None:
        return f"{text}; {figure.rows:,} rows are too few for an interval"
    if judgement.rows_needed:
        needed = f"{float(f'{judgement.rows_needed:.2g}'):,.0f}"
        rows = "rows" if judgement.slice is None else "rows of the slice"
        text += f"; about {needed} {rows} would decide if the estimate stays"
    return text
