"""Teachers that are not what they should be, again and again."""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from exchange.support import (
    EXPECTED,
    OURS,
    about,
    arrival_of,
    checkpoint,
    encoded,
    model,
    put,
    wait_until,
)

from hvcod.exchange.claims import check_claims
from hvcod.exchange.poll import Poller
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.meaning import meaning_of
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path


def reads_are(poller: Poller, count: int) -> bool:
    return poller.counters.loaded + sum(poller.counters.failures.values()) == count


def another_architecture(step: int) -> bytes:
    return bytes(encoded(model() | {"lstm.1.weight": torch.ones(4, 4)}, about(step)))


def another_vocabulary(step: int) -> bytes:
    return bytes(encoded(model() | {"lstm.0.weight": torch.ones(9, 4)}, about(step)))


def another_kind(step: int) -> bytes:
    return bytes(encoded(model() | {"norm.num_batches_tracked": torch.tensor(1.0)}, about(step)))


def another_meaning(step: int) -> bytes:
    theirs = meaning_of({"vocabulary": "ba"})
    return bytes(encoded(model(), replace(about(step), meaning=theirs)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (another_architecture, "tensor lstm.1.weight is not in the local model"),
        (another_vocabulary, "tensor lstm.0.weight has shape (9, 4); the local model's is (8, 4)"),
        (another_kind, "tensor norm.num_batches_tracked holds float16 values"),
        (another_meaning, "was trained on data of another meaning: vocabulary"),
    ],
)
def test_a_teacher_of_another_model_is_refused_and_the_cause_told_once(
    tmp_path: Path,
    make: Callable[[int], bytes],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = meaning_of({"vocabulary": "ab"})
    with closing(Poller({0: tmp_path}, {0: EXPECTED}, replace(OURS, meaning=ours))) as poller:
        for step in range(50, 550, 50):
            put(tmp_path, step, make(step))
            poller.look(step)
            wait_until(partial(reads_are, poller, step // 50))
        assert poller.take() is None
        (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert f"{checkpoint_path(tmp_path, 50)}: {reason}" in line
        assert poller.failures[0]["refused"].count == 10


def test_each_cause_is_told_once_however_often_it_is_met(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Poller({0: tmp_path}, {0: EXPECTED}, OURS)) as poller:
        for step in range(1, 31):
            data = checkpoint(step)
            put(tmp_path, step, (data[:-1], checkpoint(step, run_id="x"), data)[step % 3])
            poller.look(step)
            wait_until(partial(reads_are, poller, step))
        assert dict(poller.counters.failures) == {"damaged": 10, "refused": 10}
        assert arrival_of(poller).step == 29
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2


def test_a_directory_full_of_rubbish_costs_one_look_each(tmp_path: Path) -> None:
    """A thousand bad names newer than the good one: it is still found, and they are read once."""
    put(tmp_path, 1)
    for step in range(2, 1002):
        checkpoint_path(tmp_path, step).write_bytes(b"rubbish")
    with closing(Poller({0: tmp_path}, {0: EXPECTED}, OURS)) as poller:
        poller.look(0)
        assert arrival_of(poller).step == 1
        poller.look(0)
        wait_until(lambda: poller.counters.listings >= 4)
        assert dict(poller.counters.failures) == {"damaged": 1000}


def test_metadata_of_a_lie_is_not_believed(tmp_path: Path) -> None:
    """A file that says it is another group's, under this one's name."""
    lie = Origin("run-1", "t", 3, 50)
    path = put(tmp_path, 50, bytes(encoded(model(), lie)))
    with closing(Poller({0: tmp_path}, {0: EXPECTED}, OURS)) as poller:
        poller.look(0)
        wait_until(lambda: poller.counters.failures["refused"])
        assert poller.take() is None
        reason = f"{path}: claims to be step 50 of group 3"
        assert poller.failures[0]["refused"].last == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "criteo"}, "is of task 'criteo', not 'commoncrawl'"),
        ({"configuration_digest": "shared-1:fedcba98"}, "options that all groups must share"),
        (
            {"ranks": 2, "batch_size": 64, "examples": 6401},
            "claims to have seen 6401 examples in 50 steps of 128",
        ),
        ({"configuration_digest": "fedcba98"}, ""),  # that of an earlier version
        ({"configuration_digest": ""}, ""),
        ({"ranks": 2, "batch_size": 64, "examples": 6400}, ""),
        ({"project_version": "0.1.0", "created": "2099-01-01T00:00:00+00:00"}, ""),
    ],
)
def test_a_file_of_the_right_run_must_be_able_to_teach_this_group(
    change: dict[str, Any], reason: str
) -> None:
    ours = replace(OURS, configuration_digest="shared-1:01234567", group=1)
    theirs = replace(ours, **{"group": 0, "step": 50, "examples": 6400} | change)
    if not reason:
        check_claims(theirs, ours, 0, 50)
        return
    with pytest.raises(RefusedError, match=reason):
        check_claims(theirs, ours, 0, 50)
