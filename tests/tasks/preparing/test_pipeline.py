"""The pipeline: a preparation is a class of its own that brings its stages and nothing else."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

from hvcod.config import option
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.columns import DataFormat, described
from hvcod.tasks.files import write_whole
from hvcod.tasks.preparing.pipeline import Look, Preparation, Report
from hvcod.tasks.preparing.workspace import Stage

FORMAT = DataFormat("hvcod-words", 2, "hvcod data words")
SPLIT, JOINED = Stage("split", "splitting", "word"), Stage("joined", "joining", "word")


@dataclass(frozen=True)
class Options:
    separator: str = option(",", "between the words")
    most_empty: int = option(0, "inputs without words that are allowed")


@dataclass(frozen=True)
class Text:
    name: str
    text: str

    @property
    def size(self) -> int | None:
        return len(self.text)


class Words(Preparation):
    """Splits texts into words, and writes the distinct ones of all."""

    data_format = FORMAT
    tolerances = ("most_empty",)
    stages = (SPLIT, JOINED)
    options: Options

    done: list[str]

    def load(self) -> None:
        self.done = []

    def work(self) -> None:
        self.each(SPLIT, self.largest_first(), self._split)
        self._words = self.once(self._distinct)
        self.each(JOINED, [0], self._join)

    def _split(self, index: int, look: Look) -> list[str]:
        source: Text = self.sources[index]
        self.done.append(source.name)
        if "\0" in source.text:
            raise UsageError(f"{source.name}: not text")
        return source.text.split()

    def _distinct(self) -> list[str]:
        every = self.results(SPLIT, range(len(self.sources)))
        empty = sum(not words for words in every)
        if empty > self.options.most_empty:
            raise HvcodError(f"{empty} inputs have no words")
        return sorted({word for words in every for word in words})

    def _join(self, _: int, look: Look) -> int:
        self.done.append("words.txt")
        text = self.options.separator.join(self._words)
        write_whole(self.output / "words.txt", text.encode())
        return len(self._words)

    def conclude(self) -> tuple[Report, dict[str, Any]]:
        words = self.results(JOINED, [0])[0]
        return {"words": words}, {**FORMAT.attributes(), "plan": self.plan}


TEXTS = (Text("short", "a"), Text("long", "c b a"), Text("middle", "b d"))


def words(output: Path, sources: Sequence[Text] = TEXTS, **options: Any) -> Words:
    return Words(sources, output, Options(**options), MPI.COMM_SELF)


def test_the_stages_fill_the_folder(tmp_path: Path) -> None:
    preparation = words(tmp_path / "data")
    assert preparation.run() == {"words": 4}
    assert (tmp_path / "data" / "words.txt").read_text() == "a,b,c,d"
    assert preparation.done == ["long", "middle", "short", "words.txt"]
    with described(tmp_path / "data", FORMAT) as content:
        assert content["plan"] == {
            "version": 2,
            "inputs": [["short", 1], ["long", 5], ["middle", 3]],
            "separator": ",",
        }
    assert not (tmp_path / "data" / "work").exists()


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    words(tmp_path / "data").run()
    again = words(tmp_path / "data")
    assert again.run() == {"words": 4}
    assert again.done == []


@pytest.mark.parametrize("name", ["work", "work/split", "work/claims", "shards"])
def test_nothing_is_written_behind_a_link_in_the_folder(tmp_path: Path, name: str) -> None:
    """Somebody who may write there could have other files of the user replaced."""
    victim, output = tmp_path / "victim", tmp_path / "data"
    victim.mkdir()
    output.mkdir()
    if name != "work":
        with pytest.raises(HvcodError, match="1 inputs have no words"):
            words(output, [Text("blank", " ")]).run()
        shutil.rmtree(output / name)
    (output / name).symlink_to(victim)
    with pytest.raises(UsageError, match=f"{Path(name).name} is a symbolic link: put what it poi"):
        words(output, [Text("blank", " ")]).run()
    assert list(victim.iterdir()) == []


def test_an_output_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to("disk")
    words(tmp_path / "data").run()
    assert (tmp_path / "disk/words.txt").read_text() == "a,b,c,d"


def test_an_interrupted_preparation_goes_on_behind_what_is_done(tmp_path: Path) -> None:
    sources = [*TEXTS, Text("blank", " ")]
    with pytest.raises(HvcodError, match="1 inputs have no words"):
        words(tmp_path / "data", sources).run()
    resumed = words(tmp_path / "data", sources, most_empty=1)
    assert resumed.run() == {"words": 4}
    assert resumed.done == ["words.txt"]


def test_work_of_another_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HvcodError):
        words(tmp_path / "data", [*TEXTS, Text("blank", " ")]).run()
    with pytest.raises(UsageError, match=r"interrupted preparation.*inputs"):
        words(tmp_path / "data").run()
    with pytest.raises(UsageError, match=r"separator , instead of ;.*repeat the earlier command"):
        words(tmp_path / "data", [*TEXTS, Text("blank", " ")], separator=";").run()


def test_an_input_that_one_rank_refuses_is_no_wrong_usage(tmp_path: Path) -> None:
    """The other ranks do not know of it: the launch fails and does not only end."""
    with pytest.raises(HvcodError, match="odd: not text") as error:
        words(tmp_path / "data", [Text("odd", "\0")]).run()
    assert not isinstance(error.value, UsageError)
