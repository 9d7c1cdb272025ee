#!/bin/sh
# vLLM for the policy of RL rounds: as actor.sh, and it takes the next policy version in place.
#   MODEL=/store/policies/thor/versions/v1 PORT=8000 sh deploy/vllm/policy.sh
# Development mode opens routes that ask for no key: on a private network only. Every server reads
# the version's folder itself, so the store is mounted under the same path everywhere.
set -eu
export VLLM_SERVER_DEV_MODE=1
exec sh "$(dirname "$0")/actor.sh" "$@"
