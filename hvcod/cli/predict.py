"""``hvcod predict``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.evaluation import load, sources
from hvcod.cli.options import PATH, build, dataclass_options, json_option, layer
from hvcod.errors import UsageError
from hvcod.evaluation.options import EvaluationOptions, StoreOptions
from hvcod.schema import flag_of
from hvcod.terminal import show
from hvcod.units import byte_count

if TYPE_CHECKING:
    from hvcod.evaluation.models import Trained
    from hvcod.groups.split import Group

EXAMPLES = """\b
Examples:
  laptop   hvcod predict runs/clicks --ensemble --output predictions.csv
           hvcod predict runs/first --group 0 --part test --data data/test --output group-0.h5
           hvcod predict runs/first --group 0 --teacher-store teachers/first
  cluster  srun --mpi=pmix -n 32 hvcod predict /scratch/runs/a --group 0 --output /scratch/a.h5
           srun --mpi=pmix -n 32 hvcod predict /scratch/runs/a --ensemble \\
             --teacher-store /scratch/teachers/a
"""


@click.command(epilog=EXAMPLES)
@sources
@click.option(
    "--output",
    type=PATH,
    help="The file to write: .h5 (datasets id, prediction, label); .parquet, .csv, .csv.gz, "
    ".csv.xz or .csv.zst (columns of the same names). Each of several models gets its own file: "
    "out.h5 becomes out.group-0.h5.",
)
@click.option("--ensemble", is_flag=True, help="Write the mean of the models' predictions.")
@dataclass_options(EvaluationOptions)
@dataclass_options(StoreOptions)
@json_option
def command(
    sources: Sequence[Path],
    groups: Sequence[int],
    output: Path | None,
    ensemble: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the predictions of trained models for each example of prepared data.

    A SOURCE is a run directory, a training state, a published checkpoint or an exported file. A
    prediction is a probability, or one probability per class. Under mpirun or srun the ranks share
    the data; the file does not depend on the number of ranks.

    With --teacher-store the predictions of the training data are stored instead, for trainings that
    learn from them: see `hvcod train --teacher`. A store holds one prediction for each example: of
    several models the mean, with --ensemble.
    """
    store = build(StoreOptions, flags)
    if problem := _problem(output, store, flags):
        raise UsageError(problem)
    options = build(EvaluationOptions, flags)
    models, ranks = load(sources, groups, options)
    if output is None:
        _store(models, store, ensemble, ranks, as_json)
    else:
        _write(models, output, options.part, ensemble, ranks, as_json)


def _problem(output: Path | None, store: StoreOptions, flags: Mapping[str, Any]) -> str:
    if store.teacher_store is None:
        if given := layer(StoreOptions, flags):
            return f"{flag_of(next(iter(given)))} goes with --teacher-store, which is not given"
        return "" if output else "give --output FILE, or --teacher-store DIR"
    if output:
        return "--output and --teacher-store do not go together: call hvcod predict twice"
    if flags["part"] not in (None, "training") or flags["examples"] is not None:
        name = "examples" if flags["part"] in (None, "training") else "part"
        return f"--teacher-store holds the whole training part: leave out --{name}"
    forms = [key for key in ("whole", "sample", "top_k") if getattr(store, key)]
    return f"{' and '.join(map(flag_of, forms))}: choose one of them" if len(forms) > 1 else ""


def _store(
    models: "list[Trained]", options: StoreOptions, ensemble: bool, ranks: "Group", as_json: bool
) -> None:
    from hvcod.evaluation.storing.storing import Storing, packing_of

    folder = options.teacher_store
    assert folder is not None
    if len(models) > 1 and not ensemble:
        raise UsageError(
            f"--teacher-store holds one prediction for each example, and these are {len(models)} "
            "models: add --ensemble to store their mean, or name one with --group"
        )
    packing = packing_of(models, options)
    storing = Storing(models, folder, packing, options.seed, ranks)
    if options.fresh:
        storing.clear()
    if ranks.is_root:
        size = f"{storing.places} predictions ({packing.described}), {byte_count(storing.bytes)}"
        show(f"hvcod: storing {size} in {folder}", err=True)
    report = storing.run()
    if ranks.is_root:
        count, size = report["predictions"], byte_count(report["bytes"])
        show(json.dumps(report) if as_json else f"{folder}: {count} predictions, {size}")


def _write(
    models: "list[Trained]",
    output: Path,
    part: str,
    ensemble: bool,
    ranks: "Group",
    as_json: bool,
) -> None:
    from hvcod.evaluation.predict import predict

    wanted = {output: models}
    if len(models) > 1 and not ensemble:
        wanted = {_own(output, model.name): [model] for model in models}
    written = {str(path): predict(chosen, part, path, ranks) for path, chosen in wanted.items()}
    if ranks.is_root:
        lines = [f"{path}: {count} predictions" for path, count in written.items()]
        show(json.dumps(written) if as_json else "\n".join(lines))


def _own(output: Path, name: str) -> Path:
    from hvcod.evaluation.predictions import ending

    own, end = name.replace(" ", "-").replace("/", "-"), ending(output)
    return output.with_name(f"{output.name.removesuffix(end)}.{own}{end}")
