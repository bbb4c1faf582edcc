"""Published files of a gigabyte beside `cp`, torch.save and safetensors, and what they cost.

Both sides of a row use the same folder, so the same disk. Files are read from there, not from the
system's cache: a reader is on another node.
"""

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from bench.row import NotMeasuredError, Row, measure_pair, summarise_pair
from bench.training import SMALL, train_groups

from hvcod.exchange.publish import Publisher, weights_to_publish
from hvcod.exchange.read import read_checkpoint
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path

DIGEST_BOUND = "SHA-256 of one stream takes a core 0.5 s a gigabyte; the other side makes none"
READS = Path(__file__).parent / "programs" / "reads.py"
GIGABYTE = 2**30
STEP, REPEATS = 50, 3
LARGE = {"embedding": 512, "hidden": 2048, "layers": 2}
"""Sizes of a language model of 116 million parameters."""

_PIECE = 16 * 2**20


def publish_copy(tiny: bool) -> Row:
    """Publishing a gigabyte of half-precision weights, digest included, against cp and fsync."""

    def copy(path: Path, folder: Path) -> None:
        subprocess.run(["cp", "--reflink=never", path, folder / "copy"], check=True)
        _sync(folder / "copy")

    return _published("publish_copy", tiny, copy, target=1.5)


def publish_torch(tiny: bool) -> Row:
    """The same against torch.save and fsync."""
    weights = _model(tiny)

    def save(path: Path, folder: Path) -> None:
        torch.save(weights, folder / "copy")
        _sync(folder / "copy")

    return _published("publish_torch", tiny, save, target=1.0)


def publish_safetensors(tiny: bool) -> Row:
    """The same against safetensors and fsync, which compute no digest."""
    save_file, _ = _safetensors()
    weights = _model(tiny)

    def save(path: Path, folder: Path) -> None:
        save_file(weights, folder / "copy")
        _sync(folder / "copy")

    return _published("publish_safetensors", tiny, save, target=1.5)


def load_bytes(tiny: bool) -> Row:
    """Reading and verifying such a file against reading its bytes."""

    def read(path: Path, copy: Path) -> None:
        data = np.empty(path.stat().st_size, np.uint8)
        with path.open("rb", buffering=0) as file:
            done = 0
            while count := file.readinto(data.data[done : done + _PIECE]):
                done += count

    return _loaded("load_bytes", tiny, lambda copy: copy.touch(), read, target=1.5)


def load_torch(tiny: bool) -> Row:
    """The same against torch.load of the same tensors."""
    weights = _model(tiny)
    return _loaded(
        "load_torch",
        tiny,
        lambda copy: torch.save(weights, copy),
        lambda path, copy: torch.load(copy),
        target=1.0,
    )


def load_safetensors(tiny: bool) -> Row:
    """The same against safetensors, which verifies nothing."""
    save_file, load_file = _safetensors()
    weights = _model(tiny)
    return _loaded(
        "load_safetensors",
        tiny,
        lambda copy: save_file(weights, copy),
        lambda path, copy: load_file(copy),
        target=1.5,
    )


def publish_memory(tiny: bool) -> Row:
    """Largest memory beside a single-precision model while it is published, against the file."""
    weights = {name: tensor.float() for name, tensor in _model(tiny).items()}
    with _folder() as folder, closing(Publisher(folder, keep=1)) as publisher:
        _publish(publisher, {"warm": torch.zeros(3)}, 1)
        extra = _peak(lambda: _publish(publisher, weights, STEP))
        size = checkpoint_path(folder, STEP).stat().st_size
    return Row("publish_memory", extra, size, 1.1, unit="bytes")


def load_memory(tiny: bool) -> Row:
    """Largest memory while a file is read and verified, its tensors included, against the file."""
    weights = _model(tiny)
    with _folder() as folder:
        with closing(Publisher(folder)) as publisher:
            _publish(publisher, weights, STEP)
        path, expected = checkpoint_path(folder, STEP), specification(weights)
        read_checkpoint(path, expected)
        extra = _peak(lambda: read_checkpoint(path, expected))
        size = path.stat().st_size
    return Row("load_memory", extra, size, 1.1, unit="bytes")


