"""A client of a reward model at vLLM's `/pooling`, for candidates with equal pass rates (Table 2).

Serve one with ``vllm serve internlm/internlm2-1_8b-reward --runner pooling``. The server renders
the conversation with the model's template and returns one number per token; the last one is the
reward of the whole response.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from pydantic import Field

from tirgen.engine.connect import api_key
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.retry import RetryPolicy
from tirgen.settings import NameOrFolder, ServerUrl, Settings, Variable


class RewardModel(Protocol):
    """Scores one response to one question; only the order of scores has a meaning."""

    async def score(self, question: str, response: str) -> float:
        """Raises what `Engine.complete` raises."""
        ...


class RewardModelConfig(Settings):
    """Where a reward model is served."""

    base_url: ServerUrl
    """The server's root, e.g. ``http://localhost:8002``; requests go to its `/pooling`."""
    model: NameOrFolder
    """The model's name in the server's list."""
    api_key_env: Variable | None = None
    """Name of the environment variable that holds the key, never the key itself."""
    concurrency: int = Field(32, ge=1)
    """Most requests at the same time."""
    timeout_seconds: float = Field(120, gt=0)
    max_tries: int = Field(10, ge=1)


class PoolingRewardModel:
    """A reward model of a vLLM server."""

    def __init__(self, pool: Pool[JsonClient], model: str) -> None:
        self._pool = pool
        self._model = model

    async def score(self, question: str, response: str) -> float:
        turns = [("user", question), ("assistant", response)]
        body = {
            "model": self._model,
            "messages": [{"role": role, "content": content} for role, content in turns],
        }
        data = json.dumps(body).encode()
        answer = await self._pool.run(lambda client: client.post("/pooling", data))
        return _last_number(answer.result)


@asynccontextmanager
async def open_reward_model(config: RewardModelConfig) -> AsyncIterator[RewardModel]:
    """The reward model of a configuration. Raises `EngineMisconfigured` where its key is unset."""
    key = api_key(config.api_key_env, config.base_url)
    policy = RetryPolicy(max_tries=config.max_tries, try_seconds=config.timeout_seconds)
    async with JsonClient(config.base_url, api_key=key, connections=config.concurrency) as client:
        yield PoolingRewardModel(Pool.of(client, policy, config.concurrency), config.model)


def _last_number(answer: Any) -> float:
    """The reward at the last token, from a number or nested lists (by token, by label)."""
    try:
        value = answer["data"][0]["data"]
        while isinstance(value, list):
            value = value[-1]
        return float(value)
    except (KeyError, IndexError, TypeError, ValueError):
        raise EngineMisconfigured(
            f"the reward model answered without a score ({json.dumps(answer)[:200]}); it must be "
            "served with --runner pooling"
        ) from None
