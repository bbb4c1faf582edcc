"""The option tree: one definition, every way in."""

from pathlib import Path

import pytest
import tomli_w

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.files.toml import read_layer
from hvcod.values import Duration, Names, Numbers, Paths


def test_numbers_are_text_a_list_or_nothing() -> None:
    options = config.OptimizerOptions
    good: list[object] = ["0.3, 0.6", [0.3, 0.6], Numbers("0.3,0.6")]
    for value in good:
        assert config.resolve(options, [{"drops": value}]).drops.values == [0.3, 0.6]
    assert config.resolve(options, [{"drops": ""}]).drops.values == []
    bad: list[object] = ["0.3;0.6", "nan", ["a"]]
    for value in bad:
        with pytest.raises(UsageError, match="expected numbers with commas between them"):
            config.resolve(options, [{"drops": value}])


def test_names_are_text_a_list_or_nothing_and_each_is_a_choice() -> None:
    good: list[object] = ["mlflow, wandb", ["mlflow", "wandb", "mlflow"], Names("mlflow,wandb")]
    for value in good:
        assert config.resolve(TrainOptions, [{"tracker": value}]).tracker.names == [
            "mlflow",
            "wandb",
        ]
    assert config.resolve(TrainOptions, [{"tracker": ""}]).tracker.names == []
    assert "tracker" not in config.to_tree(config.resolve(TrainOptions, [{"tracker": "wandb"}]))
    bad: list[object] = ["mlflow,,wandb", ["a", 3, ""], True]
    for value in bad:
        with pytest.raises(UsageError, match="expected names with commas between them"):
            config.resolve(TrainOptions, [{"tracker": value}])
    with pytest.raises(UsageError, match="tracker=nix: choose one of tensorboard, mlflow, wandb"):
        config.resolve(TrainOptions, [{"tracker": "mlflow,nix"}])


def test_paths_are_a_list_one_path_or_none(tmp_path: Path) -> None:
    good: list[tuple[object, list[str]]] = [
        ([], []),
        ("", []),
        ("a, b", ["a, b"]),
        (["a", "/b"], ["a", "/b"]),
        (Paths(["a"]), ["a"]),
    ]
    for value, expected in good:
        options = config.resolve(TrainOptions, [{"teacher": ["other"]}, {"teacher": value}])
        assert [str(path) for path in options.teacher] == expected
        tree = config.to_tree(options)
        assert tree.get("teacher", []) == [str(Path(path).absolute()) for path in expected]
        (tmp_path / "c.toml").write_text(tomli_w.dumps(tree))
        again = config.resolve(TrainOptions, [read_layer(tmp_path / "c.toml")])
        assert again.teacher == Paths(Path(path).absolute() for path in expected)
    bad: list[object] = [[3], [""], {"a": 1}, True]
    for value in bad:
        with pytest.raises(UsageError, match=r"teacher=.*: expected a path, or a list of paths"):
            config.resolve(TrainOptions, [{"teacher": value}])


def test_later_layers_win() -> None:
    layers: list[dict[str, object]] = [{"steps": 5, "codistill.burn_in": 1}, {"steps": "7"}]
    options = config.resolve(TrainOptions, layers)
    assert (options.steps, options.codistill.burn_in) == (7, 1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {"codistill.burnin": 1},
            "unknown option codistill.burnin: did you mean codistill.burn_in",
        ),
        ({"burn_in": 1}, "did you mean codistill.burn_in"),
        ({"tensorboard": True}, "unknown option tensorboard: it is tracker=tensorboard now"),
        ({"zzzzzz": 1}, "unknown option zzzzzz: known keys: accumulate"),
        ({"steps": "many"}, "steps=many: expected int"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"steps": True}, "steps=True: expected int"),
        ({"same_data": "perhaps"}, "same_data=perhaps: expected bool"),
        ({"codistill.topology": "star"}, "choose one of full, ring, pairs"),
        ({"steps": 3.7}, "expected int"),
        ({"task": [1]}, "expected str"),
        ({"optimizer.beta1": 1}, "must be at most"),
        ({"optimizer.learning_rate": float("nan")}, "must be a finite number"),
        ({"optimizer.learning_rate": float("inf")}, "must be a finite number"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(layer: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config.resolve(TrainOptions, [layer])


def test_a_written_configuration_reads_back_the_same(tmp_path: Path) -> None:
    layer = {"data": Path("d"), "group": 1, "run_dir": "r", "same_data": "true", "steps": 9}
    options = config.resolve(TrainOptions, [layer])
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps({"run": {"id": "x"}} | config.to_tree(options)))
    again = config.resolve(TrainOptions, [read_layer(path)])
    assert again.data == Path("d").absolute()
    assert (again.steps, again.same_data) == (9, True)
    assert (again.group, again.run_dir) == (None, None)  # of one launch, not of the run


def test_flags_are_unique() -> None:
    names = [key.rpartition(".")[2] for key in config.fields_of(TrainOptions)]
    assert len(names) == len(set(names))


def test_a_file_that_is_not_toml_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("steps = = 3")
    with pytest.raises(UsageError, match=r"broken\.toml"):
        read_layer(path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("3h55m", 14100),
        ("1d12h", 129600),
        ("03:55:00", 14100),
        ("1-12:00:00", 129600),
    ],
)
def test_a_duration_is_written_as_people_write_it(text: str, seconds: float) -> None:
    assert Duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3x", "5h tomorrow", "1:b", "h", "-5", "0", "x-1"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="time_limit"):
        config.resolve(config.TrainOptions, [{"time_limit": text}])
