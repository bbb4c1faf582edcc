"""Which run it is that a user's own script trains: nobody keeps a run directory for it."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from mpi4py import MPI

from hvcod.errors import HvcodError, UsageError
from hvcod.exchange.directory import published_directory
from hvcod.exchange.poll import fetch
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_json
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import list_steps

_TASK = "custom"


def of_script(group: Group, run_id: str | None) -> Origin:
    """What published checkpoints of a script say of themselves.

    Collective over the world if the run has several groups and no name.

    Raises:
        UsageError: It has no name, and this launch is not all of it.
    """
    if run_id is None and group.count > 1:
        run_id = _new_id(group)
    return Origin(run_id or "", _TASK, group.index, ranks=group.size)


def check_directory(
    run_dir: Path, group: Group, expected: Mapping[str, TensorSpec], run_id: str
) -> None:
    """Raises HvcodError if the group's folder holds what another run published. Collective.

    Its files would stay, as what is published never changes, and be taken for this run's.
    """
    problem = _foreign(run_dir, group, expected, run_id) if group.is_root else ""
    if problem := broadcast_json(group.comm, problem):
        raise HvcodError(
            f"an earlier run published in {run_dir} ({problem}): go on from its saved state with "
            "codistiller.load_state_dict(), give another folder, or delete this one"
        )


def _new_id(group: Group) -> str:
    everyone = MPI.COMM_WORLD
    if everyone.size != group.count * group.size:
        raise UsageError(
            "the other groups are other launches: give all of them the same name of the run, "
            'Codistiller(..., run_id="...")'
        )
    return str(broadcast_json(everyone, uuid.uuid4().hex))


def _foreign(run_dir: Path, group: Group, expected: Mapping[str, TensorSpec], run_id: str) -> str:
    directory = published_directory(run_dir, group.index)
    try:
        steps = list_steps(directory)
    except OSError:
        return ""
    try:
        if steps:
            fetch(directory, steps[-1], expected, run_id, group.index)
    except HvcodError as error:
        return str(error)
    return ""
