#!/usr/bin/env bash
# Churn of all retrains, compared; missing ones are trained first.
# mkdir -p runs/churn/logs && sbatch report.sh
#SBATCH --job-name=churn-report
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --output=runs/churn/logs/report.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300

CPUS_PER_RANK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler slurm --folder runs/churn --name report --script "$0" \
    --waits-for retrain -- \
    srun --mpi=pmix --cpus-per-task="$CPUS_PER_RANK" \
    hvcod churn run --task criteo --data data/criteo --output runs/churn
