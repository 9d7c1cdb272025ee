#!/bin/sh
# vLLM for the critic: long prompts that share their beginning, short answers.
#   MODEL=Qwen/Qwen3-32B PORT=8001 TENSOR_PARALLEL=2 sh deploy/vllm/critic.sh
set -eu
: "${MODEL:?name the model, a folder or a Hugging Face id}"
exec vllm serve "$MODEL" \
  --host "${HOST:-127.0.0.1}" \
  --port "${PORT:-8001}" \
  --tensor-parallel-size "${TENSOR_PARALLEL:-1}" \
  --max-model-len "${CONTEXT:-16384}" \
  --max-num-seqs "${SLOTS:-256}" \
  --max-num-batched-tokens "${BATCHED_TOKENS:-16384}" \
  --gpu-memory-utilization "${GPU_MEMORY:-0.92}" \
  --generation-config vllm \
  --enable-prefix-caching
