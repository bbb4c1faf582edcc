"""Layers of options: defaults < preset < --config < --set < flags."""

from pathlib import Path

import pytest

from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.runs.layers import resolve
from hvcod.tasks.commoncrawl.task import CommonCrawl

LAPTOP, PAPER = CommonCrawl.presets["laptop"], CommonCrawl.presets["paper"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(
        "steps = 21\nbatch_size = 22\nvalidation_examples = 23\n"
        "[optimizer]\nwarmup = 24\n[model]\nhidden = 25\n"
    )
    return path


def test_each_layer_replaces_those_below_it_and_nothing_else(file: Path) -> None:
    options = resolve(
        file,
        ["batch_size=32", "validation_examples=33", "model.hidden=34"],
        {"validation_examples": 43},
    )
    default = TrainOptions()
    assert options.codistill.exchange_interval == default.codistill.exchange_interval
    assert options.validation_interval == LAPTOP["validation_interval"]
    assert options.codistill.burn_in == LAPTOP["codistill.burn_in"] != default.codistill.burn_in
    assert options.model.layers == LAPTOP["model.layers"] != CommonCrawl.Options().layers
    assert options.steps == 21 != LAPTOP["steps"]
    assert options.optimizer.warmup == 24 != LAPTOP["optimizer.warmup"]
    assert options.batch_size == 32
    assert options.model.hidden == 34
    assert options.validation_examples == 43


def test_one_option_in_all_layers(file: Path) -> None:
    assert TrainOptions().steps != LAPTOP["steps"]
    assert resolve(None, [], {}).steps == LAPTOP["steps"]
    assert resolve(file, [], {}).steps == 21
    assert resolve(file, ["steps=31"], {}).steps == 31
    assert resolve(file, ["steps=31", "steps=32"], {}).steps == 32
    assert resolve(file, ["steps=31"], {"steps": 41}).steps == 41


def test_the_batch_of_a_rank_or_of_the_group_whichever_is_said_last(tmp_path: Path) -> None:
    def batch(text: str, *words: str, **given: object) -> tuple[int, int | None]:
        (tmp_path / "own.toml").write_text(f'task = "criteo"\n{text}')
        options = resolve(tmp_path / "own.toml", words, given)
        return options.batch_size, options.group_batch_size

    default = TrainOptions().batch_size
    assert batch("") == (default, 512)  # the preset's
    assert batch("batch_size = 64") == (64, None)
    assert batch("batch_size = 64\ngroup_batch_size = 128") == (64, 128)  # what a run notes
    assert batch("group_batch_size = 128", batch_size=7) == (7, None)
    assert batch("batch_size = 64", "group_batch_size=256") == (64, 256)


def test_the_preset_may_stand_in_the_file_and_be_replaced_by_a_flag(file: Path) -> None:
    file.write_text('preset = "paper"\nsteps = 21\n')
    of_file = resolve(file, [], {})
    assert (of_file.preset, of_file.steps, of_file.batch_size) == ("paper", 21, PAPER["batch_size"])
    of_flag = resolve(file, [], {"preset": "laptop"})
    assert (of_flag.preset, of_flag.steps) == ("laptop", 21)
    assert of_flag.batch_size == LAPTOP["batch_size"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[codistill]\nburnin = 3", "codistill.burnin: did you mean codistill.burn_in"),
        ("burn_in = 3", "burn_in: did you mean codistill.burn_in"),
        ("[model]\nhiden = 3", "model.hiden: did you mean model.hidden"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_even_if_a_flag_is_right(
    file: Path, content: str, message: str
) -> None:
    file.write_text(content)
    with pytest.raises(UsageError, match=rf"mine\.toml: unknown option {message}"):
        resolve(file, [], {"codistill.burn_in": 3})


def test_a_wrong_value_in_the_file_names_the_file(file: Path) -> None:
    file.write_text("steps = 0")
    with pytest.raises(UsageError, match=r"mine\.toml: steps=0: must be at least 1"):
        resolve(file, [], {})
    with pytest.raises(UsageError, match=r"^steps=0: must be at least 1"):
        resolve(None, ["steps=0"], {})


def test_a_wrong_preset_in_the_file_names_those_there_are(file: Path) -> None:
    file.write_text('preset = "huge"')
    with pytest.raises(UsageError, match="--preset huge: choose one of paper, laptop"):
        resolve(file, [], {})
