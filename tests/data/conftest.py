"""Where the published problem files are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published problem files beside the repository."""
    beside = Path(__file__).parents[2].parent / "shared"
    folder = Path(os.environ.get("TIRGEN_SHARED", beside)) / "data" / "problems"
    if not folder.is_dir():
        pytest.skip(f"needs the published problem files in {folder}")
    return folder
