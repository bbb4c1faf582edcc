"""Batch scripts for Slurm, by its manual (https://slurm.schedmd.com/sbatch.html)."""

from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.script import Script, clock, command, environment, once

WAITING = """\
# Slurm warns this shell; srun and mpirun hand USR2 on to all ranks, which save and exit with 75.
again=1
trap 'again=1; kill -USR2 "$launch"' USR1 TERM
"${LAUNCHER[@]}" "${COMMAND[@]}" &
launch=$!
while [[ $again ]]; do
    again=
    wait "$launch"
    status=$?
done
"""
"""A signal ends bash's ``wait``, not what it waits for: so it waits again."""

PLAIN = """\
# The ranks look at the clock themselves: see --time-limit.
"${LAUNCHER[@]}" "${COMMAND[@]}"
status=$?
"""

REQUEUE = """\
# 75: saved, start me again. Whatever else it is, it is the end; and so is scancel.
if ((status == 75)) && scontrol show job "$JOB" |
    grep -Eq 'JobState=RUNNING|Reason=TimeLimit'; then
    echo "$(date +%FT%T) saved; back into the queue"
    scontrol requeue "$JOB"
fi
exit "$status"
"""


def text(script: Script, folder: Path) -> str:
    """The batch script, whose log goes below ``folder/logs``."""
    parts = [
        "#!/usr/bin/env bash",
        f"# {script.about}",
        f"# mkdir -p {folder}/logs && sbatch {script.name}.sh",
        *(f"#SBATCH {line}" for line in directives(script, folder)),
        "",
        *_numbers(script),
        *environment(script),
        "",
        *command(script),
        'echo "$(date +%FT%T) job $JOB, start $((${SLURM_RESTART_COUNT:-0} + 1)), '
        'on $SLURM_JOB_NODELIST"',
        "",
    ]
    return "\n".join([*parts, *_run(script)]).rstrip() + "\n"


def directives(script: Script, folder: Path) -> list[str]:
    """What the job asks Slurm for."""
    options = script.options
    # Each start goes on in the log of the one before; %2a is the index, in two digits.
    log = f"{script.name}-%2a" if script.indices else script.name
    lines = [f"--job-name={options.name}-{script.name}", *_site(options)]
    lines += [f"--nodes={options.nodes}", f"--ntasks-per-node={options.ranks_per_node}"]
    lines += [f"--cpus-per-task={options.cpus_per_rank}"] if options.cpu_request else []
    lines += _gpus(options)
    lines += [f"--time={clock(options.time)}"]
    if script.indices:
        lines.append("--array={}-{}".format(*script.indices))
    lines += [f"--output={folder}/logs/{log}.log", "--open-mode=append", "--requeue"]
    if script.goes_on and not options.by_clock:
        lines.append(f"--signal=B:USR1@{options.warning:.0f}")
    return lines + options.directives.strip().splitlines()


def _site(options: JobOptions) -> list[str]:
    named = {"account": options.account, "partition": options.partition, "qos": options.qos}
    return [f"--{name}={value}" for name, value in named.items() if value]


def _gpus(options: JobOptions) -> list[str]:
    request = options.gpu_request
    request = "--gpus-per-node={gpus}" if request is None else request
    asked = options.gpus_per_node and request
    return [request.format(gpus=options.gpus_per_node)] if asked else []


def _numbers(script: Script) -> list[str]:
    found = dict(script.numbers)
    told = {"RANKS": "$SLURM_NTASKS", "RANKS_PER_NODE": "$SLURM_NTASKS_PER_NODE"}
    if script.options.cpu_request:
        told["CPUS_PER_RANK"] = "$SLURM_CPUS_PER_TASK"
    lines = [f"{name}={told.get(name, value)}" for name, value in found.items()]
    if not script.indices:
        return [*lines, "JOB=$SLURM_JOB_ID"]
    # The last job of an array has the number of the whole array for its own.
    job = "JOB=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    return [*lines, "INDEX=$SLURM_ARRAY_TASK_ID", job]


def _run(script: Script) -> list[str]:
    if not script.goes_on:
        return once()
    return [PLAIN if script.options.by_clock else WAITING, REQUEUE]
