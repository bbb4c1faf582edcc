"""Compares candidates with the model in production, and judges them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hvcod.churn.gate.judging import NOT_JUDGED, Limit, limits_of
from hvcod.churn.gate.measures import GateMeasures
from hvcod.churn.gate.report import GateReport
from hvcod.churn.options import CompareOptions, GateOptions
from hvcod.churn.sources import is_model, on_files
from hvcod.churn.together import opened
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.options import EvaluationOptions


def gate(
    production: Path,
    candidates: Sequence[Path],
    gate_options: GateOptions,
    options: CompareOptions,
    names: Mapping[Path, str] | None = None,
) -> GateReport:
    """Compares files of predictions of candidates with those of production, and judges them.

    Every file is read once, and memory does not grow with the rows.

    Args:
        names: The names of files in the report; their paths by default.

    Raises:
        UsageError: No limit is given, an option is wrong, a file is missing, or there are no
            labels or slices for a limit that needs them.
        HvcodError: The predictions cannot be compared: see `hvcod.churn.together`.
    """
    limits = checked_limits(gate_options, options)
    if not candidates:
        raise UsageError("name a candidate: --candidate SOURCE")
    needs_labels = _needing_labels(gate_options)
    with opened([production, *candidates], options, names or {}) as files:
        if needs_labels and not files.labelled:
            raise UsageError(_no_labels(needs_labels[0], options))
        measures = GateMeasures(len(files.names), options.threshold)
        read = files.read_into(measures)
    slices = measures.slice_rows(read.slices)
    own, compared = measures.figures(
        files.names, {name: read.slices[name] for name in slices}, gate_options.confidence
    )
    if needs_labels and not own.labelled:
        raise UsageError(_no_labels(needs_labels[0], options))
    same = [each.name for each in compared if not each.quantiles["1"]]
    says = "predicts exactly as production does: is it another model?"
    report = GateReport(
        rows=read.rows,
        matched=read.matched,
        classes=files.classes,
        threshold=options.threshold,
        options=gate_options,
        limits=limits,
        slices=slices,
        production=own,
        candidates=compared,
        warnings=[*read.warnings, *(f"{name} {says}" for name in same)],
    )
    for limit in limits:
        if not any(each.verdict != NOT_JUDGED for each in report.of_limit(limit)):
            rows = f"{gate_options.slice_min_rows} {'labelled ' * (limit.measure == 'gain')}rows"
            raise HvcodError(f"{limit.flag} would judge nothing: no slice has {rows}")
    return report


def checked_limits(gate_options: GateOptions, options: CompareOptions) -> list[Limit]:
    """Returns the limits.

    Raises:
        UsageError: There is none, or there can be no labels or slices for one that needs them.
    """
    limits = limits_of(gate_options)
    if not limits:
        raise UsageError("give a limit: --max-churn, --max-flips or --min-gain")
    of_slices = [limit.flag for limit in limits if limit.by_slice]
    if of_slices and not (options.slices or options.slice_column):
        raise UsageError(f"{of_slices[0]} needs slices: --slice-column or --slices")
    needs_labels = _needing_labels(gate_options)
    if needs_labels and not options.labels:
        raise UsageError(_no_labels(needs_labels[0], options))
    return limits


def _needing_labels(options: GateOptions) -> list[str]:
    """Returns the options that need labels."""
    flags = [limit.flag for limit in limits_of(options) if limit.measure == "gain"]
    return [*flags, "--best-by gain"] if options.best_by == "gain" else flags


def _no_labels(flag: str, options: CompareOptions) -> str:
    why = "no row of the files has one" if options.labels else "--no-labels leaves them out"
    return f"{flag} needs labels, from which the log loss follows: {why}"


def gate_sources(
    production: Path,
    candidates: Sequence[Path],
    gate_options: GateOptions,
    options: CompareOptions,
    evaluation: EvaluationOptions,
    group: int | None = 0,
) -> tuple[bool, GateReport | None]:
    """Judges candidates as `gate` does, but accepts runs and checkpoints, too.

    Collective if there are any: see `hvcod.churn.sources.compare_sources`.

    Args:
        group: The group of a run that predicts; None for the ensemble of all.

    Returns:
        Whether a candidate passes, on all ranks that took part, and the report on rank 0.
    """

    checked_limits(gate_options, options)  # Models may take hours to predict.

    def judge(files: Mapping[Path, Path]) -> GateReport:
        names = {file: str(path) for path, file in files.items()}
        paths = [files.get(path, path) for path in candidates]
        return gate(files.get(production, production), paths, gate_options, options, names)

    report = on_files([production, *candidates], evaluation, group, judge)
    passed = report is None or report.passed
    if any(map(is_model, [production, *candidates])):
        from hvcod.groups.world import world

        # All ranks end with the same code.
        passed = world().bcast(passed)
    return passed, report
