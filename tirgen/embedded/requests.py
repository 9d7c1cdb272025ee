"""What a client may ask: vLLM's field names, and only those the pocket engine honours.

A field that is not declared here is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

TokenIds = list[Annotated[int, Field(ge=0)]]
StopString = Annotated[str, Field(min_length=1)]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(RequestModel):
    include_usage: bool = False
    continuous_usage_stats: Literal[False] = False


class SamplingFields(RequestModel):
    """The fields completions and chat completions share; defaults are vLLM's."""

    model: str | None = None
    """None is the served model."""
    n: int = Field(1, ge=1, le=128)
    """Choices per prompt; choice i draws from its own seed, derived from `seed` and i."""
    temperature: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)
    """0 is greedy; None is 1."""
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=2**31 - 1)
    """0 and -1 are off."""
    min_p: float | None = Field(None, ge=0, lt=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    """None draws a new one."""
    stop: StopString | list[StopString] | None = None
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = Field(0, ge=0)
    skip_special_tokens: bool = True
    truncate_prompt_tokens: int | None = Field(None, ge=-1)
    """Keep so many prompt tokens; -1 is as many as the context holds."""
    truncation_side: Literal["left", "right"] | None = None
    """Where to cut when `truncate_prompt_tokens` is set; None is left."""
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    """Name tokens `token_id:N` in log-probabilities, for those that are no text of their own."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_weight_versions: bool | None = None
    """Say which weights sampled the tokens, by the name `/update_weight_version` gave them."""
    request_id: str | None = None
    """Becomes part of the response's id."""
    user: str | None = None
    """The caller's own mark; without effect, as everywhere."""

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> SamplingFields:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options can only be set when stream is true")
        return self

    def stop_strings(self) -> tuple[str, ...]:
        if isinstance(self.stop, str):
            return (self.stop,)
        return tuple(self.stop or ())


class CompletionRequest(SamplingFields):
    """POST /v1/completions."""

    prompt: str | TokenIds | list[str] | list[TokenIds]
    max_tokens: int | None = Field(16, ge=1)
    """None is as many as the context holds."""
    logprobs: Literal[0] | None = None
    """0 returns the sampled token's; OpenVINO GenAI has no alternatives to return."""
    add_special_tokens: bool = True

    def prompts(self) -> Sequence[str | list[int]]:
        """One entry for each prompt, whichever of the four ways it was written."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return cast(Sequence[str | list[int]], self.prompt)


class TextPart(RequestModel):
    type: Literal["text"]
    text: str


class ChatMessage(RequestModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[TextPart]

    def turn(self) -> dict[str, str]:
        """The message as chat templates read it; text parts are joined by newlines, as in vLLM."""
        if isinstance(self.content, str):
            return {"role": self.role, "content": self.content}
        return {"role": self.role, "content": "\n".join(part.text for part in self.content)}


class PromptFields(RequestModel):
    """How messages become a prompt."""

    messages: list[ChatMessage] = Field(min_length=1)
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    """The model goes on inside the last message instead of opening its own."""
    add_special_tokens: bool = False

    @model_validator(mode="after")
    def _one_or_the_other(self) -> PromptFields:
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError(
                "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            )
        return self


class ChatCompletionRequest(SamplingFields, PromptFields):
    """POST /v1/chat/completions."""

    max_completion_tokens: int | None = Field(None, ge=1)
    """None is as many as the context holds."""
    max_tokens: int | None = Field(None, ge=1)
    """The older name; `max_completion_tokens` goes before it."""
    logprobs: bool | None = None
    top_logprobs: Literal[0] | None = None


class TokenizeRequest(RequestModel):
    """POST /tokenize with a text."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool = True


class TokenizeChatRequest(PromptFields):
    """POST /tokenize with a conversation."""

    model: str | None = None
