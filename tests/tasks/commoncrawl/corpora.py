"""Small corpora of English prose for tests, and folders compared byte by byte."""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset, Tokens

SENTENCES = [
    "The committee met in the old library to discuss the plans for the coming winter.",
    "Nobody had expected that the river would rise so quickly after the storm.",
    "She opened the letter, read it twice, and put it back into the drawer without a word.",
    "Every evening the children walked along the shore and collected shells for their mother.",
    "There was a time when people believed that the mountains were the homes of giants.",
    "Mr. Brown, who had lived in the village since 1892, knew every stone of the road.",
    "“If you wish to leave,” said the captain, “you must do so before the morning.”",
    "The results of the experiment were published, but they attracted little attention.",
    "It is difficult to say what would have happened if the train had arrived on time.",
    "Many of the houses were empty, and the gardens had been neglected for years.",
    "His brother, a doctor from Edinburgh, had promised to visit them in the spring.",
    "We should remember that the laws of nature do not depend on our opinions.",
]
GERMAN = "Der alte Mann wartete den ganzen Tag vor dem Haus auf den Brief seiner Tochter. "


def paragraph(source: random.Random, sentences: int) -> str:
    words = " ".join(source.choice(SENTENCES) for _ in range(sentences)).split()
    return " ".join(word if source.random() < 0.97 else source.choice(words) for word in words)


def document(source: random.Random, paragraphs: int) -> str:
    return "\n".join(paragraph(source, source.randint(4, 9)) for _ in range(paragraphs))


def write_corpus(folder: Path, files: int = 4, documents: int = 30, seed: int = 0) -> list[Path]:
    """JSON-lines files, every other one compressed; documents to keep and documents to drop.

    The first document of each file but the first repeats one of the file before.
    """
    source, paths, last = random.Random(seed), [], ""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = [last] if last else []
        for index in range(documents):
            last = json.dumps({"id": f"doc-{number}-{index}", "text": document(source, 3)})
            lines.append(last)
        lines.append(json.dumps({"id": f"short-{number}", "text": "Too short."}))
        lines.append(json.dumps({"id": f"german-{number}", "text": f"{GERMAN * 5}\n{GERMAN * 6}"}))
        lines.append('{"id": "damaged')
        path = folder / (f"part-{number}.jsonl" + (".gz" if number % 2 else ""))
        content = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(content) if number % 2 else content)
        paths.append(path)
    return paths


def documents_of(dataset: TokenDataset, shard: int, part: str) -> dict[str, Tokens]:
    """The tokens of the documents in a part of a shard, by their ids."""
    columns = dataset.columns(shard)
    offsets, tokens = columns.read(f"{part}/offsets"), columns.read(f"{part}/tokens")
    ids = columns.read_lines(f"{part}/ids")
    assert len(offsets) == len(ids) + 1
    return {
        name: tokens[begin:end]
        for name, begin, end in zip(ids, offsets[:-1], offsets[1:], strict=True)
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_same_files(folders: Sequence[Path]) -> None:
    first = contents(folders[0])
    assert "dataset.json" in first
    for other in folders[1:]:
        found = contents(other)
        assert found.keys() == first.keys()
        assert [name for name in first if first[name] != found[name]] == []
