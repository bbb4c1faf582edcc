#!/usr/bin/env bash
#PBS -N cc-train
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=4:ncpus=32:mpiprocs=4:ompthreads=8:ngpus=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o runs/cc/logs/
# Codistillation: 2 groups in one job, on 4 nodes of 4 ranks and 4 GPUs each.
# qsub train.sh

cd "$PBS_O_WORKDIR" || exit 1
LOG=runs/cc/logs/train.log
mkdir -p runs/cc/logs && exec >>"$LOG" 2>&1
echo "$(date +%FT%T) job $PBS_JOBID, start $(($(grep -c ", start " "$LOG") + 1))"

RANKS_PER_NODE=4
CPUS_PER_RANK=8
# The environment of all ranks.
export PATH="$HOME/hvcod/.venv/bin:$PATH"
export OMP_NUM_THREADS="$CPUS_PER_RANK"

LAUNCHER=(
    mpirun
    ${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"}
    ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH}
    --map-by "ppr:$RANKS_PER_NODE:node:PE=$CPUS_PER_RANK"
    --bind-to core
    -x PATH
    -x OMP_NUM_THREADS
)
COMMAND=(
    hvcod train
    --groups 2
    --run-dir runs/cc
    --task commoncrawl
    --data data/cc
    --preset paper
    --time-limit 42900s
)

# Only managers of the server may rerun a job; anybody may submit the next one.
submit_next() {
    local next
    mkdir -p runs/cc/jobs
    next=$(qsub "$0") || return
    echo "$(date +%FT%T) goes on as job $next"
    note train "$next"
}

# For `hvcod job list` and `cancel`.
note() {
    printf '{"scheduler": "pbs", "name": "%s", "id": "%s"}\n' "$1" "$2" \
        >>runs/cc/jobs/submitted.jsonl
}

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
