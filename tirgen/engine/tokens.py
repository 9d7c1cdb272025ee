"""The engine for servers with token ids: vLLM, the embedded engine, others with vLLM's fields."""

from __future__ import annotations

from dataclasses import replace

from storage.well_formed import well_formed
from tirgen.engine.completions import PATH, Sampled, read_answer, request_body
from tirgen.engine.errors import ContextOverflow, EngineMisconfigured, EngineRefused
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.probe import QUESTION, Capabilities
from tirgen.engine.protocol import Completion, Prompt, Renderer, Sampling


class TokenEngine:
    """Implements `Engine` over `POST /v1/completions` with prompts as token ids."""

    def __init__(
        self, pool: Pool[JsonClient], model: str, renderer: Renderer, capabilities: Capabilities
    ) -> None:
        self.pool = pool
        self._model = model
        self._renderer = renderer
        self.capabilities = capabilities

    @property
    def model(self) -> str:
        return self._model

    @property
    def renderer(self) -> Renderer:
        return self._renderer

    @property
    def server(self) -> str:
        """Name and version of the server, for provenance."""
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

        async def attempt(client: JsonClient) -> Sampled:
            answer = await client.post(PATH, body)
            return read_answer(answer, prompt.token_ids, limit)

        try:
            sampled, seconds, replica = await self.pool.run(attempt)
        except ContextOverflow:
            raise
        except EngineRefused:
            await self._check_settings(sampling)
            raise
        return Completion(
            text=well_formed(self._renderer.decode(sampled.token_ids)),
            token_ids=sampled.token_ids,
            logprobs=sampled.logprobs,
            finish=sampled.finish,
            stop_reason=sampled.stop_reason,
            prompt_tokens=len(prompt.token_ids),
            completion_tokens=len(sampled.token_ids),
            seconds=seconds,
            replica=replica,
        )

    async def _check_settings(self, sampling: Sampling) -> None:
        """Raises `EngineMisconfigured` if a test question with these settings is refused too.

        Then the refusal is about the settings, not about one prompt.
        """
        ids = self._renderer.prompt_ids(QUESTION)
        plain = replace(sampling, max_tokens=1)
        body = request_body(self._model, ids, plain, self.capabilities.neutral_fields)
        try:
            await self.pool.run(lambda client: client.post(PATH, body))
        except EngineRefused as error:
            raise EngineMisconfigured(
                f"The engine refuses a test question with the settings of this run: {error}"
            ) from error

    def _limit(self, prompt: Prompt, sampling: Sampling) -> int:
        """The token limit, at most to the end of the context.

        Servers differ there: some refuse, some cut the prompt. The completion ends with
        `Finish.LENGTH`, as at any other token limit.
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
