"""Compares files of predictions: reads each once, measures, and says how sure one can be."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hvcod.churn.files.align import Alignment
from hvcod.churn.files.findings import Findings
from hvcod.churn.files.open import open_source
from hvcod.churn.files.rows import Array, Rows, Source, Wanted
from hvcod.churn.measures.comparison import Comparison
from hvcod.churn.measures.slices import Slices, parse_edges
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.progress import Progress


def compare(
    methods: Mapping[str, Sequence[Path]],
    options: CompareOptions,
    names: Mapping[Path, str] | None = None,
) -> Report:
    """Measures how much the retrains of each method disagree.

    Every file is read once; memory does not grow with the rows. Temporary files (TMPDIR) take four
    bytes a row and file and one id a row, and all rows if the files are not in the same order.

    Args:
        methods: {method: files of predictions, one of each retrain}.
        options: How they are aligned, decided and sliced.
        names: How files are called in the report; by their paths otherwise.

    Raises:
        UsageError: An option is wrong, or there is no such file.
        HvcodError: The predictions are no probabilities, have NaN, do not go together, ...: all
            that is wrong, with counts.
    """
    slices = Slices(parse_edges(options.slice_edges))
    paths = [path for retrains in methods.values() for path in retrains]
    if len(paths) < 2:
        raise UsageError("churn is between retrains: name two files of predictions or more")
    sources = _open(paths, options)
    classes = _classes(sources[: len(paths)])
    called = {
        method: [(names or {}).get(path, str(path)) for path in retrains]
        for method, retrains in methods.items()
    }
    findings = Findings()
    try:
        with tempfile.TemporaryFile(prefix="hvcod-churn-") as scratch:
            comparison = Comparison(called, classes, options.threshold, scratch)
            _measure(comparison, sources, slices, findings, options)
            findings.raise_errors()
            if not comparison.rows:
                raise HvcodError(f"there are no rows to compare in {', '.join(map(str, paths))}")
            figures = comparison.figures(slices.shown)
    except OSError as error:
        raise HvcodError(
            f"temporary files in {tempfile.gettempdir()}: {reason_of(error)}; name a folder with "
            "more room by the variable TMPDIR"
        ) from error
    return Report(comparison.rows, classes, options.threshold, figures, findings.warnings)


def _measure(
    comparison: Comparison,
    sources: Sequence[Source],
    slices: Slices,
    findings: Findings,
    options: CompareOptions,
) -> None:
    models = [source for source in sources if source.contents.classes != 0]
    sliced = next((place for place, each in enumerate(sources) if each.contents.sliced), None)
    if sliced is not None:
        slices.know(sources[sliced].contents.slices)
    progress = Progress(None, "comparing", "row")
    for rows in Alignment(sources, findings, options.common).blocks():
        labels = _labels(models, rows, findings)
        numbers = None if sliced is None else slices.numbers(np.asarray(rows[sliced]["slice"]))
        predictions = [np.ascontiguousarray(each["prediction"]) for each in rows[: len(models)]]
        comparison.add(predictions, labels, numbers)
        progress.update(len(labels))
    progress.close()


def _open(paths: Sequence[Path], options: CompareOptions) -> list[Source]:
    wanted = Wanted(slice_column=options.slice_column, by_row=options.by_row)
    found = [open_source(path, wanted) for path in paths]
    if options.slices:
        if options.slice_column or options.by_row:
            raise UsageError("--slices goes with neither --slice-column nor --by-row")
        found.append(open_source(options.slices, Wanted(predictions=False, slice_column="slice")))
    elif options.slice_edges and not options.slice_column:
        raise UsageError("--slice-edges divides what --slice-column or --slices name")
    elif options.slice_column and not any(each.contents.sliced for each in found):
        raise UsageError(f"--slice-column {options.slice_column}: no file has such a column")
    return found


def _classes(models: Sequence[Source]) -> int | None:
    classes = {each.contents.classes: each.name for each in models}
    if len(classes) > 1:
        told = ", ".join(f"{name} {count or 'one number'}" for count, name in classes.items())
        raise HvcodError(f"the files differ in their number of classes: {told}")
    return models[0].contents.classes


def _labels(models: Sequence[Source], rows: Sequence[Rows], findings: Findings) -> Array:
    """The labels that any of the files knows, [N]."""
    labels = np.full(len(rows[0]), -1)
    for source, each in zip(models, rows, strict=False):
        if source.contents.labelled:
            known = (labels >= 0) & (each["label"] >= 0)
            differ = known & (labels != each["label"])
            findings.fail(source.name, "labels differ from those of the files before", differ, each)
            labels = np.where(labels >= 0, labels, each["label"])
    return np.asarray(np.minimum(labels, (models[0].contents.classes or 2) - 1))
