"""What holds for every test: helper modules lie beside them, and the longest files begin first."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "tir")]

LONGEST = {"training", "generation", "verification", "test_killed_workers", "test_failures"}
"""Folders and files that take minutes: begun last, they would keep one core waiting for another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.isdisjoint({item.path.parent.name, item.path.stem}))
