"""Names a JSON document by its content: how configurations, runs and tokenizers are told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint(document: Any) -> str:
    """16 hexadecimal digits, equal for equal documents whatever the order of their keys."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
