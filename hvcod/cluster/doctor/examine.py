"""All stages in order, for one rank of the launch."""

import os
from collections.abc import Mapping
from functools import partial

from hvcod.cluster.doctor import allreduce, folder, local
from hvcod.cluster.doctor.container import container
from hvcod.cluster.doctor.facts import Examination, Outcome
from hvcod.cluster.doctor.options import DoctorOptions
from hvcod.cluster.doctor.publishing import publishing
from hvcod.cluster.doctor.supervise import Stage, supervise
from hvcod.cluster.doctor.world import Together
from hvcod.errors import HvcodError
from hvcod.groups.environment import launch_rank, launch_size

_SLOW_NETWORK = "slow network? raise --patience"


def stages(options: DoctorOptions, together: Together) -> list[Stage]:
    """All stages in order: first those of a rank alone, then those of the MPI world."""
    place, size = options.run_dir, options.bytes
    by_mpi = partial(allreduce.by_mpi, together, size)
    by_horovod = partial(allreduce.by_horovod, together, size)
    return [
        # Before torch: with it comes libgomp, which may bind this thread to one core.
        Stage("cores", local.cores),
        Stage("surroundings", local.surroundings),
        Stage("mpi4py", local.mpi4py_alone),
        Stage("container", container),
        Stage("horovod", local.horovod_alone),
        Stage("hdf5", local.hdf5_alone),
        Stage("gpus", local.gpus),
        Stage("files", partial(folder.files, place)),
        Stage("written", partial(folder.written, place, size), ("files",)),
        Stage("locks", partial(folder.locks, place), ("files", "hdf5")),
        # Ranks come here at different times.
        Stage("world", together.start, ("mpi4py",), patience=2.0),
        Stage("split", together.split, ("world",)),
        Stage("device", together.device, ("split",)),
        Stage("ranks", together.ranks, ("device",)),
        Stage("mpi_allreduce", by_mpi, ("ranks",), if_late=_SLOW_NETWORK),
        Stage("published", partial(publishing, together, options), ("mpi_allreduce",)),
        Stage("horovod_allreduce", by_horovod, ("published",), if_late=_SLOW_NETWORK),
        Stage("end", together.end, ("horovod_allreduce",)),
    ]


def examine(options: DoctorOptions) -> Examination | None:
    """Runs all stages; returns the facts on the first rank of the launch, None on the others.

    Collective over the launch. Never hangs: what takes longer than `options.patience` is given up.

    Raises:
        HvcodError: On another rank: something failed that the first rank cannot know of.
    """
    together = Together(options)
    outcomes = supervise(stages(options, together), options.patience)
    if launch_rank() != 0:
        _check_alone(outcomes)
        return None
    ranks = outcomes["ranks"].facts or [together.this_rank(outcomes)]
    return Examination(launch_size(), options, ranks, outcomes)


def _check_alone(outcomes: Mapping[str, Outcome]) -> None:
    """Raises what the first rank cannot know of, after that rank has had time to report."""
    names = list(outcomes)
    reported = 0 if outcomes["ranks"].problem else names.index("ranks") + 1
    for name in names[reported:]:
        if outcomes[name].problem and outcomes[name].reached:
            raise HvcodError(f"doctor: {name} on {os.uname().nodename}: {outcomes[name].problem}")
