from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage import documents
from storage.datasets import Store
from storage.errors import InvalidName, NotFound
from storage.records import Ending, FilterVerdict, Level, Program, Trajectory

Make = Callable[..., Trajectory]


def test_committed_rows_read_back_as_they_were(tmp_path: Path, make_trajectory: Make) -> None:
    run = Store(tmp_path).open_run("demo", {"k": 1}, "c0ffee")
    rows = [make_trajectory("p1"), make_trajectory("p2")]
    run.append(rows)
    assert list(run.read()) == rows


def test_a_reopened_run_knows_what_it_committed(tmp_path: Path, make_trajectory: Make) -> None:
    Store(tmp_path).open_run("demo", {}, "c0ffee").append([make_trajectory("p1", attempt=3)])
    assert Store(tmp_path).open_run("demo", {}, "c0ffee").keys() == {("p1", "tirgen", 3)}


def test_a_branch_is_known_by_its_prefix(tmp_path: Path, make_trajectory: Make) -> None:
    """A problem may have several, all with a first sample."""
    fields = {"program": Program.ROLLOUT, "level": Level.STEP}
    branches = [
        make_trajectory("p1", trajectory_id=f"t{step}", group_id=f"t9/{step}", **fields)
        for step in (1, 2)
    ]
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    run.append(branches)
    assert run.keys() == {branch.key for branch in branches}
    assert run.keys() == {("t9/1", "rollout", 0), ("t9/2", "rollout", 0)}


def test_another_configuration_is_another_run(tmp_path: Path, make_trajectory: Make) -> None:
    Store(tmp_path).open_run("demo", {}, "c0ffee").append([make_trajectory()])
    assert Store(tmp_path).open_run("demo", {}, "decaf").keys() == set()


def test_appending_the_same_batch_again_changes_nothing(
    tmp_path: Path, make_trajectory: Make
) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    run.append([make_trajectory()])
    run.append([make_trajectory()])
    assert list(run.read()) == [make_trajectory()]


def test_a_row_in_two_batches_counts_once(tmp_path: Path, make_trajectory: Make) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    run.append([make_trajectory("p1"), make_trajectory("p2")])
    run.append([make_trajectory("p2"), make_trajectory("p3")])
    assert [row.problem.problem_id for row in run.read()] == ["p1", "p2", "p3"]


