"""Options that one group of a run has of its own."""

from pathlib import Path

import pytest
from mpi4py import MPI

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.task import CommonCrawl
from hvcod.training.run.group_options import of_groups
from hvcod.values import Duration


def options_of(**values: object) -> TrainOptions:
    options: TrainOptions = config.resolve(TrainOptions, [values], CommonCrawl.Options)
    return options


def write(run: Path, group: int, text: str) -> None:
    (run / f"group-{group}").mkdir()
    (run / f"group-{group}/config.toml").write_text(text)


def test_a_group_overrides_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, 1, 'log_interval = 3\noptimizer.learning_rate = 0.5\nmodel.kind = "lstm"\n')
    # Neither what is unset nor what belongs to the launch gets lost.
    options = options_of(groups=2, run_dir=tmp_path, validation_examples=None, time_limit="1h")
    found = of_groups(options, tmp_path, [0, 1], MPI.COMM_SELF)
    assert found[0] == options
    assert (found[1].log_interval, found[1].optimizer.learning_rate) == (3, 0.5)
    assert found[1].model.kind == "lstm"
    assert found[1].validation_examples is None
    assert found[1].time_limit == Duration(3600)
    assert (found[1].groups, found[1].run_dir) == (2, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groups = 3", "groups cannot differ between the groups of a run: set it for all"),
        ('task = "criteo"', "task cannot differ"),
        ('data = "elsewhere"', "data cannot differ"),
        ('codistill.topology = "ring"', r"codistill\.topology cannot differ"),
        ("codistill.exchange_interval = 7", r"codistill\.exchange_interval cannot differ"),
        ('run_dir = "elsewhere"', "run_dir cannot differ"),
        ("validate_ensemble = true", "validate_ensemble cannot differ"),
        ("learning_rate = 1.0", r"did you mean optimizer\.learning_rate"),
        ("log_interval = 0", "log_interval=0: must be at least 1"),
        ("log_interval = ", "cannot read the configuration"),
    ],
)
def test_what_must_be_equal_in_all_groups_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    write(tmp_path, 1, text)
    with pytest.raises(UsageError, match=rf"group-1/config\.toml: .*{message}|{message}"):
        of_groups(options_of(groups=2), tmp_path, [1], MPI.COMM_SELF)
    # Another group's launch does not care.
    of_groups(options_of(groups=2), tmp_path, [0], MPI.COMM_SELF)
