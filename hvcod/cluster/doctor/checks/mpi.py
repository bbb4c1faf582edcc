"""Checks of the launch: one MPI world, the groups, and the sums inside the groups."""

from hvcod.cluster.doctor.checks.finding import Finding, rate, seconds, skipped, where
from hvcod.cluster.doctor.facts import (
    Allreduce,
    Examination,
    GroupSpeed,
    Split,
    Surroundings,
    World,
)
from hvcod.units import counted

_LAUNCHER = "start with the mpirun of the MPI that mpi4py calls (see above), or srun --mpi=pmix"


_FOLDERS = {"HOME": "your home directory", "TMPDIR": "a folder of this node, or unset it"}


def world(examination: Examination) -> Finding:
    """Checks that the MPI world has as many ranks as processes were launched."""
    launched, outcome = examination.launched, examination.outcomes["world"]
    facts: World | None = outcome.facts
    if facts is None and not outcome.reached:
        return Finding("skipped", outcome.problem)
    if facts is None and (wrong := _wrong_variables(examination)):
        found = f"MPI does not start: {outcome.problem}; {'; '.join(wrong.values())}"
        mend = " and ".join(f"set {name} to {_FOLDERS[name]}" for name in wrong)
        return Finding("failed", found, mend)
    if facts is None and launched == 1:
        found = f"MPI does not start without a launcher: {outcome.problem}"
        mend = "normal on some login nodes; run the doctor in a job: srun hvcod doctor"
        return Finding("warning", found, mend)
    if facts is None:
        return Finding("failed", f"MPI does not start: {outcome.problem}", _LAUNCHER)
    if launched > 1 and facts.size == 1:
        found = f"{launched} processes were started, but each is alone in its MPI world: this "
        return Finding("failed", f"{found}launcher belongs to another MPI than mpi4py", _LAUNCHER)
    if launched > 1 and facts.size != launched:
        found = f"{launched} processes were started, but the MPI world has {facts.size} ranks"
        return Finding("failed", found, _LAUNCHER)
    if facts.size == 1:
        return Finding("ok", "one process, without a launcher")
    return Finding("ok", f"{facts.size} ranks on {counted(facts.nodes, 'node')}")


def threads(examination: Examination) -> Finding:
    """Checks that MPI lets several threads communicate."""
    known = examination.all(World)
    if not known:
        return Finding("skipped", "MPI was not started")
    weak = [rank for rank, facts in known if not facts.enough_threads]
    _, first = known[0]
    level = f"MPI_THREAD_{first.threads}"
    if weak:
        mend = (
            "use an MPI that was built with thread support, and do not set MPI4PY_RC_THREAD_LEVEL"
        )
        return Finding("failed", f"{level}: only one thread may communicate ({where(weak)})", mend)
    return Finding("ok", level)


def groups(examination: Examination) -> Finding:
    """Checks that the ranks can be divided into the groups."""
    wish, known = examination.options.groups, examination.all(Split)
    if not known:
        return Finding("skipped", "MPI was not started")
    _, first = known[0]
    if first.problem and len(known) == 1:
        # Without a launcher, or with the wrong one: the check of the launch says so.
        return Finding("skipped", f"{wish} groups need more than one rank")
    if first.problem:
        return Finding("failed", first.problem, "start another number of ranks, or change --groups")
    if examination.options.group is not None:
        return Finding("ok", f"group {first.group} of {wish}, {counted(first.size, 'rank')}")
    return Finding("ok", f"{counted(wish, 'group')} of {counted(first.size, 'rank')}")


def allreduce(examination: Examination) -> Finding:
    """Checks the sums of all groups at once, through MPI and through Horovod."""
    by_mpi, by_horovod = (
        examination.outcomes[name] for name in ("mpi_allreduce", "horovod_allreduce")
    )
    for name, outcome in (("MPI", by_mpi), ("Horovod", by_horovod)):
        if outcome.problem and outcome.reached:
            mend = "see standard error; a network that MPI cannot use? try another launcher or BTL"
            return Finding("failed", f"{name}: {outcome.problem}", mend)
        facts: Allreduce | None = outcome.facts
        wrong = [each.group for each in facts.groups if not each.right] if facts else []
        if wrong:
            found = f"{name}: wrong sum in group {', '.join(map(str, wrong))}"
            return Finding("failed", found, "one MPI for all (see mpi); report it with --json")
    facts = by_horovod.facts
    if facts is None:
        return skipped(by_horovod) or Finding("skipped", "not measured")
    if facts.problem:
        return Finding("skipped", facts.problem)
    return Finding("ok", _found(facts, by_mpi.facts))


def slowest(groups: list[GroupSpeed]) -> GroupSpeed | None:
    """The group with the lowest bandwidth; None if none was measured (groups of one rank)."""
    known = [each for each in groups if each.bytes_per_s is not None]
    return min(known, key=lambda each: each.bytes_per_s or 0.0, default=None)


def _wrong_variables(examination: Examination) -> dict[str, str]:
    """{variable: what is wrong with it, and where}, on the first rank that has such a variable."""
    return {
        name: f"{name} {problem} ({rank})"
        for rank, facts in reversed(examination.all(Surroundings))
        for name, problem in facts.wrong.items()
    }


def _found(horovod: Allreduce, mpi: Allreduce) -> str:
    low, bare = slowest(horovod.groups), slowest(mpi.groups)
    count = len(horovod.groups)
    right = f"right in {counted(count, 'group')}"
    if low is None or bare is None:
        return f"{right} of one rank, where there is nothing to sum"
    what = f"{rate(low.bytes_per_s)}, {seconds(low.latency_s)}"
    which = f"slowest: group {low.group}, " if count > 1 else ""
    return f"{right}; {which}{what} (MPI alone {rate(bare.bytes_per_s)})"
