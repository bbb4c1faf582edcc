"""OpenPBS and PBS Pro, by the manual pages qsub(1B) and qrerun(1B) of OpenPBS.

Differences from Slurm: no signal comes before the end of the wall time; then (and by ``qdel`` or a
preemption) every process of the job gets TERM, not only the script. Output is copied when the job
ends, so the script itself appends to its log. Only managers and operators of a server may
``qrerun``, so a job that goes on submits the next one.

TERM reaches the processes of the first node only; those of the other nodes get KILL. On the first
node, Open MPI's ``mpirun`` kills its ranks a second after TERM. So a preemption may cost all steps
since the last save; only the clock (``--time-limit``) reliably lets the ranks save.
"""

import os
import re
import shlex
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.schedulers.base import Queued, Scheduler, answer_of, call, id_in, own_log
from hvcod.cluster.jobs.script import RunningJob, Script, clock
from hvcod.errors import HvcodError, reason_of
from hvcod.files.regular import read_regular
from hvcod.files.whole import write_below

# For an Open MPI that was built without PBS: the nodes, with a slot for every mpiprocs. It reaches
# other nodes by ssh, which passes no environment on.
_HOST_FILE = '${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"}'
_ALWAYS = ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
_EXIT_CODES = {
    -1: "could not be started",
    -2: "could not be started",
    -3: "could not be started, and is tried again",
    -4: "ended, as the node's PBS started anew",
    -5: "ended, as the node's PBS started anew",
    -6: "ended, as the node's PBS started anew",
    -10: "could not be started: the user or group is unknown on the node",
    -11: "was put back into the queue by a rerun",
    -12: "was checkpointed and ended",
    -14: "was put back into the queue, as a node failed",
    -16: "was put back into the queue by a hook of the site",
    -17: "was deleted by a hook of the site",
    -18: "was put back into the queue by a hook of the site",
    -19: "was deleted by a hook of the site",
    -20: "lost its first node",
    -24: "was killed: it used more than its cores",
    -25: "was killed: it used more than its cores",
    -26: "was killed: it used more than its virtual memory",
    -27: "was killed: it used more than its memory",
    -28: "was killed: it used more than its CPU time",
    -29: "was killed at the end of its wall time",
    -30: "could not be started on all of its nodes",
}
"""By ``src/include/job.h`` of OpenPBS."""

_DELETED = str(256 + signal.SIGTERM)

_STATES = {
    "E": "is ending",
    "H": "is held: it may wait for another job",
    "M": "was moved to another server",
    "S": "is suspended: another job has its nodes",
    "T": "is on its way to a node",
    "U": "is suspended: its node is in use",
    "W": "waits for its start time",
}

_LIBRARIES = "${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH}"


