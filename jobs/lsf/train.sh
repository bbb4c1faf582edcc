#!/usr/bin/env bash
# Codistillation: 2 groups in one job, on 4 nodes of 4 ranks and 4 GPUs each.
# mkdir -p runs/cc/logs && bsub train.sh
#BSUB -J "cc-train"
#BSUB -P MY_ACCOUNT
#BSUB -q MY_PARTITION
#BSUB -nnodes 4
#BSUB -W 12:00
#BSUB -o /dev/null

mkdir -p runs/cc/logs || exit 1
exec >>"runs/cc/logs/train.log" 2>&1
NODES=4
RANKS_PER_NODE=4
CPUS_PER_RANK=8
GPUS_PER_NODE=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler lsf --folder runs/cc --name train --script "$0" -- \
    jsrun --nrs "$NODES" --rs_per_host 1 --tasks_per_rs "$RANKS_PER_NODE" \
    --cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))" --gpu_per_rs "$GPUS_PER_NODE" \
    --launch_distribution packed --bind "packed:$CPUS_PER_RANK" \
    hvcod train --groups 2 --run-dir runs/cc --task commoncrawl --data data/cc --preset paper \
    --time-limit 42900s
