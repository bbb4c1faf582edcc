"""What one would write with Polars to prepare Criteo's rows: the bench's comparison.

As criteo_pandas.py: two passes over the text in batches, so that memory does not grow with it.
Polars reads and computes with as many threads as there are cores (POLARS_MAX_THREADS). Prints the
seconds, imports left out.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import polars as pl

BATCH_ROWS = 2**18
INTEGERS = [f"I{number}" for number in range(1, 14)]
CATEGORIES = [f"C{number}" for number in range(1, 27)]
TYPES = {
    "label": pl.Int8,
    **dict.fromkeys(INTEGERS, pl.Int64),
    **dict.fromkeys(CATEGORIES, pl.String),
}


def batches(source: Path) -> Iterator[pl.DataFrame]:
    lazy = pl.scan_csv(source, separator="\t", has_header=False, schema=TYPES)
    yield from lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def logarithm(name: str) -> pl.Expr:
    column = pl.col(name).cast(pl.Float32)
    return column.sign() * column.abs().log1p()


def sums(part: pl.DataFrame) -> pl.DataFrame:
    """Present values of each integer feature, their sum and that of their squares."""
    columns = {name: logarithm(name).cast(pl.Float64) for name in INTEGERS}
    return part.select(
        *(column.count().alias(f"{name} present") for name, column in columns.items()),
        *(column.sum().alias(f"{name} sum") for name, column in columns.items()),
        *((column**2).sum().alias(f"{name} squares") for name, column in columns.items()),
    )


def added(counts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("value").agg(pl.col("len").sum())


def scaled(total: pl.DataFrame) -> list[pl.Expr]:
    columns = []
    for name in INTEGERS:
        present = total[f"{name} present"][0]
        mean = total[f"{name} sum"][0] / present
        deviation = (total[f"{name} squares"][0] / present - mean**2) ** 0.5
        columns.append(((logarithm(name) - mean) / deviation).cast(pl.Float32).alias(name))
    return columns


def numbered(counts: list[list[pl.DataFrame]], least: int) -> list[pl.Expr]:
    columns, first = [], 0
    for name, found in zip(CATEGORIES, counts, strict=True):
        frequent = added(found).filter(pl.col("len") >= least, pl.col("value").is_not_null())
        known = frequent["value"].sort()
        ids = pl.int_range(first + 2, first + 2 + len(known), eager=True)
        column = pl.col(name).replace_strict(known, ids, default=first, return_dtype=pl.Int32)
        missing = pl.col(name).is_null()
        columns.append(pl.when(missing).then(first + 1).otherwise(column).alias(name))
        first += 2 + len(known)
    return columns


def prepare(source: Path, output: Path, training: int, least: int) -> None:
    counts: list[list[pl.DataFrame]] = [[] for _ in CATEGORIES]
    totals, rows = [], 0
    for frame in batches(source):
        part = frame.head(max(0, training - rows))
        rows += len(frame)
        totals.append(sums(part))
        counted = [part.lazy().group_by(value=name).len() for name in CATEGORIES]
        for found, one in zip(counts, pl.collect_all(counted), strict=True):
            found.append(one)
            if len(found) == 16:
                found[:] = [added(found)]
    columns = [*scaled(pl.concat(totals).sum()), *numbered(counts, least)]
    output.mkdir()
    for number, frame in enumerate(batches(source)):
        made = frame.select("label", *columns)
        with h5py.File(output / f"{number:05d}.h5", "w") as file:
            file["integers"] = made.select(INTEGERS).to_numpy()
            file["categories"] = made.select(CATEGORIES).to_numpy().astype(np.int32, copy=False)
            file["labels"] = made["label"].to_numpy()


if __name__ == "__main__":
    begun = time.perf_counter()
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(time.perf_counter() - begun)
