"""Run directories as hvcod leaves them, made by hand: any state, without training."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from hvcod.tensorfile.steps import checkpoint_path
from hvcod.training.record.lines import to_line
from hvcod.training.run.claim import Claim

Line = dict[str, Any]

CONFIG = """
task = "commoncrawl"
groups = {groups}
steps = {steps}
[codistill]
exchange_interval = 50
[run]
id = "5f0c"
created = "2026-11-22T20:00:00+00:00"
hvcod = "0.1.0"
"""


def new_run(run: Path, groups: int = 2, steps: int = 1000) -> Path:
    run.mkdir(parents=True)
    (run / "config.toml").write_text(CONFIG.format(groups=groups, steps=steps))
    return run


def started(restarts: int = 0, step: int = 0) -> Line:
    event = "resumed" if restarts else "started"
    return event_line(step, event, restarts=restarts)


def event_line(step: int, event: str, **more: object) -> Line:
    return {"step": step, "examples": step * 8, "wall_s": step * 0.5, "event": event} | more


def training(step: int, **more: object) -> Line:
    """Two steps a second."""
    figures = {"loss": 3.5, "task_loss": 3.0, "distill_loss": 0.5, "distill_weight": 0.25}
    figures |= {"step_s": 0.4, "learning_rate": 0.001}
    figures |= {"data_s": 0.002, "forward_s": 0.1, "backward_s": 0.2, "other_s": 0.098}
    told = {"teachers": {"1": step - 60}, "staleness": {"1": 60}, "teacher_losses": {"1": 3.125}}
    return {"step": step, "examples": step * 8, "wall_s": step * 0.5} | figures | told | more


def validation(step: int, loss: float = 3.25) -> Line:
    line = {"step": step, "examples": step * 8, "wall_s": step * 0.5}
    return line | {"validation_loss": loss, "validation_disagreement": {"1": 0.75}}


def add_group(
    run: Path,
    index: int,
    lines: list[Line],
    *,
    claim: Claim | None = None,
    published: list[int] | None = None,
    saved: list[int] | None = None,
    age: float = 0.0,
) -> Path:
    """Makes the folder of a group; all its files were written `age` seconds ago."""
    folder = run / f"group-{index}"
    folder.mkdir()
    (folder / "metrics.jsonl").write_bytes(b"".join(map(to_line, lines)))
    for name, steps, size in (("published", published, 1000), ("state", saved, 3000)):
        if steps is not None:
            (folder / name).mkdir()
            for step in steps:
                checkpoint_path(folder / name, step).write_bytes(b"x" * size)
    if claim is not None:
        (folder / "owner.json").write_bytes(claim.to_bytes())
    for path in folder.rglob("*"):
        backdate(path, age)
    return folder


def backdate(path: Path, age: float) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


def here() -> Claim:
    """The claim of a process that lives: this one."""
    return Claim.here()


def elsewhere() -> Claim:
    """The claim of a process on another node."""
    return dataclasses.replace(here(), host="node17", boot="another", pid=4711, job="99")


def dead() -> Claim:
    """The claim of a process on this node that is gone."""
    return dataclasses.replace(here(), pid=2**22 - 1, born=1)
