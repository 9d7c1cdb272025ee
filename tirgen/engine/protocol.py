"""What an engine is: one method from a prompt to a completion.

Two kinds of engine implement it. Token engines (vLLM, the embedded engine) read
`Prompt.token_ids` and return token ids. Hosted chat endpoints read `Prompt.messages` and
`Prompt.reply` and return text only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Finish(StrEnum):
    """Why generation stopped; the values are vLLM's."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation up to the assistant's turn, and the part of that turn that exists already."""

    messages: tuple[Message, ...]
    """The turns before the assistant's."""
    reply: str = ""
    """The text of the assistant's turn so far, to be continued."""
    token_ids: tuple[int, ...] = ()
    """Messages and reply, rendered with the model's chat template; empty for chat endpoints."""


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
    """One completion. `token_ids` and `logprobs` have the same length, 0 for chat endpoints."""

    text: str
    token_ids: tuple[int, ...]
    """All sampled tokens, including the end-of-turn token."""
    logprobs: tuple[float, ...]
    """Natural logarithms of the sampled tokens' probabilities."""
    finish: Finish
    stop_reason: str | None
    """The stop string that ended it; None at the end of the turn or at the token limit."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    replica: str = ""
    """Address of the server that answered, where a model has several."""

    @property
    def ended_turn(self) -> bool:
        """The model ended its turn itself."""
        return self.finish is Finish.STOP and self.stop_reason is None


class Renderer(Protocol):
    """A model's tokenizer and chat template, on the client."""

    @property
    def fingerprint(self) -> str:
        """Equal for the same tokenizer and template."""
        ...

    def prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """The conversation rendered up to the opening of the assistant's turn."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Untrusted text to ids: no control token is recognised in it."""
        ...

    def encode_own(self, text: str) -> tuple[int, ...]:
        """Trusted text to ids: text that is an added token becomes that token."""
        ...

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Ids to text; special tokens are left out."""
        ...


class Engine(Protocol):
    """A language model; many tasks can call `complete` at once.

    The requests of a task belong to the trajectory of `tirgen.engine.live_trajectory`.
    """

    @property
    def model(self) -> str: ...

    @property
    def server(self) -> str:
        """Name and version of the server, e.g. ``vllm/0.33.0``; recorded with every trajectory."""
        ...

    @property
    def renderer(self) -> Renderer | None:
        """None for chat endpoints, which render the prompt themselves."""
        ...

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue the assistant's turn.

        Raises (all from `tirgen.engine.errors`) `EngineRefused` when the engine rejects this
        request (4xx), `EngineUnavailable` when no try succeeded, `EngineMisconfigured` when no
        request can succeed (wrong address, model or key).
        """
        ...
