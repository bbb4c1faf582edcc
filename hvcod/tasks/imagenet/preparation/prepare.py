"""From folders and tar files to packed images: the preparation behind ``hvcod data imagenet``.

1. Every input is cut into units (`inputs`): some files, a range of a tar file, or a compressed tar
   file.
2. Every unit is read once, its images checked and packed into shards (`packing`).
3. One rank gives all images their classes and parts (`splitting`), writes the index, the report and
   the description.

Memory does not grow with the images, except for about 100 bytes for each of them on one rank at the
end.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hvcod.errors import HvcodError
from hvcod.tasks.columns import fingerprint, image
from hvcod.tasks.files import read_arrays, write_whole
from hvcod.tasks.imagenet.dataset import COLUMNS, FORMAT, PARTS, ImageDataset, Integers
from hvcod.tasks.imagenet.preparation.inputs import Source, Unit, members, units
from hvcod.tasks.imagenet.preparation.labels import load_labels
from hvcod.tasks.imagenet.preparation.layout import EXPECTED, Layout, Place, read_layout
from hvcod.tasks.imagenet.preparation.options import PrepareOptions
from hvcod.tasks.imagenet.preparation.packing import PACKED, Packer, too_much_damage
from hvcod.tasks.imagenet.preparation.paths import SUFFIXES
from hvcod.tasks.imagenet.preparation.splitting import Split, split
from hvcod.tasks.imagenet.preparation.summary import LabelsReport, found, full_report
from hvcod.tasks.preparing.pipeline import Look, Preparation, Report
from hvcod.tasks.preparing.workspace import Stage
from hvcod.tensorfile.meaning import digest

LISTED = Stage("listed", "listing", "file")


class ImagePreparation(Preparation):
    """The preparation of images."""

    data_format = FORMAT
    tolerances = ("max_damaged",)
    late = ("part", "validation_fraction", "like")
    added: ClassVar = {"like": None}
    stages = (LISTED, PACKED)
    options: PrepareOptions

    def load(self) -> None:
        """Reads the labels and the classes of ``--like``, if there are any. Collective."""
        file, like = self.options.labels, self.options.like
        self._classes = self.once(lambda: ImageDataset(like).classes if like else None)
        self._labels = self.once(lambda: load_labels(file) if file else {})

    def digests(self) -> dict[str, Any]:
        """Returns the digests of the list of labels and of the classes of ``--like``."""
        file = self.options.labels
        return {
            "labels": file and hashlib.sha256(file.read_bytes()).hexdigest(),
            **({"like": digest(self._classes)} if self._classes else {}),
        }

    def work(self) -> None:
        """Goes through the stages. Collective."""
        self.each(LISTED, range(len(self.sources)), self._list)
        self._units = self.once(self._all_units)
        self.each(PACKED, range(len(self._units)), self._pack)

    def _list(self, index: int, look: Look) -> list[Any]:
        """Cuts an input into units; returns their ranges, or "files" where names are listed."""
        cut = units(self.sources[index], self.options.shard_bytes)
        for number, unit in enumerate(cut):
            if unit.files is not None:
                names = b"\0".join(os.fsencode(name) for name in unit.files)
                write_whole(self._names(index, number), names)
        return [unit.span if unit.files is None else "files" for unit in cut]

    def _names(self, index: int, unit: int) -> Path:
        return self.workspace.file(LISTED, index, f"-{unit:05d}.names")

    def _all_units(self) -> list[tuple[int, int, Any]]:
        """Returns for every unit of all inputs its input, its number there, and its range."""
        spans = self.results(LISTED, range(len(self.sources)))
        return [
            (index, number, span)
            for index, some in enumerate(spans)
            for number, span in enumerate(some)
        ]

    def _unit(self, index: int, number: int, span: Any) -> Unit:
        if span == "files":
            names = self._names(index, number).read_bytes().split(b"\0")
            return Unit(files=tuple(os.fsdecode(name) for name in names))
        return Unit(span=span and (span[0], span[1]))

    def _pack(self, unit: int, look: Look) -> Report:
        source: Source = self.sources[self._units[unit][0]]
        prefix = f"{source.name}/" if len(self.sources) > 1 else ""
        packer = Packer(self.workspace, unit, self.options, self._labels)
        for number, member in enumerate(members(source, self._unit(*self._units[unit])), 1):
            packer.add(member, source.name, prefix)
            look(number)
        return packer.finish()

    def conclude(self) -> tuple[Report, dict[str, Any]]:
        """Writes the index; returns the report and the description."""
        numbers = range(len(self._units))
        results = self.results(PACKED, numbers)
        self._check(results)
        files = (self.workspace.file(PACKED, unit, ".npz") for unit in numbers)
        columns, known = _joined(results, map(read_arrays, files))
        layout = read_layout(list(known), self.options.part)
        counts = np.bincount(columns["place"], minlength=len(known))
        labels = self._labels_report(known, layout, counts.tolist())
        try:
            fraction = self.options.validation_fraction
            seen = columns["hash"], columns["place"], layout.meanings
            parts = split(*seen, fraction, str(labels), self._classes)
        except HvcodError as error:
            raise HvcodError(f"{error}; found: {found(results)}") from error
        index = _index(columns, parts)
        write_whole(self.output / "index.h5", image(index, FORMAT))
        packed = self.content(PACKED, numbers)
        description = {
            **FORMAT.attributes(),
            "classes": parts.classes,
            "content": packed and digest([packed, fingerprint(index)]),
            "images": {part: len(parts.parts[part]) for part in PARTS},
            "plan": self.plan,
            "shards": [shard for result in results for shard in result["shards"]],
        }
        return full_report(results, parts, labels, layout.words), description

    def _labels_report(
        self, known: Mapping[Place, str], layout: Layout, counts: Sequence[int]
    ) -> LabelsReport:
        places = list(zip(known.items(), layout.meanings, counts, strict=True))
        outside = [
            (place.listed, name, count)
            for (place, name), meaning, count in places
            if meaning.outside and (place.listed or meaning.part in ("training", "validation"))
        ]
        missing = [(name, count) for listed, name, count in outside if not listed]
        return LabelsReport(
            names=len(self._labels),
            fit=sum(count for listed, _, count in outside if listed),
            missing=sum(count for _, count in missing),
            example=missing[0][0] if missing else "",
            listed=next(iter(self._labels), ""),
        )

    def _check(self, results: Sequence[Report]) -> None:
        damaged = [tuple(image) for result in results for image in result["damaged"]]
        most = self.options.max_damaged.number
        if most is not None and len(damaged) > most:
            raise too_much_damage(damaged, most)
        if most is None:
            self._check_shares(results)
        if not any(result["shards"] for result in results):
            names = ", ".join(source.name for source in self.sources)
            raise HvcodError(
                f"no image in {names}: {found(results)}; the names of images end in "
                f"{', '.join(SUFFIXES)}; {EXPECTED}"
            )

    def _check_shares(self, results: Sequence[Report]) -> None:
        limit = self.options.max_damaged
        for index, source in enumerate(self.sources):
            pairs = zip(self._units, results, strict=True)
            own = [result for unit, result in pairs if unit[0] == index]
            damaged = [image for result in own for image in result["damaged"]]
            read = sum(result["counts"].get("read", 0) for result in own)
            if limit.is_exceeded(len(damaged), read):
                name, reason = damaged[0]
                raise HvcodError(
                    f"{source.name}: {len(damaged)} of {read} images are damaged, more than "
                    f"--max-damaged {limit} allows: {name} ({reason})"
                )


def _joined(
    results: Sequence[Report], notes: Iterable[dict[str, Integers]]
) -> tuple[dict[str, Integers], dict[Place, str]]:
    """Joins the notes of all units.

    Returns:
        The notes, and {place: the first image there} in the order to which the notes refer.
    """
    known: dict[Place, int] = {}
    first: dict[Place, str] = {}
    shards, columns = 0, []
    for result, note in zip(results, notes, strict=True):
        places = [Place(tuple(folders), listed) for folders, listed in result["places"]]
        numbers = [known.setdefault(place, len(known)) for place in places]
        for place, name in zip(places, result["first_names"], strict=True):
            first.setdefault(place, name)
        note["place"] = np.array(numbers, dtype=np.int64)[note["place"]]
        note["shard"] = note["shard"] + shards
        shards += len(result["shards"])
        columns.append(note)
    names = columns[0]
    return {name: np.concatenate([note[name] for note in columns]) for name in names}, first


def _index(columns: dict[str, Integers], split: Split) -> dict[str, Integers]:
    columns = {**columns, "label": split.labels}
    return {
        f"{part}/{name}": columns[name][split.parts[part]].astype(dtype)
        for part in PARTS
        for name, dtype in COLUMNS.items()
    }
