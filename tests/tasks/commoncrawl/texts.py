"""Small prepared texts, made without a tokenizer."""

from pathlib import Path

import numpy as np

from hvcod.tasks.commoncrawl.tokens.dataset import (
    ShardInfo,
    TokenDataset,
    describe_dataset,
    shard_image,
)
from hvcod.tasks.files import write_json, write_whole

VOCABULARY = 50


def make_texts(folder: Path, documents: int = 40, shards: int = 2) -> TokenDataset:
    """Documents of random tokens in some shards; a quarter of them are for validation."""
    (folder / "shards").mkdir(parents=True)
    random, infos = np.random.default_rng(7), []
    counts = np.zeros(VOCABULARY, dtype=np.int64)
    for shard in range(shards):
        texts = [random.integers(6, VOCABULARY, random.integers(20, 90)) for _ in range(documents)]
        named = [(f"{shard}-{n}", text.astype(np.uint16)) for n, text in enumerate(texts)]
        held_out = [number % 4 == 3 for number in range(documents)]
        image, told, _ = shard_image(named, held_out, np.dtype(np.uint16))
        write_whole(folder / "shards" / f"{shard}.h5", image)
        infos.append(ShardInfo(file=f"shards/{shard}.h5", **told))
        for text, out in zip(texts, held_out, strict=True):
            counts += 0 if out else np.bincount(text, minlength=VOCABULARY)
    write_json(folder / "dataset.json", describe_dataset(VOCABULARY, infos, counts))
    return TokenDataset(folder)
