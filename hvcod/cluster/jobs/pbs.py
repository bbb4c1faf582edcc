"""Batch scripts for OpenPBS and PBS Pro, by the manual pages qsub(1B) and qrerun(1B) of OpenPBS.

What is different from Slurm: there is no signal before the end of the wall time, at which (and by
``qdel`` or a preemption) every process of the job gets TERM, not only this shell. Output is copied
when the job ends, so the script itself appends to its log. Only managers and operators of a server
may ``qrerun``; so a job of anybody else submits the next one.

TERM reaches the processes of the first node only; those of the other nodes get KILL. And there
Open MPI's ``mpirun`` kills its ranks a second after TERM. So a preemption may cost what was trained
since the last save; only the clock (``--time-limit``) surely lets the ranks save.
"""

from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.script import Script, clock, command, environment, once

WAIT = """\
# qdel and preemptions send TERM to the processes of this node: what ranks it leaves alive save,
# and this shell waits for them.
told='' again=1
trap 'told=1 again=1' TERM
"${LAUNCHER[@]}" "${COMMAND[@]}" &
launch=$!
while [[ $again ]]; do
    again=
    wait "$launch"
    status=$?
done
"""

AGAIN = """\
# 75: saved, start me again. Whatever else it is, it is the end. After TERM it is for the one who
# sent it to say whether this job runs again: qdel means no, a preemption yes.
if ((status == 75)) && [[ ! $told ]]; then
    echo "$(date +%FT%T) saved; back into the queue"
    qrerun "$PBS_JOBID"
    code=$?
    # A rerun ends this job's processes with TERM (143), and qrerun is one of them.
    ((code == 0 || code == 143)) || submit_next
fi
exit "$status"
"""

NEXT = """\
# Only managers of the server may rerun a job; anybody may submit the next one.
submit_next() {{
    local next
    mkdir -p {folder}/jobs
{qsub}
    echo "$(date +%FT%T) goes on as job $next"
    note {name} "$next"
{follower}}}

# For `hvcod job list` and `cancel`.
note() {{
    printf '{{"scheduler": "pbs", "name": "%s", "id": "%s"}}\\n' "$1" "$2" \\
        >>{folder}/jobs/submitted.jsonl
}}
"""

FOLLOWER = """\
    # What waits for this job is deleted with it.
    next=$(qsub -W depend=afterok:"$next" {folder}/jobs/{name}.sh) || return
    note {name} "$next"
"""


def text(script: Script, folder: Path) -> str:
    """The batch script, which appends to a log below ``folder/logs``."""
    log = f'{script.name}-$(printf %02d "$INDEX")' if script.indices else script.name
    start = 'echo "$(date +%FT%T) job $PBS_JOBID, start $(($(grep -c ", start " "$LOG") + 1))"'
    parts = [
        "#!/usr/bin/env bash",
        *(f"#PBS {line}" for line in directives(script, folder)),
        f"# {script.about}",
        f"# qsub {script.name}.sh{_beside(script, folder)}",
        "",
        'cd "$PBS_O_WORKDIR" || exit 1',
        *(["INDEX=${PBS_ARRAY_INDEX:-$INDEX}"] if script.indices else []),
        f"LOG={folder}/logs/{log}.log",
        f'mkdir -p {folder}/logs && exec >>"$LOG" 2>&1',
        start,
        "",
        *(f"{name}={value}" for name, value in script.numbers.items()),
        *environment(script),
        "",
        *command(script),
        "",
    ]
    return "\n".join([*parts, *_run(script, folder)]).rstrip() + "\n"


def directives(script: Script, folder: Path) -> list[str]:
    """What the job asks PBS for."""
    options = script.options
    lines = [f"-N {options.name}-{script.name}", "-S /bin/bash"]
    lines += [f"-A {options.account}"] if options.account else []
    lines += [f"-q {options.partition}"] if options.partition else []
    lines += [f"-l select={options.nodes}:{_chunk(options)}", "-l place=scatter"]
    lines += [f"-l walltime={clock(options.time)}", "-r y", "-j oe", f"-o {folder}/logs/"]
    if script.indices:
        lines.append("-J {}-{}".format(*script.indices))
    return lines + options.directives.strip().splitlines()


def _beside(script: Script, folder: Path) -> str:
    waits = script.followed_by
    return (
        f", with {waits}.sh in {folder}/jobs: it is submitted again with this job" if waits else ""
    )


def _chunk(options: JobOptions) -> str:
    cores = options.ranks_per_node * options.cpus_per_rank
    parts = [f"ncpus={cores}"] if options.cpu_request else []
    parts += [f"mpiprocs={options.ranks_per_node}"]
    parts += [f"ompthreads={options.cpus_per_rank}"] if options.cpu_request else []
    request = "ngpus={gpus}" if options.gpu_request is None else options.gpu_request
    if options.gpus_per_node and request:
        parts.append(request.format(gpus=options.gpus_per_node))
    return ":".join([*parts, *([options.chunk] if options.chunk else [])])


def _run(script: Script, folder: Path) -> list[str]:
    if not script.goes_on:
        return once()
    return [_next(script, folder), WAIT, AGAIN]


def _next(script: Script, folder: Path) -> str:
    qsub = '    next=$(qsub "$0") || return'
    if script.indices:
        # An array has two jobs at least: this one goes on alone.
        alone = f'{folder}/jobs/{script.name}-"$INDEX".sh'
        qsub = (
            f"    sed '/^#PBS -J/d' \"$0\" >{alone}\n"
            f'    next=$(qsub -v INDEX="$INDEX" {alone}) || return'
        )
    waits = script.followed_by
    follower = FOLLOWER.format(folder=folder, name=waits) if waits else ""
    return NEXT.format(qsub=qsub, folder=folder, name=script.name, follower=follower)
