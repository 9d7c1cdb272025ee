"""The model's tokenizer and chat template, with the exact bytes behind every token id.

Byte-level tokenizers only (Qwen's kind): there the text of a sequence is the concatenation of its
tokens' bytes, which makes decoding one token a table look-up, and stop strings a search in bytes.
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
"""Marks the end of a message to be continued; private-use characters no template touches."""


class TemplateRefused(ValueError):
    """The chat template cannot render these messages."""


class Vocabulary:
    """Text to token ids and back, and conversations to prompts."""

    def __init__(self, model_dir: Path) -> None:
        """Raises `ModelUnsupported` for a tokenizer not on bytes, or a template that is none."""
        self._tokenizer = _tokenizer(model_dir / "tokenizer.json")
        description = json.loads(self._tokenizer.to_str())
        if (description["decoder"] or {}).get("type") != "ByteLevel":
            raise ModelUnsupported(f"the tokenizer of {model_dir} is not a byte-level one")
        added = {token["id"]: token for token in description["added_tokens"]}
        self.special = frozenset(id_ for id_, token in added.items() if token["special"])
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        size = max(pieces.values()) + 1
        self.bytes_of = [b""] * size
        """The bytes each token id stands for, special tokens included."""
        for piece, id_ in pieces.items():
            self.bytes_of[id_] = piece.encode() if id_ in added else _piece_bytes(piece)
        self._template = _template(model_dir)

    def same_tokens(self, other: Vocabulary) -> bool:
        """Every token id stands for the same bytes in both."""
        return self.bytes_of == other.bytes_of and self.special == other.special

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def spoken(self, size: int, *, skip_special: bool) -> list[bytes]:
        """The bytes each of `size` token ids adds to a completion's text."""
        table = self.bytes_of[:size] + [b""] * (size - len(self.bytes_of))
        if skip_special:
            for id_ in self.special:
                table[id_] = b""
        return table

    def decode(self, ids: Iterable[int], *, skip_special: bool) -> str:
        """Bytes that are no UTF-8 become the replacement character."""
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

        With `continue_final_message` it ends inside the last message, where the model goes on.
        Raises `TemplateRefused` with the template's own words.
        """
        turns = [dict(message) for message in messages]
        if continue_final_message:
            turns[-1]["content"] += _CUT
        if isinstance(self._template, TemplateMissing):
            raise TemplateRefused(f"{self._template} Completions need none.")
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
    """The folder's chat template, or that there is none: base models have none."""
    try:
        return ChatTemplate.load(model_dir)
    except TemplateMissing as missing:
        return missing
    except EngineMisconfigured as error:
        raise ModelUnsupported(f"{model_dir}: {error}") from error


def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE writes byte b as chr(b) where printable, and as chr(256 + i) elsewhere."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return alphabet | {chr(256 + i): byte for i, byte in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _piece_bytes(piece: str) -> bytes:
    return bytes(_ALPHABET[character] for character in piece)
