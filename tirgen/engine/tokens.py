"""The engine that speaks token ids: vLLM, the pocket, and whatever keeps vLLM's field names."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from tirgen.engine.completions import PATH, Sampled, read_answer, request_body
from tirgen.engine.errors import ContextOverflow
from tirgen.engine.http import JsonClient
from tirgen.engine.lane import Lane
from tirgen.engine.probe import Capabilities, probe
from tirgen.engine.protocol import Completion, Prompt, Renderer, Sampling
from tirgen.text import well_formed


class TokenEngine:
    """Implements `Engine` over `POST /v1/completions` with prompts as token ids."""

    def __init__(
        self,
        client: JsonClient,
        lane: Lane,
        model: str,
        renderer: Renderer,
        capabilities: Capabilities,
    ) -> None:
        self._client = client
        self._lane = lane
        self._model = model
        self._renderer = renderer
        self.capabilities = capabilities

    @classmethod
    async def connect(cls, client: JsonClient, lane: Lane, model: str, renderer: Renderer) -> Self:
        """Probe the server first. Raises `EngineMisconfigured` when it cannot serve."""
        return cls(client, lane, model, renderer, await probe(client, model, renderer))

    @property
    def model(self) -> str:
        return self._model

    @property
    def renderer(self) -> Renderer:
        return self._renderer

    @property
    def server(self) -> str:
        """Engine and version as probed, for provenance."""
        return self.capabilities.server

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue `prompt.token_ids`, at most to the end of the model's context.

        Raises as `Engine.complete` says, and `ContextOverflow` when the prompt fills the context.
        """
        limit = self._limit(prompt, sampling)
        body = request_body(
            self._model,
            prompt.token_ids,
            replace(sampling, max_tokens=limit),
            self.capabilities.neutral_fields,
        )

        async def attempt() -> Sampled:
            answer = await self._client.post(PATH, body)
            return read_answer(answer, prompt.token_ids, limit)

        sampled, seconds = await self._lane.run(attempt)
        return Completion(
            text=well_formed(self._renderer.decode(sampled.token_ids)),
            token_ids=sampled.token_ids,
            logprobs=sampled.logprobs,
            finish=sampled.finish,
            stop_reason=sampled.stop_reason,
            prompt_tokens=len(prompt.token_ids),
            completion_tokens=len(sampled.token_ids),
            seconds=seconds,
        )

    def _limit(self, prompt: Prompt, sampling: Sampling) -> int:
        """Servers differ at the edge of the context (refuse, cut the prompt, clamp): ours clamps.

        The completion then ends with `Finish.LENGTH`, as at any other token limit.
        """
        longest = self.capabilities.max_model_len
        if longest is None:
            return sampling.max_tokens
        room = longest - len(prompt.token_ids)
        if room < 1:
            raise ContextOverflow(
                f"The prompt of {len(prompt.token_ids)} tokens fills the context of {self._model} "
                f"({longest} tokens)."
            )
        return min(sampling.max_tokens, room)
