import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import files
from storage.checksums import CheckedFile, StoredFile
from storage.datasets import Store
from storage.errors import QueryError
from storage.find import list_trajectories
from storage.records import (
    Attempt,
    Ending,
    FilterVerdict,
    Outcome,
    Program,
    Step,
    Trajectory,
    Verdict,
)
from storage.sql import query
from storage.view_meanings import VIEWS
from tests.rows import rows
from tirgen.filters.apply import yield_table

Make = Callable[..., Trajectory]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, make_trajectory: Make) -> Store:
    """Two versions of one dataset, only read; the latest has a good row and a hopeless one."""
    return published_store(tmp_path_factory.mktemp("sql"), make_trajectory)


@pytest.fixture
def own_store(tmp_path: Path, make_trajectory: Make) -> Store:
    """The same for a test that adds to it."""
    return published_store(tmp_path, make_trajectory)


def published_store(folder: Path, make_trajectory: Make) -> Store:
    store = Store(folder / "an odd [name]'s store")
    run = store.open_run("demo", {}, "c0ffee")
    run.publish([make_trajectory("old")], {})
    bad = make_trajectory(
        "p2",
        ending=Ending.STEP_LIMIT,
        error="8 steps were not enough",
        final_answer=None,
        verdict=None,
        steps=(
            Step(
                thought="Try.",
                action="print(x)",
                observation="NameError: x",
                outcome=Outcome.ERROR,
                attempts=(
                    Attempt(
                        thought="First.",
                        action="while 1: pass",
                        observation="timeout",
                        outcome=Outcome.TIMEOUT,
                    ),
                ),
            ),
            Step(thought="2", action="f()", observation="broke", outcome=Outcome.INFRA_ERROR),
        ),
        filters=(
            FilterVerdict(rule="executes", kept=True),
            FilterVerdict(rule="correct", kept=False, reason="no answer"),
        ),
    )
    run.publish([make_trajectory("p1"), bad], {})
    return store


def test_every_view_works_over_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    for view in VIEWS:
        assert query(store, f"SELECT * FROM {view}").num_rows == 0
    assert not (tmp_path / "nowhere").exists()


def test_every_view_has_the_same_types_over_nothing_and_over_rows(
    store: Store, tmp_path: Path
) -> None:
    for view in VIEWS:
        types = "SELECT column_name, column_type FROM (DESCRIBE FROM {})".format
        assert rows(Store(tmp_path / "nowhere"), types(view)) == rows(store, types(view))


def test_trajectories_are_those_of_the_latest_version(store: Store) -> None:
    sql = "SELECT dataset, version, problem_id, kept, correct FROM trajectories ORDER BY ALL"
    assert rows(store, sql) == [("demo", "v2", "p1", True, True), ("demo", "v2", "p2", False, None)]


def test_all_trajectories_reach_back_to_every_version(store: Store) -> None:
    assert rows(store, "SELECT version, count(*) FROM all_trajectories GROUP BY 1 ORDER BY 1") == [
        ("v1", 1),
        ("v2", 2),
    ]


def test_counts_follow_from_the_steps(store: Store) -> None:
    sql = """SELECT n_steps, n_calls, n_failed_calls, n_corrections, n_policy_tokens
        FROM trajectories ORDER BY problem_id"""
    assert rows(store, sql) == [(2, 1, 0, 0, 16), (2, 2, 1, 1, 0)]


def test_steps_are_numbered_from_one(store: Store) -> None:
    sql = "SELECT step, thought, action, outcome FROM steps WHERE problem_id = 'p1' ORDER BY step"
    assert rows(store, sql) == [
        (1, "Let me compute it.", "print(6 * 7)", "ok"),
        (2, "So the answer is \\boxed{42}.", None, None),
    ]


def test_failures_say_what_broke_and_where(store: Store) -> None:
    sql = "SELECT level, step, what, detail FROM failures ORDER BY level, step"
    assert rows(store, sql) == [
        ("attempt", 1, "timeout", "timeout"),
        ("step", 1, "error", "NameError: x"),
        ("step", 2, "infra_error", "broke"),
        ("trajectory", None, "step_limit", "8 steps were not enough"),
    ]


def test_missing_modules_are_counted_by_package(tmp_path: Path, make_trajectory: Make) -> None:
    said = "Traceback (most recent call last):\nModuleNotFoundError: No module named '{}'"
    steps = tuple(
        Step(thought="", action="import x", observation=text, outcome=outcome)
        for text, outcome in (
            (said.format("z3"), Outcome.ERROR),
            (said.format("z3.z3util"), Outcome.ERROR),
            (said.format("pandas"), Outcome.ERROR),
            (said.format("printed_only"), Outcome.OK),
            ("NameError: x", Outcome.ERROR),
        )
    )
    store = Store(tmp_path)
    run = store.open_run("demo", {}, "c0ffee")
    run.publish([make_trajectory("p1", steps=steps)], {})
    sql = "SELECT version, module, programs, trajectories FROM missing_modules"
    assert rows(store, sql) == [("v1", "z3", 2, 1), ("v1", "pandas", 1, 1)]


