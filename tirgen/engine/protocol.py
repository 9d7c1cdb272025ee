"""What an engine is: one method from a prompt to a completion, token ids in and out.

Two kinds of engine implement it: those that speak token ids (vLLM, the pocket), which read
`Prompt.token_ids`, and hosted chat endpoints, which read `Prompt.messages` and `Prompt.reply`
and return no ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Finish(StrEnum):
    """Why generation stopped, in vLLM's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation whose last turn, the assistant's, may already have begun."""

    messages: tuple[Message, ...]
    """The turns before the assistant's."""
    reply: str = ""
    """What the assistant has said so far in the turn to be continued."""
    token_ids: tuple[int, ...] = ()
    """The same, rendered through the model's own chat template; empty for chat endpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample one completion."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 is off."""
    stop: tuple[str, ...] = ()
    """Strings that end the completion; they stay in it."""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came back. `token_ids` and `logprobs` have one length; both empty for chat endpoints."""

    text: str
    token_ids: tuple[int, ...]
    """All sampled tokens, the end-of-turn token included."""
    logprobs: tuple[float, ...]
    """Natural logarithms, one per token, as the engine sampled it."""
    finish: Finish
    stop_reason: str | None
    """The stop string that ended it; None at the end of the turn or at the token limit."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    @property
    def ended_turn(self) -> bool:
        """The model closed its turn of its own accord."""
        return self.finish is Finish.STOP and self.stop_reason is None


class Renderer(Protocol):
    """A model's tokenizer and chat template, on the client."""

    @property
    def fingerprint(self) -> str:
        """Equal for the same tokenizer and template, whatever they are called."""
        ...

    def prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """The conversation rendered up to the opening of the assistant's turn."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Anybody's text to ids: no added token that controls anything is recognised in it."""
        ...

    def encode_own(self, text: str) -> tuple[int, ...]:
        """Our own text to ids: what the model has an added token for becomes that token."""
        ...

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Ids to text; special tokens are left out."""
        ...


class Engine(Protocol):
    """A language model that can be asked for one completion at a time, by many at once."""

    @property
    def model(self) -> str: ...

    @property
    def server(self) -> str:
        """What answers, as far as it tells: ``vllm/0.33.0``; recorded with every trajectory."""
        ...

    @property
    def renderer(self) -> Renderer | None:
        """None for chat endpoints, which render on their side."""
        ...

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue the assistant's turn.

        Raises `EngineRefused` when the engine rejects this very request (4xx), `EngineUnavailable`
        when it stayed out of reach through every retry, `EngineMisconfigured` when no request can
        succeed (wrong address, model or key). All three live in `tirgen.engine.errors`.
        """
        ...
