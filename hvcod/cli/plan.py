"""``hvcod plan``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hvcod import config
from hvcod.cli.options import build, dataclass_options, json_option, layer, training_options
from hvcod.cli.sectioned import SectionedCommand
from hvcod.cli.tables import columns
from hvcod.cluster.plan.in_process import Turns, TurnsRow, plan_turns
from hvcod.cluster.plan.machine import machine
from hvcod.cluster.plan.model import ModelSize, of_parameters, of_training, shard_copies
from hvcod.cluster.plan.options import PlanOptions
from hvcod.cluster.plan.plan import Row, Training, plan
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.terminal import show
from hvcod.units import byte_count, counted, figure

EXAMPLES = """\b
Examples:
  laptop   hvcod plan --ranks 8 --task commoncrawl --preset laptop --step-seconds 0.2 \\
             --bandwidth 1e9 --latency 5e-5 --publish-bandwidth 2e8 --publish-to-visible 0.05
  cluster  srun --mpi=pmix -N 2 hvcod doctor --run-dir /scratch/runs/cc --json > doctor.json
           hvcod plan --ranks 256 --config runs/one-rank/config.toml --step-seconds 0.41 \\
             --doctor doctor.json
"""

_OF_TRAINING = {
    "task",
    "data",
    "preset",
    "batch_size",
    "codistill.exchange",
    "codistill.exchange_interval",
    "codistill.staleness",
    "codistill.topology",
    "codistill.teacher_precision",
    "codistill.teacher_ranks",
    "codistill.teacher_sample",
    "teacher",
    "sgd",
    "compress",
    "local.sync_interval",
}
_OTHERS = config.fields_of(TrainOptions).keys() - _OF_TRAINING

_MANY = 8
"""The number of groups from which ring or pairs is worth considering: docs/plan.md."""

UNKNOWN = """\
Seconds and bytes follow the equations of docs/plan.md, which do not model learning:
a group of half the size learns from batches of half the size. Only training shows which
division reaches a goal first."""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@dataclass_options(PlanOptions)
@training_options(without=_OTHERS)
@json_option
def command(
    config_file: Path | None, assignments: Sequence[str], as_json: bool, **flags: Any
) -> None:
    """Estimate how to divide ranks into groups: bytes, seconds, staleness, memory.

    Nothing is launched, so it runs on a login node. The model is that of a task (--task, --data,
    --preset, --set, or the --config of a run), which is built to count its parameters, or a model
    of so many --parameters. The speed of the network and the file system comes from `hvcod doctor`
    or from flags. docs/plan.md explains the columns.
    """
    options: PlanOptions = build(PlanOptions, flags)
    if options.ranks is None or not options.step_seconds:
        raise UsageError("give --ranks, and --step-seconds above 0")
    if options.node_bandwidth is not None and flags["ranks_per_node"] is None:
        raise UsageError("--node-bandwidth is for groups inside a node: give --ranks-per-node")
    training, size = _training(options, config_file, assignments, flags)
    if training.codistill.in_process:
        _show_turns(training, size, options, as_json)
        return
    network, file_system = machine(options)
    wanted = Training(
        ranks=options.ranks,
        batch_size=training.batch_size,
        interval=training.codistill.exchange_interval,
        topology=training.codistill.topology,
        step_s=options.step_seconds,
        teacher_share=options.teacher_share,
        finished=_finished(training),
        sync_interval=training.local.sync_interval if training.sgd == "local" else None,
        shard_copies=shard_copies(training),
        teacher_ranks=training.codistill.teacher_ranks,
    )
    rows = plan(wanted, size, network, file_system, options.groups)
    if as_json:
        _show_json(rows, training=wanted, model=size, network=network, file_system=file_system)
    else:
        also = f", {counted(wanted.finished, 'finished teacher')}" if wanted.finished else ""
        show(f"{size.parameters:,} parameters, {training.codistill.topology} topology{also}")
        _show_table([_cells(row) for row in rows])
        show("\n".join(["", *_remarks(rows, wanted), UNKNOWN]))


def _show_turns(
    training: TrainOptions, size: ModelSize, options: PlanOptions, as_json: bool
) -> None:
    """Shows the plan of a run whose groups one process trains."""
    if options.ranks != 1:
        raise UsageError("--exchange in-process trains all groups in one process: give --ranks 1")
    wanted = Turns(
        batch_size=training.batch_size,
        interval=training.codistill.exchange_interval,
        exact=training.codistill.staleness == "exact",
        topology=training.codistill.topology,
        step_s=options.step_seconds or 0.0,
        teacher_share=options.teacher_share,
        finished=_finished(training),
    )
    rows = plan_turns(wanted, size, options.groups)
    if as_json:
        _show_json(rows, training=wanted, model=size)
        return
    show(f"{size.parameters:,} parameters, {wanted.topology} topology, one process")
    cells = [
        {
            "groups": str(row.groups),
            "teachers": str(row.teachers),
            "s/step": f"{row.step_s:.3g}",
            "examples/s": f"{row.examples_per_s:,.0f}",
            "staleness": figure(row.staleness, ".1f"),
            "copies": byte_count(row.copies_bytes),
            "teachers' memory": byte_count(row.teacher_bytes),
        }
        for row in rows
    ]
    _show_table(cells)
    show("\nThe groups take turns: a step of all of them takes the sum of their steps.")


def _show_json(rows: Sequence[Row | TurnsRow], **inputs: object) -> None:
    given = {name: vars(value) for name, value in inputs.items()}
    show(json.dumps(given | {"rows": [asdict(row) for row in rows]}))


def _show_table(cells: Sequence[Mapping[str, str]]) -> None:
    show(columns([list(cells[0]), *(list(row.values()) for row in cells)]))


def _training(
    options: PlanOptions,
    config_file: Path | None,
    assignments: Sequence[str],
    flags: dict[str, Any],
) -> tuple[TrainOptions, ModelSize]:
    """The options of the planned training, and the size of its model."""
    given = layer(TrainOptions, flags)
    if options.parameters is None:
        from hvcod.runs.layers import resolve

        training = resolve(config_file, assignments, given)
        if training.group_batch_size is not None:
            raise UsageError(
                "--group-batch-size: give instead the --batch-size with which --step-seconds was "
                "measured"
            )
        return training, of_training(training)
    if config_file or assignments or any(flags[name] for name in ("task", "data", "preset")):
        raise UsageError(
            "--parameters describes a model without a task: leave out either --parameters or "
            "--task, --data, --preset, --config and --set"
        )
    training = config.resolve(TrainOptions, [given])
    precision, compress = training.codistill.teacher_precision, training.compress
    return training, of_parameters(options.parameters, precision, compress)


def _finished(training: TrainOptions) -> int:
    """Returns how many finished models compute predictions in each step; stores need none."""
    if not training.teacher:
        return 0
    from hvcod.training.finished.found import find_teachers

    return len(find_teachers(training.teacher).files)


def _cells(row: Row) -> dict[str, str]:
    sent = (
        {}
        if row.predicted is None
        else {
            "predicted": f"{row.predicted:.0%}",
            "predictions": byte_count(row.kept_bytes),
        }
    )
    return {
        "groups": str(row.groups),
        "ranks each": str(row.ranks_per_group),
        "batch": str(row.batch),
        "sent/step": byte_count(row.inside_bytes),
        "allreduce s": f"{row.allreduce_s:.3g}",
        "teachers": str(row.teachers),
        "s/step": f"{row.step_s:.3g}",
        "examples/s": f"{row.examples_per_s:,.0f}",
        "staleness": figure(row.staleness, ".0f"),
        "written": byte_count(row.published_bytes),
        "read": byte_count(row.read_bytes),
        "file system": f"{byte_count(row.file_system_bytes_per_s)}/s",
        "operations": str(row.directory_operations),
        "memory": byte_count(row.teacher_bytes),
        **sent,
        "beats": ", ".join(map(str, row.beats)) or "-",
    }


def _remarks(rows: Sequence[Row], training: Training) -> list[str]:
    """One sentence for each notable fact about the rows."""
    remarks = []
    if len(rows) > 1:
        best = min(rows, key=lambda row: row.step_s)
        remarks.append(f"Shortest step: {best.groups} x {best.ranks_per_group} ranks.")
    late = [row for row in rows if row.exchange_interval > training.interval]
    if late:
        remarks.append(
            f"With {', '.join(str(row.groups) for row in late)} groups fresher teachers come less "
            f"often than every {training.interval} steps: there are too many groups, or the file "
            "system is too slow."
        )
    if training.topology == "full" and rows[-1].groups >= _MANY:
        remarks.append(
            "With topology full each group has all others as teachers: the step, memory, reading "
            "and directory operations grow with the number of groups. With ring and pairs they do "
            "not."
        )
    return remarks
