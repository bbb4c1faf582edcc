#!/usr/bin/env bash
# Codistillation: 2 groups in one job, on 4 nodes of 4 ranks and 4 GPUs each.
# mkdir -p runs/cc/logs && qsub train.sh
#PBS -N cc-train
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=4:ncpus=32:mpiprocs=4:ompthreads=8:ngpus=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o localhost:/dev/null

cd "$PBS_O_WORKDIR" || exit 1
mkdir -p runs/cc/logs || exit 1
exec >>"runs/cc/logs/train.log" 2>&1
RANKS_PER_NODE=4
CPUS_PER_RANK=8
export OMP_NUM_THREADS="$CPUS_PER_RANK"
# mpirun built without PBS needs ssh between the nodes, or --remote-shell scheduler.
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler pbs --folder runs/cc --name train --script "$0" -- \
    mpirun ${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"} ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH} \
    --map-by "ppr:$RANKS_PER_NODE:node" --bind-to none -x PATH -x OMP_NUM_THREADS \
    hvcod train --groups 2 --run-dir runs/cc --task commoncrawl --data data/cc --preset paper \
    --time-limit 42900s
