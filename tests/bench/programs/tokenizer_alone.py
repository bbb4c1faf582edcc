"""The tokenizer library alone: learns pieces from a text and encodes it; prints the seconds.

Arguments: a file with one normalised paragraph a line, pieces, characters of the alphabet.
Nothing is read, split into sentences, filtered or written while the clock runs.
"""

import sys
import time
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from hvcod.tasks.commoncrawl.tokens.tokenizer import WORDS

BATCH = 5000

text = Path(sys.argv[1]).read_text(encoding="utf-8")
paragraphs = [f" {line}" for line in text.split("\n")]
batches = [paragraphs[start : start + BATCH] for start in range(0, len(paragraphs), BATCH)]
pieces, alphabet = int(sys.argv[2]), int(sys.argv[3])
begun = time.perf_counter()
tokenizer = Tokenizer(models.BPE(unk_token="?"))
tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
trainer = trainers.BpeTrainer(
    vocab_size=pieces,
    min_frequency=2,
    limit_alphabet=alphabet,
    special_tokens=["?"],
    show_progress=False,
)
tokenizer.train_from_iterator(batches, trainer)
for batch in batches:
    tokenizer.encode_batch_fast(batch)
print(time.perf_counter() - begun)
