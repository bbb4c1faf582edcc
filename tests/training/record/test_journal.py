"""A journal writes the figures of registered sources, none of which it knows by name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from training.handmade import ALONE, run_in

from hvcod.cli.status import table
from hvcod.config import TrainOptions
from hvcod.errors import GroupFailedError
from hvcod.spans import FORWARD, PARTS
from hvcod.training.record import processors
from hvcod.training.record.journal import Journal
from hvcod.training.status.collect import collect

LOSS = torch.tensor(2.0)


class Thermometer:
    """A source that an extension brings."""

    def __init__(self, problems: dict[str, int]) -> None:
        self.problems = problems
        self.reasons = {"too hot": "fan 2"} if problems else {}

    def figures(self, step: int) -> dict[str, object]:
        return {"degrees": 20 + step}

    def counters(self) -> dict[str, int]:
        return {"read": 3}

    def summary(self) -> dict[str, object]:
        return {"hottest": 99}


def journal_in(directory: Path) -> Journal:
    return Journal(TrainOptions(log_interval=2, steps=4, batch_size=4), ALONE, run_in(directory))


def lines(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "group-0/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_further_source_takes_one_registration(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.add(Thermometer({"too hot": 3}))
    journal.add(Thermometer({}))
    journal.begin(0)
    for step in range(1, 5):
        journal.step(step, [(LOSS, LOSS / 2, 0.5, True)])
    journal.validated(4, {"loss": 1.5}, {"teachers": {1: 1.75}})
    summary = journal.close("digest", "finished", "")
    figures = [line for line in lines(tmp_path) if "loss" in line]
    assert [(line["step"], line["loss"], line["degrees"]) for line in figures] == [
        (2, 3.0, 22),
        (4, 3.0, 24),
    ]
    for line in figures:
        assert line["problems"] == {"too hot": 3}
        assert line["read"] == 3
        assert line["reasons"] == {"too hot": "fan 2"}
    assert (summary["hottest"], summary["problems"]) == (99, {"too hot": 3})
    assert (summary["validation_loss"], summary["ended"]) == (1.5, "finished")


@pytest.mark.parametrize(
    ("weight", "shown"),
    [
        (1.0, "group 0: step 4/4, 1/s, task loss 2.000, distillation 2.000"),
        (0.5, "group 0: step 4/4, 1/s, task loss 2.000, distillation 0.5 x 2.000"),
        (0.0, "group 0: step 4/4, 1/s, task loss 2.000"),
    ],
)
def test_the_progress_shows_the_task_loss_and_the_distillation_term_beside_it(
    weight: float, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = journal_in(tmp_path)
    journal.begin(0)
    for step in range(1, 5):
        journal.step(step, [(LOSS, weight * LOSS, weight, True)])
    journal.close("digest", "finished", "")
    assert re.sub(r"[\d.e+]+/s", "1/s", capsys.readouterr().err.splitlines()[-1]) == shown
    line = lines(tmp_path)[-2]
    assert (line["loss"], line["task_loss"]) == (2 + 2 * weight, 2)
    assert (line["distill_loss"], line["distill_weight"]) == (2 * weight, weight)


def test_without_problems_a_line_has_none(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.begin(0)
    journal.step(1, [(LOSS, LOSS, 0.5, False)])
    journal.step(2, [(LOSS, LOSS, 0.5, False)])
    journal.close("digest", "failed", "it was hot")
    started, skipped, ended = lines(tmp_path)
    assert started["event"] == "started"
    parts = {f"{name}_s" for name in PARTS}
    assert skipped.keys() == {"step", "examples", "wall_s", "step_s"} | parts
    assert (ended["event"], ended["reason"], ended["examples"]) == ("failed", "it was hot", 8)


def test_a_loss_that_is_not_a_number_ends_the_group(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.begin(0)
    journal.step(1, [(LOSS, LOSS, 0.5, True)])
    with pytest.raises(GroupFailedError, match="the loss is nan at step 2"):
        journal.step(2, [(LOSS, LOSS * torch.nan, 0.5, True)])
    journal.close("digest", "failed", "")


def test_the_parts_of_a_step_add_up_to_it_in_each_line_and_over_all_lives(tmp_path: Path) -> None:
    first, second = journal_in(tmp_path), journal_in(tmp_path)
    first.begin(0)
    for step in (1, 2):
        with FORWARD:
            pass
        first.step(step, [(LOSS, LOSS, 0.5, True)])
    second.load_state_dict(first.state_dict())
    ends = [first.close("digest", "preempted", "")]
    second.begin(2)
    for step in (3, 4):
        second.step(step, [(LOSS, LOSS, 0.5, True)])
        with FORWARD:
            pass
        second.validated(step, {"loss": 1.5}, {})
    ends.append(second.close("digest", "finished", ""))
    shown = [line for line in lines(tmp_path) if "step_s" in line]
    assert [line["forward_s"] > 0 for line in shown] == [True, False]
    for line in shown:
        assert sum(line[f"{name}_s"] for name in PARTS) == pytest.approx(line["step_s"])
    for end in ends:
        assert sum(end["times"].values()) == pytest.approx(end["step_s"])
    assert ends[1]["times"]["forward"] == pytest.approx(ends[0]["times"]["forward"] / 2)


def test_a_resumed_journal_goes_on_with_what_it_had(tmp_path: Path) -> None:
    first, second = journal_in(tmp_path), journal_in(tmp_path)
    for journal in (first, second):
        journal.add(Thermometer({}))
    first.begin(0)
    first.step(1, [(LOSS, LOSS, 0.5, True)])
    first.validated(1, {"loss": 1.5}, {})
    second.load_state_dict(first.state_dict())
    second.losses.load_state_dict(first.losses.state_dict())
    first.close("digest", "preempted", "")
    second.begin(1)
    second.step(2, [(LOSS * 2, LOSS, 0.5, True)])
    summary = second.close("digest", "finished", "")
    assert (summary["restarts"], summary["steps"], summary["validation_loss"]) == (1, 2, 1.5)
    # A line is a mean over the steps of both lives.
    (line,) = [line for line in lines(tmp_path) if "loss" in line]
    assert line["task_loss"] == 3.0
    # So is what was counted.
    assert line["read"] == summary["read"] == 6


def test_another_kind_of_processor_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: dict[str, Any] = {"restarts": 0, "training_s": 0.0, "metrics": {}}
    for step, kind in enumerate(("EPYC", "EPYC", "Xeon", "Xeon")):
        monkeypatch.setattr(processors, "processor", lambda device, kind=kind: kind)
        journal = journal_in(tmp_path)
        journal.load_state_dict(state)
        journal.begin(step)
        journal.step(step + 1, [(LOSS, LOSS, 0.5, True)])
        state = journal.state_dict()
        summary = journal.close("digest", "preempted", "")
    events = [line for line in lines(tmp_path) if "event" in line]
    began = [event for event in events if event["event"] == "resumed"]
    assert [event["processor"] for event in began] == ["EPYC", "EPYC", "Xeon", "Xeon"]
    assert [event.get("problems", {}) for event in began] == [
        *({}, {}),
        *({"another processor": 1}, {"another processor": 1}),
    ]
    assert summary["problems"] == {"another processor": 1}
    shown = "\n".join(table(collect(tmp_path)))
    reason = "EPYC until step 2, Xeon since: results may differ in the last bit"
    assert f"group 0: another processor, 1 time; the last: {reason}" in shown


def test_the_kind_of_this_processor_is_known() -> None:
    kind = processors.processor(torch.device("cpu"))
    assert torch.backends.cpu.get_cpu_capability() in kind
    assert len(kind) > 8
