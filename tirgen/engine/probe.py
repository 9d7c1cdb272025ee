"""What a server really does, found out once at the start by asking it.

vLLM answers 200 to fields it ignores, so acceptance proves nothing: every behaviour the client
relies on is provoked and looked at. A server that lacks one is refused with a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tirgen.engine.completions import PATH, Sampled, read_answer, request_body
from tirgen.engine.errors import EngineError, EngineMisconfigured, EngineRefused, EngineUnavailable
from tirgen.engine.http import JsonClient
from tirgen.engine.protocol import Message, Renderer, Sampling
from tirgen.engine.retry import PROBE_PATIENCE, Limiter, Transient, unreachable

NEUTRAL_FIELDS: dict[str, Any] = {"repetition_penalty": 1.0, "min_p": 0.0}
"""vLLM takes these from the model's generation_config.json unless told; here they stay off."""

QUESTION = (Message("user", "Count from one to ten."),)
_TOKENS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the probe found, beyond what it insists on."""

    server: str
    """Name and version as far as it tells, e.g. ``vllm/0.33.0``; for provenance."""
    max_model_len: int | None
    """Tokens of prompt and completion together; None when the server does not say."""
    neutral_fields: dict[str, Any] = field(default_factory=dict)
    """Those of `NEUTRAL_FIELDS` the server accepts, to be sent with every request."""


async def probe(client: JsonClient, model: str, renderer: Renderer) -> Capabilities:
    """Ask the server everything the client relies on: four short completions.

    Raises `EngineMisconfigured` with what is missing and what to do.
    """
    card = await find_model(client, model)
    await _check_running(client)
    try:
        asker = _Asker(client, model, renderer)
        first = await asker.ask(temperature=0.0, seed=7)
        _check_tokenizer(asker, first)
        neutral = {
            name: value
            for name, value in NEUTRAL_FIELDS.items()
            if await asker.accepts({name: value})
        }
        await _check_stop(asker, first)
    except (EngineRefused, EngineUnavailable) as error:
        raise EngineMisconfigured(
            f"{client.base_url} cannot serve token ids: {error} Servers without them (transformers "
            "serve, llama.cpp, Ollama, hosted APIs) make data with kind = chat."
        ) from error
    return Capabilities(
        server=await _server(client, card),
        max_model_len=card.get("max_model_len"),
        neutral_fields=neutral,
    )


async def find_model(client: JsonClient, model: str) -> dict[str, Any]:
    """The server's entry for the model. Raises `EngineMisconfigured` naming those it has."""
    try:
        answer, _ = await Limiter(1, PROBE_PATIENCE).run(lambda: client.get("/models"))
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


class _Asker:
    """Short completions of one fixed question."""

    def __init__(self, client: JsonClient, model: str, renderer: Renderer) -> None:
        self._client = client
        self._model = model
        self._prompt_ids = renderer.prompt_ids(QUESTION)
        self._limiter = Limiter(1, PROBE_PATIENCE)
        self.decode = renderer.decode

    async def ask(self, extra: dict[str, Any] | None = None, **changes: Any) -> Sampled:
        sampling = replace(Sampling(max_tokens=_TOKENS), **changes)
        body = request_body(self._model, self._prompt_ids, sampling, extra or {})

        async def attempt() -> Sampled:
            answer = await self._client.post(PATH, body)
            return read_answer(answer, self._prompt_ids, _TOKENS)

        sampled, _ = await self._limiter.run(attempt)
        return sampled

    async def accepts(self, extra: dict[str, Any]) -> bool:
        try:
            await self.ask(extra, max_tokens=1)
        except EngineRefused:
            return False
        return True


def _check_tokenizer(asker: _Asker, greedy: Sampled) -> None:
    """What the server wrote must be what its ids decode to here, whole characters assumed."""
    ours, theirs = asker.decode(greedy.token_ids).strip(), greedy.text.strip()
    if "\ufffd" not in ours + theirs and ours != theirs:
        raise EngineMisconfigured(
            f"The tokenizer is not the model's: the server wrote {theirs!r}, its ids decode to "
            f"{ours!r}; set `tokenizer` to the directory or Hugging Face id of the served model."
        )


async def _check_stop(asker: _Asker, greedy: Sampled) -> None:
    """A stop string taken from the greedy answer must end its repetition, and stay in it."""
    text = asker.decode(greedy.token_ids).strip()
    if not text or "\ufffd" in text:
        return
    stopped = await asker.ask(temperature=0.0, stop=(text[0],))
    if stopped.stop_reason != text[0] or text[0] not in stopped.text:
        raise EngineMisconfigured(
            "The server does not honour `stop` with `include_stop_str_in_output` and report it in "
            "`stop_reason`; use a current vLLM, or kind = chat."
        )


async def _check_running(client: JsonClient) -> None:
    """A paused vLLM answers `/health` and lets every request hang."""
    try:
        answer = await client.get_root("/is_paused")
    except (EngineError, Transient):
        return  # a server that cannot be paused
    if isinstance(answer, dict) and answer.get("is_paused") is True:
        root = client.base_url.removesuffix("/v1")
        raise EngineMisconfigured(
            f"The engine at {root} is paused, as a publication that broke off leaves it; its "
            "weights may be mixed. Publish the policy again, or resume it as it is: "
            f"curl -X POST {root}/resume"
        )


async def _server(client: JsonClient, card: dict[str, Any]) -> str:
    """As the server tells it; the version only where there is `/version`."""
    name = str(card.get("owned_by") or "unknown")
    try:
        answer = await client.get_root("/version")
    except (EngineError, Transient):
        return name
    version = answer.get("version") if isinstance(answer, dict) else None
    return f"{name}/{version}" if version else name
