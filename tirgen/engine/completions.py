"""The wire format of `/v1/completions` with token ids: the request, and the checked answer.

All field names are vLLM's. The text comes from the ids and never from the server: its text can
differ where a token is part of a character or longer than the stop string.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.protocol import Finish, Sampling
from tirgen.engine.retry import Transient

PATH = "/completions"
LARGEST_ID = 2**31 - 1
"""Ids are stored as 32-bit integers; every vocabulary is far smaller."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One checked choice: `token_ids` and `logprobs` have the same length, at least 1."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    stop_reason: str | None
    text: str
    """The server's text, for the probe only."""


def request_body(
    model: str, prompt_ids: tuple[int, ...], sampling: Sampling, extra: dict[str, Any]
) -> bytes:
    """The request; `extra` are further fields that the probe found this server to accept."""
    body = {
        "model": model,
        "prompt": prompt_ids,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "logprobs": 0,
        "return_token_ids": True,
        **extra,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = sampling.stop
        body["include_stop_str_in_output"] = True
    return json.dumps(body, separators=(",", ":")).encode()


def read_answer(answer: Any, prompt_ids: tuple[int, ...], max_tokens: int) -> Sampled:
    """The first choice of an answer, with everything checked.

    Raises `Transient` when the server aborted the generation, and `EngineUnavailable` when the
    answer breaks the protocol. Such an answer is not asked for again: which samples a faulty server
    spoils depends on the samples, so drawing others would bias the data.
    """
    try:
        choice = answer["choices"][0]
        finish = choice["finish_reason"]
        ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        echo, text = choice.get("prompt_token_ids"), choice["text"]
        stop_reason = choice.get("stop_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _broken("it lacks token ids or log-probabilities") from error
    if finish not in (Finish.STOP, Finish.LENGTH):
        raise Transient(f"The server aborted the generation (finish_reason {finish!r}).")
    if echo is not None and echo != list(prompt_ids):
        raise _broken(f"it echoes another prompt than the {len(prompt_ids)} tokens sent")
    if not (isinstance(ids, list) and isinstance(logprobs, list) and len(ids) == len(logprobs)):
        raise _broken(f"token_ids and token_logprobs differ in length: {ids!r:.80}")
    if not 1 <= len(ids) <= max_tokens:
        raise _broken(f"it holds {len(ids)} tokens where 1 to {max_tokens} were asked for")
    return Sampled(
        token_ids=_all_ints(ids),
        logprobs=_all_finite(logprobs),
        finish=Finish(finish),
        stop_reason=stop_reason if isinstance(stop_reason, str) else None,
        text=text,
    )


def _all_ints(ids: list[Any]) -> tuple[int, ...]:
    if set(map(type, ids)) != {int} or min(ids) < 0 or max(ids) > LARGEST_ID:
        raise _broken("token_ids has an item that is no token id")
    return tuple(ids)


def _all_finite(logprobs: list[Any]) -> tuple[float, ...]:
    try:
        finite = math.isfinite(math.fsum(logprobs))
    except (TypeError, OverflowError, ValueError):
        finite = False
    if not finite:
        raise _broken("token_logprobs has an item that is not a finite number")
    return tuple(logprobs)


def _broken(what: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"The engine's answer breaks the token protocol: {what}. Use a current vLLM, or "
        "kind = chat for servers without token ids."
    )
