"""Settings of jobs whose engine and sandbox all tests of the session share."""

from __future__ import annotations

import pytest

from tests.jobs.generating import served_at


@pytest.fixture(scope="session")
def served(pocket_url: str, sandbox_url: str) -> dict[str, object]:
    return served_at(pocket_url, "pocket", sandbox_url)


@pytest.fixture(scope="session")
def served_thinking(thinking_url: str, sandbox_url: str) -> dict[str, object]:
    return served_at(thinking_url, "pocket-thinking", sandbox_url)
