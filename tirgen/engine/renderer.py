"""From conversation to token ids and back: a model's tokenizer and chat template on the client.

Only the template's text may become control tokens (added tokens such as `<|im_end|>` and
`</think>`). In a problem, a program's output or a model's reply the same characters are encoded
as ordinary tokens, so that they end no turn and no thinking, even if the tokenizer does not mark
the token as special. Two kinds of added tokens control nothing and are allowed in any text: those
of whitespace alone (GPT-NeoX has some for indentation), and the unknown token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken

from storage.documents import fingerprint
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.protocol import Message
from tirgen.engine.template import ChatTemplate, Turn, find_turn
from tirgen.engine.tokenizer_files import (
    joining,
    prefixes_first_only,
    read_tokenizer,
    tokenizer_folder,
    unknown_id,
    with_special,
)

_MARK = "\ufdd0"
"""A Unicode noncharacter, on both sides of a quoted string's number while a template runs."""

_CONTROL = re.compile(r"<[|｜].*[|｜]>")
"""Tokens that look like turn markers; some models (DeepSeek) do not mark them as special."""
_CACHED_CONVERSATIONS = 4096


class ReplyPart(NamedTuple):
    """A part of a reply."""

    text: str
    is_template: bool = False
    """Written by the chat template, so special tokens in it become token ids."""


