"""The flags of a training command become one layer of options."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hvcod.cli.options import layer, training_options
from hvcod.cli.train import advised, table
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError


def layer_of(*words: str, without: tuple[str, ...] = ()) -> object:
    @click.command()
    @training_options(without)
    def command(config_file: object, assignments: object, **flags: object) -> object:
        return layer(TrainOptions, flags)

    return CliRunner().invoke(command, words, standalone_mode=False).return_value


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--steps", "21", "--same-data"], {"steps": 21, "same_data": True}),
        (["--no-same-data", "--burn-in", "3"], {"same_data": False, "codistill.burn_in": 3}),
        (["--tracker", "mlflow,wandb", "--tracker", "x"], {"tracker": "mlflow,wandb,x"}),
        (["--warmup", "0", "--set", "steps=7"], {"optimizer.warmup": 0}),
    ],
)
def test_flags_that_were_given_and_no_others(words: list[str], given: dict[str, object]) -> None:
    assert layer_of(*words) == given


def test_a_flag_of_an_earlier_version_names_what_took_its_place() -> None:
    @click.command()
    @training_options()
    def command(**flags: object) -> None:
        pass

    with pytest.raises(UsageError, match=r"^--tensorboard is --tracker tensorboard now$"):
        CliRunner().invoke(command, ["--tensorboard"], catch_exceptions=False)


def test_an_option_that_a_command_decides_has_no_flag() -> None:
    assert layer_of("--groups", "3") == {"groups": 3}
    assert layer_of("--groups", "3", without=("groups",)) is None


def test_the_mean_teacher_of_a_slower_group_is_ahead() -> None:
    shown = {"group": 0, "metrics": {}, "exchanges": 3, "step_s": 0.1, "run_dir": "r"}
    summaries = [{**shown, "mean_staleness": age, "reference": {}} for age in (None, 2.5, -1.4)]
    assert [line.split()[3:-2] for line in table(summaries).split("\n")[1:]] == [
        ["-"],
        ["2.5", "steps"],
        ["1.4", "steps", "ahead"],
    ]


def test_advice_that_fails_on_one_rank_ends_all(tmp_path: Path) -> None:
    """It is not caught: the others wait for this rank."""
    (tmp_path / "config.toml").write_text("run = [")
    summary = {"ended": "finished", "group": 0, "run_dir": str(tmp_path)}
    with pytest.raises(HvcodError, match="finished, but there is no advice: cannot read"):
        advised(TrainOptions(advise=2), [summary])


def test_nobody_waits_for_silent_teacher_ranks_to_advise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = {"ended": "finished", "group": 0, "run_dir": "nowhere"}
    options = TrainOptions(advise=2)
    assert advised(options, [{**summary, "silent_teacher_ranks": [1]}]) is None
    assert capsys.readouterr().err == ""
    assert advised(options, [{**summary, "silent_teacher_ranks": []}]) is None
    assert "no advice: nowhere is not a run directory" in capsys.readouterr().err
