"""A tiny policy with random weights, a store, and the only process there is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.datasets import Store

sys.path[:0] = [str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: Qwen3 with two layers and a tied head, tokenizer files beside it."""
    from tiny_policy import write_policy

    return write_policy(tmp_path_factory.mktemp("policy") / "base")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def world() -> Iterator[object]:
    from trainer.distributed import joined

    with joined() as alone:
        yield alone
