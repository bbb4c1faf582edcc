"""The commands of hvcod that the documents name: they exist, and so do their options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conftest import PROJECT

from hvcod.cli.commands import cli

DOCUMENTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").glob("*.md")]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
COMMAND = re.compile(r"(?:^|[ (])(?<!from )hvcod ([a-z].*)")


def lines(document: Path) -> Iterator[str]:
    """The lines of blocks of code, continued ones joined, and the code within sentences."""
    text = document.read_text()
    for block in BLOCK.findall(text):
        yield from block.replace("\\\n", " ").splitlines()
    yield from INLINE.findall(BLOCK.sub("", text))


def commands(document: Path) -> Iterator[str]:
    """The commands of hvcod, without launchers and comments; one behind ``--`` is another one."""
    for line in lines(document):
        if match := COMMAND.search(line.split("#")[0].rstrip()):
            first, *others = match[1].split(" -- ")
            yield from [first, *(other for other in others if not other.startswith("LAUNCHER"))]


def unknown(command: str) -> Iterator[str]:
    """What hvcod does not know of a command: itself, or flags; other words may be anything."""
    words = shlex.split(command.replace("'", "")) if command.count('"') % 2 == 0 else []
    at: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(at, click.Group):
        found = at.get_command(context, words[0])
        if found is None:
            # The name of a group of commands alone, or in the place of a name: hvcod data TASK.
            yield from [words[0]] if words[0].islower() else []
            return
        at, words = found, words[1:]
    known = {flag for option in at.params for flag in [*option.opts, *option.secondary_opts]}
    flags = (word.split("=")[0].rstrip(",.") for word in words if word.startswith("--"))
    yield from (flag for flag in flags if flag not in {*known, "--help", "--"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_documented_commands_exist(document: Path) -> None:
    wrong = {each: found for each in commands(document) if (found := list(unknown(each)))}
    assert not wrong


def test_a_command_that_does_not_exist_is_found() -> None:
    assert list(unknown("train --groups 2 --grupos 3")) == ["--grupos"]
    assert list(unknown("trian --groups 2")) == ["trian"]
