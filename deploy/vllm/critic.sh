#!/bin/sh
# vLLM for the critic: as actor.sh, for long prompts that share their beginning and short answers.
#   MODEL=Qwen/Qwen3-32B PORT=8001 TENSOR_PARALLEL=2 sh deploy/vllm/critic.sh
set -eu
export PORT="${PORT:-8001}" CONTEXT="${CONTEXT:-16384}"
exec sh "$(dirname "$0")/actor.sh" --max-num-batched-tokens "${BATCHED_TOKENS:-16384}"
