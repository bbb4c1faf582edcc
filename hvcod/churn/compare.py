"""Compares files of predictions: reads each once, measures, and estimates intervals."""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hvcod.churn.files.align import Alignment
from hvcod.churn.files.findings import LABELS_DIFFER, Findings
from hvcod.churn.files.opening import open_source
from hvcod.churn.files.rows import Array, Rows, Source, Wanted
from hvcod.churn.measures.comparison import Comparison
from hvcod.churn.measures.slices import Slices, parse_edges
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Matched, Report
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.progress import Progress
from hvcod.tensorfile.meaning import difference


def compare(
    methods: Mapping[str, Sequence[Path]],
    options: CompareOptions,
    names: Mapping[Path, str] | None = None,
) -> Report:
    """Measures how much the retrains of each method disagree.

    Every file is read once, and memory does not grow with the rows. Temporary files (in TMPDIR)
    take four bytes per row and file and one id per row, and all rows if the files are not in the
    same order.

    Args:
        methods: {method: files of predictions, one for each retrain}.
        names: The names of files in the report; their paths by default.

    Raises:
        UsageError: An option is wrong, or a file is missing.
        HvcodError: The predictions are not probabilities, are NaN, do not match each other, ...:
            lists every problem, with counts.
    """
    parse_edges(options.slice_edges)
    paths = [path for retrains in methods.values() for path in retrains]
    if len(paths) < 2:
        raise UsageError("churn is a difference between retrains: name at least two files")
    with contextlib.ExitStack() as closing:
        sources = _open(paths, options, closing)
        for source, path in zip(sources, paths, strict=False):
            source.name = (names or {}).get(path, source.name)
        return _compared(methods, names or {}, sources, options)


def _compared(
    methods: Mapping[str, Sequence[Path]],
    names: Mapping[Path, str],
    sources: Sequence[Source],
    options: CompareOptions,
) -> Report:
    slices = Slices(parse_edges(options.slice_edges))
    paths = [path for retrains in methods.values() for path in retrains]
    classes, notes = _classes(sources[: len(paths)])
    called = {
        method: [names.get(path, str(path)) for path in retrains]
        for method, retrains in methods.items()
    }
    findings = Findings(options.scale)
    alignment = Alignment(sources, findings, options.common, options.ids)
    try:
        with tempfile.TemporaryFile(prefix="hvcod-churn-") as scratch:
            comparison = Comparison(called, classes, options.threshold, scratch)
            _measure(comparison, alignment, sources, slices, findings)
            findings.raise_errors()
            if not comparison.rows:
                shown = "; ".join([", ".join(map(str, paths)), *findings.warnings])
                raise HvcodError(f"there are no rows to compare in {shown}")
            seen = findings.check_files(sources, options.prediction_column is not None)
            figures = comparison.figures(slices.shown)
    except OSError as error:
        raise HvcodError(
            f"temporary files in {tempfile.gettempdir()}: {reason_of(error)}; set the variable "
            "TMPDIR to a folder with more space"
        ) from error
    named = (name for retrains in called.values() for name in retrains)
    columns = {name: source.contents.columns for name, source in zip(named, sources, strict=False)}
    return Report(
        rows=comparison.rows,
        matched=Matched(alignment.kind, columns),
        classes=classes,
        threshold=options.threshold,
        methods=figures,
        warnings=[*notes, *findings.warnings, *seen],
    )


def _measure(
    comparison: Comparison,
    alignment: Alignment,
    sources: Sequence[Source],
    slices: Slices,
    findings: Findings,
) -> None:
    models = [source for source in sources if source.contents.classes != 0]
    sliced = next((i for i, source in enumerate(sources) if source.contents.sliced), None)
    if sliced is not None:
        slices.declare(sources[sliced].contents.slices)
    progress = Progress(None, "comparing", "row")
    for rows in alignment.blocks():
        labels = _labels(models, rows, findings)
        numbers = None if sliced is None else slices.numbers(np.asarray(rows[sliced]["slice"]))
        values = [_single(block["prediction"], comparison.classes) for block in rows[: len(models)]]
        predictions = [np.ascontiguousarray(each) for each in values]
        comparison.add(predictions, labels, numbers)
        progress.update(len(labels))
    progress.close()


def _open(
    paths: Sequence[Path], options: CompareOptions, closing: contextlib.ExitStack
) -> list[Source]:
    if options.by_row and (options.id_column is not None or options.ids):
        raise UsageError("--by-row ignores ids: it cannot be combined with --id-column or --ids")
    wanted = Wanted(
        slice_column=options.slice_column,
        by_row=options.by_row,
        id_column=options.id_column,
        prediction_column=options.prediction_column,
        labels=options.labels,
        classes=options.classes,
    )
    opened = [open_source(path, wanted, closing) for path in paths]
    for number, source in enumerate(opened):
        # Counts are kept by name, and a file may be given twice.
        if again := paths[:number].count(paths[number]):
            source.name += f" ({again + 1})"
    if options.slices:
        if options.slice_column or options.by_row:
            raise UsageError("--slices cannot be combined with --slice-column or --by-row")
        names = None if options.id_column is None else f"{options.id_column}|id"
        wanted = Wanted(predictions=False, slice_column="slice", id_column=names)
        opened.append(open_source(options.slices, wanted, closing))
    elif options.slice_edges and not options.slice_column:
        raise UsageError("--slice-edges needs --slice-column or --slices")
    elif options.slice_column and not any(source.contents.sliced for source in opened):
        raise UsageError(f"--slice-column {options.slice_column}: no file has such a column")
    return opened


def _classes(models: Sequence[Source]) -> tuple[int | None, list[str]]:
    """The number of classes that are compared, and warnings about files that have another one."""
    classes = {model.contents.classes: model.name for model in models}
    if set(classes) == {None, 2}:
        two = sorted({model.name for model in models if model.contents.classes})
        says = "of its 2 classes the probability of class 1 is compared with the other files"
        return None, [f"{name}: {says}" for name in two]
    if len(classes) > 1:
        shown = ", ".join(f"{name} {count or 'one number'}" for count, name in classes.items())
        raise HvcodError(f"the files differ in their number of classes: {shown}")
    for model in models[1:]:
        different = difference(model.contents.meaning, models[0].contents.meaning)
        # A single number is the probability of the same thing, whatever it was predicted from.
        if different and model.contents.classes is not None:
            raise HvcodError(
                f"the classes of {model.name} have another meaning than those of "
                f"{models[0].name}: {different}"
            )
    return models[0].contents.classes, []


def _single(predictions: Array, classes: int | None) -> Array:
    """Predictions as they are compared: of two classes beside a single number, that of class 1."""
    return predictions[:, 1] if classes is None and predictions.ndim > 1 else predictions


def _labels(models: Sequence[Source], rows: Sequence[Rows], findings: Findings) -> Array:
    """The labels, each from the first file that has it, [N]; -1 where none has."""
    labels = np.full(len(rows[0]), -1)
    for source, block in zip(models, rows, strict=False):
        if source.contents.labelled:
            known = (labels >= 0) & (block["label"] >= 0)
            differ = known & (labels != block["label"])
            findings.fail(source.name, LABELS_DIFFER, differ, block)
            labels = np.where(labels >= 0, labels, block["label"])
    return np.asarray(np.minimum(labels, (models[0].contents.classes or 2) - 1))
