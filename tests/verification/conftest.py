"""The labelled pairs, and one verifier with its workers for all tests of the package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

PAIRS = Path(__file__).with_name("pairs.jsonl")


@pytest.fixture(scope="session")
def pairs() -> list[dict[str, Any]]:
    """kind, gold, response, correct (the label), hostile."""
    return [json.loads(line) for line in PAIRS.read_text().splitlines()]


@pytest.fixture(scope="session")
def benchmark_files() -> Path:
    """The publishers' benchmark files, which are not part of the repository."""
    root = Path(__file__).parents[2]
    shared = Path(os.environ.get("TIRGEN_SHARED", root.parent / "shared"))
    folder = shared / "data"
    if not folder.is_dir():
        pytest.skip(f"no benchmark files at {folder}; set TIRGEN_SHARED")
    return folder
