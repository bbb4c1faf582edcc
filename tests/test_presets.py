"""Presets of the method go with those of any task."""

from pathlib import Path
from typing import Any

import pytest

from hvcod.errors import UsageError
from hvcod.presets import layers_of, trains_in_one_process
from hvcod.runs.layers import resolve

TASK: dict[str, Any] = {"laptop": {"steps": 1}, "paper": {"steps": 2}}


def test_a_preset_of_the_method_is_laid_over_one_of_the_task() -> None:
    for names, steps in {"mutual-learning": 1, "mutual-learning,paper": 2}.items():
        of_task, of_method = layers_of(names, TASK)
        assert of_task["steps"] == steps
        assert of_method["codistill.exchange"] == "in-process"
    assert layers_of("paper", TASK) == ({"steps": 2},)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("papr", "choose one of laptop, paper, or one of the method, .*: mutual-learning"),
        ("paper,laptop", "choose one of paper and laptop"),
        ("laptop,", "--preset : choose one of"),
    ],
)
def test_other_presets_are_refused(names: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        layers_of(names, TASK)


@pytest.mark.parametrize("task", ["commoncrawl", "criteo", "imagenet"])
def test_mutual_learning_is_for_every_task(task: str) -> None:
    options = resolve(None, [], {"task": task, "preset": "paper,mutual-learning", "groups": 3})
    codistill = options.codistill
    assert (options.groups, options.same_batches, codistill.burn_in) == (3, True, 0)
    assert (codistill.exchange, codistill.staleness) == ("in-process", "freshest")
    assert (codistill.distill_loss, codistill.exchange_interval) == ("kl", 1)
    assert options.separate_groups == 1  # so that a crew starts one process
    assert options.steps > 1000  # those of the task's preset
    again = resolve(
        None, [], {"task": task, "preset": options.preset, "codistill.exchange": "files"}
    )
    assert again.codistill.staleness == "freshest"


def test_the_default_of_staleness_depends_on_the_exchange(tmp_path: Path) -> None:
    chosen = {"files": "freshest", "in-process": "exact"}
    for exchange, staleness in chosen.items():
        options = resolve(None, [], {"task": "criteo", "codistill.exchange": exchange})
        assert options.codistill.staleness == staleness
    old = tmp_path / "config.toml"
    old.write_text('task = "criteo"\n[codistill]\nexchange = "files"\nstaleness = "freshest"\n')
    assert resolve(old, [], {}).codistill.staleness == "freshest"


def test_what_makes_one_process_train_is_known_without_the_task() -> None:
    chosen: dict[str, Any] = {"codistill.exchange": "in-process"}
    assert trains_in_one_process(None, [chosen])
    assert trains_in_one_process("paper,mutual-learning", [{}])
    assert trains_in_one_process("paper, mutual-learning", [{}])
    assert not trains_in_one_process("mutual-learning", [{}, {"codistill.exchange": "files"}])
    assert not trains_in_one_process("laptop", [{"codistill.exchange": None}])
