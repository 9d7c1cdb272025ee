"""What a token-exact client needs of any server that speaks vLLM's completions API.

By default our own server with the tiny model. TIRGEN_CONFORMANCE_URL=http://host:8000/v1 points
the same checks at another server, a real vLLM for instance (docs/serving.md has the flags).
"""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

PROMPT = "1 plus 2 is 3; naïve"
Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def base_url(request: pytest.FixtureRequest) -> str:
    url = os.environ.get("TIRGEN_CONFORMANCE_URL")
    return url.rstrip("/") if url else str(request.getfixturevalue("tiny_server"))


@pytest.fixture
async def model(base_url: str, http: aiohttp.ClientSession) -> str:
    async with http.get(base_url + "/models") as answer:
        return str((await answer.json())["data"][0]["id"])


@pytest.fixture
async def post(base_url: str, model: str, http: aiohttp.ClientSession) -> Ask:
    async def call(path: str, **fields: Any) -> dict[str, Any]:
        async with http.post(base_url + path, json={"model": model} | fields) as answer:
            body: dict[str, Any] = await answer.json()
            return body | {"status": answer.status}

    return call


@pytest.fixture
async def complete(post: Ask) -> Ask:
    async def call(**fields: Any) -> dict[str, Any]:
        fields = {"prompt": PROMPT, "max_tokens": 16, "seed": 1, "ignore_eos": True} | fields
        answer = await post("/completions", **fields)
        assert answer["status"] == 200, answer
        return answer

    return call


