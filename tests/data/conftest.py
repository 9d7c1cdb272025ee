"""Makes the helper modules beside these tests importable; finds the real data sets."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published problem files beside the repository."""
    beside = Path(__file__).parents[2].parent / "shared"
    folder = Path(os.environ.get("TIRGEN_SHARED", beside)) / "data" / "problems"
    if not folder.is_dir():
        pytest.skip(f"needs the published problem files in {folder}")
    return folder
