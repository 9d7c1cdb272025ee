"""How much memory the store may use in one process: one setting for sorting, SQL and exports."""

from __future__ import annotations

import os

from storage.errors import StoreError

VARIABLE = "TIRGEN_MEMORY_GB"
"""Environment variable with the limit in GB; what does not fit is written to temporary files."""
DEFAULT_GB = 1.0


def limit() -> int:
    """The limit in bytes. Raises StoreError if the variable is not a positive number."""
    return gigabytes(VARIABLE, DEFAULT_GB, "1 or 0.5")


def gigabytes(variable: str, default: float, example: str) -> int:
    """The bytes that an environment variable gives in GB.

    Raises StoreError if it is not a positive number.
    """
    text = os.environ.get(variable, "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = 0.0
    if not 0 < found < 1e6:
        raise StoreError(f"{variable} is {text!r}", f"set it to a number of GB, e.g. {example}")
    return int(found * 1e9)
