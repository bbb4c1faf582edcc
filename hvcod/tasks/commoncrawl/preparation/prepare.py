"""From text to token shards: the pipeline behind ``hvcod data commoncrawl``.

1. Every input is read once, its documents filtered and kept (`collecting`); the ranks share the
   inputs.
2. One rank finds duplicates, chooses the validation documents (`selection`) and trains the
   tokenizer.
3. Every input is encoded into shards (`encoding`); the ranks share the inputs.
4. One rank writes the report and, last of all, ``dataset.json``.

The result depends on the inputs and the options, not on ranks, threads or interruptions. Memory
does not grow with the text, but for 16 bytes a kept document and the sample for the tokenizer.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from hvcod.config import flatten
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.world import on_rank_zero, threads_per_rank
from hvcod.progress import Progress
from hvcod.tasks.columns import Columns
from hvcod.tasks.commoncrawl.preparation.collecting import (
    Accept,
    DocumentList,
    Integers,
    KeptIndex,
    collect,
    read_index,
    read_kept,
)
from hvcod.tasks.commoncrawl.preparation.encoding import Mask, encode_input, write_first
from hvcod.tasks.commoncrawl.preparation.filtering import DocumentFilter
from hvcod.tasks.commoncrawl.preparation.options import PrepareOptions
from hvcod.tasks.commoncrawl.preparation.selection import Selection, first_ones, select
from hvcod.tasks.commoncrawl.preparation.summary import full_report, input_report
from hvcod.tasks.commoncrawl.reading.reader import Source
from hvcod.tasks.commoncrawl.tokens.dataset import FORMAT, ShardInfo, describe_dataset
from hvcod.tasks.commoncrawl.tokens.tokenizer import SPECIAL_TOKENS, WordPieces, choose_alphabet
from hvcod.tasks.files import read_json, write_blocks, write_json, write_whole
from hvcod.tasks.preparing.workspace import Workspace

STAGES = ("kept", "encoded")


Report = dict[str, Any]


def prepare(
    sources: Sequence[Source], output: Path, options: PrepareOptions, world: MPI.Intracomm
) -> Report:
    """Prepares a dataset, or finishes one that was interrupted. Collective.

    Args:
        sources: The inputs; the result depends on their order.
        output: The dataset's folder; new, empty, or that of the same preparation.
        options: What to keep and how to cut it.
        world: The ranks that share the work.

    Returns:
        The report, on every rank; the same is in ``report.json``.

    Raises:
        UsageError: The folder holds something else, or an option is wrong.
        HvcodError: An input cannot be read, nothing was kept, or the disk refuses.
    """
    # One rank looks at the files: what it sees, or misses, holds for all.
    listed, plan = on_rank_zero(world, lambda: _listed_and_plan(sources, options))
    accept = listed.accept if listed else DocumentFilter(options.filters).filter
    workspace = Workspace(output, world, STAGES)
    if workspace.open(plan):
        _Preparation(workspace, sources, options, listed, accept, plan).run()
    report: Report = on_rank_zero(world, lambda: read_json(output / "report.json"))
    return report


def _listed_and_plan(
    sources: Sequence[Source], options: PrepareOptions
) -> tuple[DocumentList | None, dict[str, Any]]:
    """The documents asked for, and all that the result follows from."""
    listed = DocumentList(options.document_ids) if options.document_ids else None
    plan = {"version": FORMAT.version, "inputs": [[each.name, _size(each)] for each in sources]}
    ids = hashlib.sha256(listed.hashes.tobytes()).hexdigest() if listed else None
    return listed, {**plan, **flatten(asdict(options)), "document_ids": ids}


def _size(source: Source) -> int | None:
    """Bytes of a file, by which a changed input is noticed."""
    if source.is_url:
        return None
    try:
        return Path(source.location).stat().st_size
    except OSError as error:
        raise HvcodError(f"{source.location}: cannot be read: {error.strerror}") from error


class _Preparation:
    """The stages, as one rank goes through them."""

    def __init__(
        self,
        workspace: Workspace,
        sources: Sequence[Source],
        options: PrepareOptions,
        listed: DocumentList | None,
        accept: Accept,
        plan: dict[str, Any],
    ) -> None:
        self._workspace, self._sources = workspace, sources
        self._options, self._listed, self._accept = options, listed, accept
        self._plan = plan
        self._world = workspace.world
        self._leads = self._world.rank == 0
        sizes = [size or 0 for _, size in plan["inputs"]]
        self._order = sorted(range(len(sources)), key=lambda index: -sizes[index])

    def run(self) -> None:
        """All stages. Collective."""
        _share_cores(self._world)
        self._collect()
        selection = self._select_and_train() if self._leads else None
        self._workspace.wait()
        self._encode(self._world.bcast(selection))
        counts = self._count_tokens()
        if self._leads:
            self._conclude(counts)
        self._workspace.wait()

    def _collect(self) -> None:
        with self._workspace.shown("kept", "reading", len(self._sources), "document") as look:
            for index in self._workspace.share("kept", self._order):
                try:
                    collect(self._workspace, index, self._sources[index], self._accept, look)
                except UsageError as error:  # known to this rank alone: ends the launch
                    raise HvcodError(str(error)) from error
            self._workspace.wait(look)

    def _select_and_train(self) -> Selection:
        indices = [read_index(self._workspace, index) for index in range(len(self._sources))]
        first = first_ones(indices)
        for index, mask in enumerate(first):
            write_first(self._workspace, index, mask)
        if not any(mask.any() for mask in first):
            raise HvcodError(self._nothing_kept())
        selection = select(
            np.concatenate([each.hashes[mask] for each, mask in zip(indices, first, strict=True)]),
            np.concatenate([each.sizes[mask] for each, mask in zip(indices, first, strict=True)]),
            self._options.validation_fraction,
            self._options.sample_characters,
        )
        if not self._tokenizer_path.exists():
            self._train(indices, first, selection)
        return selection

    def _nothing_kept(self) -> str:
        reports = [self._workspace.result("kept", index) for index in range(len(self._sources))]
        dropped = sum((Counter(report["dropped"]) for report in reports), Counter[str]())
        read = sum(report["documents"] for report in reports)
        damaged = sum(report["damaged"] for report in reports)
        rules = ", ".join(f"{name} {count}" for name, count in sorted(dropped.items()))
        return (
            f"no document was kept: {read} read, {damaged} damaged; {rules or 'none dropped'}; "
            "relax that rule (hvcod data commoncrawl --help) or give other inputs"
        )

    @property
    def _tokenizer_path(self) -> Path:
        return self._workspace.output / "tokenizer.json"

    def _train(
        self, indices: Sequence[KeptIndex], first: Sequence[Mask], selection: Selection
    ) -> None:
        used = np.zeros(max(int(each.codes.max(initial=0)) for each in indices) + 1, dtype=np.int64)
        for each in indices:
            used[each.codes] += each.counts
        size = self._options.vocabulary_size
        alphabet = choose_alphabet(used, self._options.alphabet_coverage, size // 2)
        chosen = [
            mask & selection.in_sample(each.hashes)
            for each, mask in zip(indices, first, strict=True)
        ]
        pieces = WordPieces.train(self._sample(chosen), size, alphabet)
        write_whole(self._tokenizer_path, pieces.to_json().encode())

    def _sample(self, chosen: Sequence[Mask]) -> Iterator[str]:
        total = sum(int(mask.sum()) for mask in chosen)
        progress = Progress(total, "learning word pieces", "document")
        for index, mask in enumerate(chosen):
            if mask.any():
                for (_, text), wanted in zip(read_kept(self._workspace, index), mask, strict=True):
                    if wanted:
                        yield text
                        progress.update()
        progress.close()

    def _encode(self, selection: Selection) -> None:
        pieces = WordPieces.load(self._tokenizer_path)
        with self._workspace.shown("encoded", "encoding", len(self._sources), "document") as look:
            for index in self._workspace.share("encoded", self._order):
                encode_input(
                    self._workspace, index, pieces, selection, self._options.shard_tokens, look
                )
            self._workspace.wait(look)

    def _shards(self) -> list[ShardInfo]:
        results = (self._workspace.result("encoded", i) for i in range(len(self._sources)))
        return [ShardInfo(**shard) for result in results for shard in result["shards"]]

    def _count_tokens(self) -> Integers:
        """How often each token occurs in the training part; each rank counts some shards."""
        size = WordPieces.load(self._tokenizer_path).vocabulary_size
        counts = np.zeros(size, dtype=np.int64)
        for info in self._shards()[self._world.rank :: self._world.size]:
            shard = Columns(self._workspace.output / info.file, FORMAT)
            counts += np.bincount(shard.read("training/tokens"), minlength=size)
        total = np.empty_like(counts)
        self._world.Allreduce(counts, total)
        return total

    def _conclude(self, counts: Integers) -> None:
        workspace, inputs = self._workspace, range(len(self._sources))
        ids = (workspace.file("encoded", index, ".ids").read_bytes() for index in inputs)
        write_blocks(workspace.output / "document-ids.txt", ids)
        report = self._report(len(counts))
        write_json(workspace.output / "report.json", report)
        digest = hashlib.sha256(self._tokenizer_path.read_bytes()).hexdigest()
        description = describe_dataset(
            len(counts),
            self._shards(),
            counts,
            special_tokens={name: index for index, name in enumerate(SPECIAL_TOKENS)},
            tokenizer_sha256=digest,
            plan=self._plan,
        )
        write_json(workspace.output / "dataset.json", description)
        workspace.remove()

    def _report(self, vocabulary_size: int) -> Report:
        inputs = range(len(self._sources))
        indices = [read_index(self._workspace, index) for index in inputs]
        per_input = [
            input_report(
                self._workspace.result("kept", index),
                self._workspace.result("encoded", index)["counts"],
                len(indices[index].hashes),
            )
            for index in inputs
        ]
        missing = None
        if self._listed:
            found = np.concatenate([each.hashes for each in indices])
            missing = self._listed.report(found)
        return full_report(
            per_input, self._shards(), vocabulary_size, self._options.vocabulary_size, missing
        )


def _share_cores(world: MPI.Intracomm) -> None:
    """Shares the cores of a node among its ranks; rank 0, which trains alone, may use all of its.

    The library reads the variable when it first computes. Collective.
    """
    node = cast(MPI.Intracomm, world.Split_type(MPI.COMM_TYPE_SHARED))
    threads = threads_per_rank(node)
    node.Free()
    if world.rank != 0:
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
