"""The training images of a group and their order; images on their way to the model.

Every group has its own images, the same in each epoch (or, on request, all of them), in a new order
in each epoch. A group with a batch of B takes them B at a time, and row j of its batch is always
the j-th of them, so what a row sees does not depend on how many ranks share the rows. An epoch's
end may lie within a batch.

All that is in memory is the order: 8 bytes an image of the group. The images are read from the
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
from hvcod.tasks.imagenet.pixels import Pixels, View, uniform
from hvcod.tasks.shuffle import shuffled

PLACE = "example"
"""The name of the position: how many examples of the group come before a row's next one."""

TOGETHER = 16
"""Images that a thread is given at once: handing over small ones takes longer than decoding."""

Integers = npt.NDArray[np.int64]


class GroupShare:
    """The images of one group and the order in which each epoch shows them.

    Args:
        images: Images of the training part.
        seed: The seed of the run, the same in all groups.
        group: Index of this group.
        groups: Groups that share the images.
        same_data: Every group has all images.

    Raises:
        UsageError: There are fewer images than groups.
    """

    def __init__(self, images: int, seed: int, group: int, groups: int, same_data: bool) -> None:
        self._seed, self._group = seed, group
        every = shuffled(images, seed, 0)
        self.images = every if same_data else every[group::groups]
        if not len(self.images):
            raise UsageError(
                f"{images} training images are too few for {groups} groups; use --same-data"
            )
        self._order = lru_cache(2)(self._shuffle)

    def at(self, examples: Integers) -> tuple[Integers, Integers]:
        """Image and epoch of some examples of the group's endless sequence."""
        epochs, places = np.divmod(examples, len(self.images))
        images = np.empty_like(examples)
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            images[now] = self._order(epoch)[places[now]]
        return images, epochs

    def _shuffle(self, epoch: int) -> Integers:
        order = shuffled(len(self.images), self._seed, 1, epoch, self._group)
        return np.asarray(self.images[order])


class Decoder:
    """Reads and decodes images with threads: processes beside MPI are not safe, and Pillow works
    outside Python's lock.

    Args:
        part: Where the images lie.
        threads: How many images are decoded at once.
    """

    def __init__(self, part: ImagePart, threads: int) -> None:
        self._part, self._threads = part, threads

    def batch(self, images: Integers, pixels: Callable[[bytes, int], Pixels]) -> Tensor:
        """Some images as uint8 [images, 3, size, size], channels last in memory.

        Args:
            images: Which.
            pixels: (encoded image, its place in the batch) -> its pixels.

        Raises:
            HvcodError: An image cannot be read.
        """

        def some(begin: int) -> list[Pixels]:
            places = range(begin, min(begin + TOGETHER, len(images)))
            return [self._pixels(int(images[place]), place, pixels) for place in places]

        # Threads for this batch alone: they start in no time, and none is left at the end.
        with ThreadPoolExecutor(self._threads, thread_name_prefix="hvcod-images") as pool:
            parts = list(pool.map(some, range(0, len(images), TOGETHER)))
        batch = np.stack([each for part in parts for each in part])
        return torch.from_numpy(batch).permute(0, 3, 1, 2)

    def _pixels(self, image: int, place: int, pixels: Callable[[bytes, int], Pixels]) -> Pixels:
        content = self._part.read(image)
        try:
            return pixels(content, place)
        except (OSError, SyntaxError, ValueError) as error:
            name = self._part.ids(np.array([image]))[0]
            raise HvcodError(
                f"{name} was whole when it was packed and cannot be decoded now ({error}); prepare "
                "the data again"
            ) from error


class ImageStream:
    """The endless training batches of one rank.

    Args:
        share: The group's images.
        decoder: Of the training part.
        view: What the model sees of an image.
        labels: Classes of the training part.
        rows: The rows of the group's batch that are this rank's.
        batch: Rows of the group's batch.
        seed: The seed of the run.
    """

    def __init__(
        self,
        share: GroupShare,
        decoder: Decoder,
        view: View,
        labels: npt.NDArray[np.integer],
        *,
        rows: range,
        batch: int,
        seed: int,
    ) -> None:
        self._share, self._decoder, self._view, self._labels = share, decoder, view, labels
        self._batch, self._seed = batch, seed
        self._next = np.array(rows, dtype=np.int64)

    def next(self) -> Batch:
        """The next image of every row of this rank, and its class."""
        images, epochs = self._share.at(self._next)
        draws = np.empty((len(images), self._view.draws))
        for epoch in np.unique(epochs).tolist():
            now = epochs == epoch
            draws[now] = uniform((self._seed, epoch), images[now], self._view.draws)

        def pixels(content: bytes, row: int) -> Pixels:
            return self._view.training(content, draws[row])

        inputs = self._decoder.batch(images, pixels)
        self._next = self._next + self._batch
        return Batch(inputs, torch.from_numpy(self._labels[images].astype(np.int64)))

    def state_dict(self) -> Mapping[str, Integers]:
        """The place of every row: int64 [rows].

        Rows of several ranks, put one behind the other, are the state of the group; any other
        division into ranks can be put back from it.
        """
        return {PLACE: self._next.copy()}

    def load_state_dict(self, state: Mapping[str, Integers]) -> None:
        """Puts every row back to the place that `state_dict` gave.

        Raises:
            HvcodError: The state is that of another number of rows.
        """
        if len(state[PLACE]) != len(self._next):
            raise HvcodError(
                f"the saved place in the data is that of {len(state[PLACE])} rows, this run has "
                f"{len(self._next)}: use the batch size and ranks of the saved run"
            )
        self._next = np.array(state[PLACE], dtype=np.int64)
