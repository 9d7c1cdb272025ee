"""The order of all tests: the longest files begin first."""

import pytest

LONGEST = {"training", "jobs", "verification", "test_killed_workers", "test_failures"}
"""Folders and files that take minutes: begun last, they would keep one core waiting for another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.isdisjoint({item.path.parent.name, item.path.stem}))
