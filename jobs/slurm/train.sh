#!/usr/bin/env bash
# Codistillation: 2 groups in one job, on 4 nodes of 4 ranks and 4 GPUs each.
# mkdir -p runs/cc/logs && sbatch train.sh
#SBATCH --job-name=cc-train
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --output=runs/cc/logs/train.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300

CPUS_PER_RANK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler slurm --folder runs/cc --name train --script "$0" -- \
    srun --mpi=pmix --cpus-per-task="$CPUS_PER_RANK" \
    hvcod train --groups 2 --run-dir runs/cc --task commoncrawl --data data/cc --preset paper
