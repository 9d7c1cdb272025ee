from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.engine.conftest import QUICK, Fault, Peer
from tirgen.engine.chat import CONTINUE, ChatEngine, ChatOptions
from tirgen.engine.chat_answer import first_stop
from tirgen.engine.errors import (
    ContextOverflow,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)
from tirgen.engine.http import JsonClient
from tirgen.engine.pool import Pool
from tirgen.engine.protocol import Finish, Message, Prompt, Sampling

COUNT = Sampling(max_tokens=400)
ASK = Prompt(messages=(Message("system", "Be brief."), Message("user", "Count.")))
BEGUN = Prompt(messages=ASK.messages, reply="zero one")


@pytest.fixture
async def client(peer: Peer) -> AsyncIterator[JsonClient]:
    async with JsonClient(peer.url, api_key="k", connections=8) as client:
        yield client


async def connected(client: JsonClient, options: ChatOptions | None = None) -> ChatEngine:
    return await ChatEngine.connect(Pool.of(client, QUICK, 8), "tiny", options or ChatOptions())


@pytest.fixture
async def chat(peer: Peer, client: JsonClient) -> ChatEngine:
    engine = await connected(client)
    peer.requests.clear()
    peer.pieces_sent = 0
    return engine


def status(code: int, message: str = "no", headers: dict[str, str] | None = None) -> Fault:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": message}}, status=code, headers=headers)

    return answer


async def lost_stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b'data: {"choices": [], "id": "c"}\n\n')
    assert request.transport
    request.transport.abort()
    return answer


async def garbled_stream(request: web.Request) -> web.Response:
    return web.Response(text="data: {oops\n\n", content_type="text/event-stream")


async def a_web_page(request: web.Request) -> web.Response:
    return web.Response(text="<html>Sign in</html>", content_type="text/html")


async def hang(request: web.Request) -> web.Response:
    await asyncio.sleep(2)
    return web.Response()


async def fault_in_the_stream(request: web.Request) -> web.Response:
    error = {"error": {"code": 502, "message": "provider went away"}}
    return web.Response(text=f"data: {json.dumps(error)}\n\n", content_type="text/event-stream")


async def broken_stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b"data: [DONE]\n\n")
    return answer


async def test_an_answer_is_text_without_ids(chat: ChatEngine) -> None:
    completion = await chat.complete(ASK, COUNT)
    assert completion.text == "one two three four five six seven eight nine ten"
    assert completion.token_ids == completion.logprobs == ()
    assert completion.ended_turn


async def test_the_servers_own_token_counts_are_taken(chat: ChatEngine) -> None:
    completion = await chat.complete(ASK, COUNT)
    assert (completion.prompt_tokens, completion.completion_tokens) == (30, 16)


async def test_a_stop_string_stays_in_the_text_and_is_named(chat: ChatEngine) -> None:
    completion = await chat.complete(ASK, Sampling(max_tokens=400, stop=("x", " four")))
    assert (completion.text, completion.stop_reason) == ("one two three four", " four")
    assert completion.finish is Finish.STOP
    assert not completion.ended_turn


async def test_the_stream_is_closed_at_the_stop_string(chat: ChatEngine, peer: Peer) -> None:
    peer.piece_seconds = 0.02
    completion = await chat.complete(ASK, Sampling(max_tokens=400, stop=("two",)))
    assert completion.completion_tokens == 3
    assert peer.pieces_sent < 10


async def test_the_token_limit_is_a_finish(chat: ChatEngine) -> None:
    assert (await chat.complete(ASK, Sampling(max_tokens=2))).finish is Finish.LENGTH


async def test_a_reply_is_gone_on_with_where_the_server_can(chat: ChatEngine, peer: Peer) -> None:
    await chat.complete(BEGUN, COUNT)
    assert peer.requests[0]["messages"][-1] == {"role": "assistant", "content": "zero one"}
    assert peer.requests[0]["continue_final_message"] is True


async def test_a_reply_is_asked_to_go_on_elsewhere(client: JsonClient, peer: Peer) -> None:
    peer.refused_fields = {"continue_final_message"}
    engine = await connected(client)
    await engine.complete(BEGUN, COUNT)
    assert peer.requests[-1]["messages"][-2:] == [
        {"role": "assistant", "content": "zero one"},
        {"role": "user", "content": CONTINUE},
    ]


async def test_an_endpoint_may_want_max_completion_tokens(client: JsonClient, peer: Peer) -> None:
    peer.refused_fields = {"max_tokens"}
    engine = await connected(client)
    assert (await engine.complete(ASK, Sampling(max_tokens=2))).finish is Finish.LENGTH


async def test_top_k_reaches_an_endpoint_that_takes_it(chat: ChatEngine, peer: Peer) -> None:
    await chat.complete(ASK, Sampling(max_tokens=4, top_k=20, seed=3))
    assert (peer.requests[0]["top_k"], peer.requests[0]["seed"]) == (20, 3)


async def test_a_field_the_endpoint_refuses_is_left_out_and_named(
    client: JsonClient, peer: Peer
) -> None:
    peer.refused_fields = {"top_k", "seed"}
    engine = await connected(client)
    completion = await engine.complete(ASK, Sampling(max_tokens=400, top_k=20, seed=3))
    assert completion.ended_turn
    assert engine.server == "chat/127.0.0.1 without seed, top_k"
    asked = len(peer.requests)
    await engine.complete(ASK, Sampling(max_tokens=400, top_k=20, seed=4))
    assert len(peer.requests) == asked + 1


@pytest.mark.parametrize(
    "fault",
    [
        *(status(429), status(503), broken_stream, lost_stream, garbled_stream, a_web_page, hang),
        fault_in_the_stream,
    ],
)
async def test_a_passing_fault_is_tried_again(chat: ChatEngine, peer: Peer, fault: Any) -> None:
    peer.faults.append(fault)
    asked = len(peer.requests)
    assert (await chat.complete(ASK, COUNT)).ended_turn
    assert len(peer.requests) == asked + 2


