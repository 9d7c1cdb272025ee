"""One assistant turn in the making, as text and, where the engine returns ids, as tokens."""

from __future__ import annotations

from bisect import bisect_right

from storage.records import TokenStream
from tirgen.engine.protocol import Completion, Message, Prompt, Renderer
from tirgen.tir.markup import THINK_OPEN, close_thinking


class Transcript:
    """A turn that grows. Every token is stored with its mask when it is added.

    Sampled tokens and the critic's tokens belong to the policy, injected ones to the environment.
    Tokens are never rebuilt from text.
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
        cls, messages: tuple[Message, ...], renderer: Renderer, prefix: tuple[int, ...], text: str
    ) -> Transcript:
        """A turn that continues earlier tokens; all of them are its prompt now.

        `prefix` includes the rendered messages; `text` is the part of the turn in it.
        """
        transcript = cls((), None)
        transcript.messages, transcript.text, transcript._renderer = messages, text, renderer
        transcript._extend(prefix, False, None)
        transcript._prompt_length = len(prefix)
        return transcript

    @property
    def thinks(self) -> bool:
        """Whether the chat template has opened a thinking section."""
        if self._renderer is None:
            return False
        prompt = self._renderer.decode(tuple(self._ids[: self._prompt_length]))
        return prompt.rstrip().endswith(THINK_OPEN.rstrip())

    def prompt(self) -> Prompt:
        """The prompt that an engine is asked to continue."""
        return Prompt(messages=self.messages, reply=self.text, token_ids=tuple(self._ids))

    def add_sampled(self, completion: Completion) -> None:
        """Add exactly what the engine sampled."""
        self.text += completion.text
        self.reply_tokens += completion.completion_tokens
        self._extend(completion.token_ids, True, completion.logprobs)

    def add_tokens(self, ids: tuple[int, ...], logprobs: tuple[float, ...], text: str) -> None:
        """Add a part of what the engine sampled; `text` is the part as text."""
        self.text += text
        self.reply_tokens += len(ids)
        self._extend(ids, True, logprobs)

    def add_written(self, text: str) -> int:
        """Add text of the policy that this model did not sample, e.g. the critic's.

        Returns its number of tokens.
        """
        return self._add_text(text, is_policy=True)

    def inject(self, text: str) -> int:
        """Add text of the environment. Returns its number of tokens."""
        return self._add_text(text, is_policy=False)

    def add_mark(self, text: str, *, is_policy: bool) -> int:
        """Add text of tirgen itself, such as the end of thinking. Returns its number of tokens.

        Only here `</think>` becomes the model's own token: no other text gets here.
        """
        ids = self._renderer.encode_own(text) if self._renderer else ()
        return self._add(text, ids, is_policy=is_policy)

    def end_thinking(self, sentence: str) -> str:
        """Add a budget's sentence and the end of thinking, and return what was added.

        No policy sampled it, so it is not learned from.
        """
        line_end = "" if self.text.endswith("\n") else "\n"
        closing = line_end + close_thinking(sentence)
        self.add_mark(closing, is_policy=False)
        return closing

    def end_turn_like(self, completion: Completion) -> None:
        """End the turn with the same end token that the model used."""
        if completion.token_ids:
            self._extend(completion.token_ids[-1:], True, None)

    def length(self) -> int:
        """Tokens so far, the prompt included: the place of the next token."""
        return len(self._ids)

    def policy_tokens(self, start: int) -> int:
        """How many tokens from `start` on belong to the policy."""
        return sum(self._mask[start:])

    def anchor(self, start: int, thought_length: int, suffix_tokens: int) -> int:
        """Where to cut the step that began at token `start`, to sample the thought's end again.

        The first `thought_length` characters of the step are its thought; see `split_thought`.
        Raises ValueError without a renderer.
        """
        if self._renderer is None:
            raise ValueError("a thought can be split only where the engine returns token ids")
        step = tuple(self._ids[start:])
        return start + split_thought(self._renderer, step, thought_length, suffix_tokens)

    def cut(self, length: int, start: int, text: str) -> None:
        """Remove every token from `length` on, in a step that began at `start` after `text`."""
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
    """How many tokens of a step are `r_pre`: its thought without the last `suffix_tokens` tokens.

    The thought is the step's first `thought_length` characters; a token that reaches beyond them
    does not belong to it. `|r_suf| = min(L_suf, |r|)`, in policy tokens (method E7, A7).
    """

    def characters(size: int) -> int:
        return len(renderer.decode(step[:size]))

    # A character cut in two decodes to more than one character, so the search ends step by step.
    size = bisect_right(range(len(step) + 1), thought_length, key=characters) - 1
    while size < len(step) and characters(size + 1) <= thought_length:
        size += 1
    while size and characters(size) > thought_length:
        size -= 1
    return max(0, size - suffix_tokens)
