"""A built-in corpus: the documentation that comes with Python and its packages.

It has the documentation topics of Python and the docstrings of the standard library and of some
installed packages, read from their source files without importing them. Only prose paragraphs are
taken; examples, tables and parameter lists are left out. Its content, and so the name of its folder
in the user's cache, depends on the installed versions.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import pydoc_data.topics
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from hvcod.config import flatten
from hvcod.groups.communicator import Communicator
from hvcod.groups.world import on_rank_zero, wait_quietly
from hvcod.tasks.builtin import made_once
from hvcod.tasks.commoncrawl.preparation.options import FilterOptions, PrepareOptions
from hvcod.tasks.commoncrawl.preparation.prepare import TextPreparation
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs
from hvcod.tasks.commoncrawl.tokens.dataset import FORMAT
from hvcod.tasks.files import make_folder, write_blocks

OPTIONS = PrepareOptions(
    filters=FilterOptions(long_paragraphs=1), vocabulary_size=4096, validation_fraction=0.05
)

PACKAGES = (
    "torch",
    "sympy",
    "networkx",
    "numpy",
    "setuptools",
    "click",
    "h5py",
    "requests",
    "tqdm",
)
"""Packages with much prose that hvcod or torch bring along; those not installed are left out."""

STANDARD_LIBRARY = "python"
LEFT_OUT = {"test", "tests", "testing", "idlelib", "site-packages", "pydoc_data", "_vendor"}
SHORTEST_PARAGRAPH = 60
LETTERS = 0.85
"""The share of letters and spaces from which a paragraph counts as prose."""

_RULES = 2
"""Version of the rules by which text is taken; other rules make another corpus."""


def builtin_dataset(ranks: Communicator) -> Path:
    """Returns the folder of the built-in dataset, which is made if it is not there. Collective.

    Raises:
        HvcodError: The cache cannot be written, or is not the same on all nodes.
    """
    return made_once(ranks, lambda: f"builtin-{corpus_key()}", _prepare)


def corpus_key() -> str:
    """Returns a name for the corpus that follows from rules, options and installed versions."""
    versions = {
        name: importlib.metadata.version(name) for name in installed_packages() if name in PACKAGES
    }
    versions[STANDARD_LIBRARY] = sysconfig.get_python_version()
    about = {
        "rules": _RULES,
        "format": FORMAT.version,
        "versions": versions,
        **flatten(asdict(OPTIONS)),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _prepare(folder: Path, ranks: Communicator) -> None:
    on_rank_zero(ranks, lambda: make_folder(folder / "text"))
    for index, (name, sources) in enumerate(installed_packages().items()):
        if index % ranks.size == ranks.rank:
            documents = package_documents(name, sources)
            records = (json.dumps({"id": one, "text": text}) for one, text in documents)
            path = folder / "text" / f"{name}.jsonl"
            write_blocks(path, (f"{record}\n".encode() for record in records))
    wait_quietly(ranks)
    inputs = on_rank_zero(ranks, lambda: expand_inputs([str(folder / "text")]).sources)
    TextPreparation(inputs, folder / "data", OPTIONS, ranks).run()


def installed_packages() -> dict[str, Path]:
    """Returns the folder of the sources of each installed package; none is imported."""
    specs = {name: importlib.util.find_spec(name) for name in PACKAGES}
    folders = {
        name: Path(spec.submodule_search_locations[0])
        for name, spec in specs.items()
        if spec and spec.submodule_search_locations
    }
    return {**folders, STANDARD_LIBRARY: Path(sysconfig.get_path("stdlib"))}


def package_documents(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yields the (module, prose) of a package: one document a module, one paragraph a line."""
    if name == STANDARD_LIBRARY:
        for topic, text in sorted(pydoc_data.topics.topics.items()):
            yield f"topics.{topic}", "\n".join(prose_paragraphs(text))
    for file in sorted(folder.rglob("*.py")):
        inner = file.relative_to(folder).with_suffix("").parts
        if LEFT_OUT.isdisjoint(inner):
            prose = [line for text in docstrings(file) for line in prose_paragraphs(text)]
            if prose:
                yield ".".join((name, *inner)), "\n".join(prose)


def docstrings(file: Path) -> Iterator[str]:
    """Yields the docstrings of a module, its classes and functions; none if it is not valid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in somebody else's code
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    yield from _docstrings_below(tree)


def _docstrings_below(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[str]:
    text = ast.get_docstring(node, clean=False)
    if text:
        yield inspect.cleandoc(text)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings_below(child)


def prose_paragraphs(text: str) -> Iterator[str]:
    """Yields the paragraphs of a docstring that are prose, each on one line."""
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        if len(line) < SHORTEST_PARAGRAPH or paragraph.startswith((" ", ".. ", ":", ">>>")):
            continue
        letters = sum(character.isalpha() or character == " " for character in line)
        if letters >= LETTERS * len(line):
            yield line