def test_the_resolved_configuration_lies_beside_the_rows(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("demo", {"attempts": 4}, "c0ffee")
    assert documents.read(run.folder / "config.json") == {"attempts": 4}


def test_a_version_is_sorted_and_complete(tmp_path: Path, make_trajectory: Make) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    rows = [make_trajectory(f"p{n}", attempt=a) for n in (3, 1, 2) for a in (1, 0)]
    version = run.publish(rows, {})
    assert list(version.read()) == sorted(rows, key=lambda row: row.key)


def test_the_manifest_says_what_lies_there(tmp_path: Path, make_trajectory: Make) -> None:
    run = Store(tmp_path).open_run("demo", {"k": 1}, "c0ffee")
    dropped = make_trajectory("p2", filters=(FilterVerdict(rule="r", kept=False, reason="no"),))
    manifest = run.publish([make_trajectory(), dropped], {"yield": [1]}).manifest
    expected = {
        "name": "demo",
        "version": "v1",
        "parent": None,
        "rows": 2,
        "kept_rows": 1,
        "config": {"k": 1},
        "config_hash": "c0ffee",
        "summary": {"yield": [1]},
        "code_versions": ["0"],
    }
    assert expected.items() <= manifest.items()


def test_a_damaged_file_is_found(tmp_path: Path, make_trajectory: Make) -> None:
    version = Store(tmp_path).open_run("demo", {}, "c0ffee").publish([make_trajectory()], {})
    assert version.damaged_files() == []
    version.files[0].write_bytes(version.files[0].read_bytes()[:-1])
    assert version.damaged_files() == version.files


def test_a_published_run_is_recognised_by_its_configuration(
    tmp_path: Path, make_trajectory: Make
) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    assert run.published is None
    version = run.publish([make_trajectory()], {})
    assert Store(tmp_path).open_run("demo", {}, "c0ffee").published == version
    assert Store(tmp_path).open_run("demo", {}, "decaf").published is None


def test_publishing_again_leaves_the_first_version_alone(
    tmp_path: Path, make_trajectory: Make
) -> None:
    store = Store(tmp_path)
    run = store.open_run("demo", {}, "c0ffee")
    first = run.publish([make_trajectory("p1")], {})
    before = {path: path.read_bytes() for path in first.path.iterdir()}
    second = run.publish([make_trajectory("p2")], {})
    assert {path: path.read_bytes() for path in first.path.iterdir()} == before
    assert second.manifest["parent"] == "v1"
    assert store.version("demo") == second


def test_publishers_at_once_get_numbers_of_their_own(tmp_path: Path, make_trajectory: Make) -> None:
    store = Store(tmp_path)
    runs = [store.open_run("demo", {}, f"c{n}") for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        published = list(pool.map(lambda run: run.publish([make_trajectory()], {}), runs))
    assert {str(version) for version in published} == {f"demo@v{n}" for n in range(1, 13)}
    assert [version.manifest["version"] for version in store.versions("demo")] == [
        f"v{n}" for n in range(1, 13)
    ]
    assert (tmp_path / "datasets/demo/latest").resolve() == store.version("demo").path


def test_a_version_of_nothing_is_a_version(tmp_path: Path) -> None:
    version = Store(tmp_path).open_run("demo", {}, "c0ffee").publish([], {})
    assert list(version.read()) == []
    assert version.table(["trajectory_id"]).num_rows == 0


def test_published_files_have_the_measured_layout(tmp_path: Path, make_trajectory: Make) -> None:
    rows = [make_trajectory(f"p{n}") for n in range(6_000)]
    version = Store(tmp_path).open_run("demo", {}, "c0ffee").publish(rows, {})
    metadata = pq.ParquetFile(version.files[0]).metadata
    columns = {
        column.path_in_schema: column
        for column in map(metadata.row_group(0).column, range(metadata.num_columns))
    }
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [5000, 1000]
    for name in ("trajectory_id", "problem_id"):
        assert columns[name].bloom_filter_offset  # type: ignore[attr-defined] # not in the stubs
    assert columns["question"].has_dictionary_page is False
    assert columns["steps.list.element.outcome"].has_dictionary_page is True
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert all(column.has_column_index for column in columns.values())


def test_a_version_is_named_in_three_ways(tmp_path: Path, make_trajectory: Make) -> None:
    store = Store(tmp_path)
    run = store.open_run("demo", {}, "c0ffee")
    first, second = (run.publish([make_trajectory()], {}) for _ in range(2))
    assert store.version("demo") == second
    assert store.version("demo@v1") == first
    assert store.version("demo@v1") == first


def test_an_unknown_dataset_teaches_the_command_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no dataset 'x'.*tirgen dataset list"):
        Store(tmp_path).version("x")


def test_an_unknown_version_teaches_the_command_that_lists_them(
    tmp_path: Path, make_trajectory: Make
) -> None:
    Store(tmp_path).open_run("demo", {}, "c0ffee").publish([make_trajectory()], {})
    with pytest.raises(NotFound, match=r"no version 'v9'.*tirgen dataset show demo"):
        Store(tmp_path).version("demo@v9")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 101, "a\n", "-x", "ä"])
def test_names_that_are_no_safe_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        Store(tmp_path).open_run(name, {}, "c0ffee")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["s3://", "http://bucket/prefix", "file:///tmp/x"])
def test_another_address_than_of_a_bucket_is_refused(address: str) -> None:
    with pytest.raises(InvalidName, match="is no address of a bucket"):
        Store(Path(address))


def test_datasets_are_listed_by_their_latest_version(tmp_path: Path, make_trajectory: Make) -> None:
    store = Store(tmp_path)
    for name in ("b", "a", "b"):
        store.open_run(name, {}, "c0ffee").publish([make_trajectory()], {})
    store.open_run("unpublished", {}, "c0ffee")
    assert list(map(str, store.datasets())) == ["a@v1", "b@v2"]


def test_of_an_attempt_made_again_the_newest_row_counts(
    tmp_path: Path, make_trajectory: Make
) -> None:
    run = Store(tmp_path).open_run("demo", {}, "c0ffee")
    lost = make_trajectory("p1", ending=Ending.ENGINE_ERROR, verdict=None, created_at=1.0)
    made = make_trajectory("p1", created_at=2.0)
    run.append([lost])
    run.append([made])
    assert list(run.read()) == [made]
