"""``hvcod advise RUN``: what a saved state and the metrics of a run say about more groups."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.advice.bound import Bound, bound_of, factor_of
from hvcod.advice.gap import Gap, measure_gap
from hvcod.advice.noise import Measured, Wanted, measure, pieces_of
from hvcod.advice.options import AdviceOptions
from hvcod.advice.seconds import StepSeconds, seconds_of, step_seconds
from hvcod.advice.table import Row, rows_of
from hvcod.cluster.plan.machine import machine
from hvcod.cluster.plan.options import PlanOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.models import Trained, load_models
from hvcod.evaluation.options import EvaluationOptions
from hvcod.files.toml import read_tree
from hvcod.folders import list_groups
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.runs.curves import GroupCurves, read_curves
from hvcod.training.noise.logged import logged
from hvcod.training.noise.scale import NoiseScale, batch_of_saving, saving, scale_of
from hvcod.training.run.resume import examples_per_step


@dataclass(frozen=True)
class Advice:
    """Figures of a run, measured, and conclusions from them.

    Attributes:
        run: Its directory.
        step: Steps that the state has made.
        group: The group whose gradients were measured.
        groups: The groups of the run.
        ranks: Ranks of a group.
        batch: Examples of a group in a step.
        noise: The gradient noise scale of the task loss, measured now.
        goes_on: Whether that was on the batches which follow on the state; otherwise the data were
            read from their beginning.
        logged: That which the last lines of metrics of the group hold; None if there are none.
        gap: The ensemble gap of the groups; None if the run has one group.
        taught: Whether a group of the run has learned from another one.
        bounds: {groups: how many times fewer steps teaching needs at most}; without what is
            unknown, as of groups that have taught each other: their gap is what that has left.
        seconds: Of the run's steps; None if it has logged none.
        doctor: Whether the doctor's measurements count.
        rows: The table.
    """

    run: str
    step: int
    group: int
    groups: int
    ranks: int
    batch: int
    noise: NoiseScale
    goes_on: bool
    logged: NoiseScale | None
    gap: Gap | None
    taught: bool
    bounds: dict[int, Bound]
    seconds: StepSeconds | None
    doctor: bool
    rows: list[Row]

    @property
    def doubling(self) -> tuple[float, float, float]:
        """The ratio by which twice the batch saves steps: low, best guess, high."""
        low, value, high = (
            saving(scale, self.batch)
            for scale in (self.noise.low, self.noise.scale, self.noise.high)
        )
        return low, value, high

    @property
    def largest(self) -> tuple[float, float, float]:
        """The batch beyond which doubling saves less than 1.2: low, best guess, high."""
        low, value, high = (
            batch_of_saving(scale) for scale in (self.noise.low, self.noise.scale, self.noise.high)
        )
        return low, value, high

    def tree(self) -> dict[str, Any]:
        """Returns it as one JSON object."""
        names = ("low", "value", "high")
        return {
            **dataclasses.asdict(dataclasses.replace(self, rows=[])),
            "noise": self.noise._asdict(),
            "logged": None if self.logged is None else self.logged._asdict(),
            "gap": None if self.gap is None else self.gap._asdict(),
            "bounds": {groups: bound._asdict() for groups, bound in self.bounds.items()},
            "doubling": dict(zip(names, self.doubling, strict=True)),
            "largest_batch": dict(zip(names, self.largest, strict=True)),
            "rows": [
                row._asdict()
                | {"steps": row.steps._asdict(), "time": row.time and row.time._asdict()}
                for row in self.rows
            ],
        }


def advise(run: Path, options: AdviceOptions, everyone: Group, task: str | None = None) -> Advice:
    """Measures a run and returns advice. Nothing is written. Collective over the launch.

    Args:
        run: Its directory; it may be training.
        options: What to look at.
        everyone: All ranks of the launch as one group.
        task: The run's task again, if its module lies in the current folder.

    Raises:
        UsageError: It is not a run, or has no such group or step.
        HvcodError: A file cannot be read, or nothing can be measured.
    """
    groups, examples, ranks = on_rank_zero(everyone.comm, lambda: _shape(run, options))
    wanted = EvaluationOptions(
        data=options.data,
        examples=options.examples,
        weights="state",
        step=options.step,
        task=task,
        device=options.device,
    )
    models = load_models([run], groups, wanted, everyone)
    gap = measure_gap(models, everyone) if len(models) > 1 else None
    index = groups.index(options.group)
    chosen = models[index]
    mine = dataclasses.replace(everyone, index=options.group, count=chosen.task.options.groups)
    pieces = pieces_of(examples, ranks)
    measured = measure(chosen, mine, Wanted(examples, pieces, options.readings))

    def finish() -> Advice:
        return _concluded(run, options, chosen, groups, examples, ranks, measured, gap)

    return on_rank_zero(everyone.comm, finish)


def _shape(run: Path, options: AdviceOptions) -> tuple[list[int], int, int]:
    """Returns the groups of a run that have begun, a group's examples in a step, and its ranks.

    Raises UsageError for options that do not fit, before anything is measured.
    """
    if options.doctor is not None:
        machine(PlanOptions(doctor=options.doctor))
    path = run / "config.toml"
    if not path.is_file():
        raise UsageError(f"{run} is not a run directory: it has no config.toml")
    try:
        about = read_tree(path)
        examples, ranks = examples_per_step(about), about["run"].get("ranks")
        groups = list_groups(run)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise HvcodError(f"cannot read {path}: {error}") from error
    if examples is None:
        raise HvcodError(f"{path} does not say how many examples a group learns from in a step")
    if options.group not in groups:
        shown = ", ".join(map(str, groups)) or "none"
        raise UsageError(f"--group {options.group}: {run} has groups {shown}")
    return groups, examples, ranks


def _concluded(
    run: Path,
    options: AdviceOptions,
    chosen: Trained,
    groups: list[int],
    examples: int,
    ranks: int,
    measured: Measured,
    gap: Gap | None,
) -> Advice:
    curves = [] if gap is None else read_curves(run)
    taught = any(group.staleness for group in curves)
    bounds = {} if gap is None or taught else _bounds(gap, curves)
    trained, every = chosen.task.options, ranks * max(2, len(groups))
    seconds, batch_size = seconds_of(run, groups), examples // ranks

    def step_s(count: int) -> float | None:
        if seconds is None:
            return None
        share = every if count else ranks
        return step_seconds(seconds, share, count or 1, trained, options.doctor, batch_size)

    before = logged(run, options.group)
    return Advice(
        run=str(run),
        step=chosen.step,
        group=options.group,
        groups=len(groups),
        ranks=ranks,
        batch=examples,
        noise=measured.noise,
        goes_on=measured.goes_on,
        logged=scale_of(before) if before else None,
        gap=gap,
        taught=taught,
        bounds=bounds,
        seconds=seconds,
        doctor=options.doctor is not None,
        rows=rows_of(measured.noise, examples, ranks, every, bounds.get, step_s),
    )


def _bounds(gap: Gap, curves: list[GroupCurves]) -> dict[int, Bound]:
    measured = len(gap.losses)
    found = {each: bound_of(gap, curves, factor_of(each, measured)) for each in (2, 4)}
    return {each: bound for each, bound in found.items() if bound is not None}
