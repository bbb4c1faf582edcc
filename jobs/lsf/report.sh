#!/usr/bin/env bash
# Churn of all retrains, compared; missing ones are trained first.
# mkdir -p runs/churn/logs && bsub report.sh
#BSUB -J "churn-report"
#BSUB -P MY_ACCOUNT
#BSUB -q MY_PARTITION
#BSUB -nnodes 1
#BSUB -W 12:00
#BSUB -o /dev/null

mkdir -p runs/churn/logs || exit 1
exec >>"runs/churn/logs/report.log" 2>&1
NODES=1
RANKS_PER_NODE=8
CPUS_PER_RANK=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler lsf --folder runs/churn --name report --script "$0" \
    --waits-for retrain -- \
    jsrun --nrs "$NODES" --rs_per_host 1 --tasks_per_rs "$RANKS_PER_NODE" \
    --cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))" --launch_distribution packed \
    --bind "packed:$CPUS_PER_RANK" \
    hvcod churn run --task criteo --data data/criteo --output runs/churn --time-limit 42900s
