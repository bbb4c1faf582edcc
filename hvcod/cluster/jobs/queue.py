"""What the scheduler is asked: to check, submit, show and cancel jobs."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import HvcodError

_SECONDS = 60
_SLURM_FORMAT = "%F|%i|%T|%M|%D|%r|%N"
_OVER_SLURM = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
_OVER_SLURM |= {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
_OVER_PBS = {"C", "F", "X"}
"""C is Torque's word for OpenPBS's F; X is an array's job that has ended."""


@dataclass(frozen=True)
class Queued:
    """A job, or one of an array, as the scheduler shows it.

    Attributes:
        id: The scheduler's name of it.
        state: The scheduler's word, such as ``RUNNING`` (Slurm) or ``R`` (PBS).
        elapsed: Of the wall time; empty if it is not told.
        reason: Why it waits, or how it ended; may be empty.
        nodes: Where it runs; may be empty.
    """

    id: str
    state: str
    elapsed: str
    reason: str
    nodes: str

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self.state in _OVER_SLURM | _OVER_PBS


def test(scheduler: str, script: Path) -> str:
    """Asks Slurm whether it would take a script, without submitting it; PBS cannot be asked.

    Returns what it says, such as when the job could start, or that Slurm is not here. Raises
    HvcodError if it would not.
    """
    if scheduler != "slurm":
        return ""
    if not shutil.which("sbatch"):
        return "there is no sbatch here: Slurm could not be asked whether it would take the script"
    done = _call(["sbatch", "--test-only", str(script)])
    return done.stderr.strip().removeprefix("sbatch: ")


def submit(scheduler: str, script: Path, after: Sequence[str], however: bool = False) -> str:
    """Submits a script and returns the job's id.

    Args:
        scheduler: ``slurm`` or ``pbs``.
        script: The script's file.
        after: Jobs that must have ended well before; if one does not, this job goes, too.
        however: They may have ended in any way.

    Raises:
        HvcodError: The scheduler does not take it; says why.
    """
    needed = ":".join(["afterany" if however else "afterok", *after])
    if scheduler == "pbs":
        depend = ["-W", f"depend={needed}"] if after else []
        return _call(["qsub", *depend, str(script)]).stdout.strip()
    depend = [f"--dependency={needed}", "--kill-on-invalid-dep=yes"] if after else []
    done = _call(["sbatch", "--parsable", *depend, str(script)])
    return done.stdout.strip().partition(";")[0]


def show(scheduler: str, ids: Sequence[str]) -> dict[str, list[Queued]]:
    """What the scheduler knows of jobs, by the id at submission; an array has several entries.

    Raises:
        HvcodError: The scheduler does not answer.
    """
    found = _show_pbs(ids) if scheduler == "pbs" else _show_slurm()
    known: dict[str, list[Queued]] = {each: [] for each in ids}
    for job, queued in found:
        if job in known:
            known[job].append(queued)
    return known


def cancel(scheduler: str, ids: Sequence[str]) -> None:
    """Cancels jobs, given in the order of submission; arrays wholly. Raises HvcodError."""
    # OpenPBS deletes what waits for a job along with it, and then does not know it any more.
    _call(["qdel" if scheduler == "pbs" else "scancel", *reversed(ids)])


def _show_slurm() -> Iterator[tuple[str, Queued]]:
    words = ["squeue", "--noheader", "--array", "--states=all", "--me"]
    for line in _call([*words, f"--format={_SLURM_FORMAT}"]).stdout.splitlines():
        job, name, state, elapsed, _, reason, nodes = line.split("|")
        reason = "" if reason == "None" else reason
        yield job, Queued(name, state, elapsed, reason, nodes)


def _show_pbs(ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
    # -x: finished ones, too, where the server keeps them; -t: the jobs of an array.
    done = _call(["qstat", "-x", "-t", "-f", *ids], check=False)
    if not done.stdout.strip():
        done = _call(["qstat", "-f", *ids], check=False)
    ended = re.search("Unknown Job|has finished", done.stderr, re.IGNORECASE)
    if done.returncode and not done.stdout.strip() and not ended:
        raise HvcodError(f"qstat does not answer: {_said(done)}")
    yield from parse_qstat(done.stdout, ids)


def parse_qstat(text: str, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
    """Yields (id at submission, job) of what ``qstat -f`` prints."""
    # Long values go on in the next line, after a tab.
    text = re.sub(r"\n\t(?![\w.]+ = )", "", text)
    for block in re.split(r"^Job Id:\s*", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        fields = dict(re.findall(r"^\s+([\w.]+) = (.*)$", rest, flags=re.MULTILINE))
        number = re.sub(r"\[\d*\]", "[]", name.strip()).partition(".")[0]
        for each in ids:
            if each.partition(".")[0] == number:
                end = fields.get("Exit_status")
                reason = f"exit code {end}" if end else fields.get("comment", "")
                yield (
                    each,
                    Queued(
                        name.strip(),
                        fields.get("job_state", "?"),
                        fields.get("resources_used.walltime", ""),
                        reason,
                        fields.get("exec_host", ""),
                    ),
                )


def _call(words: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    if not shutil.which(words[0]):
        raise HvcodError(f"there is no {words[0]} here: submit from a login node of the cluster")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise HvcodError(f"{words[0]} has not answered for {_SECONDS} s") from error
    if check and done.returncode:
        raise HvcodError(f"{words[0]} refused: {_said(done)}")
    return done


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr or done.stdout).strip().replace("\n", "; ")
