"""Compares files of predictions: reads each once, measures, and estimates intervals."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hvcod.churn.measures.comparison import Comparison
from hvcod.churn.measures.fragile import Fragile
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.churn.together import opened, scratch_errors
from hvcod.errors import UsageError


def compare(
    methods: Mapping[str, Sequence[Path]],
    options: CompareOptions,
    names: Mapping[Path, str] | None = None,
    production: Path | None = None,
) -> Report:
    """Measures how much the retrains of each method disagree, and each with another model.

    Every file is read once, and memory does not grow with the rows. Temporary files (in TMPDIR)
    take four bytes per row and file and one id per row, and all rows if the files are not in the
    same order.

    Args:
        methods: {method: files of predictions, one for each retrain}.
        names: The names of files in the report; their paths by default.
        production: Predictions of the model in production, with which all retrains are compared.

    Raises:
        UsageError: An option is wrong, or a file is missing.
        HvcodError: The predictions are not probabilities, are NaN, do not match each other, ...:
            lists every problem, with counts.
    """
    paths = [path for retrains in methods.values() for path in retrains]
    paths += [] if production is None else [production]
    if len(paths) < 2:
        raise UsageError("churn is a difference between retrains: name at least two files")
    with (
        opened(paths, options, names or {}) as files,
        scratch_errors(),
        tempfile.TemporaryFile(prefix="hvcod-churn-") as scratch,
    ):
        named = iter(files.names)
        called = {method: [next(named) for _ in retrains] for method, retrains in methods.items()}
        of_production = None if production is None else next(named)
        threshold, classes = options.threshold, files.classes
        comparison = Comparison(called, classes, threshold, scratch, of_production)
        counts = {method: len(retrains) for method, retrains in methods.items()}
        fragile = Fragile(counts, threshold, options.fragile) if options.fragile else None
        read = files.read_into(comparison, fragile)
        slices = comparison.slice_rows(read.slices)
        shown = {name: read.slices[name] for name in slices}
        figures, in_production = comparison.figures(shown), comparison.production(shown)
    return Report(
        rows=read.rows,
        matched=read.matched,
        classes=classes,
        threshold=threshold,
        methods=figures,
        production=in_production,
        slices=slices,
        warnings=read.warnings,
        fragile=fragile.rows(read.slices) if fragile else {},
    )