async def test_retry_after_is_honoured(chat: ChatEngine, peer: Peer) -> None:
    peer.faults.append(status(429, headers={"Retry-After": "0.4"}))
    assert (await chat.complete(ASK, COUNT)).seconds >= 0.4


async def test_lasting_faults_end_in_unavailable(chat: ChatEngine, peer: Peer) -> None:
    peer.faults.extend([status(500)] * 9)
    with pytest.raises(EngineUnavailable, match="4 tries"):
        await chat.complete(ASK, COUNT)


async def test_a_prompt_that_is_refused_is_not_asked_again(client: JsonClient, peer: Peer) -> None:
    """A test question with the same fields shows that it is about the prompt."""
    engine = await connected(client)
    peer.requests.clear()
    peer.faults.extend([status(400, "unsafe prompt: mentions temperature")])
    with pytest.raises(EngineRefused, match="unsafe prompt"):
        await engine.complete(ASK, COUNT)
    said = [request["messages"][-1]["content"] for request in peer.requests]
    assert said == ["Count.", "Count from one to ten."]
    assert engine.dialect.left_out == frozenset()


async def test_an_endpoint_that_refuses_every_question_stops_the_run(
    chat: ChatEngine, peer: Peer
) -> None:
    peer.faults.extend([status(422, "no such project")] * 30)
    with pytest.raises(EngineMisconfigured, match=r"refuses a test question.*no such project"):
        await chat.complete(ASK, COUNT)


@pytest.mark.parametrize(
    ("code", "meaning"), [(401, "valid key"), (402, "asks for payment"), (403, "no permission")]
)
async def test_what_is_about_the_account_stops_the_run(
    chat: ChatEngine, peer: Peer, code: int, meaning: str
) -> None:
    peer.faults.append(status(code, "sorry"))
    with pytest.raises(EngineMisconfigured, match=f"{meaning}.*sorry"):
        await chat.complete(ASK, COUNT)


async def test_a_server_that_asks_to_wait_is_asked_until_time_runs_out(
    chat: ChatEngine, peer: Peer
) -> None:
    """As at a rate limit, or while a large model loads: the number of tries does not count."""
    peer.faults.extend([status(429)] * 5)
    assert (await chat.complete(ASK, COUNT)).ended_turn


async def thinks_only(request: web.Request) -> web.Response:
    delta = {"content": None, "reasoning_content": "Let me see. "}
    event = {"choices": [{"index": 0, "delta": delta, "finish_reason": "length"}]}
    return web.Response(text=f"data: {json.dumps(event)}\n\n", content_type="text/event-stream")


async def test_a_model_that_only_thinks_stops_the_run_with_a_hint(
    chat: ChatEngine, peer: Peer
) -> None:
    peer.faults.extend([thinks_only] * 4)
    for _ in range(3):
        assert (await chat.complete(ASK, COUNT)).text == ""
    with pytest.raises(EngineMisconfigured, match=r"4 of 4 answers.*`thinking_tokens`"):
        await chat.complete(ASK, COUNT)


async def test_room_to_think_is_added_to_the_limit(client: JsonClient, peer: Peer) -> None:
    engine = await connected(client, ChatOptions(thinking_tokens=4096))
    await engine.complete(ASK, COUNT)
    assert peer.requests[-1]["max_tokens"] == 4096 + 400


async def test_what_a_user_omits_is_never_sent_and_what_is_extra_always_is(
    client: JsonClient, peer: Peer
) -> None:
    options = ChatOptions(
        omit=frozenset({"temperature", "stream_options"}), extra={"reasoning_effort": "low"}
    )
    await (await connected(client, options)).complete(ASK, COUNT)
    assert not any({"temperature", "stream_options"} & set(body) for body in peer.requests)
    assert all(body["reasoning_effort"] == "low" for body in peer.requests)


async def half_a_character_a_chunk(request: web.Request) -> web.Response:
    halves = ["\ud83d", "\ude00", " \ud800!"]
    events: list[Any] = [
        {"choices": [{"delta": {"content": half}, "finish_reason": None}]} for half in halves
    ]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    text = "".join(f": waiting\r\n\r\ndata: {json.dumps(event)}\r\n\r\n" for event in events)
    return web.Response(text=text, content_type="text/event-stream")


async def test_text_that_comes_back_can_always_be_encoded(chat: ChatEngine, peer: Peer) -> None:
    peer.faults.append(half_a_character_a_chunk)
    assert (await chat.complete(ASK, COUNT)).text == "\U0001f600 \ufffd!"


async def one_object(request: web.Request) -> web.Response:
    choice = {"message": {"content": [{"type": "text", "text": "ten"}]}, "finish_reason": "eos"}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 7}})


async def test_an_answer_that_is_not_streamed_is_read_too(chat: ChatEngine, peer: Peer) -> None:
    peer.faults.append(one_object)
    completion = await chat.complete(ASK, COUNT)
    assert (completion.text, completion.prompt_tokens, completion.ended_turn) == ("ten", 7, True)


async def test_a_context_overflow_is_told_apart(chat: ChatEngine, peer: Peer) -> None:
    peer.faults.append(status(400, "maximum context length is 8192 tokens"))
    with pytest.raises(ContextOverflow):
        await chat.complete(ASK, COUNT)


def test_the_stop_string_complete_first_wins() -> None:
    assert first_stop("a```output\n", ("```output", "`")) == ("a`", "`")
    assert first_stop("abc", ("c", "bc")) == ("abc", "c")
    assert first_stop("abc", ("d",)) is None
