"""Publishes a group's weights for the other groups, off the training thread."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from hvcod.exchange.tables import Tables
from hvcod.tensorfile.encode import as_stored, encode
from hvcod.tensorfile.image import Image
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import Rounded, Tensors, new_tensor, rounded
from hvcod.tensorfile.steps import changes_path
from hvcod.tensorfile.writer import Writer

_MUCH = 256 * 2**20
"""Bytes of weights from which on memory counts more than a few milliseconds of the step."""


def snapshot(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies `tensors`; training may go on as soon as it returns.

    Each copy is made on the device of its tensor; the thread that writes them brings those on a
    GPU to the host.
    """
    copies = {name: _copy(tensor.detach()) for name, tensor in tensors.items()}
    for device in {copy.device for copy in copies.values() if copy.is_cuda}:
        # The publisher's thread uses another stream, which does not wait for this one.
        torch.cuda.current_stream(device).synchronize()
    return copies


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return new_tensor(tensor, tensor.dtype).copy_(tensor)


def weights_to_publish(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Copies `tensors` for `Publisher.publish`: all that a publication costs the training thread.

    Many weights on a CPU are rounded at once, so that the copy is no larger than the file: that
    takes up to three times as long as a copy as they are.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors.values())
    if on_cpu and sum(tensor.nbytes for tensor in tensors.values()) >= _MUCH:
        return {name: rounded(name, tensor) for name, tensor in tensors.items()}
    return snapshot(tensors)


class Publication(NamedTuple):
    """Copies of weights, all but those of the tables that are published by changes.

    Attributes:
        whole: Whether the tables are to be published whole.
    """

    tensors: Tensors
    origin: Origin
    whole: bool = False


class Publisher(Writer[Publication]):
    """Publishes snapshots to one directory, one after the other, on a thread of its own.

    A step that is published is never replaced, and weights that hold NaN or infinite values are
    never published. To be used on the group root.

    With tables to `follow`, the first publication is whole; later ones are changes upon the one
    before (`hvcod.exchange.changes`) while these are far smaller, and now and then one is both.
    After a publication that failed the next is whole.
    """

    def __init__(self, directory: Path, keep: int | None = 3) -> None:
        """The last `keep` generations of whole files stay; None keeps all."""
        what = "published checkpoint"
        self._tables: Tables | None = None
        self._lineage = secrets.token_hex(8)
        self._base: int | None = None
        self._whole_every, self._since_whole = 1, 0
        super().__init__(directory, _build, keep=keep, replace=False, what=what)

    def follow(self, tables: Tables, whole_every: int) -> None:
        """Publishes tables by changes from now on, and one time in so many whole as well.

        To be called before the first `publish`.
        """
        self._tables, self._whole_every = tables, whole_every

    def publish(self, tensors: Tensors, origin: Origin, whole: bool = False) -> None:
        """Hands over copies, which belong to the publisher and are emptied; see `write`.

        Without those of the tables, whose changes have been copied (`Tables.copy_changes`).
        """
        with self._wake:
            if self._tables is not None and self._waiting is not None:
                self._tables.join()
            self.write(origin.step, Publication(tensors, origin, whole))

    def _is_there(self, step: int, item: Publication) -> bool:
        there = super()._is_there(step, item)
        if self._tables is None:
            return there
        there = there or (not item.whole and self._has_changes(step))
        if there:
            self._tables.settle(step)
            self._base = None
        return there

    def _has_changes(self, step: int) -> bool:
        return os.path.lexists(changes_path(self._directory, step))

    def _write(self, step: int, item: Publication) -> None:
        if self._tables is None:
            super()._write(step, item)
            return
        changes = self._tables.settle(step)
        base, self._base = self._base, None
        dense = {name: as_stored(name, item.tensors.pop(name)) for name in list(item.tensors)}
        origin = replace(item.origin, lineage=self._lineage)
        much = _bytes(dense | changes) >= (_bytes(dense) + self._tables.nbytes) / 2
        # An earlier launch may have published changes of this step.
        upon = base is not None and base < step and not much and not self._has_changes(step)
        if upon:
            build = partial(encode, dense | changes, replace(origin, base=base))
            self._put(changes_path(self._directory, step), build)
            self._since_whole += 1
        if not upon or item.whole or self._since_whole >= self._whole_every:
            super()._write(step, Publication(dense | self._tables.whole(), origin))
            self._since_whole = 0
        self._base = step


def _build(item: Publication) -> Image:
    return encode(item.tensors, item.origin)


def _bytes(tensors: Mapping[str, Rounded]) -> int:
    return sum(each.values.nbytes for each in tensors.values())
