"""Hosted endpoints refuse different fields: a strict stand-in for each, after their documentation
and their own error messages."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tirgen.engine.chat import ChatEngine
from tirgen.engine.dialect import Continuation
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.protocol import Message, Prompt, Sampling
from tirgen.jobs.engines import open_engine

PAPER = Sampling(max_tokens=512, temperature=0.6, top_p=0.95, top_k=50, seed=11)
ASK = Prompt(messages=(Message("user", "Say yes."),))
OPENAI = {
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed"),
    *("stream", "stream_options"),
}

Refuses = Callable[[dict[str, Any]], str | None]


def openai_chat(body: dict[str, Any]) -> str | None:
    unknown = set(body) - OPENAI
    return f"Unrecognized request argument supplied: {min(unknown)}" if unknown else None


def openai_reasoning(body: dict[str, Any]) -> str | None:
    if "max_tokens" in body:
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead."
        )
    if body.get("temperature", 1) != 1:
        return (
            "Unsupported value: 'temperature' does not support 0.6 with this model. Only the "
            "default (1) value is supported."
        )
    if "top_p" in body:
        return "Unsupported parameter: 'top_p' is not supported with this model."
    if body["max_completion_tokens"] < 16:
        return (
            "Could not finish the message because max_tokens or model output limit was reached. "
            "Please try again with higher max_tokens."
        )
    return openai_chat(body)


def anthropic(body: dict[str, Any]) -> str | None:
    if "temperature" in body and "top_p" in body:
        return (
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one"
        )
    return None


def mistral(body: dict[str, Any]) -> str | None:
    known = OPENAI - {"seed", "stream_options", "max_completion_tokens"}
    extra = [{"type": "extra_forbidden", "loc": ["body", name]} for name in set(body) - known]
    return json.dumps(extra) if extra else None


def gemini(body: dict[str, Any]) -> str | None:
    for name in ("top_k", "seed"):
        if name in body:
            return f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    return None


def says_little(body: dict[str, Any]) -> str | None:
    """Neither the field nor the reason is named."""
    return "invalid request" if {"top_k", "stream_options"} & set(body) else None


def takes_all(body: dict[str, Any]) -> str | None:
    return None


@dataclass
class Hosted:
    """An endpoint that answers "yes" to every request it does not refuse."""

    refuses: Refuses
    status: int = 400
    continues_prefix: bool = False
    continues_last: bool = False
    """A last message of the assistant is continued without any field."""
    refuses_space: bool = False
    """No message of the assistant may end in white space."""
    counts_once: bool = False
    """Tokens of a prompt that was sent before are not counted."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    seen: list[web.Request] = field(default_factory=list)
    refused: int = 0

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        self.seen.append(request)
        if (words := self.refuses(body)) is not None:
            self.refused += 1
            return web.json_response({"error": {"message": words}}, status=self.status)
        last = body["messages"][-1]
        if self.refuses_space and last["role"] == "assistant" and last["content"][-1].isspace():
            words = "final assistant content cannot end with trailing whitespace"
            return web.json_response({"error": {"message": words}}, status=400)
        usage = {"prompt_tokens": self._tokens(body["messages"])}
        events = [
            {"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {**usage, "completion_tokens": 1}},
        ]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    def _tokens(self, messages: list[dict[str, Any]]) -> int:
        """A token for each word, two around each turn, and one that opens the answer."""
        last = messages[-1]
        opened = self.continues_prefix and last.get("prefix", False)
        opened |= self.continues_last and last["role"] == "assistant"
        words = sum(len(message["content"].split()) for message in messages)
        seen = self.counts_once and any(
            other is not messages and other == messages
            for other in (body["messages"] for body in self.requests[:-1])
        )
        return 1 if seen else words + 2 * len(messages) + (-1 if opened else 1)


async def served(hosted: Hosted) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", hosted.chat)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1"))


DIALECTS: list[tuple[Refuses, int, set[str]]] = [
    (openai_chat, 400, {"top_k"}),
    (openai_reasoning, 400, {"top_k", "temperature", "top_p"}),
    (anthropic, 400, {"top_p"}),
    (mistral, 422, {"top_k", "seed", "stream_options"}),
    (gemini, 400, {"top_k", "seed"}),
    (says_little, 400, {"top_k", "stream_options"}),
    (takes_all, 400, set()),
]