def teacher_reads(tiny: bool) -> Row:
    """Bytes that a group of 16 ranks (or 4, if that is more) reads to take a new teacher over.

    Against what one rank reads for itself: with every rank reading it would be 16 times as much.
    """
    elements = (GIGABYTE if not tiny else 2**20) // 32
    with _folder() as folder:
        with closing(Publisher(folder)) as publisher:
            _publish(publisher, {"weight": torch.zeros(elements, dtype=torch.float16)}, STEP)
        groups = [
            _reads(ranks, "shared", folder, elements) for ranks in ((2,) if tiny else (4, 16))
        ]
        alone = _reads(1, "each", folder, elements)
    return Row("teacher_reads", max(groups), alone, 1.05, unit="bytes")


def exchange_share_large(tiny: bool) -> Row:
    """Training-thread time for the exchange, every 50 steps, of the steps of a large model.

    Measured with an exchange every ten steps, of which a fifth counts: everything in it that is
    not small happens at an exchange. Steps are short, one row of 32 tokens a core.
    """
    interval, steps = (2, 5) if tiny else (10, 31)
    words = ["--groups", 2, "--burn-in", interval, "--exchange-interval", interval]
    core = {"OMP_NUM_THREADS": "1"}
    groups = train_groups(2, SMALL if tiny else LARGE, 1, steps, *words, env=core)
    shares = [each["exchange_s"] * interval / 50 for each in groups]
    pair = summarise_pair(shares, [each["step_s"] for each in groups])
    return pair.row("exchange_share_large", 0.005)


def _published(name: str, tiny: bool, other: Callable[[Path, Path], object], target: float) -> Row:
    weights = _model(tiny)
    with _folder() as folder, closing(Publisher(folder, keep=1)) as publisher:
        steps = iter(range(STEP, 10**6, STEP))
        last = [folder]

        def publish() -> None:
            last[0] = checkpoint_path(folder, _publish(publisher, weights, next(steps)))

        pair = measure_pair(publish, lambda: other(last[0], folder), REPEATS)
    return pair.row(name, target, bound=DIGEST_BOUND)


def _loaded(
    name: str,
    tiny: bool,
    prepare: Callable[[Path], object],
    other: Callable[[Path, Path], object],
    target: float,
) -> Row:
    weights = _model(tiny)
    expected = specification(weights)
    with _folder() as folder:
        with closing(Publisher(folder)) as publisher:
            _publish(publisher, weights, STEP)
        path, copy = checkpoint_path(folder, STEP), folder / "copy"
        prepare(copy)
        for file in (path, copy):
            _sync(file)
        pair = measure_pair(
            lambda: read_checkpoint(_cold(path), expected),
            lambda: other(_cold(path), _cold(copy)),
            REPEATS,
        )
    return pair.row(name, target, bound=DIGEST_BOUND)


def _publish(publisher: Publisher, weights: dict[str, torch.Tensor], step: int) -> int:
    publisher.publish(weights_to_publish(weights), Origin("run", "task", 0, step))
    assert publisher.flush(600)
    return step


@functools.cache
def _model(tiny: bool) -> dict[str, torch.Tensor]:
    """Half-precision weights of 24 layers, a gigabyte together."""
    torch.manual_seed(0)
    rows = 24 if tiny else GIGABYTE // 2 // 24 // 4096
    return {f"layers.{i}.weight": (torch.randn(rows, 4096) * 0.02).half() for i in range(24)}


def _safetensors() -> tuple[Callable[..., object], Callable[..., object]]:
    try:
        from safetensors.torch import load_file, save_file
    except ImportError as error:
        raise NotMeasuredError("needs the package safetensors (the extra bench)") from error
    return save_file, load_file


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _cold(path: Path) -> Path:
    """Takes a file out of the system's cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hvcod-bench-") as name:
        yield Path(name)


def _peak(call: Callable[[], object]) -> int:
    """Bytes by which a call raises this process's memory at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is what there is now
    before = _status("VmRSS")
    call()
    return max(1, _status("VmHWM") - before)


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+)", text)
    assert found
    return 1024 * int(found[1])


def _reads(ranks: int, way: str, folder: Path, elements: int) -> int:
    words = ["mpirun", "-np", ranks, sys.executable, READS, way, folder, 2 * elements]
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True)
    return int(done.stdout)
