"""The training stream reads every document once an epoch, from wherever it is put."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tasks.commoncrawl.corpora import documents_of

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.tokens.dataset import (
    ShardInfo,
    TokenDataset,
    describe_dataset,
    shard_image,
)
from hvcod.tasks.commoncrawl.tokens.documents import WINDOW
from hvcod.tasks.commoncrawl.tokens.stream import TokenStream
from hvcod.tasks.files import write_json, write_whole
from hvcod.tasks.shuffle import Share

END = 5
VOCABULARY = 50_000


def make_dataset(folder: Path, lengths: Sequence[Sequence[int]], held_out: int = 2) -> TokenDataset:
    """Shards of documents with the given lengths; token values are unique while they last.

    The last ``held_out`` documents of every shard are validation documents.
    """
    (folder / "shards").mkdir()
    infos, value = [], 6
    for index, shard in enumerate(lengths):
        documents = []
        for number, length in enumerate(shard):
            tokens = np.append(np.arange(value, value + length - 1) % VOCABULARY, END)
            documents.append((f"{index}-{number}", tokens.astype(np.uint16)))
            value += length - 1
        validation = [number >= len(shard) - held_out for number in range(len(shard))]
        image, counts, _ = shard_image(documents, validation, np.dtype(np.uint16))
        write_whole(folder / "shards" / f"{index}.h5", image)
        infos.append(ShardInfo(file=f"shards/{index}.h5", **counts))
    zero = np.zeros(VOCABULARY, dtype=np.int64)
    write_json(folder / "dataset.json", describe_dataset(VOCABULARY, infos, zero))
    return TokenDataset(folder)


@pytest.fixture
def dataset(tmp_path: Path) -> TokenDataset:
    random = np.random.default_rng(0)
    return make_dataset(
        tmp_path, [random.integers(5, 300, size=n).tolist() for n in (40, 3, 25, 9)]
    )


def training_documents(dataset: TokenDataset) -> list[tuple[int, ...]]:
    """The documents without their ends, which tell them apart."""
    return [
        tuple(tokens.tolist()[:-1])
        for index in range(len(dataset.shards))
        for tokens in documents_of(dataset, index, "training").values()
    ]


def stream_of(
    dataset: TokenDataset,
    *,
    lanes: range,
    lane_count: int,
    window: int = WINDOW,
    **share: Any,
) -> TokenStream:
    return TokenStream(dataset, Share(**share), lanes=lanes, lane_count=lane_count, window=window)


def lane_tokens(stream: TokenStream, steps: int) -> npt.NDArray[np.int64]:
    """What each lane reads in a number of steps, [rows, steps x window]."""
    return torch.cat([stream.next().inputs for _ in range(steps)], dim=1).numpy()


def one_epoch(dataset: TokenDataset, lane_count: int, **options: Any) -> Counter[int]:
    """Tokens that a group reads before any lane begins its second epoch, with their counts.

    Lanes advance one token a step, so that none runs into the next epoch unseen.
    """
    seen: Counter[int] = Counter()
    for lane in range(lane_count):
        lanes = range(lane, lane + 1)
        stream = stream_of(dataset, lanes=lanes, lane_count=lane_count, seed=3, window=1, **options)
        while stream.state_dict()["epoch"][0] == 0:
            seen[int(stream.next().inputs)] += 1
    return seen


def expected(documents: Sequence[Sequence[int]]) -> Counter[int]:
    counts = Counter(token for document in documents for token in document)
    counts[END] = len(documents)
    return counts


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_an_epoch_reads_every_document_once(dataset: TokenDataset, lanes: int) -> None:
    assert one_epoch(dataset, lanes) == expected(training_documents(dataset))


def test_groups_share_the_documents_out(dataset: TokenDataset) -> None:
    shares = [one_epoch(dataset, 2, group=group, groups=3) for group in range(3)]
    assert sum(shares, Counter()) == expected(training_documents(dataset))
    for index, share in enumerate(shares):
        for other in shares[index + 1 :]:
            assert not (share.keys() & other.keys()) - {END}
    counts = [share[END] for share in shares]
    assert max(counts) - min(counts) <= 1


def test_with_the_same_data_groups_read_the_same_documents_in_other_orders(
    dataset: TokenDataset,
) -> None:
    options: dict[str, Any] = {"groups": 2, "same_data": True}
    shares = [one_epoch(dataset, 2, group=group, **options) for group in range(2)]
    assert shares[0] == shares[1] == expected(training_documents(dataset))
    first = [
        lane_tokens(
            stream_of(
                dataset, lanes=range(2), lane_count=2, seed=3, group=g, groups=2, same_data=True
            ),
            20,
        )
        for g in range(2)
    ]
    assert (first[0] != first[1]).any()


def test_a_groups_documents_are_the_same_in_every_epoch(dataset: TokenDataset) -> None:
    stream = stream_of(dataset, lanes=range(1), lane_count=1, seed=3, window=1, groups=2)
    epochs: list[Counter[int]] = [Counter(), Counter()]
    while (epoch := int(stream.state_dict()["epoch"][0])) < 2:
        epochs[epoch][int(stream.next().inputs)] += 1
    assert epochs[0] == epochs[1]


def test_epochs_have_different_orders(dataset: TokenDataset) -> None:
    stream = stream_of(dataset, lanes=range(1), lane_count=1, seed=3, window=1)
    epochs: list[list[int]] = [[], []]
    while (epoch := int(stream.state_dict()["epoch"][0])) < 2:
        epochs[epoch].append(int(stream.next().inputs))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_lanes_do_not_depend_on_the_ranks_that_feed_them(dataset: TokenDataset, ranks: int) -> None:
    whole = lane_tokens(stream_of(dataset, lanes=range(6), lane_count=6, seed=1), 40)
    batch = 6 // ranks
    parts = [
        stream_of(dataset, lanes=range(r * batch, (r + 1) * batch), lane_count=6, seed=1)
        for r in range(ranks)
    ]
    assert (np.concatenate([lane_tokens(part, 40) for part in parts]) == whole).all()


def test_targets_are_the_tokens_that_follow(dataset: TokenDataset) -> None:
    stream = stream_of(dataset, lanes=range(4), lane_count=4, seed=1)
    batches = [stream.next() for _ in range(60)]
    inputs = torch.cat([batch.inputs for batch in batches], dim=1)
    targets = torch.cat([batch.targets for batch in batches], dim=1)
    assert batches[0].inputs.shape == (4, 32)
    assert batches[0].inputs.dtype == torch.int64
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert (inputs == END).any()


def test_documents_come_whole_and_in_order(dataset: TokenDataset) -> None:
    read = lane_tokens(stream_of(dataset, lanes=range(1), lane_count=1, seed=1), 100)[0]
    ends = np.flatnonzero(read == END)
    documents = set(training_documents(dataset))
    pieces = np.split(read, ends + 1)[:-1]
    assert len(pieces) > 10
    assert all(tuple(piece[:-1].tolist()) in documents for piece in pieces)


@pytest.mark.parametrize("steps", [0, 1, 7, 150, 333])
def test_a_saved_place_is_found_again(dataset: TokenDataset, steps: int) -> None:
    options: dict[str, Any] = {"lanes": range(2, 5), "lane_count": 6, "seed": 9}
    stream = stream_of(dataset, **options)
    if steps:
        lane_tokens(stream, steps)
    state = stream.state_dict()
    ahead = lane_tokens(stream, 50)
    again = stream_of(dataset, **options)
    again.load_state_dict(state)
    assert (lane_tokens(again, 50) == ahead).all()
    assert all(array.dtype == np.int64 and array.shape == (3,) for array in state.values())


def test_rows_of_a_state_fit_another_number_of_ranks(dataset: TokenDataset) -> None:
    whole = stream_of(dataset, lanes=range(4), lane_count=4, seed=2)
    lane_tokens(whole, 70)
    state = whole.state_dict()
    half = stream_of(dataset, lanes=range(2, 4), lane_count=4, seed=2)
    half.load_state_dict({name: rows[2:] for name, rows in state.items()})
    assert (lane_tokens(half, 30) == lane_tokens(whole, 30)[2:]).all()


def test_a_state_of_other_rows_or_other_data_is_refused(dataset: TokenDataset) -> None:
    stream = stream_of(dataset, lanes=range(2), lane_count=2, seed=2)
    state = stream.state_dict()
    with pytest.raises(HvcodError, match="that of 1 rows, this run has 2"):
        stream.load_state_dict({name: rows[:1] for name, rows in state.items()})
    with pytest.raises(HvcodError, match="not the data"):
        stream.load_state_dict(state | {"offset": state["offset"] + 100_000})


def test_long_documents_are_dealt_in_pieces(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[40_000, 100, 100]], held_out=1)
    assert one_epoch(dataset, 4) == expected(training_documents(dataset))
    stream = stream_of(dataset, lanes=range(4), lane_count=4, seed=1)
    assert len({tuple(row) for row in lane_tokens(stream, 10).tolist()}) == 4


def test_too_little_data_is_said(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[500, 400, 300]], held_out=1)
    with pytest.raises(UsageError, match="2 training documents with 300 tokens for each of 3"):
        stream_of(dataset, lanes=range(1), lane_count=1, seed=1, groups=3)
    with pytest.raises(UsageError, match="too few for 64 rows"):
        stream_of(dataset, lanes=range(8), lane_count=64, seed=1)
