import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from openai import AsyncOpenAI

from tirgen.engine.chat import CONTINUE, ChatEngine, first_stop
from tirgen.engine.errors import (
    ContextOverflow,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)
from tirgen.engine.lane import Lane
from tirgen.engine.protocol import Finish, Message, Prompt, Sampling
from tirgen.engine.retry import RetryPolicy

QUICK = RetryPolicy(max_tries=4, try_seconds=0.5, total_seconds=5, first_delay=0.01)
COUNT = Sampling(max_tokens=400)
ASK = Prompt(messages=(Message("system", "Be brief."), Message("user", "Count.")))
BEGUN = Prompt(messages=ASK.messages, reply="zero one")


@pytest.fixture
async def client(peer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=peer.url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def chat(peer, client) -> ChatEngine:
    engine = await ChatEngine.connect(client, Lane(8, QUICK), "tiny")
    peer.requests.clear()
    peer.pieces_sent = 0
    return engine


def status(code: int, message: str = "no", headers: dict[str, str] | None = None):
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": message}}, status=code, headers=headers)

    return answer


async def lost_stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b'data: {"choices": [], "id": "c"}\n\n')
    request.transport.abort()
    return answer


async def garbled_stream(request: web.Request) -> web.Response:
    return web.Response(text="data: {oops\n\n", content_type="text/event-stream")


async def a_web_page(request: web.Request) -> web.Response:
    return web.Response(text="<html>Sign in</html>", content_type="text/html")


async def hang(request: web.Request) -> web.Response:
    await asyncio.sleep(2)
    return web.Response()


async def broken_stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b"data: [DONE]\n\n")
    return answer


async def test_an_answer_is_text_without_ids(chat) -> None:
    completion = await chat.complete(ASK, COUNT)
    assert completion.text == "one two three four five six seven eight nine ten"
    assert completion.token_ids == completion.logprobs == ()
    assert completion.ended_turn


async def test_the_servers_own_token_counts_are_taken(chat) -> None:
    completion = await chat.complete(ASK, COUNT)
    assert (completion.prompt_tokens, completion.completion_tokens) == (30, 16)


async def test_a_stop_string_stays_in_the_text_and_is_named(chat) -> None:
    completion = await chat.complete(ASK, Sampling(max_tokens=400, stop=("x", " four")))
    assert (completion.text, completion.stop_reason) == ("one two three four", " four")
    assert completion.finish is Finish.STOP
    assert not completion.ended_turn


async def test_the_stream_is_closed_at_the_stop_string(chat, peer) -> None:
    completion = await chat.complete(ASK, Sampling(max_tokens=400, stop=("two",)))
    assert completion.completion_tokens == 3
    assert peer.pieces_sent < 10


async def test_the_token_limit_is_a_finish(chat) -> None:
    assert (await chat.complete(ASK, Sampling(max_tokens=2))).finish is Finish.LENGTH


async def test_a_reply_is_gone_on_with_where_the_server_can(chat, peer) -> None:
    await chat.complete(BEGUN, COUNT)
    assert peer.requests[0]["messages"][-1] == {"role": "assistant", "content": "zero one"}
    assert peer.requests[0]["continue_final_message"] is True


async def test_a_reply_is_asked_to_go_on_elsewhere(client, peer) -> None:
    peer.refused_fields = {"continue_final_message"}
    engine = await ChatEngine.connect(client, Lane(8, QUICK), "tiny")
    await engine.complete(BEGUN, COUNT)
    assert peer.requests[-1]["messages"][-2:] == [
        {"role": "assistant", "content": "zero one"},
        {"role": "user", "content": CONTINUE},
    ]


async def test_an_endpoint_may_want_max_completion_tokens(client, peer) -> None:
    peer.refused_fields = {"max_tokens"}
    engine = await ChatEngine.connect(client, Lane(8, QUICK), "tiny")
    assert (await engine.complete(ASK, Sampling(max_tokens=2))).finish is Finish.LENGTH


async def test_top_k_reaches_an_endpoint_that_takes_it(chat, peer) -> None:
    await chat.complete(ASK, Sampling(max_tokens=4, top_k=20, seed=3))
    assert (peer.requests[0]["top_k"], peer.requests[0]["seed"]) == (20, 3)


async def test_top_k_where_it_is_refused_is_a_sentence(client, peer) -> None:
    peer.refused_fields = {"top_k"}
    engine = await ChatEngine.connect(client, Lane(8, QUICK), "tiny")
    with pytest.raises(EngineMisconfigured, match="set top_k = 0"):
        await engine.complete(ASK, Sampling(max_tokens=4, top_k=20))


@pytest.mark.parametrize(
    "fault",
    [status(429), status(503), broken_stream, lost_stream, garbled_stream, a_web_page, hang],
)
async def test_a_passing_fault_is_tried_again(chat, peer, fault) -> None:
    peer.faults.append(fault)
    asked = len(peer.requests)
    assert (await chat.complete(ASK, COUNT)).ended_turn
    assert len(peer.requests) == asked + 2


async def test_retry_after_is_honoured(chat, peer) -> None:
    peer.faults.append(status(429, headers={"Retry-After": "0.4"}))
    assert (await chat.complete(ASK, COUNT)).seconds >= 0.4


async def test_lasting_faults_end_in_unavailable(chat, peer) -> None:
    peer.faults.extend([status(500)] * 9)
    with pytest.raises(EngineUnavailable, match="4 tries"):
        await chat.complete(ASK, COUNT)


async def test_other_client_errors_are_refused_at_once(chat, peer) -> None:
    peer.faults.append(status(400, "bad top_p"))
    with pytest.raises(EngineRefused, match="bad top_p"):
        await chat.complete(ASK, COUNT)
    assert len(peer.requests) == 1


async def test_a_context_overflow_is_told_apart(chat, peer) -> None:
    peer.faults.append(status(400, "maximum context length is 8192 tokens"))
    with pytest.raises(ContextOverflow):
        await chat.complete(ASK, COUNT)


def test_the_stop_string_complete_first_wins() -> None:
    assert first_stop("a```output\n", ("```output", "`")) == ("a`", "`")
    assert first_stop("abc", ("c", "bc")) == ("abc", "c")
    assert first_stop("abc", ("d",)) is None
