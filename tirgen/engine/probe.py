"""Tests once, at the start, whether a server does what the client relies on.

vLLM answers 200 to fields that it ignores, so an accepted field proves nothing: each behaviour is
tested by its effect. A server that fails a test is refused with a message that names the fix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tirgen.engine.completions import PATH, Sampled, read_answer, request_body
from tirgen.engine.errors import (
    EngineAbsent,
    EngineError,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.protocol import Message, Renderer, Sampling
from tirgen.engine.retry import PROBE_PATIENCE, Transient, unreachable

NEUTRAL_FIELDS: dict[str, Any] = {"repetition_penalty": 1.0, "min_p": 0.0}
"""vLLM takes these from the model's generation_config.json unless they are sent."""

QUESTION = (Message("user", "Count from one to ten."),)
_TOKENS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the probe found beyond the required behaviour."""

    server: str
    """Name and version, e.g. ``vllm/0.33.0``; for provenance."""
    max_model_len: int | None
    """Most tokens of prompt and completion together; None if the server does not report it."""
    neutral_fields: dict[str, Any] = field(default_factory=dict)
    """The fields of `NEUTRAL_FIELDS` that the server accepts, sent with every request."""
    weights: str | None = None
    """The version of its weights, where a server can be given others and says what it has."""
    greedy: Sampled | None = None
    """Its answer to a test question at temperature 0."""

    def difference(self, other: Capabilities) -> str | None:
        """Why another server is not a replica of this one; None if it is."""
        if self.weights != other.weights:
            return f"its weights are {other.weights}, not {self.weights}"
        if self.max_model_len != other.max_model_len:
            return f"its context has {other.max_model_len} tokens, not {self.max_model_len}"
        if self.neutral_fields != other.neutral_fields:
            return f"it accepts {[*other.neutral_fields]}, not {[*self.neutral_fields]}"
        if self.greedy and other.greedy and not _agree(self.greedy, other.greedy):
            return (
                f"it answers a test question with other probabilities ({other.greedy.text!r} at "
                f"temperature 0, not {self.greedy.text!r})"
            )
        return None


_CLOSE = 0.1
"""Two servers of one model may differ by so much in a log-probability: kernels, batches, GPUs."""


def _agree(one: Sampled, other: Sampled) -> bool:
    """Equal ids and close log-probabilities up to the first token where two are equally likely."""
    tokens = zip(one.token_ids, one.logprobs, other.token_ids, other.logprobs, strict=False)
    for token, logprob, their_token, their_logprob in tokens:
        if abs(logprob - their_logprob) > _CLOSE:
            return False
        if token != their_token:
            return True
    return True


async def probe(client: JsonClient, model: str, renderer: Renderer) -> Capabilities:
    """Test everything that the client relies on, with four short completions.

    Raises `EngineMisconfigured`, which says what is missing and what to do.
    """
    card = await find_model(client, model)
    await _check_running(client)
    try:
        prober = _Prober(client, model, renderer)
        greedy = await prober.ask(temperature=0.0, seed=7)
        _check_tokenizer(prober, greedy)
        neutral = {
            name: value
            for name, value in NEUTRAL_FIELDS.items()
            if await prober.accepts({name: value})
        }
        await _check_stop(prober, greedy)
    except (EngineRefused, EngineUnavailable) as error:
        raise EngineMisconfigured(
            f"{client.base_url} cannot serve token ids: {error} Servers without them (transformers "
            "serve, llama.cpp, Ollama, hosted APIs) can generate data with kind = chat."
        ) from error
    return Capabilities(
        server=await _server(client, card),
        max_model_len=card.get("max_model_len"),
        neutral_fields=neutral,
        weights=await _weights(client),
        greedy=greedy,
    )


async def probe_again(
    client: JsonClient, model: str, renderer: Renderer, expected: Capabilities
) -> None:
    """Check that a server that was lost serves what it did.

    Raises `Transient` or `EngineUnavailable` where it does not answer, else `EngineMisconfigured`.
    """
    cards = await client.get("/models")
    if model not in {card["id"] for card in cards["data"]}:
        raise EngineMisconfigured(f"{client.base_url} serves another model than {model!r} now.")
    await _check_running(client)
    ids = renderer.prompt_ids(QUESTION)
    sampling = Sampling(max_tokens=_TOKENS, temperature=0.0, seed=7)
    answer = await client.post(PATH, request_body(model, ids, sampling, {}))
    now = replace(
        expected, weights=await _weights(client), greedy=read_answer(answer, ids, _TOKENS)
    )
    if difference := expected.difference(now):
        raise EngineMisconfigured(f"{client.base_url} is not what it was: {difference}.")


async def probe_all(
    clients: Sequence[JsonClient], model: str, renderer: Renderer
) -> tuple[Capabilities, list[EngineAbsent | None]]:
    """Test every replica: what they can do, and for each of them why it is absent, or None.

    Raises `EngineAbsent` if all are, and `EngineMisconfigured` where one that answers cannot serve
    or is another model than the first.
    """
    probes = (_probe_or_absent(client, model, renderer) for client in clients)
    found = await asyncio.gather(*probes)
    present = [
        (c, one) for c, one in zip(clients, found, strict=True) if isinstance(one, Capabilities)
    ]
    absent = [one if isinstance(one, EngineAbsent) else None for one in found]
    if not present:
        raise next(filter(None, absent))
    (first_client, first), *others = present
    for client, one in others:
        if difference := first.difference(one):
            raise EngineMisconfigured(
                f"{client.base_url} is no replica of {first_client.base_url}: {difference}. Serve "
                "the same model with the same settings on both."
            )
    servers = dict.fromkeys(one.server for _, one in present)
    return replace(first, server=", ".join(servers)), absent


async def _probe_or_absent(
    client: JsonClient, model: str, renderer: Renderer
) -> Capabilities | EngineAbsent:
    try:
        return await probe(client, model, renderer)
    except EngineAbsent as error:
        return error


async def _weights(client: JsonClient) -> str | None:
    try:
        answer = await client.get_root("/weight_info")
    except (EngineError, Transient):
        return None
    version = answer.get("weight_version") if isinstance(answer, dict) else None
    return None if version is None else str(version)


async def find_model(client: JsonClient, model: str) -> dict[str, Any]:
    """The server's entry for the model. Raises `EngineMisconfigured`, naming the models it has."""
    try:
        answer = (await Pool.of(client, PROBE_PATIENCE).run(lambda c: c.get("/models"))).result
    except EngineUnavailable as error:
        raise unreachable(client.base_url, error) from error
    try:
        cards: dict[str, dict[str, Any]] = {card["id"]: card for card in answer["data"]}
    except (KeyError, TypeError) as error:
        raise EngineMisconfigured(
            f"{client.base_url}/models does not list models; check `base_url` (it ends in /v1 for "
            "most servers)."
        ) from error
    if model not in cards:
        raise EngineMisconfigured(
            f"{client.base_url} has no model {model!r}; set `model` to one of: "
            f"{', '.join(sorted(cards)) or '(none)'}."
        )
    return cards[model]


