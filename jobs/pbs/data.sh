#!/usr/bin/env bash
# hvcod data on 4 nodes of 8 ranks each.
# mkdir -p data/jobs/logs && qsub data.sh
#PBS -N jobs-data
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=4:ncpus=32:mpiprocs=8:ompthreads=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o localhost:/dev/null

cd "$PBS_O_WORKDIR" || exit 1
mkdir -p data/jobs/logs || exit 1
exec >>"data/jobs/logs/data.log" 2>&1
RANKS_PER_NODE=8
CPUS_PER_RANK=4
export OMP_NUM_THREADS="$CPUS_PER_RANK"
# mpirun built without PBS needs ssh between the nodes, or --remote-shell scheduler.
export PATH="$HOME/hvcod/.venv/bin:$PATH"

# Waits, warns the ranks in time, and goes back into the queue if they exit with 75.
exec hvcod job run --scheduler pbs --folder data/jobs --name data --script "$0" -- \
    mpirun ${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"} ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH} \
    --map-by "ppr:$RANKS_PER_NODE:node" --bind-to none -x PATH -x OMP_NUM_THREADS \
    hvcod data commoncrawl 'crawl/*.warc.wet.gz' --output data/cc
