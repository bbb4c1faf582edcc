"""The data and the first weights of a study, which must be the same for all its retrains."""

from collections.abc import Sequence
from pathlib import Path

from hvcod.churn.run.retrains import Retrain
from hvcod.config import TrainOptions, findable
from hvcod.errors import HvcodError
from hvcod.folders import group_folder
from hvcod.runs.crew import Crew
from hvcod.tasks import load_task


def check_data(
    retrains: Sequence[Retrain], train: TrainOptions, part: str, crew: Crew, is_complete: bool
) -> None:
    """Compares the data with those that the existing retrains have learned from.

    Opens the data, and so makes built-in ones, on all ranks of the launch: collective. They are not
    needed if the study is complete and they are at the path where they were.

    Args:
        part: The part that all retrains are to predict.

    Raises:
        HvcodError: A retrain has learned from data of another meaning, or other examples; or there
            is no such part.
    """
    # Imported here because they start MPI, which must not happen before the crew is made.
    from hvcod.groups.split import split
    from hvcod.groups.world import world
    from hvcod.tensorfile.meaning import difference
    from hvcod.training.run.data import DataRecord, read_record

    def noted() -> list[tuple[Retrain, DataRecord]]:
        records = ((retrain, read_record(retrain.run_dir, 0)) for retrain in retrains)
        return [(retrain, record) for retrain, record in records if record is not None]

    known = crew.on_root(noted)
    here = DataRecord(folder=findable(train.data) if train.data else "")
    if is_complete and not any(record.is_elsewhere(here) for _, record in known):
        return
    task = load_task(train.task)(train, split(world()))
    next(iter(task.evaluation_data(part)), None)  # a part that is missing is not found too late
    now = crew.on_root(lambda: DataRecord.of(task))
    for retrain, before in known:
        meaning = difference(now.meaning, before.meaning)
        if problem := meaning or before.examples_problem(now):
            raise HvcodError(
                f"{retrain.run_dir} was trained on other data: {problem}; use the same data, "
                f"another --output, or delete that folder and {retrain.predictions}"
            )


def check_beginnings(retrains: Sequence[Retrain]) -> None:
    """Compares the weights of ``--init`` with which the retrains have begun.

    Raises:
        HvcodError: They changed while the study went on.
    """
    # Imported here because it starts MPI, which must not happen before the crew is made.
    from hvcod.training.initial import read_beginning

    begun: dict[int, tuple[str, Path]] = {}
    for retrain in retrains:
        for group in range(retrain.options.groups):
            note = read_beginning(group_folder(retrain.run_dir, group))
            if note is None:
                continue
            digest, other = begun.setdefault(group, (note.digest, retrain.run_dir))
            if note.digest != digest:
                raise HvcodError(
                    f"{retrain.run_dir} began with other weights of --init {note.source} than "
                    f"{other}: delete those that began with the wrong ones, and their predictions"
                )
