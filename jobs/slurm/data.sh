#!/usr/bin/env bash
# hvcod data on 4 nodes of 8 ranks each.
# mkdir -p data/jobs/logs && sbatch data.sh
#SBATCH --job-name=jobs-data
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --output=data/jobs/logs/data.log
#SBATCH --open-mode=append
#SBATCH --requeue

CPUS_PER_RANK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler slurm --folder data/jobs --name data --script "$0" -- \
    srun --mpi=pmix --cpus-per-task="$CPUS_PER_RANK" \
    hvcod data commoncrawl 'crawl/*.warc.wet.gz' --output data/cc
