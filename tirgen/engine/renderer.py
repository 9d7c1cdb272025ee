"""From conversation to token ids and back: a model's tokenizer and chat template on the client.

What the template writes may contain special tokens; what people and models wrote may not: a
problem that quotes `<|im_end|>` is spelled out in ordinary tokens and ends no turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.protocol import Message
from tirgen.engine.template import ChatTemplate

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


class HfRenderer:
    """Implements `Renderer` from `tokenizer.json` and the chat template beside it."""

    def __init__(self, tokenizer_json: str, template: ChatTemplate) -> None:
        self._template = template
        tokenizer_json = _with_controls_special(tokenizer_json)
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._plain = Tokenizer.from_str(tokenizer_json)
        self._plain.encode_special_tokens = True
        for tokenizer in (self._tokenizer, self._plain):
            tokenizer.no_truncation()
            tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._specials = {token.content: i for i, token in added.items() if token.special}
        self._special = _any_of(self._specials)
        self._quotable = (*self._specials, _MARK)
        self._quoted = _any_of(self._quotable)
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
        """Plain text to ids: no special tokens are added or recognised in it."""
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Ids to text; special tokens are left out."""
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return text

    def _prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        quoted = [{"role": m.role, "content": self._quote(m.content)} for m in messages]
        rendered = self._template.render(quoted)
        if _MARK not in rendered:
            return tuple(self._tokenizer.encode(rendered, add_special_tokens=False).ids)
        return self._encode_with_quotes(rendered)

    def _quote(self, content: str) -> str:
        """Special strings in a message become numbers between marks, opaque to the tokenizer."""
        return self._quoted.sub(
            lambda found: f"{_MARK}{self._quotable.index(found[0])}{_MARK}", content
        )

    def _unquote(self, text: str) -> str:
        return re.sub(f"{_MARK}(\\d+){_MARK}", lambda found: self._quotable[int(found[1])], text)

    def _encode_with_quotes(self, rendered: str) -> tuple[int, ...]:
        """Every special string still in sight is the template's own; the text between is plain."""
        ids: list[int] = []
        position = 0
        for found in self._special.finditer(rendered):
            ids += self.encode(self._unquote(rendered[position : found.start()]))
            ids.append(self._specials[found[0]])
            position = found.end()
        ids += self.encode(self._unquote(rendered[position:]))
        return tuple(ids)

    def _check_pieces_join(self, directory: Path) -> None:
        """Trajectories grow by appending ids, which must mean appending text."""
        joined = self.decode(self.encode("a:") + self.encode("b\n") + self.encode("```output\n"))
        if joined != "a:b\n```output\n":
            raise EngineMisconfigured(
                f"The tokenizer in {directory} changes text where pieces are joined "
                f"({joined!r}), so token-exact trajectories are impossible; use a model with a "
                "byte-level tokenizer (Qwen, Llama 3, ...)."
            )


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """Matches the longest of the strings at any place; nothing when there is none."""
    longest_first = sorted(strings, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _with_controls_special(tokenizer_json: str) -> str:
    content = json.loads(tokenizer_json)
    for token in content.get("added_tokens", ()):
        token["special"] = token["special"] or bool(_CONTROL.fullmatch(token["content"]))
    return json.dumps(content)


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