@pytest.mark.parametrize(("refuses", "status", "left_out"), DIALECTS)
async def test_the_fields_an_endpoint_takes_are_learned_from_its_refusals(
    refuses: Refuses, status: int, left_out: set[str]
) -> None:
    hosted = Hosted(refuses, status)
    async for url in served(hosted):
        async with open_engine(EngineConfig(kind="chat", base_urls=[url], model="m")) as engine:
            assert (await engine.complete(ASK, PAPER)).text == "yes"
            learned, hosted.refused = len(hosted.requests), 0
            assert (await engine.complete(ASK, PAPER)).ended_turn
            assert (len(hosted.requests) - learned, hosted.refused) == (1, 0)
            assert isinstance(engine, ChatEngine)
            assert engine.dialect.left_out == left_out
            assert all(name in engine.server for name in left_out)
    sent = set(hosted.requests[-1])
    assert {"temperature", "top_p", "top_k", "seed", "stream_options"} - left_out <= sent


async def test_a_marked_prefix_is_gone_on_with() -> None:
    """DeepSeek and Mistral: the last message carries `prefix`."""
    hosted = Hosted(takes_all, continues_prefix=True)
    async for url in served(hosted):
        async with open_engine(EngineConfig(kind="chat", base_urls=[url], model="m")) as engine:
            assert isinstance(engine, ChatEngine)
            assert engine.dialect.continuation is Continuation.PREFIX
            await engine.complete(Prompt(messages=ASK.messages, reply="Well, "), PAPER)
    last = {"role": "assistant", "content": "Well, ", "prefix": True}
    assert hosted.requests[-1]["messages"][-1] == last


@pytest.mark.parametrize(
    ("hosted", "way"),
    [
        (Hosted(takes_all, continues_last=True), Continuation.LAST),
        (Hosted(takes_all, continues_last=True, refuses_space=True), Continuation.ASKED),
        (Hosted(takes_all, continues_last=True, counts_once=True), Continuation.ASKED),
        (Hosted(takes_all), Continuation.ASKED),
    ],
)
async def test_a_reply_is_gone_on_with_where_the_endpoint_does_it_by_itself(
    hosted: Hosted, way: Continuation
) -> None:
    """llama.cpp: a last message of the assistant is open. Anthropic refuses white space there."""
    async for url in served(hosted):
        async with open_engine(EngineConfig(kind="chat", base_urls=[url], model="m")) as engine:
            assert isinstance(engine, ChatEngine)
            assert engine.dialect.continuation is way
            await engine.complete(Prompt(messages=ASK.messages, reply="Well,\n\n"), PAPER)
    sent = hosted.requests[-1]["messages"]
    replied = {"role": "assistant", "content": "Well,\n\n"}
    assert (sent[-1] == replied) is (way is Continuation.LAST)


async def test_headers_and_query_reach_the_endpoint_and_secrets_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Azure wants them."""
    monkeypatch.setenv("AZURE_KEY", "k-secret")
    hosted = Hosted(takes_all)
    async for url in served(hosted):
        config = EngineConfig(
            kind="chat",
            base_urls=[url],
            model="m",
            headers={"X-Title": "tirgen"},
            header_env={"api-key": "AZURE_KEY"},
            query={"api-version": "2026-01-01"},
        )
        async with open_engine(config) as engine:
            await engine.complete(ASK, PAPER)
        assert "k-secret" not in config.model_dump_json()
    for request in hosted.seen:
        assert request.query["api-version"] == "2026-01-01"
        assert (request.headers["api-key"], request.headers["X-Title"]) == ("k-secret", "tirgen")


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie", "X-Auth-Token"])
def test_a_secret_header_does_not_belong_in_the_settings(name: str) -> None:
    with pytest.raises(ValueError, match="header_env"):
        EngineConfig(kind="chat", base_urls=["http://h/v1"], model="m", headers={name: "sk-1"})
