#!/usr/bin/env bash
# Codistillation: one of 2 groups, each a job of its own on 4 nodes of 4 ranks and 4 GPUs each.
# mkdir -p runs/cc/logs && sbatch train-group.sh
#SBATCH --job-name=cc-train-group
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --array=0-1
#SBATCH --output=runs/cc/logs/train-group-%2a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300

INDEX=$SLURM_ARRAY_TASK_ID
CPUS_PER_RANK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler slurm --folder runs/cc --name train-group --script "$0" \
    --index "$INDEX" -- \
    srun --mpi=pmix --cpus-per-task="$CPUS_PER_RANK" \
    hvcod train --groups 2 --group "$INDEX" --run-dir runs/cc --task commoncrawl --data data/cc \
    --preset paper
