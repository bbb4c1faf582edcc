"""Compares the claims of a published checkpoint about itself with what its reader knows."""

from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.meaning import difference
from hvcod.tensorfile.origin import Origin


def check_claims(theirs: Origin, ours: Origin, group: int, step: int) -> None:
    """Compares the origin in a file with the place where it was found and with the reader's own.

    Groups of a run may differ on purpose, in their learning rate or even their architecture; but
    not in the run, the task, the meaning of the data and the options that all groups share, which
    their `configuration_digest` covers. Digests of different kinds, or none, are not compared:
    files of earlier versions carry digests of options that may differ.

    Raises:
        RefusedError: The file is another group's or step's, of a run that cannot teach this one,
            or contradicts itself.
    """
    if theirs.run_id != ours.run_id:
        raise RefusedError(f"belongs to run {theirs.run_id!r}, not {ours.run_id!r}")
    if (theirs.group, theirs.step) != (group, step):
        raise RefusedError(f"claims to be step {theirs.step} of group {theirs.group}")
    if theirs.task != ours.task:
        raise RefusedError(f"is of task {theirs.task!r}, not {ours.task!r}")
    if _comparable(theirs, ours) and theirs.configuration_digest != ours.configuration_digest:
        raise RefusedError(
            "comes from a run with other options that all groups must share, such as seed, groups "
            f"or topology (digest {_short(theirs)}, here {_short(ours)})"
        )
    if different := difference(theirs.meaning, ours.meaning):
        raise RefusedError(f"was trained on data of another meaning: {different}")
    seen = step * theirs.ranks * theirs.batch_size
    if seen and theirs.examples > seen:
        raise RefusedError(
            f"claims to have seen {theirs.examples} examples in {step} steps of "
            f"{theirs.ranks * theirs.batch_size}"
        )


def _comparable(theirs: Origin, ours: Origin) -> bool:
    kind, other = (o.configuration_digest.rpartition(":")[0] for o in (theirs, ours))
    return kind == other != ""


def _short(origin: Origin) -> str:
    return origin.configuration_digest.rpartition(":")[2][:12]
