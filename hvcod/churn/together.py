"""Files of predictions read side by side: opened by the options of a comparison, and aligned."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hvcod.churn.files.align import Alignment
from hvcod.churn.files.findings import LABELS_DIFFER, Findings
from hvcod.churn.files.opening import open_source
from hvcod.churn.files.rows import Array, Rows, Source, Wanted
from hvcod.churn.measures.fragile import Fragile
from hvcod.churn.measures.slices import Slices, parse_edges
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Matched
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.progress import Progress
from hvcod.tensorfile.meaning import difference


class Measures(Protocol):
    """Anything that looks at all aligned rows once."""

    def add(self, predictions: Sequence[Array], labels: Array, slices: Array | None) -> None:
        """Adds some rows.

        Args:
            predictions: For each file [N] or [N, classes], between 0 and 1.
            labels: The right classes, [N]; -1 where they are unknown.
            slices: The number of each row's slice, [N]; None without slices.
        """
        ...


@dataclass(frozen=True)
class Read:
    """A description of the rows after all of them were read.

    Attributes:
        rows: The number of rows.
        matched: By what they were matched.
        slices: {name: number} of the slices in the order in which they are shown.
        warnings: Warnings for the user; each begins with the name of the file that it is about.
    """

    rows: int
    matched: Matched
    slices: Mapping[str, int]
    warnings: Sequence[str]


@contextlib.contextmanager
def opened(
    paths: Sequence[Path], options: CompareOptions, names: Mapping[Path, str]
) -> "Iterator[Together]":
    """Opens files of predictions, and the file of slices.

    Args:
        names: The names of files in messages; their paths by default. A file that is given again
            has its number behind its name.

    Raises:
        UsageError: An option is wrong, or a file is missing.
        HvcodError: A file cannot be read, lacks columns, or has other classes than another one.
    """
    edges = parse_edges(options.slice_edges)
    with contextlib.ExitStack() as closing:
        sources = _open(paths, options, names, closing)
        yield Together(sources[: len(paths)], sources[len(paths) :], Slices(edges), options)


class Together:
    """Open files of predictions, whose rows can be read once.

    Attributes:
        names: The names of the files.
        classes: The number of classes that are compared; None for a single number per row.
        labelled: Whether any file has labels.
    """

    def __init__(
        self,
        models: Sequence[Source],
        others: Sequence[Source],
        slices: Slices,
        options: CompareOptions,
    ) -> None:
        self._models, self._others = models, others
        self._slices, self._options = slices, options
        self.names = [source.name for source in models]
        self.classes, self._notes = _classes(models)
        self.labelled = any(source.contents.labelled for source in models)

    def read_into(self, measures: Measures, fragile: Fragile | None = None) -> Read:
        """Reads all rows, aligned, and gives them to some measures.

        `fragile` gets them, too, with their ids.

        Memory does not grow with the rows. If the files are not in the same order, their rows are
        put into temporary files (in TMPDIR).

        Raises:
            HvcodError: The predictions are not probabilities, are NaN, do not match each other, or
                there are none: lists every problem, with counts. Or temporary files cannot be
                written.
        """
        findings = Findings(self._options.scale)
        sources = [*self._models, *self._others]
        alignment = Alignment(sources, findings, self._options.common, self._options.ids)
        with scratch_errors():
            rows = self._read(sources, alignment, findings, measures, fragile)
        findings.raise_errors()
        if not rows:
            shown = "; ".join([", ".join(self.names), *findings.warnings])
            raise HvcodError(f"there are no rows to compare in {shown}")
        seen = findings.check_files(sources, self._options.prediction_column is not None)
        columns = [source.contents.columns for source in self._models]
        return Read(
            rows=rows,
            matched=Matched(alignment.kind, dict(zip(self.names, columns, strict=True))),
            slices=self._slices.shown,
            warnings=[*self._notes, *findings.warnings, *seen],
        )

    def _read(
        self,
        sources: Sequence[Source],
        alignment: Alignment,
        findings: Findings,
        measures: Measures,
        fragile: Fragile | None,
    ) -> int:
        sliced = next((i for i, source in enumerate(sources) if source.contents.sliced), None)
        if sliced is not None:
            self._slices.declare(sources[sliced].contents.slices)
        progress, count = Progress(None, "comparing", "row"), 0
        for rows in alignment.blocks():
            labels = _labels(self._models, rows, findings)
            numbers = None
            if sliced is not None:
                numbers = self._slices.numbers(np.asarray(rows[sliced]["slice"]))
            values = [block["prediction"] for block in rows[: len(self._models)]]
            predictions = [np.ascontiguousarray(_single(each, self.classes)) for each in values]
            measures.add(predictions, labels, numbers)
            if fragile:
                fragile.add(rows[0]["id"], predictions, labels, numbers)
            progress.update(len(labels))
            count += len(labels)
        progress.close()
        return count


@contextlib.contextmanager
def scratch_errors() -> Iterator[None]:
    """Turns errors of the file system inside, where temporary files are used, into one line.

    Raises:
        HvcodError: They cannot be written or read.
    """
    try:
        yield
    except OSError as error:
        raise HvcodError(
            f"temporary files in {tempfile.gettempdir()}: {reason_of(error)}; set the variable "
            "TMPDIR to a folder with more space"
        ) from error


def _open(
    paths: Sequence[Path],
    options: CompareOptions,
    names: Mapping[Path, str],
    closing: contextlib.ExitStack,
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
    sources = [open_source(path, wanted, closing) for path in paths]
    for number, source in enumerate(sources):
        source.name = names.get(paths[number], source.name)
        # Counts are kept by name, and a file may be given twice.
        if again := paths[:number].count(paths[number]):
            source.name += f" ({again + 1})"
    if options.slices:
        if options.slice_column or options.by_row:
            raise UsageError("--slices cannot be combined with --slice-column or --by-row")
        id_names = None if options.id_column is None else f"{options.id_column}|id"
        wanted = Wanted(predictions=False, slice_column="slice", id_column=id_names)
        sources.append(open_source(options.slices, wanted, closing))
    elif options.slice_edges and not options.slice_column:
        raise UsageError("--slice-edges needs --slice-column or --slices")
    elif options.slice_column and not any(source.contents.sliced for source in sources):
        raise UsageError(f"--slice-column {options.slice_column}: no file has such a column")
    return sources


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
