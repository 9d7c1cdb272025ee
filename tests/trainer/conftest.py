"""A tiny policy with random weights, a store, and the only process there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.datasets import Store


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: Qwen3 with two layers and a tied head, tokenizer files beside it."""
    from tests.trainer.tiny_policy import write_policy

    return write_policy(tmp_path_factory.mktemp("policy") / "base")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def world() -> Iterator[object]:
    from trainer.distributed import joined

    with joined() as alone:
        yield alone
