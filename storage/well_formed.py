"""Text from outside made fit for files: models, servers and data sets can send lone surrogates."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which no encoding can hold.

    JSON can spell them (``"\\ud800"``). The two halves of a character that a stream cut in two are
    joined.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
