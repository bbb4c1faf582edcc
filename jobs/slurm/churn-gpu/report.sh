#!/usr/bin/env bash
# Churn of all retrains, compared; what is missing is trained first.
# mkdir -p runs/churn/logs && sbatch report.sh
#SBATCH --job-name=churn-report
#SBATCH --account=MY_ACCOUNT
#SBATCH --partition=MY_PARTITION
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --output=runs/churn/logs/report.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300

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
    hvcod churn run
    --task criteo
    --data data/criteo
    --output runs/churn
)
echo "$(date +%FT%T) job $JOB, start $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST"

# Slurm warns this shell; srun and mpirun hand USR2 on to all ranks, which save and exit with 75.
again=1
trap 'again=1; kill -USR2 "$launch"' USR1 TERM
"${LAUNCHER[@]}" "${COMMAND[@]}" &
launch=$!
while [[ $again ]]; do
    again=
    wait "$launch"
    status=$?
done

# 75: saved, start me again. Whatever else it is, it is the end; and so is scancel.
if ((status == 75)) && scontrol show job "$JOB" |
    grep -Eq 'JobState=RUNNING|Reason=TimeLimit'; then
    echo "$(date +%FT%T) saved; back into the queue"
    scontrol requeue "$JOB"
fi
exit "$status"
