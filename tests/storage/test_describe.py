"""What `tirgen sql --schema` says of views and columns."""

from pathlib import Path

from storage.datasets import Store
from storage.describe import columns
from storage.view_meanings import VIEWS


def test_every_view_has_its_columns_with_type_and_meaning(tmp_path: Path) -> None:
    found = columns(Store(tmp_path))
    assert list(dict.fromkeys(column.view for column in found)) == list(VIEWS)
    by_name = {(column.view, column.column): column for column in found}
    assert by_name["trajectories", "correct"].type == "BOOLEAN"
    assert "cannot be verified" in by_name["trajectories", "correct"].meaning
    assert by_name["steps", "action"].meaning.startswith("The Python that was run")
    assert by_name["trajectories", "gold_answer"].meaning.startswith("The gold answer")
    assert by_name["datasets", "rows"].type == "BIGINT"