def test_filters_give_the_reason(store: Store) -> None:
    sql = "SELECT problem_id, rule, reason FROM filters WHERE NOT kept"
    assert rows(store, sql) == [("p2", "correct", "no answer")]


def test_yields_count_each_dropped_row_at_the_first_rule_that_drops_it(store: Store) -> None:
    sql = "SELECT rule, entered, dropped, kept FROM yields WHERE version = 'v2' ORDER BY place"
    assert rows(store, sql) == [("correct", 2, 1, 1), ("executes", 1, 0, 1)]


MADE = st.lists(
    st.tuples(
        st.sampled_from([Program.TIRGEN, Program.TIRGEN, Program.COT]),
        st.lists(st.booleans(), min_size=4, max_size=4),
        st.sampled_from([None, True, False]),
    ),
    max_size=12,
)


@settings(max_examples=8, deadline=None)
@given(made=MADE)
def test_every_figure_is_the_one_of_python_and_without_baselines(
    tmp_path_factory: pytest.TempPathFactory, make_trajectory: Make, made: Any
) -> None:
    def one(number: int, program: Program, kept: list[bool], right: bool | None) -> Trajectory:
        verdict = None if right is None else Verdict(correct=right, method="m", reason="")
        rules = ("program",) if program is Program.COT else ("program", "a", "b", "late")
        passed = [program is not Program.COT, *kept[1:]]
        last = 4 if all(passed[:3]) else 3  # as a rule over the dataset judges what is left
        found = [
            FilterVerdict(rule=rule, kept=ok)
            for rule, ok in list(zip(rules, passed, strict=False))[:last]
        ]
        fields = {"program": program, "filters": tuple(found), "verdict": verdict}
        return make_trajectory(f"p{number}", trajectory_id=f"t{number}", **fields)

    trajectories = [one(number, *fields) for number, fields in enumerate(made)]
    store = Store(tmp_path_factory.mktemp("figures"))
    version = store.open_run("demo", {}, "c0ffee").publish(trajectories, {})
    found = rows(store, "SELECT rule, entered, dropped, kept FROM yields ORDER BY place")
    assert found == [
        (row.rule, row.entered, row.dropped, row.kept) for row in yield_table(trajectories)
    ]
    samples = [row for row in trajectories if not row.is_baseline]
    assert version.samples == len(samples)
    assert rows(store, "SELECT rows, baselines FROM datasets") == [
        (len(samples), len(trajectories) - len(samples))
    ]
    for view in ("trajectories", "all_trajectories"):
        listed = rows(store, f"SELECT trajectory_id FROM {view} ORDER BY 1")
        assert listed == sorted((row.trajectory_id,) for row in samples)
    judged = [row.correct for row in samples if row.verdict]
    right = rows(store, "SELECT correct, judged FROM accuracy WHERE program = 'tirgen'")
    assert right == ([(sum(judged), len(judged))] if samples else [])
    baselines = [row["trajectory_id"] for row in list_trajectories(store, baselines=True)]
    assert sorted(baselines) == sorted(row.trajectory_id for row in trajectories if row.is_baseline)


def test_datasets_list_every_version_with_its_counts(store: Store) -> None:
    sql = "SELECT dataset, version, latest, rows, kept_rows FROM datasets ORDER BY version"
    assert rows(store, sql) == [("demo", "v1", False, 1, 1), ("demo", "v2", True, 2, 1)]


def test_running_shows_what_is_committed_and_not_published(
    own_store: Store, make_trajectory: Make
) -> None:
    run = own_store.open_run("other", {}, "decaf")
    row = dataclasses.replace(make_trajectory("r1"), trajectory_id="t1", dataset="other")
    assert rows(own_store, "SELECT * FROM running") == []
    run.append([row])
    sql = "SELECT problem_id, version, n_calls FROM running"
    assert rows(own_store, sql) == [("r1", None, 1)]
    run.publish(run.read(), {})
    assert rows(own_store, sql) == []


