#!/usr/bin/env bash
# Retrains for churn: one of 12 shares, on 1 node of 8 ranks each.
# mkdir -p runs/churn/logs && qsub retrain.sh
#PBS -N churn-retrain
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=1:ncpus=32:mpiprocs=8:ompthreads=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o localhost:/dev/null
#PBS -J 1-12

INDEX=${PBS_ARRAY_INDEX:-$INDEX}
cd "$PBS_O_WORKDIR" || exit 1
mkdir -p runs/churn/logs || exit 1
exec >>"runs/churn/logs/retrain-$(printf %02d "$INDEX").log" 2>&1
RANKS_PER_NODE=8
CPUS_PER_RANK=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler pbs --folder runs/churn --name retrain --script "$0" \
    --index "$INDEX" -- \
    mpirun ${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"} ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH} \
    --map-by "ppr:$RANKS_PER_NODE:node" --bind-to none -x PATH -x OMP_NUM_THREADS \
    hvcod churn run --task criteo --data data/criteo --output runs/churn --time-limit 42900s \
    --share "$INDEX/12"
