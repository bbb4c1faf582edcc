"""Ranks of other launches on the same node, which may be bound to the same cores."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from hvcod.cluster.doctor.facts import Neighbour

_RANK = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
"""Variables of ranks. SLURM_PROCID is not among them: batch scripts and launchers have it, too."""

_LAUNCH = ("PMIX_NAMESPACE", "PMI_JOBID", "PMI_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID", "PBS_JOBID")
"""Variables that tell launches apart: all ranks of one have the same values."""

Identity = tuple[str, ...]


def neighbours(machine: int) -> list[Neighbour]:
    """Returns the user's ranks of other launches that are bound to some of a node's cores.

    Processes of other users, and of other containers, cannot be seen.

    Args:
        machine: The number of cores of the node.
    """
    mine = _values(_LAUNCH, os.environ)
    # Helper processes of a rank have its variables, too.
    others = {rank: found for launch, rank, found in _bound(machine) if launch != mine}
    return sorted(others.values(), key=lambda each: each.process)


def _bound(machine: int) -> Iterator[tuple[Identity, Identity, Neighbour]]:
    """Yields (launch, launch and rank, process) of every process of a rank that is bound."""
    for process in Path("/proc").glob("[0-9]*"):
        # It may end meanwhile, or belong to somebody else.
        with suppress(OSError):
            text = (process / "environ").read_bytes().decode(errors="replace")
            variables = dict(entry.partition("=")[::2] for entry in text.split("\0"))
            cores = sorted(os.sched_getaffinity(int(process.name)))
            if any(_values(_RANK, variables)) and len(cores) < machine:
                threads = variables.get("OMP_NUM_THREADS", "")
                found = Neighbour(
                    int(process.name), cores, int(threads) if threads.isdecimal() else 1
                )
                yield _values(_LAUNCH, variables), _values(_LAUNCH + _RANK, variables), found


def _values(names: tuple[str, ...], variables: Mapping[str, str]) -> Identity:
    return tuple(variables.get(name, "") for name in names)
