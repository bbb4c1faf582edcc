"""Packing one unit of the inputs into shards, image by image as they stream by."""

import hashlib
from array import array
from collections import Counter
from typing import Any

import numpy as np

from hvcod.errors import HvcodError
from hvcod.tasks.columns import Array, fingerprint, image, lines
from hvcod.tasks.files import write_arrays, write_whole
from hvcod.tasks.imagenet.dataset import FORMAT
from hvcod.tasks.imagenet.preparation.archive import Member
from hvcod.tasks.imagenet.preparation.check import DamagedError, check, is_misnamed
from hvcod.tasks.imagenet.preparation.labels import Labels, label_of
from hvcod.tasks.imagenet.preparation.layout import Place
from hvcod.tasks.imagenet.preparation.options import PrepareOptions
from hvcod.tasks.imagenet.preparation.paths import is_image_name, left_alone
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.terminal import one_line

PACKED = Stage("images", "packing", "file")
NOTES = ("hash", "shard", "row", "begin", "size", "place")
"""The names of the notes of an image in a unit's file; the hash is that of its id."""

EXAMPLES_KEPT = 5


class Packer:
    """Packs the images of one unit into shards of the workspace and notes where each lies."""

    def __init__(
        self, workspace: Workspace, unit: int, options: PrepareOptions, labels: Labels
    ) -> None:
        self._workspace, self._unit = workspace, unit
        self._options, self._labels = options, labels
        self._shards: list[dict[str, Any]] = []
        self._digests: list[str] = []
        self._content, self._sizes, self._ids = bytearray(), list[int](), list[str]()
        self._notes = array("q")  # a list would take five times as much
        self._places: dict[Place, int] = {}
        self._first_names: list[str] = []
        self._counts: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._damaged: list[tuple[str, str]] = []
        self._examples: list[str] = []
        self._links: list[str] = []
        self._left_alone: set[str] = set()

    def add(self, member: Member, source: str, prefix: str) -> None:
        """Takes one file of an input called `source`; a prefix is put before the file's name.

        Raises:
            HvcodError: The disk refuses, or too many images are damaged.
        """
        if aside := left_alone(member.path):
            self._left_alone.add(one_line(prefix + aside))
            return
        name = member.path[-1]
        identity = one_line(prefix + "/".join(member.path))
        if member.is_link:
            self._counts["links"] += 1
            self._links = [*self._links, identity][:EXAMPLES_KEPT]
            return
        if not is_image_name(name):
            self._counts["other"] += 1
            self._examples = [*self._examples, identity][:EXAMPLES_KEPT]
            return
        self._counts["read"] += 1
        self._counts["bytes"] += member.size
        try:
            if member.content is None:
                raise DamagedError(f"{member.size} bytes are too many for an image")
            checked = check(member.content, self._options.max_pixels)
        except DamagedError as error:
            self._skip(identity, str(error))
            return
        self._formats[f"{checked.format} {checked.mode}"] += 1
        self._counts["misnamed"] += is_misnamed(name, checked.format)
        self._counts["turned"] += checked.is_turned
        folders = (source, *map(one_line, member.path[:-1]))
        self._keep(identity, member.content, Place(folders, label_of(name, self._labels)))

    def _skip(self, identity: str, reason: str) -> None:
        self._damaged.append((identity, reason))
        most = self._options.max_damaged.number  # a share is checked when all images are read
        if most is not None and len(self._damaged) > most:
            raise too_much_damage(self._damaged, most)

    def _keep(self, identity: str, content: bytes, found: Place) -> None:
        digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
        number = self._places.setdefault(found, len(self._places))
        if number == len(self._first_names):
            self._first_names.append(identity)
        where = (len(self._shards), len(self._ids), len(self._content), len(content), number)
        self._notes.extend((int.from_bytes(digest, "little", signed=True), *where))
        self._content += content
        self._sizes.append(len(content))
        self._ids.append(identity)
        if len(self._content) >= self._options.shard_bytes:
            self._flush()

    def _flush(self) -> None:
        file = f"shards/{self._unit:05d}-{len(self._shards):02d}.h5"
        columns: dict[str, Array] = {
            "images": np.frombuffer(self._content, np.uint8),
            "offsets": np.cumsum([0, *self._sizes], dtype=np.int64),
            "ids": lines(self._ids),
        }
        write_whole(self._workspace.output / file, image(columns, FORMAT))
        shard = {"file": file, "images": len(self._ids), "bytes": len(self._content)}
        self._shards.append(shard)
        self._digests.append(fingerprint(columns))
        self._content, self._sizes, self._ids = bytearray(), [], []

    def finish(self) -> Report:
        """Writes the last shard and the notes; returns counts."""
        if self._ids:
            self._flush()
        notes = np.array(self._notes, dtype=np.int64).reshape(-1, len(NOTES)).T
        path = self._workspace.file(PACKED, self._unit, ".npz")
        write_arrays(path, **dict(zip(NOTES, notes, strict=True)))
        return {
            "counts": dict(self._counts),
            "formats": dict(self._formats),
            "damaged": self._damaged,
            "other_examples": self._examples,
            "link_examples": self._links,
            "left_alone": sorted(self._left_alone),
            "places": [[known.folders, known.listed] for known in self._places],
            "first_names": self._first_names,
            "shards": self._shards,
            "content": self._digests,
        }


def too_much_damage(damaged: list[tuple[str, str]], limit: int) -> HvcodError:
    """Returns the error for more damaged images than allowed."""
    name, reason = damaged[-1]
    return HvcodError(
        f"{len(damaged)} or more images are damaged, such as {name} ({reason}): correct the input, "
        f"or skip more than {limit} of them with --max-damaged"
    )
