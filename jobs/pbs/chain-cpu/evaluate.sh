#!/usr/bin/env bash
#PBS -N cc-evaluate
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=4:ncpus=32:mpiprocs=8:ompthreads=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o runs/cc/logs/
# Evaluation of the groups and of their ensemble, on 4 nodes of 8 ranks each.
# qsub evaluate.sh

cd "$PBS_O_WORKDIR" || exit 1
LOG=runs/cc/logs/evaluate.log
mkdir -p runs/cc/logs && exec >>"$LOG" 2>&1
echo "$(date +%FT%T) job $PBS_JOBID, start $(($(grep -c ", start " "$LOG") + 1))"

RANKS_PER_NODE=8
CPUS_PER_RANK=4
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
    hvcod evaluate runs/cc
    --json
)

exec "${LAUNCHER[@]}" "${COMMAND[@]}"
