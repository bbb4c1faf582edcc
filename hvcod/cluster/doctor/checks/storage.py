"""Checks of the run directory: permission, space, and how soon other nodes see a file."""

import errno

from hvcod.cluster.doctor.checks.finding import Finding, failures, rate, seconds, skipped, where
from hvcod.cluster.doctor.facts import Examination, Files, Published, Written
from hvcod.units import byte_count, counted

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE = 1e9
_STALE = 5.0
_ELSEWHERE = "name another --run-dir"


def run_dir(examination: Examination) -> Finding:
    """Checks that every rank's node can write to the run directory."""
    ranks, problem = failures(examination, "files")
    if ranks:
        found = f"{examination.options.run_dir}: {problem} ({where(ranks)})"
        return Finding("failed", found, _ELSEWHERE)
    known = examination.all(Files)
    for rank, facts in known:
        if facts.error:
            found = f"{facts.folder}: {facts.error}, as user {facts.user} ({rank})"
            return Finding("failed", found, _mend(facts))
    written = examination.first.get(Written) or Written(error=examination.first.problem("written"))
    if written.error and written.code not in _FULL:
        return Finding("failed", f"a large file cannot be written: {written.error}", _ELSEWHERE)
    _, first = known[0]
    speed = f", {rate(written.bytes_per_s)}" if written.bytes_per_s else ""
    return Finding("ok", f"{first.folder} ({first.kind}) can be written{speed}")


def space(examination: Examination) -> Finding:
    """Checks that there is room for a checkpoint."""
    known = examination.all(Files)
    if not known:
        return Finding("skipped", "the run directory is not known")
    _, facts = min(known, key=lambda rank_and_facts: rank_and_facts[1].free_bytes)
    free = f"{byte_count(facts.free_bytes)} free in {facts.folder}"
    written = examination.first.get(Written)
    size = examination.options.bytes
    full = written is not None and written.code in _FULL
    mend = f"free some space, or {_ELSEWHERE}"
    if full or facts.free_bytes < size:
        found = f"{free}, no room for a checkpoint of {byte_count(size)}"
        found += f": {written.error}" if written and full else ""
        return Finding("failed", found, mend)
    if facts.free_bytes < _LITTLE:
        return Finding("warning", f"{free}: a group keeps five checkpoints and states", mend)
    return Finding("ok", free)


def publish(examination: Examination) -> Finding:
    """Checks that the other nodes soon see a checkpoint that one node publishes."""
    outcome = examination.outcomes["published"]
    facts: Published | None = outcome.facts
    if outcome.problem or facts is None:
        problem = outcome.problem or "not measured"
        return skipped(outcome) or Finding("failed", problem, _ELSEWHERE)
    written = examination.first.get(Written)
    if facts.problem and (written is None or written.error):
        return Finding("skipped", f"nothing was published: {facts.problem}")
    if facts.problem:
        return Finding("failed", f"cannot publish: {facts.problem}", _ELSEWHERE)
    blind = [name for name, value in facts.visible_s.items() if value is None]
    if blind:
        found = f"{blind[0]} does not see what {examination.first} publishes"
        more = f" ({len(blind)} nodes in all)" if len(blind) > 1 else ""
        mend = "name a --run-dir on a file system that all nodes share; /tmp is seldom one"
        return Finding("failed", f"{found}{more}", mend)
    return _seen(facts)


def slowest_reader(facts: Published) -> float | None:
    """Seconds from visible to verified of the slowest reader; None if nothing was seen."""
    return max((value for value in facts.visible_s.values() if value is not None), default=None)


def _seen(facts: Published) -> Finding:
    late = slowest_reader(facts)
    found = f"seen after {seconds(late)} on {counted(facts.nodes - 1, 'other node')}"
    if facts.nodes == 1:
        found = f"seen after {seconds(late)}; all on one node, so that a second one was not tested"
    found += f"; published at {rate(facts.bytes_per_s)}"
    if late is not None and late > _STALE:
        mend = "teachers are staler by that much; NFS: mount with a small acdirmax, or use Lustre"
        return Finding("warning", found, mend)
    return Finding("ok", found)


def _mend(facts: Files) -> str:
    if facts.code in _FULL:
        return f"free some space, or {_ELSEWHERE}"
    if facts.code in (errno.EACCES, errno.EPERM):
        return f"ask its owner for write permission (chmod u+w), or {_ELSEWHERE}"
    if facts.code == errno.EROFS:
        return f"it is mounted read-only here: {_ELSEWHERE}"
    return _ELSEWHERE
