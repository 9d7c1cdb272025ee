"""A server that answers at once with fixed tokens: it measures the cost of clients.

Run as `python -m benchmarks._completions_server`; prints its port and serves until its stdin
closes.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from benchmarks._apps import serve

TOKENS = [104 + i % 20 for i in range(200)]
_LOGPROBS = [-0.1234567 * (1 + i % 7) for i in range(200)]


async def completions(request: web.Request) -> web.Response:
    body = await request.json()
    choice = {
        "index": 0,
        "text": "x" * len(TOKENS),
        "token_ids": TOKENS,
        "prompt_token_ids": body["prompt"],
        "logprobs": {
            "token_logprobs": _LOGPROBS,
            "tokens": ["x"] * len(TOKENS),
            "top_logprobs": [{"x": logprob} for logprob in _LOGPROBS],
            "text_offset": list(range(len(TOKENS))),
        },
        "finish_reason": "length",
        "stop_reason": None,
    }
    prompt, completion = len(body["prompt"]), len(TOKENS)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    answer = {
        "id": "cmpl-0",
        "object": "text_completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }
    return web.Response(body=json.dumps(answer).encode(), content_type="application/json")


_CHUNKS: list[dict[str, object]] = [
    {"index": 0, "delta": {"content": "word "}, "logprobs": None, "finish_reason": None}
    for _ in TOKENS
]


def _event(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> bytes:
    event = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return f"data: {json.dumps({**event, 'choices': choices, 'usage': usage})}\n\n".encode()


async def chat(request: web.Request) -> web.StreamResponse:
    """One chunk per token, as hosted endpoints and vLLM stream."""
    await request.read()
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for chunk in _CHUNKS:
        await answer.write(_event([chunk]))
    end: dict[str, object] = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 300, "completion_tokens": len(TOKENS), "total_tokens": 500}
    await answer.write(_event([end]) + _event([], usage) + b"data: [DONE]\n\n")
    return answer


def application() -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/completions", completions)
    app.router.add_post("/v1/chat/completions", chat)
    return app


if __name__ == "__main__":
    asyncio.run(serve(application()))
