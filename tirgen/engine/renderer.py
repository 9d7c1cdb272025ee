"""From conversation to token ids and back: a model's tokenizer and chat template on the client.

What the template writes may contain added tokens; what people and models wrote may not: a problem
that quotes `<|im_end|>` or `</think>` is spelled out in ordinary tokens, and ends no turn and no
thinking, whether or not the tokenizer marks the token as special. Two kinds of added tokens control
nothing and are used in any text: those of whitespace alone (GPT-NeoX has some for indentation), and
the one for what the vocabulary does not know.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.joining import joining, prefixes_first_only
from tirgen.engine.protocol import Message
from tirgen.engine.template import ChatTemplate
from tirgen.engine.turn import Turn, find_turn

_MARK = "\ufdd0"
"""A Unicode noncharacter: it stands around the number of a quoted string while a template runs."""

_FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]
_CONTROL = re.compile(r"<[|｜].*[|｜]>")
"""Tokens that open or close turns by their looks; some models (DeepSeek) fail to mark them so."""
_CACHED_CONVERSATIONS = 4096


class ReplyPart(NamedTuple):
    """A stretch of a reply."""

    text: str
    is_template: bool = False
    """Written by the chat template: special tokens in it are meant as such."""


class HfRenderer:
    """Implements `Renderer` from `tokenizer.json` and the chat template beside it."""

    def __init__(self, tokenizer_json: str, template: ChatTemplate) -> None:
        self._template = template
        marked = _with_special(tokenizer_json, _CONTROL.fullmatch)
        hardened = _with_special(tokenizer_json, str.strip)
        self._tokenizer = _tokenizer(marked)
        """For what a template wrote, from its first character on."""
        self._section = _tokenizer(hardened, plain=True)
        """For plain text where a text, or what follows a special token, begins."""
        self._plain = _tokenizer(joining(hardened), plain=True)
        """For plain text that goes on from other text."""
        self._joined = _tokenizer(joining(marked))
        """For reading ids that go on from others."""
        self._first_only = prefixes_first_only(marked)
        self.fingerprint = _fingerprint(marked, template)
        added = self._tokenizer.get_added_tokens_decoder()
        self._specials = {token.content: i for i, token in added.items() if token.special}
        self._added = {token.content: i for i, token in added.items()}
        controls = {token.content: i for i, token in added.items() if token.content.strip()}
        self._controls = controls
        self._unwanted = frozenset(controls.values()) - {_unknown(tokenizer_json, controls)}
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
        """Open a local directory or a Hugging Face hub id.

        `template_variables` reach the template by name, e.g. ``{"enable_thinking": False}``.
        Raises `EngineMisconfigured` when files are missing or unusable.
        """
        directory = _directory(path_or_name)
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
        """Anybody's text to ids, of which none is an added token that controls anything."""
        ids = self._plain.encode(text, add_special_tokens=False).ids
        if self._unwanted.isdisjoint(ids) or len(text) < 2:
            return tuple(ids)
        # The vocabulary holds a control as an ordinary word too: it must not be seen whole.
        found = self._control.search(text)
        middle = found.start() + 1 if found and len(found[0]) > 1 else len(text) // 2
        return self.encode(text[:middle]) + self.encode(text[middle:])

    def encode_own(self, text: str) -> tuple[int, ...]:
        """Our own text to ids: `</think>` becomes the model's token for it, if it has one."""
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
        """How the template writes the assistant's turn that follows a prompt.

        Raises `EngineRefused`.
        """
        return find_turn(self._template, _any_of(self._specials), self._template.end_token)

    def encode_reply(self, parts: Iterable[ReplyPart]) -> tuple[int, ...] | None:
        """Text that goes on from other text, in which the template's own parts may hold tokens of
        their own; None where the tokenizer cannot spell it exactly."""
        said = list(parts)
        ids = self._spelled(said)
        text = "".join(part.text for part in said)
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
        """What is or could become a control becomes a number between marks, which the template
        and the tokenizer do not understand; `quotes` has the text of each number."""

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
        """Every control still in sight is the template's own; the text between is plain."""

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
        """Trajectories grow by appending ids, which must mean appending text."""
        joined = self.decode(self.encode("a:") + self.encode("b\n") + self.encode("```output\n"))
        if joined != "a:b\n```output\n":
            raise EngineMisconfigured(
                f"The tokenizer in {directory} changes text where pieces are joined "
                f"({joined!r}), so token-exact trajectories are impossible; use a model with a "
                "byte-level tokenizer (Qwen, Llama 3, ...)."
            )


def _tokenizer(tokenizer_json: str, plain: bool = False) -> Tokenizer:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = plain
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _fingerprint(tokenizer_json: str, template: ChatTemplate) -> str:
    document = [json.loads(tokenizer_json), template.source, template.end_token]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """Matches the longest of the strings at any place; nothing when there is none."""
    return _any_pattern(map(re.escape, strings))


def _any_pattern(patterns: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(patterns, key=len, reverse=True)
    return re.compile("|".join(longest_first) or r"(?!)")


def _as_matched(token: AddedToken) -> str:
    """A pattern for what the token takes from the text, which may be the spaces beside it."""
    before, after = r"\s*" if token.lstrip else "", r"\s*" if token.rstrip else ""
    return f"{before}{re.escape(token.content)}{after}"


def _with_special(tokenizer_json: str, special: Callable[[str], object]) -> str:
    """The added tokens are special that are so by the tokenizer's own word or by `special`."""
    content = json.loads(tokenizer_json)
    for token in content.get("added_tokens", ()):
        token["special"] = token["special"] or bool(special(token["content"]))
    return json.dumps(content)


def _unknown(tokenizer_json: str, controls: Mapping[str, int]) -> int | None:
    """The id for what the vocabulary does not know."""
    model = json.loads(tokenizer_json).get("model", {})
    token = model.get("unk_token")
    return controls.get(token) if isinstance(token, str) else model.get("unk_id")


def _directory(path_or_name: str | Path) -> Path:
    """The folder that holds the tokenizer: as given, in the hub's cache, or downloaded to it."""
    path = Path(path_or_name).expanduser()
    if (path / "tokenizer.json").is_file():
        return path
    if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path_or_name)):
        raise EngineMisconfigured(
            f"No tokenizer.json in {path}; set `tokenizer` to the model's directory or to its "
            "Hugging Face id."
        )
    return _hub_directory(str(path_or_name))


def _hub_directory(name: str) -> Path:
    from huggingface_hub import snapshot_download  # a second of imports, rarely needed
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    for cached_only in (True, False):
        try:
            found = Path(
                snapshot_download(name, allow_patterns=_FILES, local_files_only=cached_only)
            )
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            if not cached_only:
                raise EngineMisconfigured(
                    f"The tokenizer of {name} is neither a local directory nor in the Hugging Face "
                    f"cache, and the hub did not give it ({type(error).__name__}); set `tokenizer` "
                    "to a directory with tokenizer.json."
                ) from error
            continue
        if (found / "tokenizer.json").is_file():
            return found
    raise EngineMisconfigured(
        f"{name} on the Hugging Face hub has no tokenizer.json; set `tokenizer` to a directory "
        "that has one."
    )