@pytest.fixture
async def chat(post: Ask) -> Ask:
    async def call(**fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": "hi"}]
        fields = {"messages": messages, "max_tokens": 8, "seed": 1, "ignore_eos": True} | fields
        answer = await post("/chat/completions", **fields)
        assert answer["status"] == 200, answer
        return answer

    return call


@pytest.fixture
async def stream(base_url: str, model: str, http: aiohttp.ClientSession) -> Ask:
    async def call(path: str, **fields: Any) -> dict[str, Any]:
        body = {"model": model, "stream": True} | fields
        async with http.post(base_url + path, json=body) as answer:
            assert answer.content_type == "text/event-stream"
            events = (await answer.read()).decode().split("\n\n")
        data = [event.removeprefix("data: ") for event in events if event]
        assert data.pop() == "[DONE]"
        return {"chunks": [json.loads(line) for line in data]}

    return call


def tokens(answer: dict[str, Any], choice: int = 0) -> list[int]:
    ids: list[int] = answer["choices"][choice]["token_ids"]
    return ids


async def test_a_completion_has_its_shape(complete: Ask) -> None:
    answer = await complete()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    choice = answer["choices"][0]
    assert choice["index"] == 0
    assert choice["finish_reason"] == "length"
    assert choice["stop_reason"] is None
    usage = answer["usage"]
    assert usage["completion_tokens"] == 16
    assert usage["total_tokens"] == usage["prompt_tokens"] + 16


async def test_max_tokens_is_16_unless_told(post: Ask) -> None:
    answer = await post("/completions", prompt=PROMPT, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 16


async def test_token_ids_come_back_with_the_choice(complete: Ask) -> None:
    answer = await complete(return_token_ids=True)
    assert len(tokens(answer)) == 16
    assert len(answer["choices"][0]["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]


async def test_a_prompt_of_token_ids_is_the_prompt_as_text(complete: Ask) -> None:
    as_text = await complete(return_token_ids=True)
    ids = as_text["choices"][0]["prompt_token_ids"]
    as_ids = await complete(return_token_ids=True, prompt=ids)
    assert as_ids["choices"][0]["prompt_token_ids"] == ids
    assert tokens(as_ids) == tokens(as_text)


@pytest.mark.parametrize("prompts", [["1 plus 2", "3 plus"], [[10, 11, 12], [20, 21]]])
async def test_prompts_come_in_lists(complete: Ask, prompts: list[Any]) -> None:
    together = await complete(prompt=prompts, n=2, return_token_ids=True)
    assert [choice["index"] for choice in together["choices"]] == [0, 1, 2, 3]
    alone = await complete(prompt=prompts[1], n=2, return_token_ids=True)
    ours = [choice["prompt_token_ids"] for choice in together["choices"]]
    assert ours[2] == ours[3] == alone["choices"][0]["prompt_token_ids"]
    assert together["usage"]["completion_tokens"] == 64


async def test_choices_of_one_seed_differ(complete: Ask) -> None:
    answer = await complete(n=4, return_token_ids=True)
    assert len({tuple(tokens(answer, i)) for i in range(4)}) == 4


async def test_a_seed_repeats_and_another_does_not(complete: Ask) -> None:
    first, again, other = [await complete(seed=s, return_token_ids=True) for s in (7, 7, 8)]
    assert tokens(first) == tokens(again) != tokens(other)


async def test_no_seed_differs_from_call_to_call(complete: Ask) -> None:
    calls = [await complete(seed=None, return_token_ids=True) for _ in range(2)]
    assert tokens(calls[0]) != tokens(calls[1])


async def test_temperature_0_is_greedy(complete: Ask) -> None:
    calls = [await complete(temperature=0, seed=s, return_token_ids=True) for s in (1, 2)]
    assert tokens(calls[0]) == tokens(calls[1])


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.999}])
async def test_the_narrowest_truncation_is_greedy(complete: Ask, narrow: dict[str, float]) -> None:
    greedy = await complete(temperature=0, return_token_ids=True)
    assert tokens(await complete(return_token_ids=True, **narrow)) == tokens(greedy)


async def test_logprobs_0_is_one_for_each_sampled_token(complete: Ask) -> None:
    answer = await complete(logprobs=0, return_token_ids=True)
    logprobs = answer["choices"][0]["logprobs"]
    assert {len(logprobs[name]) for name in ("tokens", "token_logprobs", "text_offset")} == {16}
    assert all(value <= 0 for value in logprobs["token_logprobs"])
    for token, value, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top == {token: value}


async def test_no_logprobs_unless_asked(complete: Ask) -> None:
    assert (await complete())["choices"][0]["logprobs"] is None


async def test_logprobs_are_the_models_own_whatever_the_sampling(complete: Ask) -> None:
    """Raw: the same tokens at another temperature have the same log-probabilities."""
    plain, cold = [
        await complete(top_k=1, temperature=t, logprobs=0, return_token_ids=True) for t in (1, 0.3)
    ]
    assert tokens(plain) == tokens(cold)
    a, b = (answer["choices"][0]["logprobs"]["token_logprobs"] for answer in (plain, cold))
    assert a == pytest.approx(b, abs=1e-4)


async def test_tokens_can_be_named_by_id(complete: Ask) -> None:
    answer = await complete(logprobs=0, return_tokens_as_token_ids=True, return_token_ids=True)
    names = answer["choices"][0]["logprobs"]["tokens"]
    assert names == [f"token_id:{id_}" for id_ in tokens(answer)]


async def test_a_stop_string_ends_and_is_cut(complete: Ask) -> None:
    whole = (await complete(temperature=0, max_tokens=40))["choices"][0]["text"]
    stop = whole[10:13]
    assert "\ufffd" not in stop
    cut = (await complete(temperature=0, max_tokens=40, stop=[stop]))["choices"][0]
    assert cut["text"] == whole[: whole.index(stop)]
    assert (cut["finish_reason"], cut["stop_reason"]) == ("stop", stop)


async def test_a_stop_string_stays_on_request(complete: Ask) -> None:
    whole = (await complete(temperature=0, max_tokens=40))["choices"][0]["text"]
    stop = whole[10:13]
    options = {"stop": stop, "include_stop_str_in_output": True}
    kept = (await complete(temperature=0, max_tokens=40, **options))["choices"][0]
    assert kept["text"] == whole[: whole.index(stop) + len(stop)]


async def test_the_tokens_of_a_stop_string_stay_in_token_ids(complete: Ask) -> None:
    whole = await complete(temperature=0, max_tokens=40, return_token_ids=True)
    stop = whole["choices"][0]["text"][10:13]
    cut = await complete(temperature=0, max_tokens=40, stop=stop, return_token_ids=True, logprobs=0)
    ids = tokens(cut)
    assert ids == tokens(whole)[: len(ids)]
    assert len(cut["choices"][0]["logprobs"]["token_logprobs"]) == len(ids)
    assert cut["usage"]["completion_tokens"] == len(ids)


async def test_a_stop_token_ends_and_is_reported(complete: Ask) -> None:
    ids = tokens(await complete(temperature=0, return_token_ids=True))
    options = {"stop_token_ids": [ids[5]], "return_token_ids": True, "ignore_eos": False}
    answer = await complete(temperature=0, **options)
    assert tokens(answer) == ids[: ids.index(ids[5]) + 1]
    assert answer["choices"][0]["stop_reason"] == ids[5]
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_stop_token_holds_where_the_end_token_is_ignored(complete: Ask) -> None:
    ids = tokens(await complete(temperature=0, return_token_ids=True))
    answer = await complete(temperature=0, stop_token_ids=[ids[5]], return_token_ids=True)
    assert tokens(answer) == ids[: ids.index(ids[5]) + 1]


async def test_min_tokens_keeps_stop_tokens_from_being_sampled(complete: Ask) -> None:
    ids = tokens(await complete(temperature=0, return_token_ids=True))
    options = {"stop_token_ids": [ids[2]], "min_tokens": 8, "return_token_ids": True}
    answer = await complete(temperature=0, **options)
    assert len(tokens(answer)) >= 8
    assert ids[2] not in tokens(answer)[:7]


async def test_streamed_pieces_are_the_whole(complete: Ask, stream: Ask) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 40, "seed": 3, "ignore_eos": True, "logprobs": 0}
    whole = (await complete(**fields, return_token_ids=True))["choices"][0]
    chunks = (await stream("/completions", **fields, return_token_ids=True))["chunks"]
    pieces = [chunk["choices"][0] for chunk in chunks]
    assert "".join(piece["text"] for piece in pieces).rstrip("\ufffd") == whole["text"].rstrip(
        "\ufffd"
    )
    assert [id_ for piece in pieces for id_ in piece["token_ids"]] == whole["token_ids"]
    streamed = [v for piece in pieces for v in piece["logprobs"]["token_logprobs"]]
    assert streamed == pytest.approx(whole["logprobs"]["token_logprobs"], abs=1e-5)
    assert pieces[0]["prompt_token_ids"] == whole["prompt_token_ids"]
    assert all("prompt_token_ids" not in p or not p["prompt_token_ids"] for p in pieces[1:])
    assert [piece["finish_reason"] for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]


