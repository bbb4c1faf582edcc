#!/usr/bin/env bash
# Retrains for churn: one of 12 shares, on 1 node of 8 ranks each.
# mkdir -p runs/churn/logs && sbatch retrain.sh
#SBATCH --job-name=churn-retrain
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --array=1-12
#SBATCH --output=runs/churn/logs/retrain-%2a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300

INDEX=$SLURM_ARRAY_TASK_ID
CPUS_PER_RANK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler slurm --folder runs/churn --name retrain --script "$0" \
    --index "$INDEX" -- \
    srun --mpi=pmix --cpus-per-task="$CPUS_PER_RANK" \
    hvcod churn run --task criteo --data data/criteo --output runs/churn --share "$INDEX/12"
