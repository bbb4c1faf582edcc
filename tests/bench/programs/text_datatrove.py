"""A datatrove pipeline from WET to tokens: the bench's comparison.

Arguments: a WET file, a folder for the result, a tokenizer's file, and which documents are kept:
``gopher`` by the filters of Gopher (Rae et al. 2021), which need no download, or ``same`` by the
rule of ``hvcod data commoncrawl``: two lines of 200 characters, 80% English by CLD2. One task; no
shuffle. Prints the seconds, imports left out.
"""

import sys
import time
from pathlib import Path

import pycld2
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import (
    GopherQualityFilter,
    GopherRepetitionFilter,
    LambdaFilter,
)
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger

END_OF_DOCUMENT = "\x04"


def keep(document: Document) -> bool:
    lines = [" ".join(line.split()) for line in document.text.split("\n")]
    if sum(len(line) >= 200 for line in lines) < 2:
        return False
    sample = "\n".join(line[:500] for line in sorted(lines, key=len, reverse=True)[:4])
    found = pycld2.detect(sample)[2]
    english = sum(int(percent) for _, code, percent, _ in found if code == "en")
    return english >= 80


def run(source: Path, output: Path, tokenizer: Path, kept: str) -> None:
    gopher = [GopherRepetitionFilter(), GopherQualityFilter()]
    pipeline = [
        WarcReader(str(source.parent), glob_pattern=source.name),
        *(gopher if kept == "gopher" else [LambdaFilter(keep)]),
        DocumentTokenizer(
            str(output / "tokens"),
            tokenizer_name_or_path=str(tokenizer),
            eos_token=END_OF_DOCUMENT,
            shuffle_documents=False,
        ),
    ]
    LocalPipelineExecutor(pipeline, tasks=1, logging_dir=str(output / "logs")).run()


if __name__ == "__main__":
    logger.remove()
    begun = time.perf_counter()
    run(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    print(time.perf_counter() - begun)
