#!/usr/bin/env bash
# Codistillation: one of 2 groups, each a job of its own on 4 nodes of 4 ranks and 4 GPUs each.
# mkdir -p runs/cc/logs && bsub train-group.sh
#BSUB -J "cc-train-group[1-2]"
#BSUB -P MY_ACCOUNT
#BSUB -q MY_PARTITION
#BSUB -nnodes 4
#BSUB -W 12:00
#BSUB -o /dev/null

INDEX=$((LSB_JOBINDEX - 1))
mkdir -p runs/cc/logs || exit 1
exec >>"runs/cc/logs/train-group-$(printf %02d "$INDEX").log" 2>&1
NODES=4
RANKS_PER_NODE=4
CPUS_PER_RANK=8
GPUS_PER_NODE=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler lsf --folder runs/cc --name train-group --script "$0" \
    --index "$INDEX" -- \
    jsrun --nrs "$NODES" --rs_per_host 1 --tasks_per_rs "$RANKS_PER_NODE" \
    --cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))" --gpu_per_rs "$GPUS_PER_NODE" \
    --launch_distribution packed --bind "packed:$CPUS_PER_RANK" \
    hvcod train --groups 2 --group "$INDEX" --run-dir runs/cc --task commoncrawl --data data/cc \
    --preset paper --time-limit 42900s
