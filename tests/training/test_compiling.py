"""Models that are compiled for the steps of a training (``--compile``)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from training.toy import train

from hvcod.errors import HvcodError, UsageError

COMPILED: dict[str, Any] = {"preset": "mutual-learning", "compile": True}


@pytest.fixture(autouse=True)
def nothing_compiled(what_a_launch_changes: None) -> None:
    """Forgets what earlier tests have compiled."""
    torch.compiler.reset()


def test_students_and_teachers_are_traced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the code that is generated from what was traced: that takes seconds."""
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", lambda graph, *_, **__: graph)
    check(tmp_path)


@pytest.mark.usefixtures("long")
def test_students_and_teachers_are_compiled_once_and_learn_and_resume_as_ever(
    tmp_path: Path,
) -> None:
    check(tmp_path)


def check(tmp_path: Path) -> None:
    counters.clear()
    train(tmp_path / "run", **COMPILED, steps=4)
    # A student with gradients, and a teacher without; nothing more for fresher weights.
    assert counters["stats"]["unique_graphs"] == 2
    again = train(tmp_path / "run", **COMPILED)
    whole = train(tmp_path / "whole", **COMPILED)
    assert counters["stats"]["unique_graphs"] == 2
    plain = train(tmp_path / "plain", preset="mutual-learning")
    assert [each["weights"] for each in again] == [each["weights"] for each in whole]
    for ours, theirs in zip(whole, plain, strict=True):
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], rel=1e-5)
        assert ours["exchanges"] == theirs["exchanges"] > 0


def test_without_a_compiler_it_is_refused(tmp_path: Path) -> None:
    without = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
    with without, pytest.raises(UsageError, match=r"^--compile needs a C\+\+ compiler, such as g"):
        train(tmp_path, **COMPILED)


def test_a_model_that_cannot_be_compiled_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", compiler)
    with pytest.raises(HvcodError, match=r"^--compile: the model cannot be compiled \(.*no such"):
        train(tmp_path, **COMPILED)