class Pbs(Scheduler):
    """PBS: the ranks watch the clock, and a job that goes on submits the next one."""

    prefix = "#PBS"
    submit_program = "qsub"
    launcher = "mpirun"
    index = "${PBS_ARRAY_INDEX:-$INDEX}"
    warns = False
    keeps_id = False
    waiting_states = frozenset("HQTW")
    # C is Torque's word for OpenPBS's F; X is a job of an array that has ended.
    ended_states = frozenset("CFX")
    has_remote_shell = True
    time = "l.walltime"
    array = "J"

    def refusal(self, options: JobOptions) -> str:
        """Refuses to stop by a signal, and names that PBS does not take."""
        if not options.by_clock:
            return "--stop-by signal: PBS sends no signal before the end; use clock"
        if options.totals and (options.exclusive or options.place or options.chunk):
            return "--totals: PBS then knows no --exclusive, --place and --chunk"
        if options.totals and options.gpu_request:
            return "--totals asks for -l ngpus; write other requests into --directives"
        if options.qos:
            return "--qos is for Slurm; with PBS use --directives"
        if re.search(r"[^A-Za-z0-9_.+-]", options.name or ""):
            return (
                f"--name {options.name!r}: PBS takes letters, digits and _.+- only; without --name "
                "it is the name of the folder"
            )
        return ""

    def directives(self, script: Script, folder: Path) -> list[str]:
        """Returns the options of qsub."""
        options = script.options
        lines = [f"-N {options.name}-{script.name}", "-S /bin/bash"]
        lines += options.charge("-A {account}")
        lines += [f"-q {options.partition}"] if options.partition else []
        lines += _totals(options) if options.totals else _chunks(options)
        # The script writes its log itself. PBS would add a file for each job, nearly always empty.
        lines += [f"-l walltime={clock(options.time)}", "-r y", "-j oe", "-o localhost:/dev/null"]
        return lines + (["-J {}-{}".format(*script.indices)] if script.indices else [])

    def settings(self, line: str) -> dict[str, str]:
        """Returns the options of qsub in a line; a resource is ``l.`` and its name."""
        found: dict[str, str] = {}
        # As getopt does it: the value of an option is the rest of its word, or the next word.
        for name, value in re.findall(r"(?:^|\s)-(\w)\s*(.*?)(?=\s+-\w|\s*$)", line):
            if name != "l":
                found[name] = value
                continue
            for resource in re.split(r",(?=\w+=)", value):
                key, _, amount = resource.strip().partition("=")
                found[f"l.{key}"] = amount
        # The older ways to ask for nodes and cores exclude chunks.
        if {"l.nodes", "l.ncpus"} & found.keys():
            found |= {"l.select": "", "l.place": ""}
        return found

    def has_nodes_alone(self, options: JobOptions) -> bool:
        """Returns whether the placement is exclusive, as asked by an option or a directive."""
        place = self.directed(options).get("l.place", options.place or "")
        return "excl" in place

    def preamble(self, script: Script, folder: Path) -> list[str]:
        """Returns what Slurm does by itself: change to the folder, append to the log."""
        return ['cd "$PBS_O_WORKDIR" || exit 1', *own_log(script, folder)]

    def mpirun_words(self, options: JobOptions) -> list[str]:
        """Returns the host file and the variables, which ssh would not pass on."""
        return [_HOST_FILE, _LIBRARIES, *(f"-x {name}" for name in _exported(options.setup))]

    def remote_shell(self, host: str) -> list[str]:
        """Returns the words of pbs_tmrsh, which knows hosts by their names in PBS_NODEFILE."""
        path = os.environ.get("PBS_NODEFILE", "")
        try:
            names = read_regular(Path(path), follow=True).decode().split()
        except (OSError, HvcodError) as error:
            raise HvcodError(f"PBS_NODEFILE {path!r}: {reason_of(error)}") from error
        # Open MPI shortens names.
        known = [name for name in names if host in (name, name.partition(".")[0])]
        if not known:
            raise HvcodError(f"{host} is not among the nodes of this job, which are in {path}")
        return ["pbs_tmrsh", known[0]]

    def submit(self, script: Path, after: Sequence[str] = (), after_any: bool = False) -> str:
        """Submits a script by qsub."""
        needed = ":".join(["afterany" if after_any else "afterok", *after])
        return _qsub(*(["-W", f"depend={needed}"] if after else []), str(script))

    def queued(self, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
        """Yields jobs by qstat."""
        # -x: finished ones, too, where the server keeps them; -t: the jobs of an array. Not every
        # server and every relative of PBS knows both.
        for options in (["-x", "-t", "-f"], ["-t", "-f"], ["-f"]):
            done = call(["qstat", *options, *ids], check=False)
            if done.stdout.strip():
                break
        ended = re.search("Unknown Job|has finished", done.stderr, re.IGNORECASE)
        if (done.returncode or done.stdout.strip()) and "Job Id:" not in done.stdout and not ended:
            raise HvcodError(f"qstat does not answer: {answer_of(done)}")
        yield from parse_qstat(done.stdout, ids)

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancels by qdel, the last job first: PBS deletes what waits for a job along with it."""
        call(["qdel", *reversed(ids)])

    def start_of(self, job: RunningJob) -> str:
        """Returns the line; the number of the start is counted in the log."""
        return f"job {os.environ.get('PBS_JOBID', '')}, start {job.earlier_starts + 1}"

    def may_requeue(self, received: Collection[signal.Signals]) -> bool:
        """Returns whether no TERM came: its sender decides. qdel means no, a preemption yes."""
        return signal.SIGTERM not in received

    def own_id(self) -> str:
        """Returns the id of this job, or of its array."""
        return re.sub(r"\[\d+\]", "[]", os.environ.get("PBS_JOBID", ""))

    def by_hand(self, job: RunningJob, script: Path) -> list[str]:
        """Returns the command of qsub; one job of an array goes on alone."""
        if job.index is None:
            return ["qsub", str(script)]
        # An array has two jobs at least.
        text = re.sub(rb"(?m)^#PBS -J.*\n", b"", script.read_bytes())
        alone = write_below(job.folder, f"jobs/{job.name}-{job.index}.sh", text)
        return ["qsub", "-v", f"INDEX={job.index}", str(alone)]

    def requeue(self, job: RunningJob) -> Iterator[tuple[str, str]]:
        """Submits the next job, and again the one that waits for this one."""
        following = _qsub(*self.by_hand(job, job.script)[1:])
        yield job.name, following
        if job.followed_by:
            # PBS deletes what waits for this job, which did not end well.
            waiting = job.folder / "jobs" / f"{job.followed_by}.sh"
            try:
                yield job.followed_by, self.submit(waiting, [following])
            except HvcodError as error:
                raise HvcodError(
                    f"{job.followed_by} does not wait for it: {error}; submit it by "
                    f"qsub -W depend=afterok:{following} {waiting}"
                ) from error


def parse_qstat(text: str, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
    """Yields (id at submission, job) for the jobs in the output of ``qstat -f``."""
    # Long values continue on the next line, after a tab.
    text = re.sub(r"\n\t(?![\w.]+ = )", "", text)
    submitted = {job.partition(".")[0]: job for job in ids}
    for block in re.split(r"^Job Id:\s*", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        fields = dict(re.findall(r"^\s+([\w.]+) = (.*)$", rest, flags=re.MULTILINE))
        number = re.sub(r"\[\d*\]", "[]", name.strip()).partition(".")[0]
        if number in submitted:
            yield submitted[number], _job_of(name.strip(), fields)


def _job_of(name: str, fields: Mapping[str, str]) -> Queued:
    state, elapsed = fields.get("job_state", "?"), fields.get("resources_used.walltime", "")
    return Queued(name, state, elapsed, _reason(state, fields), fields.get("exec_host", ""))


def _reason(state: str, fields: Mapping[str, str]) -> str:
    """Returns in words why a job waits, or how it ended."""
    code, comment = fields.get("Exit_status", ""), fields.get("comment", "")
    ran = {"stime", "exec_host"} & fields.keys()
    # Some servers give a job that qdel took from the queue the code of one that TERM ended.
    if re.fullmatch(r"-?\d+", code) and (ran or code != _DELETED):
        return exit_in_words(int(code))
    if state == "X":
        return "ended; the server keeps no exit code"
    if state in Pbs.ended_states:
        return f"deleted before it ran{f': {comment}' if comment else ''}"
    return comment or _STATES.get(state, "")


def exit_in_words(code: int) -> str:
    """Returns PBS's exit code of a job in words: negative ones are its own, above 128 signals."""
    if code < 0:
        return f"{_EXIT_CODES.get(code, 'PBS could not run it')} ({code})"
    # PBS adds 256 to the number of a signal, a shell adds 128.
    number = code % 128 if code >= 128 else 0
    if number in {*signal.Signals}:
        return f"exit code {code}: ended by {signal.Signals(number).name}"
    return f"exit code {code}"


def _exported(setup: str) -> list[str]:
    """Returns the names of the variables that shell lines export, each once."""
    names: dict[str, None] = {}
    for text in re.findall(r"\bexport\s+([^;&|\n]+)", setup):
        try:
            words = shlex.split(text, comments=True)
        except ValueError:
            # A quoted value that goes on in the next line.
            words = text.split()[:1]
        names |= dict.fromkeys(word.partition("=")[0] for word in words)
    return [name for name in names if name.isidentifier() and name not in _ALWAYS]


def _qsub(*words: str) -> str:
    return id_in(call(["qsub", *words]), r"\d+(?:\[\])?(?:\.[\w.-]+)?")


def _chunks(options: JobOptions) -> list[str]:
    """Returns the request for nodes, a chunk each."""
    cores = options.ranks_per_node * options.cpus_per_rank
    parts = [f"mpiprocs={options.ranks_per_node}"]
    if options.cpu_request:
        parts = [f"ncpus={cores}", *parts, f"ompthreads={options.cpus_per_rank}"]
    memory = f"mem={options.memory_of().lower()}b" if options.memory else ""
    parts += filter(None, [options.gpus("ngpus={gpus}"), memory])
    # What the user asks for replaces hvcod's own.
    given = {part.partition("=")[0] for part in options.chunk.split(":")}
    parts = [part for part in parts if part.partition("=")[0] not in given]
    chunk = ":".join(filter(None, [*parts, options.chunk]))
    place = options.place or "scatter"
    if options.exclusive and "excl" not in place:
        place += ":excl"
    return [f"-l select={options.nodes}:{chunk}", f"-l place={place}"]


def _totals(options: JobOptions) -> list[str]:
    """Returns the request for what all nodes have together."""
    lines = [f"-l ncpus={options.ranks * options.cpus_per_rank}"]
    if options.gpus_per_node:
        lines.append(f"-l ngpus={options.nodes * options.gpus_per_node}")
    memory = options.memory_of(options.nodes).lower()
    return lines + ([f"-l mem={memory}b"] if memory else [])
