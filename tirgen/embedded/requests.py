"""The requests of clients: vLLM's fields, as far as the embedded engine supports them.

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
    """The fields of completions and chat completions; the defaults are vLLM's."""

    model: str | None = None
    """None is the served model."""
    n: int = Field(1, ge=1, le=128)
    """Choices per prompt; choice i has its own seed, derived from `seed` and i."""
    temperature: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)
    """0 is greedy; None is 1."""
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=2**31 - 1)
    """0 and -1 are off."""
    min_p: float | None = Field(None, ge=0, lt=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    """None is a random seed."""
    stop: StopString | list[StopString] | None = None
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = Field(0, ge=0)
    skip_special_tokens: bool = True
    truncate_prompt_tokens: int | None = Field(None, ge=-1)
    """Number of prompt tokens to keep; -1 is as many as fit into the context."""
    truncation_side: Literal["left", "right"] | None = None
    """The end to cut when `truncate_prompt_tokens` is set; None is left."""
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    """Write tokens as `token_id:N` in log-probabilities, since not every token is valid text."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_weight_versions: bool | None = None
    """Return the name of the weights that sampled the tokens (`/update_weight_version`)."""
    request_id: str | None = None
    """Part of the response's id."""
    user: str | None = None
    """A label of the caller; without effect, as in vLLM."""

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
    """None is as many as fit into the context."""
    logprobs: Literal[0] | None = None
    """0 returns the sampled token's; OpenVINO GenAI has no alternatives."""
    add_special_tokens: bool = True

    def prompts(self) -> Sequence[str | list[int]]:
        """One entry per prompt, for each of the four ways to write them."""
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
        """The message for a chat template; text parts are joined by newlines, as in vLLM."""
        if isinstance(self.content, str):
            return {"role": self.role, "content": self.content}
        return {"role": self.role, "content": "\n".join(part.text for part in self.content)}


class PromptFields(RequestModel):
    """How messages become a prompt."""

    messages: list[ChatMessage] = Field(min_length=1)
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    """The model continues the last message instead of starting its own."""
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
    """None is as many as fit into the context."""
    max_tokens: int | None = Field(None, ge=1)
    """The older name; `max_completion_tokens` has priority."""
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
