from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import documents
from storage.datasets import Store
from storage.errors import SchemaTooNew
from storage.records import (
    SCHEMA_VERSION,
    Attempt,
    Cost,
    Ending,
    FilterVerdict,
    Level,
    Opinion,
    Outcome,
    Problem,
    Program,
    Provenance,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)
from storage.schema import check_version, from_batch, to_batch, trajectory_schema
from storage.sql import query

FINGERPRINTS = {
    1: "e55c955b2179",
    2: "845fe94fd210",
    3: "845fe94fd210",
    4: "f0e1bc3b703e",
    5: "e2aef9d9381d",
}
"""Schema of each version. A new fingerprint needs a new version; 2 has opinions, 3 an ending, 4 the
tokenizer, 5 what a verdict read."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNT = st.integers(0, 2**40)
SECONDS = st.floats(allow_nan=False)


def record(cls: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A strategy that sets every field of a record, so that none is left at its default."""
    missing = {field.name for field in dataclasses.fields(cls)} - set(fields)
    for name in missing:
        hint = get_type_hints(cls)[name]
        assert hint in STRATEGIES, f"{cls.__name__}.{name}: say how to generate {hint}"
        fields[name] = STRATEGIES[hint]
    return st.builds(cls, **fields)


STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    str | None: st.none() | TEXT,
    int: COUNT,
    float: SECONDS,
    bool: st.booleans(),
    Outcome: st.sampled_from(Outcome),
    Outcome | None: st.none() | st.sampled_from(Outcome),
    Program: st.sampled_from(Program),
    Level: st.sampled_from(Level),
    Ending: st.sampled_from(Ending),
}
STRATEGIES[tuple[Attempt, ...]] = st.lists(record(Attempt), max_size=2).map(tuple)
STRATEGIES[tuple[Step, ...]] = st.lists(record(Step), max_size=3).map(tuple)
STRATEGIES[tuple[FilterVerdict, ...]] = st.lists(record(FilterVerdict), max_size=2).map(tuple)
STRATEGIES[Problem] = record(Problem)
STRATEGIES[Verdict | None] = st.none() | record(Verdict)
STRATEGIES[Opinion | None] = st.none() | record(Opinion)
STRATEGIES[Provenance] = record(Provenance)
STRATEGIES[Cost] = record(Cost)


@st.composite
def token_streams(draw: st.DrawFn) -> TokenStream:
    n = draw(st.integers(0, 4))

    def column(item: st.SearchStrategy[Any]) -> Any:
        return draw(st.lists(item, min_size=n, max_size=n).map(tuple))

    return TokenStream(
        token_ids=column(st.integers(0, 2**31 - 1)),
        loss_mask=column(st.booleans()),
        logprobs=column(st.none() | st.floats(allow_nan=False, width=32)),
        prompt_length=draw(st.integers(0, n)),
    )


STRATEGIES[TokenStream] = token_streams()
TRAJECTORIES = st.lists(record(Trajectory, schema_version=st.just(SCHEMA_VERSION)), max_size=4)


@settings(max_examples=60, deadline=None)
@given(TRAJECTORIES)
def test_every_record_round_trips_exactly(trajectories: list[Trajectory]) -> None:
    batch = to_batch(trajectories, Trajectory)
    batch.validate(full=True)
    assert from_batch(batch, Trajectory) == trajectories


@settings(max_examples=20, deadline=None)
@given(TRAJECTORIES, st.integers(0, 4))
def test_a_slice_of_a_batch_reads_as_that_slice(trajectories: list[Trajectory], cut: int) -> None:
    assert (
        from_batch(to_batch(trajectories, Trajectory).slice(cut), Trajectory) == trajectories[cut:]
    )


def leaf_fields(cls: type) -> list[str]:
    """The names of all scalar fields below a record."""
    names: list[str] = []
    for name, hint in get_type_hints(cls).items():
        inner = [h for h in (hint, *get_args(hint)) if dataclasses.is_dataclass(h)]
        names += leaf_fields(inner[0]) if inner else [name]  # type: ignore[arg-type]
    return names


def leaf_columns(type: Iterable[pa.Field[Any]]) -> list[str]:
    names: list[str] = []
    for field in type:
        inner = field.type
        while pa.types.is_list(inner):
            inner = inner.value_type
        names += leaf_columns(inner) if pa.types.is_struct(inner) else [field.name]
    return names


def test_every_record_field_is_a_column() -> None:
    columns = [name.replace("gold_answer", "answer") for name in leaf_columns(trajectory_schema())]
    assert sorted(columns) == sorted(leaf_fields(Trajectory))


def test_column_names_are_unique() -> None:
    names = trajectory_schema().names
    assert len(names) == len(set(names))


def test_a_changed_schema_has_a_new_version() -> None:
    text = "\n".join(f"{field.name} {field.type} {field.nullable}" for field in trajectory_schema())
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == FINGERPRINTS[SCHEMA_VERSION]


def test_a_newer_schema_is_refused_with_a_sentence() -> None:
    newer = trajectory_schema().with_metadata({"tirgen.schema_version": str(SCHEMA_VERSION + 1)})
    with pytest.raises(SchemaTooNew, match=r"file.parquet has schema version \d+.*update tirgen"):
        check_version(newer, "file.parquet")


def test_text_no_file_can_hold_is_replaced_not_refused(
    make_trajectory: Callable[..., Trajectory],
) -> None:
    batch = to_batch([make_trajectory(final_answer="a\ud800b😀")], Trajectory)
    assert batch["final_answer"].to_pylist() == ["a\ufffdb😀"]


LATER = ["judge_correct", "judge_model", "judge_reason"]


def as_the_first_version_named_them(root: Path) -> None:
    """Logs and manifests without checksums, and without what they have said since."""
    for log in root.rglob("log.jsonl"):
        entries = [json.loads(line) for line in log.read_text().splitlines() if line]
        log.write_text(
            "".join(f'\n{{"file": "{e["file"]}", "rows": {e["rows"]}}}\n' for e in entries)
        )
    for path in root.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        for key in (documents.KEY, "commits"):
            del manifest[key]
        manifest["schema_version"] = 1
        manifest["files"] = [{"file": one["file"], "sha256": ""} for one in manifest["files"]]
        path.write_text(json.dumps(manifest))


def test_rows_of_the_first_version_read_as_before(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    """What has been added since is null, in records and in SQL, published or running."""
    store = Store(tmp_path)
    run = store.open_run("demo", {}, "c0ffee")
    made = make_trajectory(schema_version=1)
    run.append([made])
    version = run.publish([made], {})
    other = store.open_run("demo", {}, "decaf")
    other.append([made])
    for file in tmp_path.rglob("*.parquet"):
        old = pq.read_table(file).drop_columns(LATER)
        pq.write_table(old.replace_schema_metadata({"tirgen.schema_version": "1"}), file)
    as_the_first_version_named_them(tmp_path)
    store = Store(tmp_path)
    version, other = store.version("demo"), store.open_run("demo", {}, "decaf")
    assert list(version.read()) == list(other.read()) == [made]
    assert version.table(["judge_model"]).to_pylist() == [{"judge_model": None}]
    for view in ("trajectories", "running"):
        found = query(store, f"SELECT trajectory_id, judge_correct FROM {view}").to_pylist()
        assert found == [{"trajectory_id": made.trajectory_id, "judge_correct": None}]
