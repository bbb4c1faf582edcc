"""``--profile`` writes a trace of some steps that viewers open, with the parts of each step."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from training.toy import train

from hvcod.values import Steps

PLAIN = {"data", "forward", "teachers", "backward", "update", "exchange", "agreement"}


def trace(group: Path, name: str) -> list[dict[str, Any]]:
    """The ranges of the only trace of a group, in the order in which they begin."""
    (path,) = (group / "profile").iterdir()
    assert path.name == f"{name}.pt.trace.json.gz"
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert {"aten::addmm", "aten::tanh"} <= {event["name"] for event in events}
    assert path.stat().st_size < 100_000
    ranges = [event for event in events if event.get("cat") == "user_annotation"]
    return sorted(ranges, key=lambda event: float(event["ts"]))


def steps_of(ranges: list[dict[str, Any]]) -> list[str]:
    return [event["name"] for event in ranges if event["name"].startswith("ProfilerStep")]


def test_a_trace_has_the_steps_and_in_them_their_parts(tmp_path: Path) -> None:
    plain, profiled = tmp_path / "plain", tmp_path / "profiled"
    weights = [train(plain, steps=6), train(profiled, steps=6, profile="4:6")]
    assert weights[0][0]["weights"] == weights[1][0]["weights"]
    ranges = trace(profiled / "group-0", "steps-00000004-00000006")
    assert steps_of(ranges) == [f"ProfilerStep#{step}" for step in (4, 5, 6)]
    for step in (event for event in ranges if event["name"].startswith("ProfilerStep")):
        end = step["ts"] + step["dur"]
        inside = {event["name"] for event in ranges if step["ts"] < event["ts"] < end}
        assert inside >= PLAIN
    assert not (plain / "group-0" / "profile").exists()


def test_a_run_that_stops_and_goes_on_is_traced_where_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, words = tmp_path / "run", {"steps": 12, "save_interval": 2, "profile": "3:6"}
    (first,) = train(run, 4, **words)
    assert (first["ended"], first["steps"] < 6) == ("preempted", True)
    before = trace(run / "group-0", f"steps-00000003-{first['steps']:08}")
    # The next step had begun when it stopped.
    assert len(steps_of(before)) == first["steps"] - 2 + 1
    next((run / "group-0" / "profile").iterdir()).unlink()
    (second,) = train(run, 4, **words)
    assert second["ended"] == "preempted"
    after = trace(run / "group-0", f"steps-{first['steps'] + 1:08}-00000006")
    assert len(steps_of(after)) == 6 - first["steps"]
    caplog.clear()
    train(run, **words)
    assert f"--profile 3:6: the run goes on after step {second['steps']}" in caplog.text


def test_groups_of_one_process_have_one_trace(tmp_path: Path) -> None:
    train(tmp_path, groups=2, steps=4, profile="2", **{"codistill.exchange": "in-process"})
    ranges = trace(tmp_path / "group-0", "steps-00000002-00000002")
    assert steps_of(ranges) == ["ProfilerStep#2"]
    assert not (tmp_path / "group-1" / "profile").exists()


@pytest.mark.parametrize("text", ["0", "5:4", "3:", ":3", "1:2:3", "a", "1.5", ""])
def test_what_is_not_a_range_of_steps_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Steps(text)


def test_steps_are_one_or_a_range() -> None:
    assert [(Steps(text).first, Steps(text).last) for text in ("7", "7:9")] == [(7, 7), (7, 9)]
