"""From text to token shards: the preparation behind ``hvcod data commoncrawl``.

1. Every input is read once, its documents filtered and kept (`collecting`).
2. One rank finds duplicates, chooses the validation documents (`selection`) and trains the
   tokenizer.
3. Every input is encoded into shards (`encoding`).
4. One rank writes the list of kept documents, the report and the description.

Memory does not grow with the text, except for 32 bytes a kept document and the sample for the
tokenizer.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hvcod.errors import HvcodError, UsageError
from hvcod.groups.communicator import Communicator
from hvcod.groups.world import node_share
from hvcod.progress import Progress
from hvcod.tasks.columns import Columns
from hvcod.tasks.commoncrawl.preparation.collecting import (
    KEPT,
    Choice,
    DocumentList,
    Integers,
    KeptIndex,
    Mask,
    collect,
    read_index,
    read_kept,
    write_first,
)
from hvcod.tasks.commoncrawl.preparation.encoding import ENCODED, encode_input
from hvcod.tasks.commoncrawl.preparation.filtering import DocumentFilter
from hvcod.tasks.commoncrawl.preparation.losses import check_damage, too_few
from hvcod.tasks.commoncrawl.preparation.options import PrepareOptions
from hvcod.tasks.commoncrawl.preparation.selection import Selection, distinct, select
from hvcod.tasks.commoncrawl.preparation.summary import full_report, input_report
from hvcod.tasks.commoncrawl.reading.document import Fields
from hvcod.tasks.commoncrawl.tokens.dataset import FORMAT, ShardInfo, TokenDataset, describe_dataset
from hvcod.tasks.commoncrawl.tokens.tokenizer import SPECIAL_TOKENS, WordPieces, choose_alphabet
from hvcod.tasks.files import write_blocks, write_whole
from hvcod.tasks.preparing.pipeline import Look, Preparation, Report


class Like(NamedTuple):
    """The content of a file of word pieces, and the digest of the vocabulary."""

    content: bytes
    vocabulary: str


class TextPreparation(Preparation):
    """The preparation of text."""

    data_format = FORMAT
    tolerances = ("max_damaged",)
    added: ClassVar = {"text_field": "text", "id_field": "id", "like": None}
    stages = (KEPT, ENCODED)
    options: PrepareOptions

    def load(self) -> None:
        """Reads the list of documents and the word pieces of ``--like``. Collective.

        Raises:
            UsageError: A file cannot be used, or options for learning word pieces are given, too.
        """
        self._like = self.once(lambda: _like(self.options))
        ids = self.options.document_ids
        self._listed = listed = self.once(lambda: DocumentList(ids) if ids else None)
        accept = listed.accept if listed else DocumentFilter(self.options.filters).filter
        fields = Fields(self.options.text_field, self.options.id_field)
        self._choice = Choice(fields, accept, listed)
        self._tokenizer = self.output / "tokenizer.json"

    def digests(self) -> dict[str, Any]:
        """Returns the digests of the listed documents and of the word pieces of ``--like``."""
        listed = self._listed
        return {
            "document_ids": listed and hashlib.sha256(listed.hashes.tobytes()).hexdigest(),
            **({"like": self._like.vocabulary} if self._like else {}),
        }

    def work(self) -> None:
        """Goes through the stages. Collective."""
        _share_cores(self.world)
        order, size = self.largest_first(), self.options.shard_tokens

        def read(index: int, look: Look) -> Report:
            return collect(self.workspace, index, self.sources[index], self._choice, look)

        self.each(KEPT, order, read)
        self.once(lambda: check_damage(self._results(KEPT), self.options.max_damaged))
        selection = self.once(self._select_and_train)
        pieces = WordPieces.load(self._tokenizer)

        def encode(index: int, look: Look) -> Report:
            return encode_input(self.workspace, index, pieces, selection, size, look)

        self.each(ENCODED, order, encode)
        self._counts, self._meaning = self._count_tokens(pieces.vocabulary_size), pieces.meaning

    def _indices(self) -> list[KeptIndex]:
        return [read_index(self.workspace, index) for index in range(len(self.sources))]

    def _results(self, stage: Any) -> list[Report]:
        return self.results(stage, range(len(self.sources)))

    def _select_and_train(self) -> Selection:
        indices = self._indices()
        ids, texts, sizes = (
            np.concatenate([one[column] for one in indices])
            for column in map(KeptIndex._fields.index, ("hashes", "texts", "sizes"))
        )
        is_first, hashes = distinct(ids, texts)
        if is_first.sum() < 2:
            kept, listed = int(is_first.sum()), self._found(indices)
            raise HvcodError(too_few(self._results(KEPT), kept, listed))
        edges = np.cumsum([len(one.hashes) for one in indices])[:-1]
        first, chosen = np.split(is_first, edges), np.split(hashes, edges)
        for index, (mask, selecting) in enumerate(zip(first, chosen, strict=True)):
            write_first(self.workspace, index, mask, selecting[mask])
        fraction, sample = self.options.validation_fraction, self.options.sample_characters
        selection = select(hashes[is_first], sizes[is_first], fraction, sample)
        if self._like:
            write_whole(self._tokenizer, self._like.content)
        elif not self._tokenizer.exists():
            in_sample = selection.in_sample(hashes) & is_first
            self._train(indices, np.split(in_sample, edges))
        return selection

    def _train(self, indices: Sequence[KeptIndex], chosen: Sequence[Mask]) -> None:
        """Learns the word pieces from the chosen documents of each input."""
        used = np.zeros(max(int(one.codes.max(initial=0)) for one in indices) + 1, dtype=np.int64)
        for one in indices:
            used[one.codes] += one.counts
        size = self.options.vocabulary_size
        alphabet = choose_alphabet(used, self.options.alphabet_coverage, size // 2)
        pieces = WordPieces.train(self._sample(chosen), size, alphabet)
        write_whole(self._tokenizer, pieces.to_json().encode())

    def _sample(self, chosen: Sequence[Mask]) -> Iterator[str]:
        total = sum(int(mask.sum()) for mask in chosen)
        progress = Progress(total, "learning word pieces", "document")
        for index, mask in enumerate(chosen):
            if mask.any():
                for _, text in read_kept(self.workspace, index, mask):
                    yield text
                    progress.update()
        progress.close()

    def _found(self, indices: Sequence[KeptIndex]) -> Report | None:
        """Returns how many of the listed documents were found, if there is a list."""
        matched = np.concatenate([index.matched for index in indices])
        return self._listed.report(matched) if self._listed else None

    def _shards(self) -> list[ShardInfo]:
        return [ShardInfo(**shard) for one in self._results(ENCODED) for shard in one["shards"]]

    def _count_tokens(self, vocabulary: int) -> Integers:
        """Returns how often each token occurs in the training part; each rank counts some shards.

        Collective.
        """
        counts = np.zeros(vocabulary, dtype=np.int64)
        for info in self._shards()[self.world.rank :: self.world.size]:
            shard = Columns(self.output / info.file, FORMAT)
            counts += np.bincount(shard.read("training/tokens"), minlength=vocabulary)
        total = np.empty_like(counts)
        self.world.Allreduce(counts, total)
        return total

    def conclude(self) -> tuple[Report, dict[str, Any]]:
        """Writes the list of the kept documents; returns the report and the description."""
        files = (self.workspace.file(ENCODED, i, ".ids") for i in range(len(self.sources)))
        write_blocks(self.output / "document-ids.txt", (file.read_bytes() for file in files))
        description = describe_dataset(
            len(self._counts),
            self._shards(),
            self._counts,
            special_tokens={name: index for index, name in enumerate(SPECIAL_TOKENS)},
            meaning=self._meaning,
            content=self.content(ENCODED, range(len(self.sources))),
            tokenizer_sha256=hashlib.sha256(self._tokenizer.read_bytes()).hexdigest(),
            plan=self.plan,
        )
        return self._report(), description

    def _report(self) -> Report:
        indices = self._indices()
        results = zip(self._results(KEPT), self._results(ENCODED), indices, strict=True)
        per_input = [
            input_report(read, encoded["counts"], len(index.hashes))
            for read, encoded, index in results
        ]
        missing = self._found(indices)
        asked = len(self._counts) if self._like else self.options.vocabulary_size
        return full_report(per_input, self._shards(), len(self._counts), asked, missing)


def _like(options: PrepareOptions) -> Like | None:
    """Returns the word pieces that ``--like`` names."""
    if options.like is None:
        return None
    default = PrepareOptions()
    for name in ("vocabulary_size", "alphabet_coverage", "sample_characters"):
        if getattr(options, name) != getattr(default, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} does not go with --like, which brings the word pieces")
    TokenDataset(options.like)
    path = options.like / "tokenizer.json"
    pieces = WordPieces.load(path)
    return Like(path.read_bytes(), pieces.meaning["vocabulary"])


def _share_cores(world: Communicator) -> None:
    """Shares the cores of a node among its ranks; rank 0, which trains alone, may use all of its.

    The library reads the variable when it first computes. Collective.
    """
    threads = node_share(world).threads
    if world.rank != 0:
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