async def test_a_stream_takes_no_text_back_at_a_stop_string(complete: Ask, stream: Ask) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 40, "temperature": 0, "ignore_eos": True}
    stop = (await complete(**fields))["choices"][0]["text"][10:14]
    cut = (await complete(**fields, stop=stop))["choices"][0]["text"]
    chunks = (await stream("/completions", **fields, stop=stop))["chunks"]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == cut
    assert chunks[-1]["choices"][0]["stop_reason"] == stop


async def test_a_stream_counts_its_tokens_on_request(stream: Ask) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 5, "ignore_eos": True}
    usage = {"stream_options": {"include_usage": True}}
    chunks = (await stream("/completions", **fields, **usage))["chunks"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5


async def test_a_stream_carries_several_choices(stream: Ask) -> None:
    chunks = (await stream("/completions", prompt=[PROMPT, "3"], n=2, ignore_eos=True))["chunks"]
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1, 2, 3}


async def test_a_chat_completion_has_its_shape(chat: Ask) -> None:
    answer = await chat(return_token_ids=True)
    assert answer["object"] == "chat.completion"
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str)
    assert len(choice["token_ids"]) == 8
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]


async def test_chat_is_a_completion_of_the_rendered_prompt(chat: Ask, complete: Ask) -> None:
    talked = await chat(return_token_ids=True, temperature=0)
    prompt = talked["prompt_token_ids"]
    completed = await complete(prompt=prompt, temperature=0, max_tokens=8, return_token_ids=True)
    assert tokens(talked) == tokens(completed)


