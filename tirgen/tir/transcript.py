"""One assistant turn in the making, as text and, where the engine speaks ids, as tokens."""

from __future__ import annotations

from bisect import bisect_right

from storage.records import TokenStream
from tirgen.engine.protocol import Completion, Message, Prompt, Renderer
from tirgen.tir.markup import THINK_OPEN


class Transcript:
    """A turn that grows. Every token is recorded with its mask when it is added.

    Sampled and critic-written ones are the policy's, injected ones the environment's. Nothing is
    ever rebuilt from text.
    """

    def __init__(self, messages: tuple[Message, ...], renderer: Renderer | None) -> None:
        self.messages = messages
        self.text = ""
        self.reply_tokens = 0
        self._renderer = renderer
        self._ids: list[int] = list(renderer.prompt_ids(messages)) if renderer else []
        self._mask = [False] * len(self._ids)
        self._logprobs: list[float | None] = [None] * len(self._ids)
        self._prompt_length = len(self._ids)

    @classmethod
    def after(
        cls, messages: tuple[Message, ...], renderer: Renderer, prefix: tuple[int, ...], said: str
    ) -> Transcript:
        """A turn that goes on from tokens said before, all of which are its prompt now.

        `prefix` holds the rendered messages too; `said` is what it says of the turn, as text.
        """
        transcript = cls((), None)
        transcript.messages, transcript.text, transcript._renderer = messages, said, renderer
        transcript._extend(prefix, False, None)
        transcript._prompt_length = len(prefix)
        return transcript

    @property
    def thinks(self) -> bool:
        """The chat template has opened a thinking section."""
        if self._renderer is None:
            return False
        prompt = self._renderer.decode(tuple(self._ids[: self._prompt_length]))
        return prompt.rstrip().endswith(THINK_OPEN.rstrip())

    def prompt(self) -> Prompt:
        """What an engine is asked to continue."""
        return Prompt(messages=self.messages, reply=self.text, token_ids=tuple(self._ids))

    def add_sampled(self, completion: Completion) -> None:
        """Exactly what the engine sampled."""
        self.text += completion.text
        self.reply_tokens += completion.completion_tokens
        self._extend(completion.token_ids, True, completion.logprobs)

    def add_tokens(self, ids: tuple[int, ...], logprobs: tuple[float, ...], text: str) -> None:
        """Some of what the engine sampled, which reads `text`."""
        self.text += text
        self.reply_tokens += len(ids)
        self._extend(ids, True, logprobs)

    def add_written(self, text: str) -> int:
        """Words of the policy that this model did not sample, as the critic's; returns tokens."""
        return self._add_text(text, is_policy=True)

    def inject(self, text: str) -> int:
        """Words of the environment; returns how many tokens they are."""
        return self._add_text(text, is_policy=False)

    def add_mark(self, text: str, *, is_policy: bool) -> int:
        """Words of this program, such as what closes thinking; returns how many tokens they are.

        Here alone `</think>` becomes the model's own token, since no foreign text gets here.
        """
        ids = self._renderer.encode_own(text) if self._renderer else ()
        return self._add(text, ids, is_policy=is_policy)

    def end_turn_like(self, completion: Completion) -> None:
        """Close the turn with the very token the model closed its own with."""
        if completion.token_ids:
            self._extend(completion.token_ids[-1:], True, None)

    def length(self) -> int:
        """Tokens so far, the prompt included: where the next one goes."""
        return len(self._ids)

    def policy_tokens(self, start: int) -> int:
        """How many tokens from `start` on are the policy's."""
        return sum(self._mask[start:])

    def anchor(self, start: int, thought_length: int, suffix_tokens: int) -> int:
        """Where to cut the step that began at token `start` to say its thought's end anew.

        Its first `thought_length` characters are its thought; see `split_thought`.
        """
        if self._renderer is None:
            raise ValueError("a thought can be split only where the engine speaks token ids")
        step = tuple(self._ids[start:])
        return start + split_thought(self._renderer, step, thought_length, suffix_tokens)

    def cut(self, length: int, start: int, text: str) -> None:
        """Forget every token from `length` on, in a step that began at `start` after `text`."""
        assert self._renderer is not None
        self.text = text + self._renderer.decode(tuple(self._ids[start:length]))
        del self._ids[length:], self._mask[length:], self._logprobs[length:]

    def stream(self) -> TokenStream:
        return TokenStream(
            token_ids=tuple(self._ids),
            loss_mask=tuple(self._mask),
            logprobs=tuple(self._logprobs),
            prompt_length=self._prompt_length,
        )

    def _add_text(self, text: str, *, is_policy: bool) -> int:
        ids = self._renderer.encode(text) if self._renderer else ()
        return self._add(text, ids, is_policy=is_policy)

    def _add(self, text: str, ids: tuple[int, ...], *, is_policy: bool) -> int:
        self.text += text
        self.reply_tokens += len(ids)
        self._extend(ids, is_policy, None)
        return len(ids)

    def _extend(
        self, ids: tuple[int, ...], is_policy: bool, logprobs: tuple[float, ...] | None
    ) -> None:
        self._ids.extend(ids)
        self._mask.extend([is_policy] * len(ids))
        self._logprobs.extend(logprobs if logprobs is not None else [None] * len(ids))


def split_thought(
    renderer: Renderer, step: tuple[int, ...], thought_length: int, suffix_tokens: int
) -> int:
    """How many tokens of a step are `r_pre`, its thought but for the last `suffix_tokens` tokens.

    The thought is the step's first `thought_length` characters; a token that reaches beyond them
    is not in it. `|r_suf| = min(L_suf, |r|)`, in policy tokens (method E7, A7).
    """

    def characters(size: int) -> int:
        return len(renderer.decode(step[:size]))

    # A character cut in two decodes to more characters than it is, so the search ends by steps.
    size = bisect_right(range(len(step) + 1), thought_length, key=characters) - 1
    while size < len(step) and characters(size + 1) <= thought_length:
        size += 1
    while size and characters(size) > thought_length:
        size -= 1
    return max(0, size - suffix_tokens)