class _Prober:
    """Short completions of one fixed question."""

    def __init__(self, client: JsonClient, model: str, renderer: Renderer) -> None:
        self._model = model
        self._prompt_ids = renderer.prompt_ids(QUESTION)
        self._pool = Pool.of(client, PROBE_PATIENCE)
        self.decode = renderer.decode

    async def ask(self, extra: dict[str, Any] | None = None, **changes: Any) -> Sampled:
        sampling = replace(Sampling(max_tokens=_TOKENS), **changes)
        body = request_body(self._model, self._prompt_ids, sampling, extra or {})

        async def attempt(client: JsonClient) -> Sampled:
            answer = await client.post(PATH, body)
            return read_answer(answer, self._prompt_ids, _TOKENS)

        return (await self._pool.run(attempt)).result

    async def accepts(self, extra: dict[str, Any]) -> bool:
        try:
            await self.ask(extra, max_tokens=1)
        except EngineRefused:
            return False
        return True


def _check_tokenizer(prober: _Prober, greedy: Sampled) -> None:
    """The server's text must be what its ids decode to here, if all characters are complete."""
    ours, theirs = prober.decode(greedy.token_ids).strip(), greedy.text.strip()
    if "\ufffd" not in ours + theirs and ours != theirs:
        raise EngineMisconfigured(
            f"The tokenizer is not the model's: the server wrote {theirs!r}, its ids decode to "
            f"{ours!r}; set `tokenizer` to the directory or Hugging Face id of the served model."
        )


async def _check_stop(prober: _Prober, greedy: Sampled) -> None:
    """A stop string from the greedy answer must end the same answer, and stay in it."""
    text = prober.decode(greedy.token_ids).strip()
    if not text or "\ufffd" in text:
        return
    stopped = await prober.ask(temperature=0.0, stop=(text[0],))
    if stopped.stop_reason != text[0] or text[0] not in stopped.text:
        raise EngineMisconfigured(
            "The server does not support `stop` with `include_stop_str_in_output` and report it in "
            "`stop_reason`; use a current vLLM, or kind = chat."
        )


async def _check_running(client: JsonClient) -> None:
    """A paused vLLM answers `/health`, but no request ever ends."""
    try:
        answer = await client.get_root("/is_paused")
    except (EngineError, Transient):
        return  # the server cannot be paused
    if isinstance(answer, dict) and answer.get("is_paused") is True:
        root = client.base_url.removesuffix("/v1")
        raise EngineMisconfigured(
            f"The engine at {root} is paused, probably by an interrupted publication; its weights "
            "can be a mixture. Publish the policy again, or resume the engine as it is: "
            f"curl -X POST {root}/resume"
        )


async def _server(client: JsonClient, card: dict[str, Any]) -> str:
    """Name and version of the server; only the name if it has no `/version`."""
    name = str(card.get("owned_by") or "unknown")
    try:
        answer = await client.get_root("/version")
    except (EngineError, Transient):
        return name
    version = answer.get("version") if isinstance(answer, dict) else None
    return f"{name}/{version}" if version else name
