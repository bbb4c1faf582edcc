#!/usr/bin/env bash
# Churn of all retrains, compared; missing ones are trained first.
# mkdir -p runs/churn/logs && qsub report.sh
#PBS -N churn-report
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=1:ncpus=32:mpiprocs=8:ompthreads=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o localhost:/dev/null

cd "$PBS_O_WORKDIR" || exit 1
mkdir -p runs/churn/logs || exit 1
exec >>"runs/churn/logs/report.log" 2>&1
RANKS_PER_NODE=8
CPUS_PER_RANK=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler pbs --folder runs/churn --name report --script "$0" \
    --waits-for retrain -- \
    mpirun ${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"} ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH} \
    --map-by "ppr:$RANKS_PER_NODE:node" --bind-to none -x PATH -x OMP_NUM_THREADS \
    hvcod churn run --task criteo --data data/criteo --output runs/churn --time-limit 42900s