def test_running_counts_a_row_of_two_batches_once_and_ignores_unlogged_files(
    own_store: Store, make_trajectory: Make
) -> None:
    run = own_store.open_run("other", {}, "decaf")
    run.append([make_trajectory("r1")])
    run.append([make_trajectory("r1"), make_trajectory("r2")])
    batch = next((run.folder / "batches").glob("[0-9a-f]*[0-9a-f].parquet"))
    os.link(batch, batch.with_name("orphan.parquet"))
    (run.folder / "batches" / ".torn.parquet.1.tmp").write_bytes(b"half")
    with (run.folder / "log.jsonl").open("a") as log:
        log.write('\n{"file": "torn')
    assert rows(own_store, "SELECT problem_id FROM running ORDER BY 1") == [("r1",), ("r2",)]


def test_rows_committed_after_a_publication_are_running(
    own_store: Store, make_trajectory: Make
) -> None:
    run = own_store.open_run("other", {}, "decaf")
    run.append([make_trajectory("r1")])
    run.publish(run.read(), {})
    run.append([make_trajectory("r2")])
    sql = "SELECT problem_id FROM running"
    assert rows(own_store, sql) == [("r2",)]
    run.publish(run.read(), {})
    assert rows(own_store, sql) == []


def test_the_row_committed_last_counts_whatever_its_clock_said(
    own_store: Store, make_trajectory: Make
) -> None:
    run = own_store.open_run("other", {}, "decaf")
    made = make_trajectory("r1", dataset="other", created_at=2.0)
    run.append([made])
    again = dataclasses.replace(made, ending=Ending.REFUSED, created_at=1.0)
    run.append([again])
    assert rows(own_store, "SELECT ending FROM running") == [("refused",)]
    with duckdb.connect(own_store.root / "tirgen.duckdb", read_only=True) as client:
        assert client.execute("SELECT ending FROM running").fetchall() == [("refused",)]
    assert [row.ending for row in run.read()] == [Ending.REFUSED]


def test_a_query_opens_only_the_files_of_what_it_names(
    own_store: Store, make_trajectory: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        name = f"set{number}"
        run = own_store.open_run(name, {}, "decaf")
        for version in range(3):
            run.publish([make_trajectory(f"p{version}", dataset=name)], {})
        own_store.open_run(name, {}, "open").append([make_trajectory("r", dataset=name)])
    opened: set[str] = set()
    monkeypatch.setattr(CheckedFile, "__init__", _noting(CheckedFile.__init__, opened))
    query(own_store, "SELECT 1")
    assert opened == set()
    query(own_store, "SELECT count(problem_id) FROM all_trajectories WHERE dataset = 'set3'")
    assert len([one for one in opened if "/set3/" in one]) == 3
    assert len(opened) <= 4  # and the one that tells the columns


def _noting(real: Callable[..., None], opened: set[str]) -> Callable[..., None]:
    def note(self: CheckedFile, stored: StoredFile) -> None:
        opened.add(str(stored.path))
        real(self, stored)

    return note


def test_any_duckdb_client_reads_the_views_file_while_a_run_writes(
    own_store: Store, make_trajectory: Make
) -> None:
    run = own_store.open_run("other", {}, "decaf")
    with duckdb.connect(own_store.root / "tirgen.duckdb", read_only=True) as client:
        run.append([make_trajectory("r1")])
        assert client.execute("SELECT problem_id FROM running").fetchall() == [("r1",)]
        assert client.execute("SELECT count(*) FROM trajectories").fetchone() == (2,)
        run.publish(run.read(), {})
        assert client.execute("SELECT count(*) FROM trajectories").fetchone() == (2,)
    with duckdb.connect(own_store.root / "tirgen.duckdb", read_only=True) as client:
        assert client.execute("SELECT count(*) FROM trajectories").fetchone() == (3,)


def test_the_views_file_holds_no_rows(store: Store) -> None:
    with duckdb.connect(store.root / "tirgen.duckdb", read_only=True) as client:
        tables = client.execute("SELECT table_name, estimated_size FROM duckdb_tables()").fetchall()
    assert tables == [("no_rows", 0)]


def test_a_trajectory_can_be_read_by_the_beginning_of_its_id(
    store: Store, make_trajectory: Make
) -> None:
    sql = f"SELECT step, action FROM trajectory('{make_trajectory('p1').trajectory_id[:8]}')"
    assert rows(store, sql) == [(1, "print(6 * 7)"), (2, None)]


def test_search_finds_words_in_the_steps(store: Store) -> None:
    assert rows(store, "SELECT problem_id FROM search('nameerror')") == [("p2",)]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{}/x.csv'",
        "WITH x AS (COPY (SELECT 1) TO '{}/x.csv') SELECT * FROM x",
        "FROM query('WITH x AS (COPY (SELECT 1) TO ''{}/x.csv'') FROM x')",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{}/x.csv'",
        "SELECT 1; COPY (SELECT 1) TO '{}/x.csv'",
        "EXPORT DATABASE '{}/x'",
        "ATTACH '{}/x.duckdb'",
        "CREATE TABLE x AS SELECT 1",
        "WITH x AS (DELETE FROM no_rows RETURNING *) SELECT * FROM x",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "FROM read_text('/etc/passwd')",
        "FROM read_text('{}/../../outside.txt')",
        "FROM read_csv('http://localhost/x.csv')",
        "FROM glob('/etc/*')",
        "",
        "SELEC 1",
        "SELECT nothing FROM trajectories",
        "SELECT error('boom')",
    ],
)
def test_what_is_not_a_read_of_the_store_is_refused(store: Store, sql: str) -> None:
    folder = store.root / "datasets"
    (store.root.parent / "outside.txt").write_text("secret")
    before = sorted(store.root.rglob("*"))
    with pytest.raises(QueryError, match="views: trajectories"):
        query(store, sql.format(str(folder).replace("'", "''")))
    assert sorted(store.root.rglob("*")) == before


