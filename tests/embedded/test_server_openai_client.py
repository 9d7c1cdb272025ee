"""The official client, unmodified, against our server."""

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

SAMPLING: dict[str, Any] = {"max_tokens": 12, "seed": 4}
MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(tiny_server: str) -> OpenAI:
    return OpenAI(base_url=tiny_server, api_key="none", max_retries=0)


@pytest.fixture
def async_client(tiny_server: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=tiny_server, api_key="none", max_retries=0)


def test_models_are_listed_and_looked_up(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["pocket"]
    assert client.models.retrieve("pocket").object == "model"


def test_completion_with_vllm_fields(client: OpenAI) -> None:
    extra: dict[str, Any] = {"return_token_ids": True, "ignore_eos": True, "top_k": 5}
    answer = client.completions.create(
        model="pocket", prompt="1 plus", logprobs=0, extra_body=extra, **SAMPLING
    )
    choice = answer.choices[0]
    assert len(choice.token_ids) == len(choice.logprobs.token_logprobs) == 12
    assert answer.usage.completion_tokens == 12


def test_streamed_completion_is_the_whole(client: OpenAI) -> None:
    whole = client.completions.create(model="pocket", prompt="1 plus", **SAMPLING)
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.completions.create(model="pocket", prompt="1 plus", **SAMPLING, **options))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


def test_chat_and_its_stream(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="pocket", messages=MESSAGES, logprobs=True, **SAMPLING
    )
    stream = client.chat.completions.create(
        model="pocket", messages=MESSAGES, stream=True, **SAMPLING
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert streamed == whole.choices[0].message.content
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens


async def test_async_completion_and_chat(async_client: AsyncOpenAI) -> None:
    async with async_client as client:
        answer = await client.completions.create(model="pocket", prompt=[10, 11], **SAMPLING)
        assert answer.choices[0].finish_reason in ("stop", "length")
        talk = await client.chat.completions.create(model="pocket", messages=MESSAGES, **SAMPLING)
        assert talk.choices[0].message.role == "assistant"


async def test_async_stream(async_client: AsyncOpenAI) -> None:
    async with async_client as client:
        stream = await client.chat.completions.create(
            model="pocket", messages=MESSAGES, stream=True, n=2, **SAMPLING
        )
        ends = [c.choices[0].finish_reason async for c in stream if c.choices[0].finish_reason]
    assert len(ends) == 2


def test_an_unknown_field_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="guided_json") as caught:
        client.completions.create(model="pocket", prompt="a", extra_body={"guided_json": {}})
    assert caught.value.param == "guided_json"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.completions.create(model="gpt-9", prompt="a")


def test_a_prompt_beyond_the_context_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.completions.create(model="pocket", prompt=[10] * 600)
