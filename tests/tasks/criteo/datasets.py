"""Small prepared rows, made without text."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvcod.tasks.columns import image
from hvcod.tasks.criteo.dataset import FORMAT, ClickDataset

TABLE_ROWS = 100


def make_dataset(
    folder: Path, shards: Sequence[int], validation: int = 0, test: int = 0
) -> ClickDataset:
    """Rows that can be told apart: the first integer of each is its number."""
    (folder / "shards").mkdir(parents=True)
    random = np.random.default_rng(5)
    names, total = [], 0
    for number, rows in enumerate(shards):
        integers = random.normal(size=(rows, 13)).astype(np.float32)
        integers[:, 0] = np.arange(total, total + rows)
        integers[:, 1] = np.where(np.arange(rows) % 3 == 0, np.nan, 1.0)
        columns: dict[str, np.ndarray] = {
            "integers": integers,
            "categories": random.integers(TABLE_ROWS, size=(rows, 26), dtype=np.int32),
            "labels": random.integers(2, size=rows, dtype=np.int8),
            "ids": np.arange(total, total + rows, dtype=np.int64) + 1000,
        }
        names.append((f"shards/{number:05d}.h5", rows))
        (folder / names[-1][0]).write_bytes(image(columns, FORMAT))
        total += rows
    training = total - validation - test
    parts = {
        "training": (0, training),
        "validation": (training, total - test),
        "test": (total - test, total),
    }
    known = {"table_rows": TABLE_ROWS, "click_rate": 0.25, "generated": False}
    content = {**FORMAT.attributes(), **known, "parts": parts, "shards": names}
    (folder / "dataset.json").write_text(json.dumps(content))
    return ClickDataset(folder)
