#!/usr/bin/env bash
#PBS -N cc-jobs-data
#PBS -S /bin/bash
#PBS -A MY_ACCOUNT
#PBS -q MY_PARTITION
#PBS -l select=4:ncpus=32:mpiprocs=8:ompthreads=4
#PBS -l place=scatter
#PBS -l walltime=12:00:00
#PBS -r y
#PBS -j oe
#PBS -o data/cc-jobs/logs/
# hvcod data commoncrawl on 4 nodes of 8 ranks each.
# qsub data.sh

cd "$PBS_O_WORKDIR" || exit 1
LOG=data/cc-jobs/logs/data.log
mkdir -p data/cc-jobs/logs && exec >>"$LOG" 2>&1
echo "$(date +%FT%T) job $PBS_JOBID, start $(($(grep -c ", start " "$LOG") + 1))"

RANKS_PER_NODE=8
CPUS_PER_RANK=4
# The environment of all ranks.
export PATH="$HOME/hvcod/.venv/bin:$PATH"
export OMP_NUM_THREADS="$CPUS_PER_RANK"

LAUNCHER=(
    mpirun
    ${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"}
    ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH}
    --map-by "ppr:$RANKS_PER_NODE:node:PE=$CPUS_PER_RANK"
    --bind-to core
    -x PATH
    -x OMP_NUM_THREADS
)
COMMAND=(
    hvcod data commoncrawl 'crawl/*.warc.wet.gz'
    --output data/cc
)

exec "${LAUNCHER[@]}" "${COMMAND[@]}"
