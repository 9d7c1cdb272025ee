from typing import Any

import aiohttp
import pytest

MESSAGES = [{"role": "user", "content": "hi"}]


async def refused(
    http: aiohttp.ClientSession, base_url: str, path: str, body: Any, status: int = 400
) -> dict[str, Any]:
    """The error of an answer that must be a refusal."""
    async with http.post(base_url + path, json=body) as answer:
        assert answer.status == status, await answer.text()
        error: dict[str, Any] = (await answer.json())["error"]
    assert error["code"] == status
    return error


@pytest.mark.parametrize(
    "field",
    [
        "guided_json",
        "structured_outputs",
        "response_format",
        "logit_bias",
        "echo",
        "best_of",
        "presence_penalty",
        "repetition_penalty",
        "prompt_logprobs",
        "priority",
        "no_such_field",
    ],
)
async def test_a_field_it_does_not_honour_is_refused_by_name(
    tiny_server: str, http: aiohttp.ClientSession, field: str
) -> None:
    error = await refused(http, tiny_server, "/completions", {"prompt": "a", field: 1})
    assert error["param"] == field
    assert f"'{field}'" in error["message"]
    assert error["type"] == "BadRequestError"


@pytest.mark.parametrize("field", ["tools", "chat_template_kwargs", "functions"])
async def test_chat_refuses_by_name_too(
    tiny_server: str, http: aiohttp.ClientSession, field: str
) -> None:
    body = {"messages": MESSAGES, field: []}
    error = await refused(http, tiny_server, "/chat/completions", body)
    assert error["param"] == field


async def test_a_field_inside_a_message_is_refused_too(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": []}
    error = await refused(http, tiny_server, "/chat/completions", {"messages": [message]})
    assert "messages.0.tool_calls" in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": "16"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 600}, "max_tokens"),
        ({"min_tokens": 17}, "min_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop_token_ids": [512]}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stream": 1}, "stream"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [512]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [10] * 512}, "prompt"),
    ],
)
async def test_a_value_out_of_bounds_is_refused_with_its_field(
    tiny_server: str, http: aiohttp.ClientSession, fields: dict[str, Any], param: str
) -> None:
    error = await refused(http, tiny_server, "/completions", {"prompt": "a"} | fields)
    assert error["param"] == param


@pytest.mark.parametrize("fields", [{"top_logprobs": 2, "logprobs": True}, {"messages": []}])
async def test_chat_values_are_checked(
    tiny_server: str, http: aiohttp.ClientSession, fields: dict[str, Any]
) -> None:
    body = {"messages": MESSAGES} | fields
    error = await refused(http, tiny_server, "/chat/completions", body)
    assert error["param"] in fields


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
async def test_what_is_no_json_object_is_refused(
    tiny_server: str, http: aiohttp.ClientSession, body: bytes
) -> None:
    json = {"Content-Type": "application/json"}
    async with http.post(tiny_server + "/completions", data=body, headers=json) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/embeddings", 404), ("GET", "/completions", 405)]
)
async def test_what_is_no_route_is_told_in_the_same_shape(
    tiny_server: str, http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with http.request(method, tiny_server + path) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["code"] == status


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1e-9},
        {"temperature": 1e6},
        {"top_p": 1e-12},
        {"top_p": 1.0, "top_k": -1, "min_p": 0},
        {"top_k": 2**31 - 1},
        {"min_p": 0.999999},
        {"seed": 0, "temperature": 0.0, "top_p": 0.5},
        {"min_tokens": 16},
        {"max_tokens": 1},
        {"prompt": [0]},
        {"prompt": [511]},
        {"prompt": [10] * 511, "max_tokens": 1},
        {"prompt": [10] * 511, "max_tokens": None},
        {"prompt": [10] * 600, "truncate_prompt_tokens": -1, "max_tokens": 1},
    ],
)
async def test_every_value_it_takes_is_generated_from(
    tiny_server: str, http: aiohttp.ClientSession, fields: dict[str, Any]
) -> None:
    async with http.post(tiny_server + "/completions", json={"prompt": "a"} | fields) as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.parametrize(("side", "kept"), [("left", [15, 16]), ("right", [10, 11])])
async def test_a_prompt_is_cut_on_the_side_asked_for(
    tiny_server: str, http: aiohttp.ClientSession, side: str, kept: list[int]
) -> None:
    body = {"prompt": [*range(10, 17)], "truncate_prompt_tokens": 2, "truncation_side": side}
    async with http.post(
        tiny_server + "/completions", json=body | {"return_token_ids": True}
    ) as answer:
        assert (await answer.json())["choices"][0]["prompt_token_ids"] == kept
