"""Untrusted text (of models, programs and data sets) made safe to show and to write.

Terminals execute control characters, direction overrides and zero-width characters mislead
readers, and no file can hold a lone surrogate. For people each becomes a visible sign; in JSON it
becomes an escape with the same meaning.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rich.text import Text

_ACTING = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""Unicode's control, format, surrogate and line separator characters, except line break, tab, and
the joiners and number signs that some scripts need."""
_ACTS = re.compile(f"[{_ACTING}]")


def visible(text: str) -> str:
    """The text with a visible sign in place of each control or invisible character."""
    return _ACTS.sub(lambda found: _picture(ord(found[0])), text.replace("\r\n", "\n"))


def safe_text(text: str, style: str = "") -> Text:
    """Untrusted text to print as it is: no markup, no escape codes, every character visible."""
    return Text(visible(text), style=style)


def to_json(document: Any) -> str:
    """One line of safe JSON; values of types that JSON does not have become text."""
    return escaped(json.dumps(document, ensure_ascii=False, default=str))


def escaped(document: str) -> str:
    """The same JSON with an escape for each control or invisible character."""
    return _ACTS.sub(lambda found: json.dumps(found[0])[1:-1], document)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
