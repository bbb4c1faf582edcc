#!/usr/bin/env bash
# hvcod data on 4 nodes of 8 ranks each.
# mkdir -p data/jobs/logs && bsub data.sh
#BSUB -J "jobs-data"
#BSUB -P MY_ACCOUNT
#BSUB -q MY_PARTITION
#BSUB -nnodes 4
#BSUB -W 12:00
#BSUB -o /dev/null

mkdir -p data/jobs/logs || exit 1
exec >>"data/jobs/logs/data.log" 2>&1
NODES=4
RANKS_PER_NODE=8
CPUS_PER_RANK=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler lsf --folder data/jobs --name data --script "$0" -- \
    jsrun --nrs "$NODES" --rs_per_host 1 --tasks_per_rs "$RANKS_PER_NODE" \
    --cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))" --launch_distribution packed \
    --bind "packed:$CPUS_PER_RANK" \
    hvcod data commoncrawl 'crawl/*.warc.wet.gz' --output data/cc
