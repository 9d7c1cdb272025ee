"""From a client's request to generation requests: limits checked, seeds derived."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b

from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.embedded.generation import GenerationRequest
from tirgen.embedded.json_api import ApiError
from tirgen.embedded.requests import (
    ChatCompletionRequest,
    CompletionRequest,
    PromptFields,
    SamplingFields,
)
from tirgen.embedded.tokenizer import TemplateRefused

MAX_PROMPT_LENGTH = 1 << 18
"""Most characters or ids: far more than the context, and refused before encoding takes time."""


def choice_seed(seed: int | None, choice: int) -> int:
    """The engine's seed, 0 to 2^32 - 1, for one choice of a request.

    A hash of both numbers: the engine's seed has only 32 bits, and neighbouring seeds must not
    share choices (with seed + choice, as in vLLM, choice 1 of seed 7 is choice 0 of seed 8). The
    position in a list of prompts does not matter: each prompt gets the same result as alone.
    Without a seed every choice gets a random one.
    """
    if seed is None:
        return secrets.randbits(32)
    digest = blake2b(f"{seed}:{choice}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def completion_generations(
    request: CompletionRequest, engine: ContinuousBatchingEngine
) -> list[GenerationRequest]:
    """One generation request per choice of each prompt, in the order of the response's indices."""
    for prompt in request.prompts():
        if len(prompt) > MAX_PROMPT_LENGTH:
            raise ApiError(f"'prompt' is longer than {MAX_PROMPT_LENGTH}", param="prompt")
    prompts = [
        engine.vocabulary.encode(prompt, add_special_tokens=request.add_special_tokens)
        if isinstance(prompt, str)
        else prompt
        for prompt in request.prompts()
    ]
    if not prompts:
        raise ApiError("'prompt' is an empty list", param="prompt")
    return _generations(request, prompts, request.max_tokens, engine)


def chat_generations(
    request: ChatCompletionRequest, engine: ContinuousBatchingEngine
) -> list[GenerationRequest]:
    """One generation request per choice."""
    limit = request.max_completion_tokens or request.max_tokens
    return _generations(request, [chat_prompt(request, engine)], limit, engine)


def chat_prompt(request: PromptFields, engine: ContinuousBatchingEngine) -> list[int]:
    """The conversation through the model's chat template."""
    try:
        text = engine.vocabulary.render(
            [message.turn() for message in request.messages],
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
        )
    except TemplateRefused as error:
        raise ApiError(str(error), param="messages") from error
    return engine.vocabulary.encode(text, add_special_tokens=request.add_special_tokens)


def _generations(
    request: SamplingFields,
    prompts: Sequence[list[int]],
    max_tokens: int | None,
    engine: ContinuousBatchingEngine,
) -> list[GenerationRequest]:
    vocabulary_size, context = engine.config.vocab_size, engine.config.context
    for id_ in request.stop_token_ids or ():
        _check_id(id_, vocabulary_size, "stop_token_ids")
    generations = []
    for whole in prompts:
        prompt = _truncated(whole, request, context)
        room = _room(prompt, max_tokens, context)
        if request.min_tokens > room:
            raise ApiError(
                f"min_tokens {request.min_tokens} is more than max_tokens {room}",
                param="min_tokens",
            )
        for id_ in prompt:
            _check_id(id_, vocabulary_size, "prompt")
        generations += [_generation(request, prompt, room, choice) for choice in range(request.n)]
    return generations


def _truncated(prompt: list[int], request: SamplingFields, context: int) -> list[int]:
    keep = request.truncate_prompt_tokens
    if keep is None:
        return prompt
    keep = context - 1 if keep == -1 else keep
    if len(prompt) <= keep:
        return prompt
    return prompt[:keep] if request.truncation_side == "right" else prompt[len(prompt) - keep :]


def _room(prompt: list[int], max_tokens: int | None, context: int) -> int:
    """How many tokens can be generated. Raises `ApiError` if prompt and limit do not fit."""
    if not prompt:
        raise ApiError("the prompt is empty: it needs at least one token", param="prompt")
    room = context - len(prompt)
    if room < 1 or (max_tokens or 1) > room:
        raise ApiError(
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{max_tokens or 1} output tokens and your prompt contains {len(prompt)} input tokens. "
            "Please reduce the length of the input prompt or the number of requested output "
            "tokens.",
            param="prompt" if room < 1 else "max_tokens",
        )
    return max_tokens or room


def _check_id(id_: int, vocabulary_size: int, param: str) -> None:
    if id_ >= vocabulary_size:
        raise ApiError(
            f"token id {id_} in '{param}' is out of the vocabulary of {vocabulary_size}",
            param=param,
        )


def _generation(
    request: SamplingFields, prompt: list[int], max_tokens: int, choice: int
) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        max_tokens=max_tokens,
        seed=choice_seed(request.seed, choice),
        min_tokens=request.min_tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        top_k=max(request.top_k or 0, 0),
        min_p=request.min_p or 0.0,
        stop=request.stop_strings(),
        include_stop=request.include_stop_str_in_output,
        stop_token_ids=frozenset(request.stop_token_ids or ()),
        ignore_eos=request.ignore_eos,
        skip_special_tokens=request.skip_special_tokens,
    )
