"""Tokenizers under which text may grow piece by piece: what a piece encodes to does not depend on
whether a text begins with it.

SentencePiece models put a space before every text and take one off what they decode. A trajectory
grows in the middle of a turn, where that space would be a character nobody wrote.
"""

from __future__ import annotations

import json
from typing import Any


def joining(tokenizer_json: str) -> str:
    """The same vocabulary and merges without what is done to the two ends of a text."""
    content = json.loads(tokenizer_json)
    for stage in ("normalizer", "pre_tokenizer", "decoder"):
        content[stage] = _without_ends(content.get(stage))
    return json.dumps(content)


def prefixes_first_only(tokenizer_json: str) -> bool:
    """The space goes before a whole text, but not before what follows a special token in it."""
    return '"prepend_scheme":"first"' in tokenizer_json.replace(" ", "")


def _without_ends(stage: Any) -> Any:
    """A stage of the pipeline, a sequence of them, or null where nothing is left of it."""
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
