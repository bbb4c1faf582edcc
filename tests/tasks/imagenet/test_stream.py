"""The order of the images: once each per epoch, disjoint between groups, exact after a resume."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks.imagenet.pictures import class_files, packed, write_files

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.imagenet.dataset import ImageDataset, ImagePart
from hvcod.tasks.imagenet.pixels import View
from hvcod.tasks.imagenet.stream import PLACE, Decoder, GroupShare, ImageStream
from hvcod.tasks.shuffle import Share


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> ImagePart:
    folder = tmp_path_factory.mktemp("stream")
    files = class_files(["cat", "cow", "dog"], 15)
    packed([write_files(folder / "data", files)], folder / "out", validation_fraction=0.0)
    return ImageDataset(folder / "out").parts["training"]


def stream(
    part: ImagePart,
    *,
    rank: int = 0,
    ranks: int = 1,
    batch: int = 8,
    group: int = 0,
    groups: int = 1,
    same_data: bool = False,
    threads: int = 2,
    seed: int = 1,
) -> ImageStream:
    rows = batch // ranks
    share = GroupShare(np.arange(len(part)), Share(seed, group, groups, same_data))
    decoder, view = Decoder(part, threads), View(8, "crop")
    mine = range(rank * rows, (rank + 1) * rows)
    return ImageStream(share, decoder, view, rows=mine, batch=batch)


def take(share: GroupShare, begin: int, count: int) -> list[int]:
    images, _, _ = share.at(np.arange(begin, begin + count))
    return [int(image) for image in images]


def test_an_epoch_shows_each_image_once_and_the_next_in_another_order() -> None:
    share = GroupShare(np.arange(100), Share(1))
    first, second = take(share, 0, 100), take(share, 100, 100)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    # A batch may begin in one epoch and end in the next.
    assert take(share, 90, 20) == first[90:] + second[:10]


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_share_out_the_images_in_every_epoch(groups: int) -> None:
    shares = [GroupShare(np.arange(100), Share(1, group, groups)) for group in range(groups)]
    seen = [Counter(take(share, 0, 3 * len(share.images))) for share in shares]
    assert set().union(*seen) == set(range(100))
    assert sum(len(each) for each in seen) == 100
    assert {count for each in seen for count in each.values()} == {3}


def test_with_the_same_data_every_group_has_all_in_its_own_order() -> None:
    shares = [GroupShare(np.arange(50), Share(1, group, 2, same_data=True)) for group in range(2)]
    first, second = (take(share, 0, 50) for share in shares)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_the_order_follows_the_seed() -> None:
    orders = [take(GroupShare(np.arange(50), Share(seed)), 0, 50) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_too_few_images_for_the_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="2 training images are too few for 3 groups"):
        GroupShare(np.arange(2), Share(1, 2, 3))


def test_a_batch_does_not_depend_on_the_threads(part: ImagePart) -> None:
    """Neither the images nor what became of them."""
    several = [stream(part, threads=threads, batch=40) for threads in (1, 2, 7)]
    for _ in range(4):
        batches = [each.next() for each in several]
        for other in batches[1:]:
            assert torch.equal(batches[0].inputs, other.inputs)
            assert torch.equal(batches[0].targets, other.targets)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_see_together_what_one_would(part: ImagePart, ranks: int) -> None:
    alone = stream(part)
    several = [stream(part, rank=rank, ranks=ranks) for rank in range(ranks)]
    for _ in range(8):  # more than an epoch
        batch = alone.next()
        parts = [each.next() for each in several]
        assert torch.equal(torch.cat([each.inputs for each in parts]), batch.inputs)
        assert torch.equal(torch.cat([each.targets for each in parts]), batch.targets)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 4), (4, 1)])
def test_a_resumed_group_goes_on_exactly_with_other_ranks_too(
    part: ImagePart, before: int, after: int
) -> None:
    old = [stream(part, rank=rank, ranks=before) for rank in range(before)]
    for _ in range(7):
        for each in old:
            each.next()
    state = np.concatenate([each.state_dict()[PLACE] for each in old])
    new = [stream(part, rank=rank, ranks=after) for rank in range(after)]
    for each, mine in zip(new, np.split(state, after), strict=True):
        each.load_state_dict({PLACE: mine})
    for _ in range(5):
        expected = torch.cat([each.next().inputs for each in old])
        assert torch.equal(torch.cat([each.next().inputs for each in new]), expected)


def test_a_state_of_other_rows_is_refused(part: ImagePart) -> None:
    state = stream(part, batch=4).state_dict()
    with pytest.raises(HvcodError, match="that of 4 rows, this run has 8"):
        stream(part, batch=8).load_state_dict(state)


def test_an_image_looks_different_in_each_epoch(part: ImagePart) -> None:
    every = stream(part, batch=45)
    first, second = every.next(), every.next()
    key = [sorted(each.flatten(1).sum(1).tolist()) for each in (first.inputs, second.inputs)]
    assert key[0] != key[1]
    assert sorted(first.targets.tolist()) == sorted(second.targets.tolist())


def test_pixels_are_bytes_with_the_channels_last_in_memory(part: ImagePart) -> None:
    batch = stream(part).next()
    assert (batch.inputs.dtype, batch.inputs.shape) == (torch.uint8, (8, 3, 8, 8))
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert (batch.targets.dtype, len(batch.targets)) == (torch.int64, 8)


def test_an_image_that_was_damaged_since_is_named(tmp_path: Path) -> None:
    files = class_files(["cat", "dog"], 2)
    packed([write_files(tmp_path / "data", files)], tmp_path / "out", validation_fraction=0.0)
    (shard,) = (tmp_path / "out" / "shards").iterdir()
    content = shard.read_bytes()
    image = files["dog/dog_1.JPEG"]
    shard.write_bytes(content.replace(image, image[:100] + b"\0" * (len(image) - 100)))
    images = ImageDataset(tmp_path / "out").parts["training"]
    with pytest.raises(HvcodError, match=r"dog/dog_1\.JPEG was intact when it was packed"):
        stream(images, batch=4).next()
