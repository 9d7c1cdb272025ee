"""The server's answers in vLLM's format, whole or as a stream of chunks."""

from __future__ import annotations

import codecs
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tirgen.embedded.generation import SampledSequence
from tirgen.embedded.json_api import Json
from tirgen.embedded.requests import ChatCompletionRequest, CompletionRequest
from tirgen.embedded.tokenizer import Vocabulary

AnyRequest = CompletionRequest | ChatCompletionRequest


@dataclass(slots=True)
class SentChoice:
    """One completion and how much of it has been sent."""

    index: int
    generation: SampledSequence
    sent_tokens: int = 0
    sent_bytes: int = 0
    closed: bool = False
    """The last chunk has been sent."""
    text_offset: int = 0
    """Characters of token texts before the next log-probability entry."""
    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    """Keeps the bytes of an incomplete character."""


class CompletionResponse:
    """The response to one request, over all its prompts and choices."""

    def __init__(
        self, request: AnyRequest, model: str, vocabulary: Vocabulary, choices: Sequence[SentChoice]
    ) -> None:
        self._request = request
        self._vocabulary = vocabulary
        self._choices = choices
        self._chat = isinstance(request, ChatCompletionRequest)
        prefix = "chatcmpl-" if self._chat else "cmpl-"
        self._base: Json = {
            "id": prefix + (request.request_id or f"{random.getrandbits(128):032x}"),
            "object": "chat.completion" if self._chat else "text_completion",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self) -> Json:
        """The response when every choice is done."""
        body = self._base | {
            "choices": [self._whole_choice(choice) for choice in self._choices],
            "usage": self.usage(),
        }
        if self._chat and self._request.return_token_ids:
            body["prompt_token_ids"] = list(self._choices[0].generation.request.prompt)
        return body

    def usage(self) -> Json:
        """Prompt tokens once per prompt, completion tokens of every choice."""
        prompts = sum(
            len(choice.generation.request.prompt)
            for choice in self._choices
            if choice.index % self._request.n == 0
        )
        completions = sum(len(choice.generation.token_ids) for choice in self._choices)
        return {
            "prompt_tokens": prompts,
            "completion_tokens": completions,
            "total_tokens": prompts + completions,
        }

    def opening(self) -> list[Json]:
        """The chunks before the first token: for chat the role of each choice."""
        if not self._chat:
            return []
        chunks = [
            self._chunk({"index": choice.index, "delta": {"role": "assistant", "content": ""}})
            for choice in self._choices
        ]
        if self._request.return_token_ids:
            chunks[0]["prompt_token_ids"] = list(self._choices[0].generation.request.prompt)
        return chunks

    def new_chunk(self, choice: SentChoice) -> Json | None:
        """The chunk with the new tokens of one choice; None if there are none."""
        generation = choice.generation
        finish = generation.finish  # read first: once it is set, the rest is complete
        tokens = len(generation.token_ids)
        start = choice.sent_tokens
        if tokens == start and finish is None:
            return None
        readable = generation.readable
        fresh = bytes(generation.text[choice.sent_bytes : readable])
        choice.sent_bytes = max(choice.sent_bytes, readable)
        choice.sent_tokens = tokens
        choice.closed = finish is not None
        text = choice.decoder.decode(fresh, final=finish is not None)
        body: Json = {"index": choice.index, "finish_reason": finish, "logprobs": None}
        body |= {"delta": {"content": text}} if self._chat else {"text": text}
        body["stop_reason"] = generation.stop_reason if finish else None
        if self._wants_logprobs():
            body["logprobs"] = self._logprobs(choice, start, tokens)
        if finish is not None:
            body |= self._versions(generation)
        if self._request.return_token_ids:
            body["token_ids"] = generation.token_ids[start:tokens]
            if start == 0 and not self._chat:
                body["prompt_token_ids"] = list(generation.request.prompt)
        return self._chunk(body)

    def usage_chunk(self) -> Json:
        """The last chunk, for `stream_options.include_usage`."""
        return self._chunk(None) | {"usage": self.usage()}

    def _chunk(self, choice: Json | None) -> Json:
        chunk = self._base | {"choices": [] if choice is None else [choice]}
        if self._chat:
            chunk["object"] = "chat.completion.chunk"
            if choice is not None:
                choice.setdefault("finish_reason", None)
                choice.setdefault("logprobs", None)
        return chunk

    def _whole_choice(self, choice: SentChoice) -> Json:
        generation = choice.generation
        text = generation.whole_text()
        body: Json = {"index": choice.index}
        body |= (
            {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        )
        count = len(generation.token_ids)
        body["logprobs"] = self._logprobs(choice, 0, count) if self._wants_logprobs() else None
        body["finish_reason"] = generation.finish
        body["stop_reason"] = generation.stop_reason
        body |= self._versions(generation)
        if self._request.return_token_ids:
            body["token_ids"] = generation.token_ids
            if not self._chat:
                body["prompt_token_ids"] = list(generation.request.prompt)
        return body

    def _versions(self, generation: SampledSequence) -> Json:
        """vLLM's spans: always one here, as weights change only while nothing is generated."""
        if not self._request.return_weight_versions:
            return {}
        span = {"version": generation.weight_version, "start": 0, "end": len(generation.token_ids)}
        return {"weight_versions": [span]}

    def _wants_logprobs(self) -> bool:
        """Completions ask for them with 0, chat with True."""
        wanted = self._request.logprobs
        return wanted is not None and wanted is not False

    def _logprobs(self, choice: SentChoice, start: int, end: int) -> Json:
        ids = choice.generation.token_ids[start:end]
        values = choice.generation.logprobs[start:end]
        raw = [self._token_bytes(id_) for id_ in ids]
        if self._request.return_tokens_as_token_ids:
            names = [f"token_id:{id_}" for id_ in ids]
        else:
            names = [piece.decode("utf-8", "replace") for piece in raw]
        if self._chat:
            return {
                "content": [
                    {"token": name, "logprob": value, "bytes": list(piece), "top_logprobs": []}
                    for name, value, piece in zip(names, values, raw, strict=True)
                ]
            }
        offsets = []
        for name in names:
            offsets.append(choice.text_offset)
            choice.text_offset += len(name)
        return {
            "text_offset": offsets,
            "token_logprobs": values,
            "tokens": names,
            "top_logprobs": [{name: value} for name, value in zip(names, values, strict=True)],
        }

    def _token_bytes(self, id_: int) -> bytes:
        table = self._vocabulary.bytes_of
        return table[id_] if id_ < len(table) else b""
