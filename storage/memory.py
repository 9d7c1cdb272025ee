"""How much memory the store may use in one process: one setting for sorting, SQL and exports."""

from __future__ import annotations

import os

from storage.errors import StoreError

VARIABLE = "TIRGEN_MEMORY_GB"
"""Environment variable with the limit in GB; what does not fit is written to temporary files."""
DEFAULT_GB = 1.0


def limit() -> int:
    """The limit in bytes. Raises StoreError if the variable is not a positive number."""
    text = os.environ.get(VARIABLE, "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < 1e6:
        raise StoreError(f"{VARIABLE} is {text!r}", "set it to a number of GB, e.g. 1 or 0.5")
    return int(gigabytes * 1e9)
