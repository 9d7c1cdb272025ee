"""One setting limits memory, and what does not fit is written to temporary files."""

from pathlib import Path

import pytest

from storage import memory
from storage.datasets import Store
from storage.errors import StoreError
from storage.sql import query

GROUPS = """SELECT count(*) AS n FROM (
    SELECT h, count(*) FROM (SELECT hash(i)::VARCHAR AS h FROM range(1500000) t(i)) GROUP BY h)"""


def test_the_limit_is_a_number_of_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    assert memory.limit() == 1_000_000_000
    monkeypatch.setenv(memory.VARIABLE, "0.5")
    assert memory.limit() == 500_000_000


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "inf"])
def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(memory.VARIABLE, text)
    with pytest.raises(StoreError, match=memory.VARIABLE):
        memory.limit()


def test_sql_goes_on_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.VARIABLE, "0.06")
    assert query(Store(tmp_path), GROUPS).to_pylist() == [{"n": 1_500_000}]
