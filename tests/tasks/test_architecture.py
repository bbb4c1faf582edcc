"""The architecture of a model as a text: written, read, and refused where it makes no sense."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hvcod.config import TrainOptions, option
from hvcod.tasks.architecture import LONGEST, architecture_of, differences, options_of
from hvcod.tasks.commoncrawl.task import LanguageModelOptions
from hvcod.tasks.criteo.task import ClickModelOptions
from hvcod.tasks.imagenet.task import ImageOptions
from hvcod.tensorfile.errors import RefusedError
from hvcod.values import Paths, Sizes


@dataclass(frozen=True)
class Head:
    """A part of `Odd`."""

    units: int = option(5, "units")


@dataclass(frozen=True)
class Odd:
    """Options of all kinds."""

    start: Path | None = option(None, "a file of this machine")
    more: Paths = option(Paths(), "further files")
    limit: int | None = option(3, "a limit, or none")
    threads: int = option(1, "threads", result=False)
    gain: float = option(1.0, "gain", minimum=0.0)
    head: Head = field(default_factory=Head)


@pytest.mark.parametrize(
    "options",
    [
        LanguageModelOptions(kind="transformer", hidden=64, dropout=0.25),
        ClickModelOptions(embedding=3, hidden=Sizes("64,32")),
        ImageOptions(kind="small", widths=Sizes("8,16"), zero_gamma=False),
        ImageOptions(kind="plain", widths=Sizes("8,16"), dropout=0.5),
        Odd(limit=None, gain=0.5, head=Head(7)),
    ],
)
def test_a_model_is_what_its_text_says(options: object) -> None:
    assert options_of(architecture_of(options), type(options)()) == options


def test_what_belongs_to_the_reader_alone_is_not_told() -> None:
    there, here = Odd(start=Path("/there"), threads=8, gain=2.0), Odd(Path("/here"), threads=4)
    text = architecture_of(there)
    assert json.loads(text) == {"gain": 2.0, "head.units": 5, "limit": 3}
    assert options_of(text, here) == Odd(Path("/here"), threads=4, gain=2.0)
    with pytest.raises(RefusedError, match="no option 'start'"):
        options_of('{"start": "/etc/shadow"}', here)


def test_differences_are_named() -> None:
    own = LanguageModelOptions(hidden=7)
    assert differences("", own) == differences(architecture_of(own), own) == ""
    assert differences(architecture_of(Odd(threads=5)), Odd(Path("/here"))) == ""
    other = architecture_of(LanguageModelOptions(hidden=5, kind="transformer"))
    assert differences(other, own) == "kind=transformer instead of lstm, hidden=5 instead of 7"


def test_files_of_earlier_versions_say_nothing() -> None:
    own = LanguageModelOptions(hidden=7)
    assert options_of("", own) is own
    assert architecture_of(TrainOptions().model) == ""
    # An option that came later has its default, and not the reader's value.
    assert options_of('{"embedding": 5}', own) == LanguageModelOptions(embedding=5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hidden=5", "it is not JSON"),
        ("[" * 10_000, "it is not JSON"),
        ("[1]", "it is not a mapping of options"),
        ('{"hidden": ' + "9" * 5000 + "}", "it is not JSON"),
        ('{"hidden": 1' + " " * LONGEST + "}", f"{LONGEST + 13} characters are too many"),
        ('{"hidden": 0}', "hidden=0: must be at least 1"),
        ('{"hidden": 1e9}', "expected int"),
        ('{"hidden": true}', "expected int"),
        ('{"hidden": null}', "hidden has no value"),
        ('{"hidden": {"a": 1}}', "expected int"),
        ('{"dropout": NaN}', "must be a finite number"),
        ('{"kind": "__import__"}', "choose one of lstm, transformer"),
        ('{"' + "x" * 9000 + '": 1}', "no option 'x{80}'"),
    ],
)
def test_senseless_texts_are_refused_in_a_line(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=f"describes a model that.*{reason}") as caught:
        options_of(text, LanguageModelOptions())
    assert len(str(caught.value)) < 300
