"""Which retrains a study has, and with what seeds."""

from dataclasses import replace
from pathlib import Path

import pytest

from hvcod.churn.options import StudyOptions
from hvcod.churn.run.methods import methods_of
from hvcod.churn.run.retrains import Retrain, retrains_of
from hvcod.churn.run.samples import Samples
from hvcod.config import CodistillOptions, TrainOptions
from hvcod.errors import UsageError
from hvcod.values import Paths

TRAIN = TrainOptions(steps=40, codistill=CodistillOptions(burn_in=10, staleness="exact"))


def planned(
    words: str, repeats: int = 3, train: TrainOptions = TRAIN, production: Path | None = None
) -> list[Retrain]:
    study = StudyOptions(methods=words, repeats=repeats, production=production)
    return retrains_of(methods_of(words), Samples(), study, train, Path("out"))


def seeds(retrains: list[Retrain]) -> list[tuple[int, int | None]]:
    return [(each.options.seed, each.options.order_seed) for each in retrains]


def test_no_two_retrains_share_a_seed() -> None:
    found = seeds(planned("dnn,ensemble,codistill,ensemble-3,codistill-3", repeats=40))
    for each in ([pair[0] for pair in found], [pair[1] for pair in found]):
        assert len(set(each)) == 200


def test_seeds_follow_from_seed_method_and_number_alone() -> None:
    dnn = seeds(planned("dnn"))
    assert seeds(planned("codistill,dnn", repeats=5))[5:8] == dnn
    assert set(dnn).isdisjoint(seeds(planned("dnn", train=replace(TRAIN, seed=2))))


def test_floors_share_what_their_names_say() -> None:
    same, init, order = (
        list(zip(*seeds(planned(name)), strict=True))
        for name in ("same", "same-init", "same-order")
    )
    assert [[len(set(each)) for each in floor] for floor in (same, init, order)] == [
        [1, 1],
        [1, 3],
        [3, 1],
    ]


def test_an_ensemble_is_of_copies_that_learn_alone_from_all_the_data() -> None:
    ensemble, codistill = (each.options for each in planned("ensemble-3,codistill", repeats=1))
    assert (ensemble.groups, ensemble.same_data) == (3, True)
    # No teacher before the end, and nothing to wait for.
    assert ensemble.codistill.burn_in > ensemble.steps
    assert ensemble.codistill.exchange_interval > ensemble.steps
    assert ensemble.codistill.staleness == "freshest"
    assert (codistill.groups, codistill.same_data) == (2, TRAIN.same_data)
    assert codistill.codistill == TRAIN.codistill


def test_label_smoothing_keeps_what_shapes_its_term_and_has_no_groups_that_teach() -> None:
    shaped = replace(TRAIN.codistill, distill_ramp=5)
    train = replace(TRAIN, smoothing="uniform", codistill=shaped)
    for options in (each.options for each in planned("dnn,ensemble", repeats=1, train=train)):
        assert (options.smoothing, options.codistill.distill_ramp) == ("uniform", 5)
        assert options.codistill.exchange_interval > options.steps
    with pytest.raises(UsageError, match="--methods codistill: --smoothing uniform takes"):
        planned("codistill", train=train)


def test_copies_of_one_process_are_one_process_that_goes_on_from_a_common_step() -> None:
    train = replace(TRAIN, codistill=CodistillOptions(burn_in=10, exchange="in-process"))
    taught, alone = (each.options for each in planned("codistill,ensemble", 1, train))
    assert (taught.separate_groups, taught.keep_states) == (1, 2)
    assert (alone.separate_groups, alone.keep_states) == (2, 1)


def test_finished_models_teach_those_that_are_taught_and_nobody_else() -> None:
    for method in ("distill", "distill:same-init"):
        with pytest.raises(UsageError, match=rf"--methods {method} .*: name it with --teacher"):
            planned(f"dnn,{method}")
    train = replace(TRAIN, teacher=Paths(["production"]))
    found = {each.method: each for each in planned("dnn,ensemble,distill,codistill", 1, train)}
    taught = {method for method, each in found.items() if each.options.teacher == train.teacher}
    assert taught == {"distill", "codistill"}
    assert found["distill"].options.groups == 1
    assert found["distill"].options.codistill == TRAIN.codistill
    assert not found["dnn"].options.teacher


def test_the_model_in_production_teaches_those_that_are_anchored_from_the_first_step() -> None:
    with pytest.raises(UsageError, match=r"--methods anchored-codistill is .* with --production"):
        planned("dnn,anchored-codistill")
    train = replace(TRAIN, teacher=Paths(["older"]))
    words = "dnn,codistill,anchored,anchored-codistill-3"
    found = {each.method: each.options for each in planned(words, 1, train, Path("p"))}
    taught_by = {method: list(options.teacher) for method, options in found.items()}
    of_codistill = [Path("older")]
    assert taught_by == {
        "dnn": [],
        "codistill": of_codistill,
        "anchored": [Path("p")],
        "anchored-codistill-3": [Path("p")],
    }
    # What the finished model has to say is worth hearing from the beginning; a group's is not.
    alone, groups = found["anchored"], found["anchored-codistill-3"]
    assert (alone.groups, alone.codistill) == (1, replace(TRAIN.codistill, burn_in=0))
    assert (groups.groups, groups.codistill) == (3, TRAIN.codistill)
    never = replace(TRAIN, codistill=replace(TRAIN.codistill, burn_in=40))
    assert planned("anchored", 1, never, Path("p"))
    with pytest.raises(UsageError, match="no group would ever have a teacher"):
        planned("anchored-codistill", 1, never, Path("p"))


def test_one_copy_of_codistillation_predicts_and_all_of_an_ensemble() -> None:
    assert [each.predicts for each in methods_of("dnn,ensemble,codistill-4,same")] == [
        0,
        None,
        0,
        0,
    ]


def test_folders_and_files() -> None:
    (retrain,) = planned("dnn", repeats=1)
    assert retrain.run_dir == Path("out/retrains/dnn/001")
    assert retrain.predictions == Path("out/predictions/validation/dnn/001.h5")
    assert retrain.name == "dnn 1"
    study = StudyOptions(part="test", examples=50)
    (first, *_) = retrains_of(methods_of("dnn"), Samples(), study, TRAIN, Path("out"))
    assert first.predictions == Path("out/predictions/test-50/dnn/001.h5")


@pytest.mark.parametrize(
    "words",
    ["dnm", "ensemble-1", "codistill-0", "dnn-2", "dnn,dnn", "", "dnn,", "anchored-2", "-2"],
)
def test_methods_that_are_none(words: str) -> None:
    with pytest.raises(UsageError, match="--methods"):
        methods_of(words)
