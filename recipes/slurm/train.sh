#!/bin/bash
# Trains on the GPUs of a SLURM job, one torchrun on each node, in a folder that all nodes see:
#   sbatch recipes/slurm/train.sh --stage 1
#   sbatch recipes/slurm/train.sh --stage 2 --variant TVB
# Before its time is up the training writes a checkpoint and ends. Submit it again, with as many GPUs as there are then: it
# resumes. Without GPUs of SLURM, PROCESSES says how many processes a node starts.
#SBATCH --job-name=bemerc-train
#SBATCH --output=bemerc-train-%j.log
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=4:00:00
#SBATCH --signal=TERM@120

export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110 # seconds for the step that runs and its checkpoint; torch of before has 30
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}" \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$head:$((29500 + SLURM_JOB_ID % 1000))" \
    -m bemerc train "$@"
