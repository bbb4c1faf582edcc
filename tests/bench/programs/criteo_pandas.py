"""What one would write with pandas to prepare Criteo's rows: the bench's comparison.

Two passes over the text in chunks, so that memory does not grow with it: categories are counted in
the first one, and turned into ids in the second. Prints the seconds, imports left out.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

CHUNK_ROWS = 200_000
INTEGERS = [f"I{number}" for number in range(1, 14)]
CATEGORIES = [f"C{number}" for number in range(1, 27)]


def chunks(source: Path) -> Iterator[pd.DataFrame]:
    types = {
        "label": "int8",
        **dict.fromkeys(INTEGERS, "float32"),
        **dict.fromkeys(CATEGORIES, str),
    }
    yield from pd.read_csv(
        source, sep="\t", header=None, names=list(types), dtype=types, chunksize=CHUNK_ROWS
    )


def logarithms(frame: pd.DataFrame) -> np.ndarray:
    integers = frame[INTEGERS].to_numpy()
    return np.asarray(np.sign(integers) * np.log1p(np.abs(integers)))


def prepare(source: Path, output: Path, training: int, least: int) -> None:
    counts = [pd.Series(dtype="int64") for _ in CATEGORIES]
    present, sums, squares, rows = np.zeros(13), np.zeros(13), np.zeros(13), 0
    for frame in chunks(source):
        part = frame.iloc[: max(0, training - rows)]
        rows += len(frame)
        values = logarithms(part)
        present += (~np.isnan(values)).sum(axis=0)
        sums += np.nansum(values, axis=0, dtype=np.float64)
        squares += np.nansum(values**2, axis=0, dtype=np.float64)
        for index, name in enumerate(CATEGORIES):
            counts[index] = counts[index].add(part[name].value_counts(), fill_value=0)
    mean = sums / present
    deviation = np.sqrt(squares / present - mean**2)
    ids, first = [], 0
    for series in counts:
        known = series.index[series >= least].sort_values()
        ids.append((pd.Series(np.arange(first + 2, first + 2 + len(known)), known), first))
        first += 2 + len(known)
    output.mkdir()
    for number, frame in enumerate(chunks(source)):
        categories = np.empty((len(frame), len(CATEGORIES)), dtype=np.int32)
        for index, (name, (known, begin)) in enumerate(zip(CATEGORIES, ids, strict=True)):
            found = frame[name].map(known).fillna(begin)
            categories[:, index] = found.mask(frame[name].isna(), begin + 1)
        with h5py.File(output / f"{number:05d}.h5", "w") as file:
            file["integers"] = ((logarithms(frame) - mean) / deviation).astype(np.float32)
            file["categories"] = categories
            file["labels"] = frame["label"].to_numpy()


if __name__ == "__main__":
    begun = time.perf_counter()
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(time.perf_counter() - begun)
