"""The samples of the data from which the retrains of a study learn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tasks.criteo.datasets import make_dataset as make_rows

from hvcod.churn.options import StudyOptions
from hvcod.churn.run.methods import methods_of
from hvcod.churn.run.retrains import Retrain, retrains_of
from hvcod.churn.run.samples import samples_of
from hvcod.churn.split import FLOORS
from hvcod.config import CodistillOptions, TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.task import CommonCrawl
from hvcod.values import Window

TRAIN = TrainOptions(steps=40, codistill=CodistillOptions(burn_in=10, staleness="exact"))
BOOTSTRAP: dict[str, Any] = {"data_sample": "bootstrap"}
DAYS: dict[str, Any] = {"data_sample": "days"}


def planned(words: str, train: TrainOptions = TRAIN, **study: Any) -> list[TrainOptions]:
    options = StudyOptions(methods=words, **study)
    samples = samples_of(options, train)
    retrains: list[Retrain] = retrains_of(methods_of(words), samples, options, train, Path("out"))
    return [retrain.options for retrain in retrains]


def seeds(retrains: list[TrainOptions]) -> list[tuple[int, int | None]]:
    return [(each.seed, each.order_seed) for each in retrains]


def test_floors_differ_in_what_their_names_say() -> None:
    def differing(name: str) -> list[int]:
        options = planned(name, repeats=3, **BOOTSTRAP)
        sources = ("seed", "order_seed", "training_bootstrap")
        return [len({getattr(each, source) for each in options}) for source in sources]

    expected = [[1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1], [3, 1, 1], [1, 3, 1], [1, 1, 3]]
    assert [differing(name) for name in FLOORS] == expected
    assert [differing(f"codistill:{name}") for name in FLOORS] == expected
    assert differing("dnn") == differing("ensemble") == [3, 3, 3]
    names = [method.name for method in methods_of("dnn:same,codistill-3:only-data,same-init")]
    assert names == ["same", "codistill-3:only-data", "same-init"]


def test_no_two_retrains_share_a_sample_and_seeds_are_those_without_samples() -> None:
    words = "dnn,ensemble,codistill,twin-bootstrap"
    found = planned(words, repeats=25, **BOOTSTRAP)
    samples = {each.training_bootstrap for each in found}
    assert len(samples) == 100
    assert None not in samples
    assert seeds(found) == seeds(planned(words, repeats=25))


def test_twin_bootstraps_draw_from_all_the_data_each_for_itself() -> None:
    (twin,) = planned("twin-bootstrap", repeats=1)
    assert (twin.groups, twin.bootstrap, twin.same_data) == (2, True, True)
    assert (twin.training_bootstrap, twin.codistill) == (None, TRAIN.codistill)
    (three,) = planned("twin-bootstrap-3", repeats=1, **BOOTSTRAP)
    assert (three.groups, three.bootstrap) == (3, True)
    assert three.training_bootstrap is not None  # of which each copy draws a sample
    assert not planned("codistill", repeats=1)[0].bootstrap
    (bagging,) = planned("bagging", repeats=1)
    assert (bagging.groups, bagging.bootstrap, bagging.same_data) == (2, True, True)
    assert bagging.codistill.burn_in > bagging.steps


def test_what_a_task_or_the_options_cannot_do_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="--methods bagging: --bootstrap gives each group a samp"):
        planned("bagging", replace(TRAIN, same_batches=True))
    monkeypatch.setattr(CommonCrawl, "limits_training", False)
    monkeypatch.setattr(CommonCrawl, "bootstraps", False)
    with pytest.raises(UsageError, match="--methods dnn: --training-bootstrap: the task commoncr"):
        planned("dnn", **BOOTSTRAP)
    with pytest.raises(UsageError, match="--methods twin-bootstrap: --bootstrap: the task common"):
        planned("dnn,twin-bootstrap")
    assert planned("dnn,codistill")


def test_windows_move_on_by_a_day() -> None:
    found = planned("dnn,same-data,codistill", repeats=3, days=10, window_days=4, **DAYS)
    windows = [each.training_window for each in found]
    assert windows[:3] == windows[6:] == ["0:0.4", "0.1:0.5", "0.2:0.6"]
    assert windows[3:6] == ["0:0.4"] * 3
    # Half of the days by default, of which there are 30.
    first, second = (each.training_window for each in planned("dnn", repeats=2, **DAYS))
    assert first == "0:0.5"
    assert second is not None
    assert second.of(300) == range(10, 160)


def test_input_files_are_days_if_there_are_several(tmp_path: Path) -> None:
    data = make_rows(tmp_path / "data", [300, 200, 449, 100], validation=150).folder
    inputs = [{"rows": rows} for rows in (300, 0, 200, 449, 100)]
    (data / "report.json").write_text(json.dumps({"inputs": inputs}))
    train = replace(TRAIN, task="criteo", data=data)
    found = planned("dnn", train, repeats=2, window_days=2, **DAYS)
    # Of 899 training rows: 300, 200 and 399; the rest of the last two files is held out.
    windows = [each.training_window for each in found]
    assert [each.of(899) for each in windows if each] == [range(500), range(300, 899)]
    study = StudyOptions(repeats=2, window_days=2, **DAYS)
    assert "a day is an input file of the data" in samples_of(study, train).note
    told = samples_of(replace(study, days=9), train).note
    assert "from 2 of the 9 days" in told
    assert "a day is 1/9 of the training part, in the order of the data" in told
    (data / "report.json").write_text("{}")
    with pytest.raises(HvcodError, match=r"report.json is damaged: KeyError\('inputs'\); use --d"):
        samples_of(study, train)


@pytest.mark.parametrize(
    ("words", "study", "train", "message"),
    [
        ("dnn,only-data", {}, {}, "--methods only-data: all retrains learn from the same data"),
        ("codistill:same-data", {}, {}, "--methods codistill:same-data: all retrains learn from"),
        ("dnn", {"days": 7}, {}, "--days goes with --data-sample days"),
        ("dnn", {"window_days": 7, **BOOTSTRAP}, {}, "--window-days goes with --data-sample days"),
        (
            "dnn",
            {"days": 7, "window_days": 4, **DAYS},
            {},
            r"5 windows of 4 days, each a day later .* need 8 days, and the training part has 7 \(",
        ),
        ("dnn", BOOTSTRAP, {"training_bootstrap": 1}, "--training-bootstrap is one sample for all"),
        ("dnn", DAYS, {"training_window": Window("0:0.5")}, "--training-window is one window for"),
    ],
)
def test_samples_that_make_no_sense(
    words: str, study: dict[str, Any], train: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        planned(words, replace(TRAIN, **train), **study)
