"""The training images of a group, their order, and their way to the model.

Every group has its own images, the same in each epoch (or, on request, all of them), in a new order
in each epoch. With a bootstrap these are a sample with replacement, drawn once; an image that is in
it several times is seen in several ways in an epoch.

A group with a batch of B takes them B at a time, and row j of its batch is always the j-th of them,
so the images of a row do not depend on the number of ranks. An epoch's end may lie within a batch.

Only the order is in memory: 8 bytes for each image of the group. The images are read from the
shards one by one, by the threads that decode them.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.base import Batch
from hvcod.tasks.imagenet.dataset import ImagePart
from hvcod.tasks.imagenet.pixels import Pixels, View
from hvcod.tasks.numbered import numbered, uniform
from hvcod.tasks.shuffle import Share, spread

PLACE = "example"
"""The name of a row's position: the number of examples of the group before its next one."""

TOGETHER = 16
"""Images for a thread at a time: handing over small ones takes longer than decoding them."""

Integers = npt.NDArray[np.int64]


def chosen(labels: npt.NDArray[np.integer], share: Share) -> Integers:
    """Returns the images that the groups see: all, or those that the options choose (`Share`).

    ``--training-examples`` are spread evenly over the images in the order of their classes, so that
    a class keeps its part, in whatever order the images are stored. Raises what `Share.number`
    does, and UsageError for a window of images that are stored class by class.
    """
    count, span = share.number(len(labels)), share.span(len(labels))
    changes = int(np.count_nonzero(np.diff(labels)))
    if share.within and 0 < changes < len(np.unique(labels)):
        raise UsageError(
            f"--training-window {share.within}: the training images are stored class by class, not "
            "in order of time, so a window would lack classes; prepare them in another order"
        )
    inside = np.asarray(labels)[span.start : span.stop]
    by_class = np.argsort(inside, kind="stable") + span.start
    read = np.sort(by_class[spread(np.arange(count), count, len(span))])
    return read[share.resampled(np.arange(count), count)]


class GroupShare:
    """One group's share of some images, and the order in which each epoch shows them.

    Raises:
        UsageError: There are fewer images than groups.
    """

    def __init__(self, images: Integers, share: Share) -> None:
        self.seed, self._group = share.seed, share.group
        slot, slots = share.slice
        own = images[share.order(images, share.seed, 0)[slot::slots]]
        self.images = own[share.drawn(len(own), len(own))]
        self._share = share
        self._views = self.images
        if share.sample is not None:
            self._views = numbered(self.images)
        if share.bootstrap:
            self._views = np.arange(len(self.images))
        if not len(self.images):
            raise UsageError(
                f"{len(images)} training images are too few for {slots} groups; use --same-data"
            )
        self._order = lru_cache(2)(self._shuffle)

    def at(self, examples: Integers) -> tuple[Integers, Integers, Integers]:
        """Returns images, epochs and views of some examples of the group's endless sequence.

        The views are numbers that differ for all examples of an epoch: the images' own, unless
        some are repeated.
        """
        epochs, places = np.divmod(examples, len(self.images))
        chosen = np.empty_like(examples)
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            chosen[now] = self._order(epoch)[places[now]]
        images = self.images[chosen]
        return images, epochs, self._views[chosen]

    def _shuffle(self, epoch: int) -> Integers:
        return self._share.order(self.images, self.seed, 1, epoch, self._group)


class Decoder:
    """Reads and decodes images with threads: processes beside MPI are not safe, and Pillow works
    outside Python's lock.

    Attributes:
        part: The part of the dataset that has the images.
    """

    def __init__(self, part: ImagePart, threads: int) -> None:
        self.part, self._threads = part, threads

    def batch(self, images: Integers, pixels: Callable[[bytes, int], Pixels]) -> Tensor:
        """Returns images as uint8 [images, 3, size, size], channels last in memory.

        Args:
            images: Their numbers in the part.
            pixels: (encoded image, its index in the batch) -> its pixels.

        Raises:
            HvcodError: An image cannot be read.
        """

        def some(begin: int) -> list[Pixels]:
            rows = range(begin, min(begin + TOGETHER, len(images)))
            return [self._pixels(int(images[row]), row, pixels) for row in rows]

        # Threads for this batch alone: starting them costs little, and none is left at the end.
        with ThreadPoolExecutor(self._threads, thread_name_prefix="hvcod-images") as pool:
            parts = list(pool.map(some, range(0, len(images), TOGETHER)))
        batch = np.stack([image for part in parts for image in part])
        return torch.from_numpy(batch).permute(0, 3, 1, 2)

    def _pixels(self, image: int, row: int, pixels: Callable[[bytes, int], Pixels]) -> Pixels:
        content = self.part.read(image)
        try:
            return pixels(content, row)
        except (OSError, SyntaxError, ValueError) as error:
            name = self.part.ids(np.array([image]))[0]
            raise HvcodError(
                f"{name} was intact when it was packed and cannot be decoded now ({error}); "
                "prepare the data again"
            ) from error


class ImageStream:
    """The endless training batches of one rank.

    Args:
        share: The group's images.
        decoder: Of the training part.
        view: Turns an image into what the model sees.
        rows: This rank's rows of the group's batch.
        batch: Rows of the group's batch.
    """

    def __init__(
        self, share: GroupShare, decoder: Decoder, view: View, *, rows: range, batch: int
    ) -> None:
        self._share, self._decoder, self._view = share, decoder, view
        self._batch = batch
        self._next = np.array(rows, dtype=np.int64)

    def next(self) -> Batch:
        """Returns the next image of every row of this rank, and its class."""
        images, epochs, views = self._share.at(self._next)
        draws = np.empty((len(images), self._view.draws))
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            draws[now] = uniform((self._share.seed, epoch), views[now], self._view.draws)

        def pixels(content: bytes, row: int) -> Pixels:
            return self._view.training(content, draws[row])

        inputs = self._decoder.batch(images, pixels)
        self._next = self._next + self._batch
        labels = self._decoder.part.labels[images].astype(np.int64)
        return Batch(inputs, torch.from_numpy(labels), places=images)

    def state_dict(self) -> Mapping[str, Integers]:
        """Returns the position of every row: int64 [rows]."""
        return {PLACE: self._next.copy()}

    def load_state_dict(self, state: Mapping[str, Integers]) -> None:
        """Puts every row back to a position that `state_dict` returned.

        Raises:
            HvcodError: The state is that of another number of rows.
        """
        if len(state[PLACE]) != len(self._next):
            raise HvcodError(
                f"the saved position in the data is that of {len(state[PLACE])} rows, this run has "
                f"{len(self._next)}: use the batch size and ranks of the saved run"
            )
        self._next = np.array(state[PLACE], dtype=np.int64)
