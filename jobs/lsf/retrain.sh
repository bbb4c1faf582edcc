#!/usr/bin/env bash
# Retrains for churn: one of 12 shares, on 1 node of 8 ranks each.
# mkdir -p runs/churn/logs && bsub retrain.sh
#BSUB -J "churn-retrain[2-13]"
#BSUB -P MY_ACCOUNT
#BSUB -q MY_PARTITION
#BSUB -nnodes 1
#BSUB -W 12:00
#BSUB -o /dev/null

INDEX=$((LSB_JOBINDEX - 1))
mkdir -p runs/churn/logs || exit 1
exec >>"runs/churn/logs/retrain-$(printf %02d "$INDEX").log" 2>&1
NODES=1
RANKS_PER_NODE=8
CPUS_PER_RANK=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler lsf --folder runs/churn --name retrain --script "$0" \
    --index "$INDEX" -- \
    jsrun --nrs "$NODES" --rs_per_host 1 --tasks_per_rs "$RANKS_PER_NODE" \
    --cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))" --launch_distribution packed \
    --bind "packed:$CPUS_PER_RANK" \
    hvcod churn run --task criteo --data data/criteo --output runs/churn --time-limit 42900s \
    --share "$INDEX/12"