async def test_chat_logprobs(chat: Ask) -> None:
    content = (await chat(logprobs=True))["choices"][0]["logprobs"]["content"]
    assert len(content) == 8
    assert all(entry["logprob"] <= 0 for entry in content)
    assert all(isinstance(entry["token"], str) for entry in content)


async def test_max_completion_tokens_is_the_newer_name(chat: Ask) -> None:
    answer = await chat(max_tokens=None, max_completion_tokens=3)
    assert answer["usage"]["completion_tokens"] == 3


async def test_a_final_message_can_be_continued(chat: Ask) -> None:
    opened = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "It"}]
    switches = {"add_generation_prompt": False, "continue_final_message": True}
    first = await chat(messages=opened, return_token_ids=True, **switches)
    opened[1]["content"] = "It is 3"
    longer = await chat(messages=opened, return_token_ids=True, **switches)
    short, long = (answer["prompt_token_ids"] for answer in (first, longer))
    assert long[: len(short)] == short
    assert len(long) > len(short)


async def test_a_streamed_chat_is_the_whole(chat: Ask, stream: Ask) -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "seed": 1}
    whole = (await chat(**fields))["choices"][0]["message"]["content"]
    chunks = (await stream("/chat/completions", **fields, ignore_eos=True))["chunks"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    streamed = "".join(delta.get("content") or "" for delta in deltas)
    assert streamed.rstrip("\ufffd") == whole.rstrip("\ufffd")
    assert chunks[0]["object"] == "chat.completion.chunk"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": list(range(10, 20)) * 10_000},
        {"temperature": -1},
        {"top_p": 0},
        {"n": 0},
        {"max_tokens": "many"},
        {"prompt": [10, 10**9]},
        {"prompt": PROMPT, "stream_options": {"include_usage": True}},
    ],
)
async def test_what_cannot_be_served_is_a_400(post: Ask, fields: dict[str, Any]) -> None:
    answer = await post("/completions", **({"prompt": PROMPT} | fields))
    assert answer["status"] == 400
    assert answer["error"]["code"] == 400
    assert answer["error"]["message"]


async def test_another_model_is_a_404(post: Ask) -> None:
    answer = await post("/completions", model="no-such-model", prompt=PROMPT)
    assert answer["status"] == 404
    assert answer["error"]["type"] == "NotFoundError"
    assert "no-such-model" in answer["error"]["message"]


async def test_both_ways_to_end_the_prompt_are_refused(post: Ask) -> None:
    messages = [{"role": "user", "content": "hi"}]
    switches = {"add_generation_prompt": True, "continue_final_message": True}
    assert (await post("/chat/completions", messages=messages, **switches))["status"] == 400


async def test_health_version_and_metrics(base_url: str, http: aiohttp.ClientSession) -> None:
    root = base_url.removesuffix("/v1")
    async with http.get(root + "/health") as health:
        assert health.status == 200
    async with http.get(root + "/version") as version:
        assert "version" in await version.json()
    async with http.get(root + "/metrics") as metrics:
        assert "vllm:generation_tokens_total{" in await metrics.text()


async def test_tokenize(base_url: str, model: str, http: aiohttp.ClientSession) -> None:
    body = {"model": model, "prompt": PROMPT}
    async with http.post(base_url.removesuffix("/v1") + "/tokenize", json=body) as answer:
        counted = await answer.json()
    assert counted["count"] == len(counted["tokens"]) > 0
    assert counted["max_model_len"] > 0