class HfRenderer:
    """Implements `Renderer` from `tokenizer.json` and the chat template beside it."""

    def __init__(self, tokenizer_json: str, template: ChatTemplate) -> None:
        self._template = template
        marked = with_special(tokenizer_json, _CONTROL.fullmatch)
        hardened = with_special(tokenizer_json, str.strip)
        self._tokenizer = read_tokenizer(marked)
        """For the whole text of a template."""
        self._section = read_tokenizer(hardened, plain=True)
        """For plain text at the start of a text or after a special token."""
        self._plain = read_tokenizer(joining(hardened), plain=True)
        """For plain text that continues other text."""
        self._joined = read_tokenizer(joining(marked))
        """For decoding ids that continue other ids."""
        self._first_only = prefixes_first_only(marked)
        self.fingerprint = fingerprint([json.loads(marked), template.source, template.end_token])
        added = self._tokenizer.get_added_tokens_decoder()
        self.specials = {token.content: i for i, token in added.items() if token.special}
        """The ids of the special tokens, by their text."""
        self._added = {token.content: i for i, token in added.items()}
        controls = {token.content: i for i, token in added.items() if token.content.strip()}
        self._controls = controls
        self._unwanted = frozenset(controls.values()) - {unknown_id(tokenizer_json, controls)}
        self._control = _any_of(controls)
        self._template_control = _any_pattern(
            _as_matched(token) for token in added.values() if token.content in controls
        )
        self._quoted = _any_of([*controls, _MARK])
        self._beginnings = {text[:n] for text in controls for n in range(1, len(text))}
        self._ends = {text[n:] for text in controls for n in range(1, len(text))}
        self._longest = max(map(len, controls), default=0)
        self._cached_prompt_ids = lru_cache(maxsize=_CACHED_CONVERSATIONS)(self._prompt_ids)

    @classmethod
    def load(
        cls, path_or_name: str | Path, template_variables: Mapping[str, Any] | None = None
    ) -> HfRenderer:
        """From a local folder or a Hugging Face hub id.

        The template gets `template_variables` by name, e.g. ``{"enable_thinking": False}``.
        Raises `EngineMisconfigured` when files are missing or unusable.
        """
        directory = tokenizer_folder(path_or_name)
        template = ChatTemplate.load(directory, template_variables)
        try:
            renderer = cls((directory / "tokenizer.json").read_text("utf-8"), template)
        except Exception as error:  # all that `tokenizers` raises
            raise EngineMisconfigured(
                f"{directory}/tokenizer.json cannot be read ({error}); it must be a fast "
                "tokenizer as written by `save_pretrained`."
            ) from error
        renderer._check_pieces_join(directory)
        return renderer

    def prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """The conversation rendered up to the opening of the assistant's turn."""
        return self._cached_prompt_ids(messages)

    def encode(self, text: str) -> tuple[int, ...]:
        """Untrusted text to ids, none of which is a control token."""
        ids = self._plain.encode(text, add_special_tokens=False).ids
        if self._unwanted.isdisjoint(ids) or len(text) < 2:
            return tuple(ids)
        # The vocabulary also has the control as an ordinary word: split the text inside it.
        found = self._control.search(text)
        middle = found.start() + 1 if found and len(found[0]) > 1 else len(text) // 2
        return self.encode(text[:middle]) + self.encode(text[middle:])

    def encode_own(self, text: str) -> tuple[int, ...]:
        """Trusted text to ids: `</think>` becomes the model's token for it, if it has one."""
        return self._spelled([ReplyPart(text, is_template=True)])

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Ids to text; special tokens are left out."""
        text: str = self._joined.decode(token_ids, skip_special_tokens=True)
        return text

    def shown(self, token_ids: tuple[int, ...]) -> str:
        """Ids to text with the special tokens in it, for a person to read."""
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    @cached_property
    def turn(self) -> Turn:
        """How the template writes the assistant's turn after a prompt. Raises `EngineRefused`."""
        return find_turn(self._template, _any_of(self.specials), self._template.end_token)

    def encode_reply(self, parts: Iterable[ReplyPart]) -> tuple[int, ...] | None:
        """Ids of a reply that continues other text; control tokens only in the template's parts.

        None if the tokenizer cannot encode the text exactly.
        """
        reply = list(parts)
        ids = self._spelled(reply)
        text = "".join(part.text for part in reply)
        return ids if self._joined.decode(ids, skip_special_tokens=False) == text else None

    def _spelled(self, parts: Iterable[ReplyPart]) -> tuple[int, ...]:
        ids: list[int] = []
        pending = ""
        for part in parts:
            position = 0
            for found in _any_of(self._added).finditer(part.text) if part.is_template else ():
                ids += self.encode(pending + part.text[position : found.start()])
                ids.append(self._added[found[0]])
                pending, position = "", found.end()
            pending += part.text[position:]
        ids += self.encode(pending)
        return tuple(ids)

    def _prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        quotes: list[str] = []
        quoted = [{"role": m.role, "content": self._quote(m.content, quotes)} for m in messages]
        rendered = self._template.render(quoted)
        ids = self._tokenizer.encode(rendered, add_special_tokens=False).ids
        meant = [self._controls[found[0]] for found in self._control.finditer(rendered)]
        if not quotes and [i for i in ids if i in self._unwanted] == meant:
            return tuple(ids)
        return self._encode_with_quotes(rendered, quotes)

    def _quote(self, content: str, quotes: list[str]) -> str:
        """Replaces each text that is a control, or could become part of one, by a marked number.

        Neither template nor tokenizer gives the marks a meaning. The texts are added to `quotes`.
        """

        def quote(text: str) -> str:
            quotes.append(text)
            return f"{_MARK}{len(quotes) - 1}{_MARK}"

        content = self._quoted.sub(lambda found: quote(found[0]), content)
        start = len(content) - len(content.lstrip())
        end = len(content.rstrip())
        for n in range(min(self._longest, end - start) - 1, 0, -1):
            if content[end - n : end] in self._beginnings:
                content = content[: end - n] + quote(content[end - n : end]) + content[end:]
                break
        for n in range(min(self._longest, end - start) - 1, 0, -1):
            if content[start : start + n] in self._ends:
                return content[:start] + quote(content[start : start + n]) + content[start + n :]
        return content

    def _encode_with_quotes(self, rendered: str, quotes: Sequence[str]) -> tuple[int, ...]:
        """The controls that are left are the template's; the text between them is plain."""

        def unquoted(text: str) -> str:
            number = f"{_MARK}(\\d+){_MARK}"
            return re.sub(number, lambda found: quotes[int(found[1])], text)

        ids: list[int] = []
        position = 0
        for found in self._template_control.finditer(rendered):
            ids += self._encode_section(unquoted(rendered[position : found.start()]), position == 0)
            ids.append(self._controls[self._control.search(found[0])[0]])  # type: ignore[index]
            position = found.end()
        ids += self._encode_section(unquoted(rendered[position:]), position == 0)
        return tuple(ids)

    def _encode_section(self, text: str, is_first: bool) -> list[int]:
        tokenizer = self._plain if self._first_only and not is_first else self._section
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids if self._unwanted.isdisjoint(ids) else list(self.encode(text))

    def _check_pieces_join(self, directory: Path) -> None:
        """Trajectories grow by appending ids: that must be the same as appending text."""
        joined = self.decode(self.encode("a:") + self.encode("b\n") + self.encode("```output\n"))
        if joined != "a:b\n```output\n":
            raise EngineMisconfigured(
                f"The tokenizer in {directory} changes text where pieces are joined "
                f"({joined!r}), so token-exact trajectories are impossible; use a model with a "
                "byte-level tokenizer (Qwen, Llama 3, ...)."
            )


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """Matches the longest of the strings at any place; without strings it matches nothing."""
    return _any_pattern(map(re.escape, strings))


def _any_pattern(patterns: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(patterns, key=len, reverse=True)
    return re.compile("|".join(longest_first) or r"(?!)")


def _as_matched(token: AddedToken) -> str:
    """A pattern for the text that a token takes, which can include the spaces beside it."""
    before, after = r"\s*" if token.lstrip else "", r"\s*" if token.rstrip else ""
    return f"{before}{re.escape(token.content)}{after}"
