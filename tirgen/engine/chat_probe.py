"""How one hosted chat endpoint differs from another, found out by asking it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tirgen.engine.errors import EngineMisconfigured, EngineRefused, EngineUnavailable
from tirgen.engine.lane import Lane
from tirgen.engine.retry import PROBE_PATIENCE, Transient, failure

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONTINUE_FIELDS = {"continue_final_message": True, "add_generation_prompt": False}
"""vLLM's way to go on within the last message."""

_QUESTION = {"role": "user", "content": "Count from one to ten."}
_BEGUN = {"role": "assistant", "content": "One, two,"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDialect:
    """What the probe found."""

    limit_field: str
    """``max_tokens``, or ``max_completion_tokens`` where the former is refused."""
    continues_reply: bool
    """`CONTINUE_FIELDS` have their effect."""
    takes_top_k: bool
    """`top_k` is not refused; whether it has an effect cannot be seen from outside."""


async def probe_chat(client: AsyncOpenAI, model: str) -> ChatDialect:
    """A handful of one-token answers. Raises `EngineMisconfigured` when none comes."""
    asker = _Asker(client, model)
    try:
        limit_field = await _limit_field(asker)
    except EngineUnavailable as error:
        raise EngineMisconfigured(
            f"No engine at {client.base_url}: {error.__cause__} Start the server or correct "
            "`base_url`."
        ) from error
    return ChatDialect(
        limit_field=limit_field,
        continues_reply=await _continues(asker, limit_field),
        takes_top_k=await asker.prompt_tokens(limit_field, {"top_k": 1}) is not None,
    )


async def _limit_field(asker: _Asker) -> str:
    try:
        await asker.ask("max_tokens")
    except EngineRefused as error:
        if await asker.prompt_tokens("max_completion_tokens") is None:
            raise EngineMisconfigured(f"The endpoint refuses a plain question: {error}") from error
        return "max_completion_tokens"
    return "max_tokens"


async def _continues(asker: _Asker, limit_field: str) -> bool:
    """A reply that is gone on with lacks the tokens that close it and open the next."""
    closed = await asker.prompt_tokens(limit_field, begun=True)
    open_ended = await asker.prompt_tokens(limit_field, CONTINUE_FIELDS, begun=True)
    return closed is not None and open_ended is not None and open_ended < closed


class _Asker:
    """One-token answers to one fixed question."""

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        self._client = client
        self._model = model
        self._lane = Lane(1, PROBE_PATIENCE)

    async def ask(
        self, limit_field: str, extra: dict[str, Any] | None = None, begun: bool = False
    ) -> int:
        """Prompt tokens as the server counts them; 0 where it does not."""
        fields = {
            "model": self._model,
            "messages": [_QUESTION, _BEGUN] if begun else [_QUESTION],
            limit_field: 1,
            **(extra or {}),
        }

        async def attempt() -> int:
            async with faults_named(self._client.api_key):
                answer = await self._client.chat.completions.create(
                    model=self._model, messages=[], extra_body=fields
                )
            return answer.usage.prompt_tokens if answer.usage else 0

        tokens, _ = await self._lane.run(attempt)
        return tokens

    async def prompt_tokens(
        self, limit_field: str, extra: dict[str, Any] | None = None, begun: bool = False
    ) -> int | None:
        """The same; None when the endpoint refuses such a request."""
        try:
            return await self.ask(limit_field, extra, begun)
        except (EngineRefused, EngineUnavailable):
            return None


@asynccontextmanager
async def faults_named(key: str) -> AsyncIterator[None]:
    """The SDK's exceptions become ours, without the key that some servers quote."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        said = error.body.get("message") if isinstance(error.body, dict) else None
        retry_after = error.response.headers.get("retry-after")
        message = str(said or error.message).replace(key, "***")
        raise failure(error.status_code, message, retry_after) from None
    except openai.APIConnectionError as error:
        raise Transient(f"The connection failed ({error.__cause__ or error}).") from error
    except (openai.APIError, json.JSONDecodeError) as error:
        raise Transient(f"The answer could not be read ({error}).") from error
