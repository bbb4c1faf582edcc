"""From rows of text to features: the pipeline behind ``hvcod data criteo``.

1. Every compressed input is unpacked, every generated one written; the ranks share the inputs.
2. Every piece of text is parsed (`reading`); the ranks share the pieces from here on.
3. Of the pieces of the training part the categories are counted, and added up feature by feature
   (`learning`).
4. Every piece becomes a shard of ids and scaled integers.
5. One rank writes the report and, last of all, ``dataset.json``.

The result depends on the inputs and the options, not on ranks or interruptions. Memory does not
grow with the rows: a rank holds a piece at a time, a fixed number of counts, and the categories
that are kept.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from hvcod.config import flatten
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.world import on_rank_zero
from hvcod.tasks.columns import image
from hvcod.tasks.criteo.dataset import (
    CATEGORIES,
    FORMAT,
    INTEGERS,
    PARTS,
    ClickDataset,
    describe_dataset,
)
from hvcod.tasks.criteo.features import MISSING, OUT_OF_VOCABULARY, Encoder, Features
from hvcod.tasks.criteo.preparation import learning
from hvcod.tasks.criteo.preparation.generate import RULES
from hvcod.tasks.criteo.preparation.learning import Learning
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.reading import (
    cut,
    place,
    read_piece,
    read_rows,
    too_many,
)
from hvcod.tasks.criteo.preparation.sources import Source, Text, make_plain
from hvcod.tasks.criteo.preparation.summary import Report, full_report
from hvcod.tasks.files import read_arrays, read_json, write_json, write_whole
from hvcod.tasks.preparing.workspace import Workspace
from hvcod.tasks.reading.files import readable

STAGES = ("plain", "read", *learning.STAGES, "encoded")


def prepare(
    sources: Sequence[Source], output: Path, options: PrepareOptions, world: MPI.Intracomm
) -> Report:
    """Prepares a dataset, or finishes one that was interrupted. Collective.

    Args:
        sources: The inputs; rows keep their order.
        output: The dataset's folder; new, empty, or that of the same preparation.
        options: How rows become features.
        world: The ranks that share the work.

    Returns:
        The report, on every rank; the same is in ``report.json``.

    Raises:
        UsageError: The folder holds something else, or the options do not fit.
        HvcodError: An input cannot be read or is none of the Criteo data, too many rows are
            malformed, or the disk refuses.
    """
    plan = on_rank_zero(world, lambda: _plan(sources, options))
    workspace = Workspace(output, world, STAGES)
    if workspace.open(plan):
        _Preparation(workspace, sources, options, plan).run()
    report: Report = on_rank_zero(world, lambda: read_json(output / "report.json"))
    return report


def _plan(sources: Sequence[Source], options: PrepareOptions) -> dict[str, Any]:
    """All that the result follows from."""
    if options.validation_fraction + options.test_fraction >= 1:
        raise UsageError("--validation-fraction and --test-fraction leave no rows for training")
    like = None
    if options.like:
        ClickDataset(options.like)
        features = options.like / "features.h5"
        with readable(features):
            like = hashlib.sha256(features.read_bytes()).hexdigest()
    inputs = [source.identity() for source in sources]
    chosen = flatten(asdict(options))
    del chosen["max_malformed"]  # allowing more goes on where it was too many
    return {"version": FORMAT.version, "rules": RULES, "inputs": inputs, **chosen, "like": like}


class _Preparation:
    """The stages, as one rank goes through them."""

    def __init__(
        self,
        workspace: Workspace,
        sources: Sequence[Source],
        options: PrepareOptions,
        plan: dict[str, Any],
    ) -> None:
        self._workspace, self._sources, self._options = workspace, sources, options
        self._plan, self._world = plan, workspace.world

    def run(self) -> None:
        """All stages. Collective."""
        self._make_plain()
        self._read()
        on_rank_zero(self._world, self._check_rows)
        self._find_parts()
        if self._options.like is None:
            self._learning.run()
        on_rank_zero(self._world, self._write_features)
        self._encode()
        if self._world.rank == 0:
            self._conclude()
        self._workspace.wait()

    def _make_plain(self) -> None:
        sizes = [size for _, size in self._plan["inputs"]]
        order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
        with self._workspace.shown("plain", "opening", len(order), "row") as look:
            for index in self._workspace.share("plain", order):
                make_plain(self._workspace, index, self._sources[index])
            self._workspace.wait(look)
        found = self._results_of("plain", range(len(self._sources)))
        self._texts = [Text(**each) for each in found]
        on_rank_zero(self._world, self._check_layouts)
        self._pieces = cut(self._texts, self._options.piece_bytes)

    def _results_of(self, stage: str, order: Sequence[int]) -> list[dict[str, Any]]:
        """What a finished stage said, read by one rank for all. Collective."""
        return on_rank_zero(
            self._world, lambda: [self._workspace.result(stage, index) for index in order]
        )

    def _check_layouts(self) -> None:
        names = {
            text.columns.has_label: source.name
            for text, source in zip(self._texts, self._sources, strict=True)
        }
        if len(names) == 2:
            raise UsageError(
                f"{names[True]} has labels and {names[False]} has none: prepare them one by one, "
                "the unlabelled rows with --like"
            )
        if False in names and self._options.like is None:
            raise UsageError(
                f"{names[False]} has no labels: nothing can be learned from it; give --like the "
                "prepared folder of the labelled rows"
            )

    def _read(self) -> None:
        order = range(len(self._pieces))
        with self._workspace.shown("read", "reading", len(order), "row") as look:
            for index in self._workspace.share("read", order):
                piece = self._pieces[index]
                name, text = self._sources[piece.source].name, self._texts[piece.source]
                most = self._options.max_malformed
                read_piece(self._workspace, index, piece, name, text, most, look)
            self._workspace.wait(look)
        self._results = self._results_of("read", order)
        # Lines in front of each piece: of all inputs, and of its own one.
        lines = np.array([result["lines"] for result in self._results], dtype=np.int64)
        self._lines_before = np.cumsum(lines) - lines
        first = {piece.source: index for index, piece in reversed([*enumerate(self._pieces)])}
        self._first = [first[piece.source] for piece in self._pieces]

    def _lines_of_input_before(self, index: int) -> int:
        return int(self._lines_before[index] - self._lines_before[self._first[index]])

    def _check_rows(self) -> None:
        found = 0
        for result in self._results:
            found += sum(result["kinds"].values())
            if found > self._options.max_malformed:
                piece = next(i for i, each in enumerate(self._results) if each["examples"])
                source = self._pieces[piece].source
                raise too_many(
                    self._results[piece]["examples"][0],
                    self._lines_of_input_before(piece),
                    self._sources[source].name,
                    self._texts[source],
                    self._options.max_malformed,
                )
        rows = sum(result["rows"] for result in self._results)
        held_out = 0 if self._options.like else min(1, math.ceil(self._options.validation_fraction))
        if rows < 1 + held_out:
            raise HvcodError(f"{rows} rows in all: training and validation need at least one each")

    def _find_parts(self) -> None:
        rows = np.array([result["rows"] for result in self._results], dtype=np.int64)
        self._begins = np.cumsum(rows) - rows
        total, options = int(rows.sum()), self._options
        if options.like:
            self._parts = {"training": (0, 0), "validation": (0, 0), "test": (0, total)}
            return
        test = round(options.test_fraction * total)
        validation = round(options.validation_fraction * total)
        if options.validation_fraction > 0:
            validation = max(1, validation)
        training = max(1, total - test - validation)
        self._parts = {
            "training": (0, training),
            "validation": (training, total - test),
            "test": (total - test, total),
        }
        in_training = np.clip(training - self._begins, 0, rows).tolist()
        self._learning = Learning(self._workspace, in_training, options.min_count)

    def _write_features(self) -> None:
        path = self._workspace.output / "features.h5"
        if self._options.like:
            write_whole(path, (self._options.like / "features.h5").read_bytes())
        elif not path.exists():
            write_whole(path, self._learning.features().image())

    def _encode(self) -> None:
        self._features = Features.load(self._workspace.output / "features.h5")
        encoder = Encoder(self._features)
        order = [index for index, result in enumerate(self._results) if result["rows"]]
        with self._workspace.shown("encoded", "encoding", len(order), "row") as look:
            for index in self._workspace.share("encoded", order):
                self._encode_piece(index, encoder)
                look()
            self._workspace.wait(look)

    def _encode_piece(self, index: int, encoder: Encoder) -> None:
        rows = read_rows(self._workspace, index)
        layout = self._texts[self._pieces[index].source].columns
        columns = {
            "integers": encoder.integers(rows.integers),
            "categories": encoder.categories(rows.categories, rows.missing),
            "labels": rows.labels,
            "ids": rows.ids if layout.has_id else rows.lines + self._lines_before[index],
        }
        if self._generated:
            file = self._workspace.file("plain", self._pieces[index].source, ".npz")
            known = read_arrays(file)["probabilities"]
            before = self._lines_of_input_before(index)
            columns["probabilities"] = known[before : before + len(rows.lines)].astype(np.float32)
        write_whole(self._workspace.output / _shard_name(index), image(columns, FORMAT))
        self._workspace.finish("encoded", index, self._counts(index, columns))

    @property
    def _generated(self) -> bool:
        return all(source.path is None for source in self._sources)

    def _counts(self, index: int, columns: dict[str, Any]) -> dict[str, dict[str, int]]:
        """Of each part: rows, clicks, and fields that are missing or out of vocabulary."""
        begin, found = int(self._begins[index]), {}
        first_rows = self._features.offsets[:-1].astype(np.int32)
        missing = columns["categories"] == first_rows + np.int32(MISSING)
        unknown = columns["categories"] == first_rows + np.int32(OUT_OF_VOCABULARY)
        for part, (first, last) in self._parts.items():
            chosen = slice(max(0, first - begin), max(0, last - begin))
            found[part] = {
                "rows": len(columns["labels"][chosen]),
                "clicks": int((columns["labels"][chosen] == 1).sum()),
                "missing_integers": int(np.isnan(columns["integers"][chosen]).sum()),
                "missing_categories": int(missing[chosen].sum()),
                "out_of_vocabulary": int(unknown[chosen].sum()),
            }
        return found

    def _conclude(self) -> None:
        workspace = self._workspace
        filled = [index for index, result in enumerate(self._results) if result["rows"]]
        counts = [workspace.result("encoded", index) for index in filled]
        parts = {
            part: {name: sum(each[part][name] for each in counts) for name in counts[0][part]}
            for part in PARTS
        }
        distinct = None if self._options.like else self._learning.distinct()
        report = full_report(self._inputs_read(), parts, self._features, distinct)
        write_json(workspace.output / "report.json", report)
        description = describe_dataset(
            [(_shard_name(index), self._results[index]["rows"]) for index in filled],
            self._parts,
            table_rows=int(self._features.offsets[-1]),
            integers=INTEGERS,
            categories=CATEGORIES,
            offsets=self._features.offsets.tolist(),
            click_rate=self._click_rate(parts["training"]),
            generated=self._generated,
            features_sha256=hashlib.sha256(
                (workspace.output / "features.h5").read_bytes()
            ).hexdigest(),
            plan=self._plan,
        )
        write_json(workspace.output / "dataset.json", description)
        workspace.remove()

    def _click_rate(self, training: dict[str, int]) -> float:
        if self._options.like:
            return ClickDataset(self._options.like).click_rate
        return training["clicks"] / training["rows"]

    def _inputs_read(self) -> list[Report]:
        """Of each input: lines, rows, and what was malformed, with the first places."""
        found: list[Report] = [
            {"name": source.name, "lines": 0, "rows": 0, "malformed": {}, "examples": []}
            for source in self._sources
        ]
        for index, (piece, result) in enumerate(zip(self._pieces, self._results, strict=True)):
            name, text = self._sources[piece.source].name, self._texts[piece.source]
            into, before = found[piece.source], self._lines_of_input_before(index)
            into["lines"] += result["lines"]
            into["rows"] += result["rows"]
            for kind, count in result["kinds"].items():
                into["malformed"][kind] = into["malformed"].get(kind, 0) + count
            into["examples"] += [place(each, before, name, text) for each in result["examples"]]
        return found


def _shard_name(index: int) -> str:
    return f"shards/{index:05d}.h5"
