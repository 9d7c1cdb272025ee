"""Finds a model's `tokenizer.json`, and edits it for text that grows piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tirgen.engine.errors import EngineMisconfigured

_FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]


def tokenizer_folder(path_or_name: str | Path) -> Path:
    """The folder of a tokenizer: the given one, or that of a hub id in the hub's cache.

    Downloads a hub id that is not in the cache. Raises `EngineMisconfigured`.
    """
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


def read_tokenizer(tokenizer_json: str, plain: bool = False) -> Tokenizer:
    """The tokenizer; `plain` spells special tokens in a text as ordinary ones."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = plain
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def with_special(tokenizer_json: str, special: Callable[[str], object]) -> str:
    """The same tokenizer, with those added tokens marked special that `special` accepts."""
    content = json.loads(tokenizer_json)
    for token in content.get("added_tokens", ()):
        token["special"] = token["special"] or bool(special(token["content"]))
    return json.dumps(content)


def unknown_id(tokenizer_json: str, controls: Mapping[str, int]) -> int | None:
    """The id of the unknown token; None if there is none."""
    model = json.loads(tokenizer_json).get("model", {})
    token = model.get("unk_token")
    return controls.get(token) if isinstance(token, str) else model.get("unk_id")


def joining(tokenizer_json: str) -> str:
    """The same vocabulary and merges, without the steps that change the two ends of a text.

    SentencePiece tokenizers put a space before every text and remove one from what they decode. A
    trajectory grows in the middle of a turn, where that space would be an extra character.
    """
    content = json.loads(tokenizer_json)
    for stage in ("normalizer", "pre_tokenizer", "decoder"):
        content[stage] = _without_ends(content.get(stage))
    return json.dumps(content)


def prefixes_first_only(tokenizer_json: str) -> bool:
    """The space is put before a whole text, but not after a special token inside it."""
    return '"prepend_scheme":"first"' in tokenizer_json.replace(" ", "")


def _without_ends(stage: Any) -> Any:
    """A pipeline stage or a sequence of them; None if nothing is left."""
    if not stage:
        return None
    if stage["type"] == "Sequence":
        [key] = stage.keys() - {"type"}  # normalizers, pretokenizers or decoders
        left = [part for part in map(_without_ends, stage[key]) if part]
        return {**stage, key: left} if left else None
    if stage["type"] == "Prepend" or (stage["type"] == "Strip" and "start" in stage):
        return None
    if stage["type"] == "Metaspace":
        return {**stage, "prepend_scheme": "never"}
    if stage["type"] == "ByteLevel":
        return {**stage, "add_prefix_space": False}
    return stage
