#!/bin/bash
#SBATCH --job-name=demystify
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=72
#SBATCH --mem=0
#SBATCH --time=2-00:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# A Ray cluster on the nodes of this job, and a command in it; by default everything that params.yaml
# asks for. In the project's folder, which all nodes see, after `make setup` there:
#   sbatch deploy/slurm.sh
#   sbatch --nodes=2 deploy/slurm.sh python -m pipeline.train classify dwnet_base --set cluster.workers=16
# At its time limit or after a lost node, the same line again goes on from the newest checkpoint.
# The nodes are taken whole: `ray symmetric-run` ends every Ray of yours on them.
set -euo pipefail
umask 077
cd "$SLURM_SUBMIT_DIR"
export PATH="$PWD/.venv/bin:$PATH"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_enable_metrics_collection=0 # its page asks nobody for a token
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600 # nodes of one job do not start at once

if [ $# -eq 0 ]; then
    set -- python -m pipeline.repro
fi
ray get-auth-token --generate >/dev/null # for the head and all who join it, readable by you alone
# The batch script runs on the first node; a name may lead to 127.0.1.1 there.
address="$(hostname --all-ip-addresses | cut --delimiter=' ' --fields=1):6379"

# Ray's command ends with code 0 where its head did not start: only what has run counts.
started="$(mktemp --dry-run "$PWD/.slurm-$SLURM_JOB_ID-XXXXXX")"
trap 'rm -f "$started"' EXIT
# shellcheck disable=SC2016 # the inner shell expands
srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
    --dashboard-host 127.0.0.1 -- \
    env RAY_ADDRESS="$address" bash -c 'touch "$0" && exec "$@"' "$started" "$@"
if [ ! -e "$started" ]; then
    echo "the Ray head at $address did not start; its words are above" >&2
    exit 1
fi
