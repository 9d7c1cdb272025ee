"""A server that answers as vLLM and hosted chat endpoints do, and whose models write anything.

What is written follows from the prompt, so that a run can be repeated. The probes of a client that
begins (`Count from one to ten.`) are answered honestly.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tirgen.engine.renderer import HfRenderer

COUNTING = "one two three four five six seven eight nine ten"
MILLION = 10**6
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

HONEST = "Two and two make four, so it is \\boxed{4}."
WRITINGS: list[Callable[[], str]] = [
    lambda: HONEST,
    lambda: "\\boxed{" * 1000 + "4" + "}" * 1000,
    lambda: "\\boxed{" * 5000,
    lambda: "\\boxed{" + "{" * 50_000 + "4" + "}" * 50_000 + "}",
    lambda: "\\boxed{" + "\\frac{1}{" * 3000 + "2" + "}" * 3000 + "}",
    lambda: "\\boxed{" + "(" * 20_000 + "4" + ")" * 20_000 + "}",
    lambda: "So \ud800 it is \\boxed{4\udfff}.",
    lambda: "\ude00\ud83d backwards: \\boxed{4}",
    lambda: "9" * MILLION,
    lambda: "\\boxed{" + "9" * MILLION + "}",
    lambda: "word " * (MILLION // 5) + "\\boxed{4}",
    lambda: "\x00\\boxed{4\x00}\x00",
    lambda: "```python\n" * 20_000,
    lambda: "```output\n" * 20_000,
    lambda: "`" * 100_000 + "python\nprint(1)\n" + "`" * 100_000 + "\n",
    lambda: "```python\nprint(1)\n```\n" * 2000,
    lambda: "```python\nprint('\\ud800')\n```\n",
    lambda: "```python\n\x00\n```\n\\boxed{4}",
    lambda: "```python\n" + "(" * 5000 + ")" * 5000 + "\n```\n",
    lambda: "<think>" * 5000 + "</think>" * 5000 + "\\boxed{4}",
    lambda: "$" * 100_000,
    lambda: "\\left(" * 5000 + "\\boxed{4}",
    lambda: "\n" * 100_000,
    lambda: "",
    lambda: "\u202e\u2066\u200d\ufeff\u2028\x1b[31m\\boxed{4}",
    lambda: "\\boxed{" + "+".join(["x"] * 5000) + "}",
    lambda: "\\boxed{" + "2^" * 2000 + "2}",
    lambda: "\\boxed{10^{10^{10^{10}}}}",
    lambda: "\\boxed{" + "\\sqrt{" * 1500 + "2" + "}" * 1500 + "}",
    lambda: "\\boxed{" + ", ".join(map(str, range(20_000))) + "}",
    lambda: "\\text{" * 4000 + "}" * 4000 + " the answer is 4",
]


def writing_for(prompt: str) -> str:
    """Follows the number in the question, ``#17#``, or else the prompt as a whole.

    A critic leaves an honest step as it is.
    """
    if HONEST in prompt:
        return HONEST
    numbers = re.findall(r"#(\d+)#", prompt)
    chosen = int(numbers[-1]) if numbers else zlib.crc32(prompt.encode(errors="replace"))
    return WRITINGS[chosen % len(WRITINGS)]()


def write_tokenizer(folder: Path) -> Path:
    """One token a byte, as a model's folder holds it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


class HostileEngine:
    """`/v1/completions` with token ids and `/v1/chat/completions`, streamed or not."""

    def __init__(self, folder: Path) -> None:
        self._renderer = HfRenderer.load(write_tokenizer(folder))
        self._end = 256 + SPECIALS.index("<|im_end|>")
        self.write = writing_for
        self._allowed: float = math.inf
        self.calls: list[str] = []
        """What was asked, the probes left out."""
        self._changed = asyncio.Condition()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def allow(self, answers: float) -> None:
        """Answer at most this number of calls; the others wait until more are allowed."""
        self._allowed = answers
        async with self._changed:
            self._changed.notify_all()

    async def _models(self, request: web.Request) -> web.Response:
        card = {"id": "hostile", "owned_by": "test"}
        return web.json_response({"object": "list", "data": [card]})

    async def _said(self, prompt: str) -> str:
        if "Count from one to ten" in prompt:
            return COUNTING
        self.calls.append(prompt)
        number = len(self.calls)
        async with self._changed:
            await self._changed.wait_for(lambda: number <= self._allowed)
        return self.write(prompt)

    async def _completions(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = await self._said(self._renderer.decode(tuple(body["prompt"])))
        reason = None
        ends = [(text.find(s) + len(s), s) for s in body.get("stop", ()) if s in text]
        if ends:
            end, reason = min(ends)
            text = text[:end]
        ids = list(self._renderer.encode(text.encode(errors="replace").decode()))
        cut = len(ids) >= body["max_tokens"]
        ids = ids[: body["max_tokens"]]
        if not cut and reason is None:
            ids.append(self._end)
        choice = {
            "index": 0,
            "text": self._renderer.decode(tuple(ids)),
            "token_ids": ids,
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": [-0.5] * len(ids)},
            "finish_reason": "length" if cut else "stop",
            "stop_reason": None if cut else reason,
        }
        return web.json_response({"object": "text_completion", "choices": [choice]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = await self._said("\n".join(message["content"] for message in body["messages"]))
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        head = {"id": "c", "created": 0, "model": "hostile"}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return web.json_response(answer)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        deltas: list[tuple[dict[str, Any], str | None]] = [({"content": text}, None), ({}, "stop")]
        for delta, finish in deltas:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            await self._send(stream, {**head, "choices": choices})
        await self._send(stream, {**head, "choices": [], "usage": usage})
        await stream.write(b"data: [DONE]\n\n")
        return stream

    async def _send(self, stream: web.StreamResponse, chunk: dict[str, Any]) -> None:
        event = {**chunk, "object": "chat.completion.chunk"}
        await stream.write(f"data: {json.dumps(event)}\n\n".encode())
