from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web

from tests.engine.conftest import Fault, Peer
from tirgen.engine.errors import (
    ContextOverflow,
    EngineMisconfigured,
    EngineRefused,
    EngineUnavailable,
)
from tirgen.engine.protocol import Finish, Prompt, Sampling
from tirgen.engine.renderer import HfRenderer
from tirgen.engine.tokens import TokenEngine

COUNT = Sampling(max_tokens=400, temperature=0.0)


def status(code: int, headers: dict[str, str] | None = None, message: str = "no") -> Fault:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": message}}, status=code, headers=headers)

    return answer


async def hang(request: web.Request) -> web.Response:
    await asyncio.sleep(2)
    return web.Response()


async def reset(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def half_an_answer(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"choices": [')
    assert request.transport
    request.transport.abort()
    return answer


async def a_web_page(request: web.Request) -> web.Response:
    return web.Response(text="<html>Sign in</html>", content_type="text/html")


async def test_a_completion_carries_ids_logprobs_and_text(
    engine: TokenEngine, prompt: Prompt
) -> None:
    completion = await engine.complete(prompt, COUNT)
    assert completion.text == "one two three four five six seven eight nine ten"
    assert len(completion.token_ids) == len(completion.logprobs) == completion.completion_tokens
    assert completion.ended_turn


async def test_the_end_of_turn_token_is_among_the_ids(engine: TokenEngine, prompt: Prompt) -> None:
    completion = await engine.complete(prompt, COUNT)
    assert completion.token_ids[-1] == 2


async def test_a_stop_string_stays_in_the_text(engine: TokenEngine, prompt: Prompt) -> None:
    sampling = Sampling(max_tokens=400, temperature=0.0, stop=(" four",))
    completion = await engine.complete(prompt, sampling)
    assert (completion.text, completion.stop_reason) == ("one two three four", " four")
    assert not completion.ended_turn


async def test_the_token_limit_is_a_finish(engine: TokenEngine, prompt: Prompt) -> None:
    completion = await engine.complete(prompt, Sampling(max_tokens=3))
    assert completion.finish is Finish.LENGTH


async def test_every_sampling_parameter_is_sent_explicitly(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    sampling = Sampling(max_tokens=9, temperature=0.7, top_p=0.9, top_k=5, seed=3, stop=("x",))
    await engine.complete(prompt, sampling)
    assert peer.requests == [
        {
            "model": "tiny",
            "prompt": list(prompt.token_ids),
            "max_tokens": 9,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 5,
            "seed": 3,
            "stop": ["x"],
            "include_stop_str_in_output": True,
            "logprobs": 0,
            "return_token_ids": True,
            "repetition_penalty": 1.0,
            "min_p": 0.0,
        }
    ]


@pytest.mark.parametrize(
    "fault",
    [status(408), status(429), status(500), status(503), hang, reset, half_an_answer, a_web_page],
)
async def test_a_passing_fault_is_tried_again(
    engine: TokenEngine, peer: Peer, prompt: Prompt, fault: Any
) -> None:
    peer.faults.extend([fault, fault])
    completion = await engine.complete(prompt, COUNT)
    assert completion.ended_turn
    assert len(peer.requests) == 3


async def test_an_aborted_generation_is_tried_again(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    reasons = iter(["abort", "stop"])
    peer.alter = lambda choice: choice.update(finish_reason=next(reasons))
    assert (await engine.complete(prompt, COUNT)).finish is Finish.STOP


async def test_retry_after_is_honoured(engine: TokenEngine, peer: Peer, prompt: Prompt) -> None:
    peer.faults.append(status(429, {"Retry-After": "0.4"}))
    completion = await engine.complete(prompt, COUNT)
    assert completion.seconds >= 0.4


async def test_a_retry_after_beyond_all_patience_gives_up_at_once(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    peer.faults.append(status(429, {"Retry-After": "3600"}))
    with pytest.raises(EngineUnavailable, match="after 1 tries"):
        await engine.complete(prompt, COUNT)


async def test_a_lasting_fault_ends_in_unavailable(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    peer.faults.extend([status(500, message="out of memory")] * 9)
    with pytest.raises(EngineUnavailable, match=r"4 tries.*HTTP 500: out of memory"):
        await engine.complete(prompt, COUNT)
    assert len(peer.requests) == 4


@pytest.mark.parametrize("code", [400, 409, 413, 422])
async def test_a_refused_prompt_is_not_asked_again(
    engine: TokenEngine, peer: Peer, prompt: Prompt, code: int
) -> None:
    """A test question with the same settings shows that the refusal is about the prompt."""
    peer.faults.append(status(code, message="bad prompt"))
    with pytest.raises(EngineRefused, match="bad prompt"):
        await engine.complete(prompt, COUNT)
    assert [request["max_tokens"] for request in peer.requests] == [400, 1]


async def test_an_engine_that_refuses_every_question_stops_the_run(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    peer.faults.extend([status(400, message="top_p is not supported")] * 2)
    with pytest.raises(EngineMisconfigured, match=r"test question.*top_p is not supported"):
        await engine.complete(prompt, COUNT)


async def test_a_context_overflow_is_told_apart(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    message = "This model's maximum context length is 512 tokens."
    peer.faults.append(status(400, message=message))
    with pytest.raises(ContextOverflow, match="512 tokens"):
        await engine.complete(prompt, COUNT)


async def test_a_prompt_that_fills_the_context_is_not_sent(engine: TokenEngine, peer: Peer) -> None:
    with pytest.raises(ContextOverflow, match=r"512 tokens fills the context of tiny"):
        await engine.complete(Prompt(messages=(), token_ids=(5,) * 512), COUNT)
    assert peer.requests == []


async def test_a_completion_ends_where_the_context_does(engine: TokenEngine, peer: Peer) -> None:
    completion = await engine.complete(Prompt(messages=(), token_ids=(5,) * 505), COUNT)
    assert peer.requests[0]["max_tokens"] == 7
    assert (completion.finish, completion.completion_tokens) == (Finish.LENGTH, 7)


@pytest.mark.parametrize("code", [401, 403, 404, 302])
async def test_a_server_that_changed_its_mind_is_misconfigured(
    engine: TokenEngine, peer: Peer, prompt: Prompt, code: int
) -> None:
    peer.faults.append(status(code))
    with pytest.raises(EngineMisconfigured):
        await engine.complete(prompt, COUNT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["token_ids"].pop(), "differ in length"),
        (lambda c: c["logprobs"]["token_logprobs"].append(-1.0), "differ in length"),
        (lambda c: c.update(token_ids=None), "differ in length"),
        (lambda c: c.update(logprobs=None), "lacks token ids or log-probabilities"),
        (lambda c: c.pop("token_ids"), "lacks token ids or log-probabilities"),
        (lambda c: c["logprobs"]["token_logprobs"].__setitem__(0, None), "finite number"),
        (lambda c: c["logprobs"]["token_logprobs"].__setitem__(0, float("nan")), "finite number"),
        (lambda c: c["token_ids"].__setitem__(0, "5"), "no token id"),
        (lambda c: c["prompt_token_ids"].pop(), "another prompt"),
        (lambda c: c.update(token_ids=[5] * 500, logprobs={"token_logprobs": [0.0] * 500}), "500"),
        (lambda c: c.update(token_ids=[], logprobs={"token_logprobs": []}), "holds 0 tokens"),
    ],
)
async def test_a_broken_promise_is_never_accepted(
    engine: TokenEngine, peer: Peer, prompt: Prompt, change: Any, said: str
) -> None:
    peer.alter = change
    with pytest.raises(EngineUnavailable, match=said):
        await engine.complete(prompt, COUNT)
    assert len(peer.requests) == 1


async def test_concurrency_is_bounded(engine: TokenEngine, peer: Peer, prompt: Prompt) -> None:
    peer.delay = 0.02
    await asyncio.gather(*(engine.complete(prompt, COUNT) for _ in range(40)))
    assert peer.most_in_flight == 8


async def test_a_completion_says_what_it_cost(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    peer.delay, started = 0.1, time.monotonic()
    completions = await asyncio.gather(*(engine.complete(prompt, COUNT) for _ in range(16)))
    for completion in completions:
        assert completion.prompt_tokens == len(prompt.token_ids)
        assert completion.completion_tokens == len(completion.token_ids)
    # Eight at a time: the wait for a free slot is not the engine's.
    spent = sum(completion.seconds for completion in completions)
    assert 16 * peer.delay <= spent <= 8 * (time.monotonic() - started)


async def test_a_cancelled_call_gives_its_slot_back(
    engine: TokenEngine, peer: Peer, prompt: Prompt
) -> None:
    peer.faults.extend([hang] * 8)
    calls = [asyncio.create_task(engine.complete(prompt, COUNT)) for _ in range(8)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert (await engine.complete(prompt, COUNT)).ended_turn


async def test_the_prompt_is_what_its_ids_say(
    engine: TokenEngine, peer: Peer, renderer: HfRenderer
) -> None:
    ids = renderer.encode("as it is")
    await engine.complete(Prompt(messages=(), reply="ignored", token_ids=ids), COUNT)
    assert peer.requests[0]["prompt"] == list(ids)
