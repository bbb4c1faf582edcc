#!/usr/bin/env bash
# Preparation of the data, on 4 nodes of 8 ranks each.
# mkdir -p runs/cc/logs && sbatch prepare.sh
#SBATCH --job-name=cc-prepare
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --output=runs/cc/logs/prepare.log
#SBATCH --open-mode=append
#SBATCH --requeue

CPUS_PER_RANK=$SLURM_CPUS_PER_TASK
JOB=$SLURM_JOB_ID
# The environment of all ranks.
export PATH="$HOME/hvcod/.venv/bin:$PATH"
export OMP_NUM_THREADS="$CPUS_PER_RANK"

LAUNCHER=(
    srun
    --mpi=pmix
    --cpus-per-task="$CPUS_PER_RANK"
    --cpu-bind=cores
)
COMMAND=(
    hvcod data commoncrawl 'crawl/*.warc.wet.gz'
    --output data/cc
)
echo "$(date +%FT%T) job $JOB, start $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST"

exec "${LAUNCHER[@]}" "${COMMAND[@]}"