@pytest.mark.parametrize("sql", ["DESCRIBE trajectories", "SHOW TABLES", "SUMMARIZE datasets"])
def test_looking_around_is_a_read(store: Store, sql: str) -> None:
    assert query(store, sql).num_rows > 0


def test_running_shows_the_newest_row_of_an_attempt_made_again(
    own_store: Store, make_trajectory: Make
) -> None:
    run = own_store.open_run("other", {}, "decaf")
    row = dataclasses.replace(make_trajectory("r1"), dataset="other", created_at=2.0)
    for number in range(5):
        lost = dataclasses.replace(
            row, ending=Ending.ENGINE_ERROR, verdict=None, created_at=number / 10
        )
        run.append([lost])
    run.append([row])
    assert rows(own_store, "SELECT ending FROM running") == [("finished",)]


def test_the_macro_shows_the_version_with_the_highest_number(
    tmp_path: Path, make_trajectory: Make
) -> None:
    store = Store(tmp_path)
    run = store.open_run("demo", {}, "c0ffee")
    for number in range(1, 11):
        step = Step(thought=f"version {number}")
        run.publish([make_trajectory("p1", steps=(step,))], {})
    prefix = make_trajectory("p1").trajectory_id
    assert rows(store, f"SELECT thought FROM trajectory('{prefix}')") == [("version 10",)]


def test_the_mode_of_a_trajectory_is_a_column(own_store: Store, make_trajectory: Make) -> None:
    run = own_store.open_run("modes", {}, "c0ffee")
    thoughts = {"step": "So 42.", "whole": "<think>\nHm.\n</think>\n\n42.", "cut": "<think>\nHm."}
    made = [
        make_trajectory(name, dataset="modes", steps=(Step(thought=text),))
        for name, text in thoughts.items()
    ]
    run.publish(made, {})
    found = rows(
        own_store, "SELECT problem_id, mode FROM trajectories WHERE dataset = 'modes' ORDER BY ALL"
    )
    assert found == [("cut", "reasoning"), ("step", "non_reasoning"), ("whole", "reasoning")]


@pytest.mark.parametrize("last", ["replace", "write_atomic"])
def test_a_run_that_was_only_half_set_up_disturbs_no_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    store = Store(tmp_path)
    with monkeypatch.context() as dying:
        dying.setattr(files, last, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.open_run("d", {}, "c0ffee")
    assert rows(store, "SELECT count(*) FROM running") == [(0,)]
    store.open_run("d", {}, "c0ffee")
    assert rows(store, "SELECT count(*) FROM running") == [(0,)]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("sql", "quoted"),
    [
        (
            "select nope from trajectories",
            "LINE 1: select nope from trajectories\n" + " " * 15 + "^",
        ),
        (
            "select 1,\n  nope from trajectories",
            "LINE 2:   nope from trajectories\n" + " " * 10 + "^",
        ),
        ("from trajectorie", "LINE 1: from trajectorie\n"),
        ("\n" * 9 + "select nope", "LINE 10: select nope\n" + " " * 16 + "^"),
        ("selec 1", "LINE 1: selec 1\n"),
    ],
)
def test_an_error_quotes_the_users_own_lines(store: Store, sql: str, quoted: str) -> None:
    with pytest.raises(QueryError) as caught:
        query(store, sql)
    assert quoted in caught.value.message
    assert "checked" not in caught.value.message


def test_what_was_meant_is_offered(store: Store) -> None:
    with pytest.raises(QueryError, match='Candidate bindings: "attempt"'):
        query(store, "select attmpt from trajectories")
