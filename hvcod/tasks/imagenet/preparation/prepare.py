"""From folders and tar files to packed images: the pipeline behind ``hvcod data imagenet``.

1. Every input is cut into units (`inputs`): some files, a range of a tar file, or a compressed tar
   file; the ranks share the inputs.
2. Every unit is read once, its images checked and packed into shards (`packing`); the ranks share
   the units.
3. One rank gives all images their classes and parts (`splitting`), writes index and report and,
   last of all, ``dataset.json``.

The result depends on the inputs and the options, not on ranks or interruptions. Memory does not
grow with the images, but for about 100 bytes for each of them on one rank at the end.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from hvcod.errors import HvcodError, UsageError
from hvcod.groups.world import on_rank_zero
from hvcod.tasks.files import read_json, write_json, write_whole
from hvcod.tasks.imagenet.dataset import (
    COLUMNS,
    FORMAT,
    PARTS,
    Integers,
    ShardInfo,
    describe_dataset,
    index_image,
)
from hvcod.tasks.imagenet.preparation.inputs import Source, Unit, members, units
from hvcod.tasks.imagenet.preparation.labels import Labels
from hvcod.tasks.imagenet.preparation.options import PrepareOptions
from hvcod.tasks.imagenet.preparation.packing import STAGE, pack, read_notes, too_much_damage
from hvcod.tasks.imagenet.preparation.paths import Place
from hvcod.tasks.imagenet.preparation.splitting import LAYOUT, Split, split
from hvcod.tasks.imagenet.preparation.summary import full_report
from hvcod.tasks.preparing.workspace import Workspace
from hvcod.tasks.reading.files import readable

STAGES = ("listed", STAGE)

Report = dict[str, Any]


def prepare(
    sources: Sequence[Source], output: Path, options: PrepareOptions, world: MPI.Intracomm
) -> Report:
    """Packs a dataset, or finishes one that was interrupted. Collective.

    Args:
        sources: The inputs; the result depends on their order.
        output: The dataset's folder; new, empty, or that of the same preparation.
        options: How to pack.
        world: The ranks that share the work.

    Returns:
        The report, on every rank; the same is in ``report.json``.

    Raises:
        UsageError: The folder holds something else, or an option is wrong.
        HvcodError: An input cannot be read, holds nothing to learn, or the disk refuses.
    """
    # One rank looks at the files: what it sees, or misses, holds for all.
    labels, plan = on_rank_zero(world, lambda: _labels_and_plan(sources, options))
    workspace = Workspace(output, world, STAGES)
    if workspace.open(plan):
        _Preparation(workspace, sources, options, labels, plan).run()
    report: Report = on_rank_zero(world, lambda: read_json(output / "report.json"))
    return report


def _labels_and_plan(
    sources: Sequence[Source], options: PrepareOptions
) -> tuple[Labels | None, dict[str, Any]]:
    """The classes asked for, and all that the result follows from."""
    labels = Labels.load(options.labels) if options.labels else None
    digest = hashlib.sha256(options.labels.read_bytes()).hexdigest() if options.labels else None
    return labels, {
        "version": FORMAT.version,
        "inputs": [[each.name, _size(each.location)] for each in sources],
        "labels": digest,
        "validation_fraction": options.validation_fraction,
        "max_pixels": options.max_pixels,
        "shard_bytes": options.shard_bytes,
    }


def _size(path: Path) -> int | None:
    """Bytes of a tar file, by which a changed input is noticed."""
    with readable(path):
        return None if path.is_dir() else path.stat().st_size


class _Preparation:
    """The stages, as one rank goes through them."""

    def __init__(
        self,
        workspace: Workspace,
        sources: Sequence[Source],
        options: PrepareOptions,
        labels: Labels | None,
        plan: dict[str, Any],
    ) -> None:
        self._workspace, self._sources = workspace, sources
        self._options, self._labels, self._plan = options, labels, plan
        self._leads = workspace.world.rank == 0

    def run(self) -> None:
        """All stages. Collective."""
        self._list()
        found = on_rank_zero(self._workspace.world, self._units)
        self._pack(found)
        on_rank_zero(self._workspace.world, lambda: self._conclude(len(found)))

    def _list(self) -> None:
        workspace, inputs = self._workspace, range(len(self._sources))
        with workspace.shown("listed", "listing", len(inputs), "file") as look:
            for index in workspace.share("listed", inputs):
                try:
                    cut = units(self._sources[index], self._options.shard_bytes)
                except UsageError as error:  # known to this rank alone: ends the launch
                    raise HvcodError(str(error)) from error
                for number, unit in enumerate(cut):
                    if unit.files is not None:
                        names = b"\0".join(os.fsencode(name) for name in unit.files)
                        write_whole(self._names(index, number), names)
                spans = [unit.span if unit.files is None else "files" for unit in cut]
                workspace.finish("listed", index, spans)
            workspace.wait(look)

    def _names(self, index: int, unit: int) -> Path:
        return self._workspace.file("listed", index, f"-{unit:05d}.names")

    def _units(self) -> list[tuple[int, int, Any]]:
        """Of every unit of all inputs: its input, its number there, and what it is."""
        listed = [self._workspace.result("listed", index) for index in range(len(self._sources))]
        return [
            (index, number, what)
            for index, spans in enumerate(listed)
            for number, what in enumerate(spans)
        ]

    def _unit(self, index: int, number: int, what: Any) -> Unit:
        if what == "files":
            names = self._names(index, number).read_bytes().split(b"\0")
            return Unit(files=tuple(os.fsdecode(name) for name in names))
        return Unit(span=what and (what[0], what[1]))

    def _pack(self, found: Sequence[tuple[int, int, Any]]) -> None:
        workspace = self._workspace
        with workspace.shown(STAGE, "packing", len(found), "file") as look:
            for unit in workspace.share(STAGE, range(len(found))):
                source = self._sources[found[unit][0]]
                prefix = f"{source.name}/" if len(self._sources) > 1 else ""
                files = members(source, self._unit(*found[unit]))
                pack(
                    workspace,
                    unit,
                    files,
                    source.folder,
                    prefix,
                    self._labels,
                    self._options,
                    look,
                )
            workspace.wait(look)

    def _conclude(self, count: int) -> None:
        workspace, output = self._workspace, self._workspace.output
        results = [workspace.result(STAGE, unit) for unit in range(count)]
        self._check(results)
        columns, known = _joined(results, (read_notes(workspace, unit) for unit in range(count)))
        fraction = self._options.validation_fraction
        found = split(columns["hash"], columns["place"], known, fraction)
        write_whole(output / "index.h5", _index(columns, found))
        write_json(output / "report.json", full_report(results, found))
        shards = [ShardInfo(**shard) for result in results for shard in result["shards"]]
        counts = {part: len(found.parts[part]) for part in PARTS}
        description = describe_dataset(found.classes, counts, shards, self._plan)
        write_json(output / "dataset.json", description)
        workspace.remove()

    def _check(self, results: Sequence[Report]) -> None:
        damaged = [tuple(entry) for result in results for entry in result["damaged"]]
        if len(damaged) > self._options.max_damaged:
            raise HvcodError(too_much_damage(damaged, self._options.max_damaged))
        if not any(result["shards"] for result in results):
            other = sum(result["counts"].get("other", 0) for result in results)
            names = ", ".join(source.name for source in self._sources)
            raise HvcodError(
                f"no image in {names}: {len(damaged)} damaged, {other} other files; {LAYOUT}"
            )


def _joined(results: Sequence[Report], notes: Any) -> tuple[dict[str, Integers], list[Place]]:
    """The notes of all units as one, and the places that they refer to."""
    known: dict[Place, int] = {}
    shards, columns = 0, []
    for result, note in zip(results, notes, strict=True):
        numbers = [known.setdefault(Place(*each), len(known)) for each in result["places"]]
        note["place"] = np.array(numbers, dtype=np.int64)[note["place"]]
        note["shard"] = note["shard"] + shards
        shards += len(result["shards"])
        columns.append(note)
    names = columns[0]
    return {name: np.concatenate([each[name] for each in columns]) for name in names}, list(known)


def _index(columns: dict[str, Integers], found: Split) -> bytes:
    columns = {**columns, "label": found.labels}
    parts = {
        part: {name: columns[name][images] for name in COLUMNS}
        for part, images in found.parts.items()
    }
    return index_image(parts)
