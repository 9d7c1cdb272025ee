#!/bin/sh
# vLLM for the actor (or the policy): token-exact, with the log-probabilities that a trainer needs.
#   MODEL=Qwen/Qwen3-8B PORT=8000 sh deploy/vllm/actor.sh
# One server for each GPU, or for each group of GPUs that holds the model once (TENSOR_PARALLEL):
# replicas are named in base_urls, which balances them by prefix and load; no balancer in between.
set -eu
: "${MODEL:?name the model, a folder or a Hugging Face id}"
exec vllm serve "$MODEL" \
  --host "${HOST:-127.0.0.1}" \
  --port "${PORT:-8000}" \
  --tensor-parallel-size "${TENSOR_PARALLEL:-1}" \
  --max-model-len "${CONTEXT:-8192}" \
  --max-num-seqs "${SLOTS:-256}" \
  --gpu-memory-utilization "${GPU_MEMORY:-0.92}" \
  --generation-config vllm \
  --logprobs-mode raw_logprobs \
  --enable-prefix-caching "$@"
