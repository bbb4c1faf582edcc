"""From rows of text to features: the preparation behind ``hvcod data criteo``.

1. Every compressed input is unpacked, every generated one written (`sources`).
2. The text is cut into pieces, and every piece is parsed (`reading`).
3. The categories in the pieces of the training part are counted, and the counts added up feature
   by feature (`learning`).
4. Every piece becomes a shard of ids and scaled integers.
5. One rank writes the report and the description.

Memory does not grow with the rows: a rank holds a piece at a time, a fixed number of counts, and
the categories that are kept.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from hvcod.errors import HvcodError, UsageError
from hvcod.groups.memory import keep_memory
from hvcod.tasks.columns import Array, fingerprint, image
from hvcod.tasks.criteo.dataset import CATEGORIES, FORMAT, INTEGERS, PARTS, ClickDataset
from hvcod.tasks.criteo.features import MISSING, OUT_OF_VOCABULARY, Encoder, Features
from hvcod.tasks.criteo.preparation.generate import RULES
from hvcod.tasks.criteo.preparation.learning import ADDED, COUNTED, add_up, count, learned_features
from hvcod.tasks.criteo.preparation.limits import check, label_values, too_few
from hvcod.tasks.criteo.preparation.opening import PLAIN, Text, make_plain
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.parse import Rows
from hvcod.tasks.criteo.preparation.reading import (
    READ,
    ReadPieces,
    cut,
    read_piece,
    read_rows,
)
from hvcod.tasks.criteo.preparation.row_formats import Layout
from hvcod.tasks.criteo.preparation.summary import full_report
from hvcod.tasks.files import read_arrays, write_whole
from hvcod.tasks.preparing.pipeline import Look, Preparation, Report
from hvcod.tasks.preparing.workspace import Stage
from hvcod.tasks.reading.files import readable

ENCODED = Stage("encoded", "encoding", "row")


class ClickPreparation(Preparation):
    """The preparation of rows, which keep the order of the inputs."""

    data_format = FORMAT
    rules: ClassVar = {"rules": RULES}
    tolerances = ("max_malformed", "max_damaged")
    added: ClassVar = {"divide": False, "labels": None, "decimals": False}
    stages = (PLAIN, READ, COUNTED, ADDED, ENCODED)
    options: PrepareOptions

    def load(self) -> None:
        """Raises UsageError if options contradict each other, or leave no rows for training."""
        _check_like(self.options)
        if self.options.validation_fraction + self.options.test_fraction >= 1:
            raise UsageError("--validation-fraction and --test-fraction leave no rows for training")
        self._undivided = self.options.like is not None and not self.options.divide
        self._labels = label_values(self.options.labels)
        self._features_file = self.output / "features.h5"
        self._generated = all(source.path is None for source in self.sources)

    def digests(self) -> dict[str, Any]:
        """Returns the digest of the features that ``--like`` names."""
        like = self.options.like
        if like is None:
            return {}
        ClickDataset(like)
        with readable(like / "features.h5"):
            return {"like": hashlib.sha256((like / "features.h5").read_bytes()).hexdigest()}

    def work(self) -> None:
        """Goes through the stages. Collective."""
        keep_memory()
        self._open()
        self._read()
        self.once(lambda: check(self._pieces.inputs(), self.options))
        self._parts = self.once(self._find_parts)
        self._learn()
        self._encode()

    def _open(self) -> None:
        self.each(PLAIN, self.largest_first(), self._make_plain)
        opened = self.once(lambda: self.results(PLAIN, range(len(self.sources))))
        self._texts = []
        for number, (source, result) in enumerate(zip(self.sources, opened, strict=True)):
            self.left_alone = [*self.left_alone, *result.pop("left_alone")]
            layout = Layout.from_json(result.pop("layout"), self._labels)
            self._texts.append(Text(source.name, columns=layout, source=number, **result))
        self._leave_alone()
        self.once(self._check_layouts)

    def _make_plain(self, index: int, look: Look) -> Report:
        return make_plain(self.workspace, index, self.sources[index], self.options)

    def _leave_alone(self) -> None:
        """Leaves rows without labels alone if a folder or pattern has both kinds.

        With ``--like`` and without ``--divide`` it leaves those with labels alone.
        """
        wanted = not self._undivided
        if {text.columns.has_label for text in self._texts} != {True, False}:
            return
        aside = [
            text
            for text in self._texts
            if text.columns.has_label != wanted and not self.sources[text.source].is_named
        ]
        kind = "without" if wanted else "with"
        names = [f"{text.name} (rows {kind} labels)" for text in aside]
        self.left_alone = [*self.left_alone, *names]
        self._texts = [text for text in self._texts if text not in aside]

    def _check_layouts(self) -> None:
        names = {text.columns.has_label: text.name for text in self._texts}
        if len(names) == 2:
            raise UsageError(
                f"{names[True]} has labels and {names[False]} has none: prepare them one by one, "
                "the unlabelled rows with --like"
            )
        if False in names and not self._undivided:
            way = "give --like the prepared folder of the labelled rows, and no --divide"
            raise UsageError(f"{names[False]} has no labels: nothing can be learned from it; {way}")

    def _read(self) -> None:
        pieces = cut(self._texts, self.options.piece_bytes)
        most_malformed = self.options.max_malformed.number

        def read(index: int, look: Look) -> Report:
            text = self._texts[pieces[index].source]
            return read_piece(self.workspace, index, pieces[index], text, most_malformed, look)

        self.each(READ, range(len(pieces)), read)
        results = self.once(lambda: self.results(READ, range(len(pieces))))
        self._pieces = ReadPieces(self._texts, pieces, results)

    def _find_parts(self) -> dict[str, tuple[int, int]]:
        options, total = self.options, int(self._pieces.rows.sum())
        held_out = 0 if self._undivided else min(1, math.ceil(options.validation_fraction))
        if total < 1 + held_out:
            raise HvcodError(too_few(total, self._pieces.inputs()))
        if self._undivided:
            return {"training": (0, 0), "validation": (0, 0), "test": (0, total)}
        test = round(options.test_fraction * total)
        validation = max(held_out, round(options.validation_fraction * total))
        training = max(1, total - test - validation)
        return {
            "training": (0, training),
            "validation": (training, total - test),
            "test": (total - test, total),
        }

    def _learn(self) -> None:
        """Finds the features, unless ``--like`` gives them. Collective."""
        workspace, pieces = self.workspace, self._pieces
        _, end = self._parts["training"]
        training = np.clip(end - pieces.rows_before, 0, pieces.rows).tolist()
        learned = [index for index, rows in enumerate(training) if rows]

        def count_piece(index: int, look: Look) -> Report:
            columns = read_rows(workspace, index)
            rows = Rows(*(column[..., : training[index]] for column in columns))
            return count(workspace, index, rows)

        def add_feature(feature: int, look: Look) -> Report:
            return add_up(workspace, feature, learned, offsets, self.options.min_count)

        if self.options.like is None:
            self.each(COUNTED, learned, count_piece)
            offsets = self.once(
                lambda: [piece["offsets"] for piece in self.results(COUNTED, learned)]
            )
            self.each(ADDED, range(CATEGORIES), add_feature)
        self.once(lambda: self._write_features(learned))

    def _write_features(self, learned: Sequence[int]) -> None:
        path, like = self._features_file, self.options.like
        if like:
            write_whole(path, (like / "features.h5").read_bytes())
        elif not path.exists():
            write_whole(path, learned_features(self.workspace, learned).image())

    def _encode(self) -> None:
        self._features = Features.load(self._features_file)
        encoder = Encoder(self._features)

        def encode(index: int, look: Look) -> Report:
            columns = self._columns(index, encoder)
            write_whole(self.output / _shard_name(index), image(columns, FORMAT))
            return self._counts(index, columns) | {"content": fingerprint(columns)}

        self.each(ENCODED, self._pieces.filled, encode)

    def _columns(self, index: int, encoder: Encoder) -> dict[str, Array]:
        rows, pieces = read_rows(self.workspace, index), self._pieces
        columns = {
            "integers": encoder.integers(rows.integers),
            "categories": encoder.categories(rows.categories, rows.missing),
            "labels": rows.labels,
            "ids": rows.ids
            if pieces.text(index).columns.has_id
            else rows.lines + pieces.lines_before[index],
        }
        if self._generated:
            file = self.workspace.file(PLAIN, pieces.text(index).source, ".npz")
            known = read_arrays(file)["probabilities"]
            before = pieces.lines_of_input_before(index)
            columns["probabilities"] = known[before : before + len(rows.lines)].astype(np.float32)
        return columns

    def _counts(self, index: int, columns: dict[str, Array]) -> Report:
        """Returns rows, clicks, and fields missing or out of vocabulary in each part."""
        begin, counts = int(self._pieces.rows_before[index]), {}
        first_rows = self._features.offsets[:-1].astype(np.int32)
        missing = columns["categories"] == first_rows + np.int32(MISSING)
        unknown = columns["categories"] == first_rows + np.int32(OUT_OF_VOCABULARY)
        for part, (first, last) in self._parts.items():
            chosen = slice(max(0, first - begin), max(0, last - begin))
            counts[part] = {
                "rows": len(columns["labels"][chosen]),
                "clicks": int((columns["labels"][chosen] == 1).sum()),
                "missing_integers": int(np.isnan(columns["integers"][chosen]).sum()),
                "missing_categories": int(missing[chosen].sum()),
                "out_of_vocabulary": int(unknown[chosen].sum()),
            }
        return counts

    def conclude(self) -> tuple[Report, dict[str, Any]]:
        """Returns the report and the description."""
        pieces, features = self._pieces, self._features
        counts = self.results(ENCODED, pieces.filled)
        parts = {
            part: {name: sum(one[part][name] for one in counts) for name in counts[0][part]}
            for part in PARTS
        }
        like, distinct = self.options.like, None
        if like is None:
            distinct = [one["distinct"] for one in self.results(ADDED, range(CATEGORIES))]
        if like is not None and self._undivided:
            click_rate = ClickDataset(like).click_rate
        else:
            click_rate = parts["training"]["clicks"] / parts["training"]["rows"]
        description = {
            **FORMAT.attributes(),
            "table_rows": int(features.offsets[-1]),
            "integers": INTEGERS,
            "categories": CATEGORIES,
            "offsets": features.offsets.tolist(),
            "click_rate": click_rate,
            "generated": self._generated,
            "meaning": features.meaning,
            "content": self.content(ENCODED, pieces.filled),
            "features_sha256": hashlib.sha256(self._features_file.read_bytes()).hexdigest(),
            "plan": self.plan,
            "parts": self._parts,
            "shards": [(_shard_name(index), int(pieces.rows[index])) for index in pieces.filled],
        }
        return full_report(pieces.inputs(), parts, features, distinct), description


def _check_like(options: PrepareOptions) -> None:
    default = PrepareOptions()
    if options.like is None:
        if options.divide:
            raise UsageError("--divide only goes with --like; without it rows are always divided")
        return
    if options.min_count != default.min_count:
        raise UsageError("--min-count does not go with --like, which brings the categories")
    for name in ("validation_fraction", "test_fraction"):
        if not options.divide and getattr(options, name) != getattr(default, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} with --like needs --divide: else all rows are the test part")


def _shard_name(index: int) -> str:
    return f"shards/{index:05d}.h5"
