"""The model's tokenizer and chat template, with the exact bytes of every token id.

Byte-level tokenizers only (like Qwen's). Their text is the concatenation of the tokens' bytes, so
decoding a token is a table look-up, and finding a stop string is a search in bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from tirgen.embedded.architecture import ModelUnsupported
from tirgen.engine.errors import EngineMisconfigured, EngineRefused
from tirgen.engine.template import ChatTemplate, TemplateMissing

_CUT = "\ue000cut\ue000"
"""Marks the end of a message to continue; templates do not change private-use characters."""


class TemplateRefused(ValueError):
    """The chat template cannot render these messages."""


class Vocabulary:
    """Text to token ids and back, and conversations to prompts."""

    def __init__(self, model_dir: Path) -> None:
        """Raises `ModelUnsupported` for a tokenizer not on bytes, or an invalid template."""
        self._tokenizer = _tokenizer(model_dir / "tokenizer.json")
        description = json.loads(self._tokenizer.to_str())
        if (description["decoder"] or {}).get("type") != "ByteLevel":
            raise ModelUnsupported(f"the tokenizer of {model_dir} is not a byte-level one")
        added = {token["id"]: token for token in description["added_tokens"]}
        self.special = frozenset(id_ for id_, token in added.items() if token["special"])
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        size = max(pieces.values()) + 1
        self.bytes_of = [b""] * size
        """The bytes of each token id, special tokens included."""
        for piece, id_ in pieces.items():
            self.bytes_of[id_] = piece.encode() if id_ in added else _piece_bytes(piece)
        self._template = _template(model_dir)

    def same_tokens(self, other: Vocabulary) -> bool:
        """Every token id has the same bytes in both."""
        return self.bytes_of == other.bytes_of and self.special == other.special

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def token_texts(self, size: int, *, skip_special: bool) -> list[bytes]:
        """The bytes that each of `size` token ids adds to a completion's text."""
        table = self.bytes_of[:size] + [b""] * (size - len(self.bytes_of))
        if skip_special:
            for id_ in self.special:
                table[id_] = b""
        return table

    def decode(self, ids: Iterable[int], *, skip_special: bool) -> str:
        """Invalid UTF-8 becomes the replacement character."""
        kept = (id_ for id_ in ids if id_ < len(self.bytes_of))
        if skip_special:
            kept = (id_ for id_ in kept if id_ not in self.special)
        return b"".join(map(self.bytes_of.__getitem__, kept)).decode("utf-8", "replace")

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> str:
        """The prompt text of a conversation.

        With `continue_final_message` it ends inside the last message, which the model continues.
        Raises `TemplateRefused` with the template's message.
        """
        turns = [dict(message) for message in messages]
        if continue_final_message:
            turns[-1]["content"] += _CUT
        if isinstance(self._template, TemplateMissing):
            raise TemplateRefused(f"{self._template} Completions need no template.")
        try:
            text = self._template.render(turns, add_generation_prompt=add_generation_prompt)
        except EngineRefused as error:
            raise TemplateRefused(str(error)) from error
        if not continue_final_message:
            return text
        before, cut, _ = text.rpartition(_CUT)
        if not cut:
            raise TemplateRefused("the chat template leaves the final message out")
        return before


def _tokenizer(file: Path) -> Tokenizer:
    if not file.is_file():
        raise ModelUnsupported(f"{file.parent} holds no {file.name}")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # all that `tokenizers` raises
        raise ModelUnsupported(f"{file} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _template(model_dir: Path) -> ChatTemplate | TemplateMissing:
    """The folder's chat template, or the error that it has none, like a base model's folder."""
    try:
        return ChatTemplate.load(model_dir)
    except TemplateMissing as missing:
        return missing
    except EngineMisconfigured as error:
        raise ModelUnsupported(f"{model_dir}: {error}") from error


def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE writes byte b as chr(b) if printable, else as chr(256 + i)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return alphabet | {chr(256 + i): byte for i, byte in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _piece_bytes(piece: str) -> bytes:
    return bytes(_ALPHABET[character] for character in piece)
