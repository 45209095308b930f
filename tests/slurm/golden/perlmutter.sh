#!/bin/bash
# Perlmutter GPU (NERSC, Berkeley): ptrain train, 2 x 4 ranks.
# Made by: ptrain slurm render --site perlmutter --nodes 2 --account m1_g --module pytorch --time 02:00:00 -- --data data/train.npz --hidden 256 128 --epochs 50 --run-dir runs/first
# Slurm does not make the folder of the log. Before the first sbatch of this script: mkdir -p runs/first
#SBATCH --job-name=ptrain
#SBATCH --account=m1_g
#SBATCH --qos=regular
#SBATCH --constraint=gpu
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=02:00:00
#SBATCH --gpus-per-node=4
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=runs/first/slurm.log

job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
restarts=$((${PTRAIN_RESTARTS:-0} + ${SLURM_RESTART_COUNT:-0}))
say() { printf '%s job %s: %s\n' "$(date '+%F %T')" "$job" "$*"; }
fail() {
    say "$*"
    exit 2
}

run_dir=runs/first
mkdir -p "$run_dir" || fail "the run directory $run_dir cannot be made"
say "start $((restarts + 1)) on $SLURM_JOB_NODELIST: $SLURM_JOB_NUM_NODES nodes, $SLURM_NTASKS ranks, run directory $run_dir"
[ "$restarts" -le 20 ] || fail "restarted $restarts times, more than 20: stopped for good"

# A signal is passed on to every rank as USR1: write a checkpoint at the next step and leave with exit code 75.
pid='' stopping=no
# shellcheck disable=SC2317 # called by the trap
pass_on() {
    interrupted=yes stopping=yes
    [ -z "$pid" ] || kill -USR1 "$pid" 2>/dev/null
}
trap pass_on USR1 TERM
run() { # run COMMAND…: its exit code, also when signals arrive meanwhile
    "$@" &
    pid=$! interrupted=yes
    while [ "$interrupted" = yes ]; do
        interrupted=no
        wait "$pid"
        code=$?
    done
    pid=''
}

# Software.
# shellcheck source=/dev/null
command -v module >/dev/null || . /etc/profile
module load pytorch || fail "not all modules are there: module load "pytorch
ptrain=(ptrain)
command -v ptrain >/dev/null || fail "there is no ptrain on PATH: give the job --venv, --image or --module"

# A rank shares its cores out to threads of its own (--threads); threads inside the kernels would fight over them.
export OMP_NUM_THREADS=1
export FI_MR_CACHE_MONITOR=userfaultfd

# Where the ranks meet: on the first node, which is the one that runs this script.
export MASTER_ADDR=${SLURMD_NODENAME:-$(hostname -s)}
export MASTER_PORT=$((10000 + (SLURM_JOB_ID + restarts) % 20000))
getent hosts "$MASTER_ADDR" >/dev/null || fail "the first node's name $MASTER_ADDR cannot be resolved on $(hostname)"

# One task a rank. Since Slurm 22.05 srun does not take --cpus-per-task over from sbatch.
start=(srun --mpi=pmi2 --ntasks="$SLURM_NTASKS" --cpus-per-task="$SLURM_CPUS_PER_TASK" --gpu-bind=none --cpu-bind=cores)

# Goes on in another run of this job. It is this shell that asks for it: scontrol is often missing inside containers.
go_on() { # go_on WHAT-HAPPENED
    local state next
    state=$(squeue --noheader --jobs="$job" --format=%T 2>/dev/null)
    if [ -n "$state" ] && [ "$state" != RUNNING ]; then
        say "$1; Slurm says $state, so the job is not requeued from here"
    elif [ "$restarts" -ge 20 ]; then
        say "$1; restarted $restarts times, which is the limit (--max-restarts): submit it again to go on"
    elif scontrol requeue "$job"; then
        say "$1; requeued, restart $((restarts + 1)) of at most 20"
    elif next=$(PTRAIN_RESTARTS=$((restarts + 1)) sbatch --parsable --dependency=afterany:"$job" "$0"); then
        printf '%s\n' "${next%%;*}" >>runs/first/slurm.jobs
        say "$1; job ${next%%;*} goes on, restart $((restarts + 1)) of at most 20"
    else
        say "$1; Slurm refused to requeue it: submit it again to go on"
    fi
    exit 75
}

# A program that failed is not run again. A node that died is another matter.
give_up() { # give_up WHAT CODE [EXIT-CODE]
    if [ "$SLURM_JOB_NUM_NODES" -gt 1 ] && [ "$2" -ne 2 ] && [ "$2" -ne 3 ] &&
        ! timeout 60 srun --overlap --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 true 2>/dev/null; then
        say "$1 with exit code $2, and a node does not answer: Slurm requeues the job when it gives the node up"
        sleep 1800 &
        wait $!
    else
        say "$1 with exit code $2; not requeued; the reason is above"
    fi
    exit "${3:-$2}"
}

# Every rank in its place, and all hear each other? Seconds now instead of hours later.
run "${start[@]}" --kill-on-bad-exit=1 "${ptrain[@]}" doctor --preflight --expect-ranks "$SLURM_NTASKS" --shared-folder "$run_dir"
[ "$stopping" = yes ] || [ "$code" -eq 0 ] || give_up "the preflight failed (nothing was trained)" "$code" 2

train=(
    --data data/train.npz
    --hidden 256 128
    --epochs 50
    --resume auto --run-dir "$run_dir" --threads "$SLURM_CPUS_PER_TASK"
)
code=75
if [ "$stopping" = no ]; then
    run "${start[@]}" --wait=30 "${ptrain[@]}" train "${train[@]}"
fi
# 138: USR1 came before ptrain listened, so before the first step.
if [ "$stopping" = yes ] && [ "$code" -eq 138 ]; then code=75; fi
case $code in
    0) say "done" ;;
    75) go_on "stopped at a step boundary, checkpoint written" ;;
    *) give_up "ended" "$code" ;;
esac
