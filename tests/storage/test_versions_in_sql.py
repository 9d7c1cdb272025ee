"""Versions in SQL and on the command line: comparison, time travel, tags, lineage."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage import documents, numbered
from storage.checking import flaws
from storage.checksums import CheckedFile, StoredFile
from storage.datasets import Store
from storage.difference import difference
from storage.errors import InvalidName, NotFound, QueryError
from storage.records import (
    Attempt,
    Cost,
    Ending,
    FilterVerdict,
    Level,
    Outcome,
    Program,
    Step,
    Trajectory,
    Verdict,
)
from storage.sql import query
from tests.rows import rows

Make = Callable[..., Trajectory]
PAGE = Path(__file__).parents[2] / "docs/sql.md"
DROPPED = (FilterVerdict(rule="correct", kept=False, reason="wrong answer"),)
WRONG = Verdict(correct=False, method="m", reason="41 is not 42")
PRICES = {"budget": {"prices": {"pocket": {"prompt": 1.0, "completion": 4.0}}}}


@pytest.fixture
def store(tmp_path: Path, make_trajectory: Make) -> Store:
    """demo@v1 has p1 and p2; in demo@v2 p2 is wrong, p1 is gone and p3 is new. Another dataset."""
    store = Store(tmp_path / "store")
    run = store.open_run("demo", PRICES, "c0ffee")
    run.publish([make_trajectory("p1"), make_trajectory("p2")], {})
    wrong = make_trajectory("p2", verdict=WRONG, filters=DROPPED)
    run.publish([wrong, make_trajectory("p3")], {})
    other = make_trajectory("q", dataset="other")
    store.open_run("other", {}, "decaf").publish([other], {})
    return store


def test_two_versions_differ_in_trajectories_problems_figures_and_yield(store: Store) -> None:
    found = rows(
        store,
        "SELECT problem_id, change, correct_before, correct_after, kept_after, reason_after, "
        "dropped_after FROM diff('demo@v1', 'demo@v2') ORDER BY problem_id",
    )
    assert found == [
        ("p1", "lost", True, None, None, None, None),
        ("p2", "verdict", True, False, False, "41 is not 42", "correct: wrong answer"),
        ("p3", "gained", None, True, True, "42 = 42", None),
    ]
    assert rows(store, "SELECT problem_id, change FROM diff_problems('demo@v1', 'demo')") == [
        ("p3", "gained"), ("p1", "lost"), ("p2", "lost"),
    ]  # fmt: skip
    figures = {name: values for name, *values in rows(store, "FROM compare('demo@v1', 'demo')")}
    assert figures["kept trajectories"] == [2.0, 1.0, -1.0]
    assert figures["accuracy"] == [1.0, 0.5, -0.5]
    assert figures["programs per kept"] == [1.0, 1.0, 0.0]
    assert rows(store, "FROM compare_yields('demo@v1', 'demo')") == [("correct", 0, 2, 1, 1)]
    assert rows(store, "FROM diff('demo@v2', 'demo')") == []


def test_a_rule_that_drops_otherwise_is_a_difference(store: Store, make_trajectory: Make) -> None:
    run = store.open_run("demo", PRICES, "c0ffee")
    late = (FilterVerdict(rule="late", kept=False, reason="too long"),)
    run.publish([make_trajectory("p2", verdict=WRONG, filters=late), make_trajectory("p3")], {})
    found = rows(store, "SELECT change, dropped_before, dropped_after FROM diff('demo@v2', 'demo')")
    assert found == [("filters", "correct: wrong answer", "late: too long")]


def test_a_version_is_named_by_number_by_tag_and_as_the_latest(store: Store) -> None:
    store.tag("demo@v1", "gold")
    for name, problems in (("demo@v1", "p1"), ("demo@gold", "p1"), ("demo", "p2")):
        sql = f"SELECT min(problem_id) FROM trajectories_of('{name}')"
        assert rows(store, sql) == [(problems,)]
        assert str(store.version(name)) == ("demo@v2" if name == "demo" else "demo@v1")
        with duckdb.connect(store.root / "tirgen.duckdb", read_only=True) as client:
            assert client.execute(sql).fetchall() == [(problems,)]
    assert rows(store, "FROM tags") == [("demo", "gold", "v1")]
    store.version("demo@v1").files[0].write_bytes(b"")
    assert len(list(flaws(store, "demo@gold"))) == 1
    assert list(flaws(store, "demo@v2")) == []


@pytest.mark.parametrize("name", ["demo@v9", "demo@nothing", "nothing", "''; drop"])
def test_an_unknown_version_is_an_error_and_not_empty(store: Store, name: str) -> None:
    for sql in (f"SELECT count(*) FROM trajectories_of('{name}')", f"FROM diff('demo', '{name}')"):
        with pytest.raises(QueryError, match="no version"):
            query(store, sql)


def test_a_query_of_one_version_opens_only_its_files(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tag("demo@v1", "gold")
    opened: set[str] = set()
    real = CheckedFile.__init__

    def note(self: CheckedFile, stored: StoredFile) -> None:
        opened.add(stored.path.parent.name)
        real(self, stored)

    monkeypatch.setattr(CheckedFile, "__init__", note)
    query(store, "SELECT count(question) FROM trajectories_of('demo@gold')")
    assert opened == {"v1"}


def test_a_time_shows_the_versions_that_were_the_latest_then(
    store: Store, make_trajectory: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = {"demo@v1": "2026-11-01", "demo@v2": "2026-11-03", "other@v1": "2026-11-02"}
    for name, day in manifests.items():
        path = store.version(name).path / numbered.MANIFEST
        manifest = json.loads(path.read_bytes()) | {"created_at": f"{day}T00:00:00+00:00"}
        manifest.pop(documents.KEY)  # as an earlier tirgen wrote it
        path.write_text(json.dumps(manifest))

    def at(moment: str) -> list[str]:
        sql = f"SELECT DISTINCT dataset || '@' || version FROM as_of('{moment}') ORDER BY 1"
        return [name for (name,) in rows(store, sql)]

    assert at("2026-10-31") == []
    assert at("2026-11-01 12:00") == ["demo@v1"]
    assert at("2026-11-02") == ["demo@v1", "other@v1"]
    assert at("2026-11-03 00:00:01") == ["demo@v2", "other@v1"]


def test_a_tag_moves_only_when_asked(store: Store) -> None:
    store.tag("demo@v1", "gold")
    store.tag("demo@v1", "gold")
    with pytest.raises(InvalidName, match="names v1 already"):
        store.tag("demo@v2", "gold")
    store.tag("demo@v2", "gold", move=True)
    assert str(store.version("demo@gold")) == "demo@v2"
    store.untag("demo", "gold")
    with pytest.raises(NotFound):
        store.version("demo@gold")
    with pytest.raises(NotFound, match="no tag"):
        store.untag("demo", "gold")


@pytest.mark.parametrize("tag", ["v3", "v03", "../x", "", ".x", "a b"])
def test_what_cannot_be_a_tag_is_refused(store: Store, tag: str) -> None:
    with pytest.raises(InvalidName):
        store.tag("demo", tag)


def test_lineage_reaches_every_ancestor(store: Store) -> None:
    source = store.version("demo@v1")
    described = source.manifest
    for _ in range(2):
        source = store.derive(source, source.found(), lambda: described)
    assert rows(store, f"SELECT distance, product, source FROM lineage('{source}')") == [
        (1, "demo@v4", "demo@v3"),
        (2, "demo@v3", "demo@v1"),
    ]


def test_the_parts_of_rows_are_views(tmp_path: Path, make_trajectory: Make) -> None:
    failed = Attempt(
        thought="", action="1/0", observation="ZeroDivisionError: no", outcome=Outcome.ERROR
    )
    corrected = Step(
        thought="", action="print(42)", observation="42", outcome=Outcome.OK, attempts=(failed,)
    )
    good = make_trajectory("p1", steps=(corrected,), cost=Cost(actor_prompt_tokens=2_000_000))
    bad = make_trajectory("p1", 1, verdict=WRONG, filters=DROPPED)
    store = Store(tmp_path)
    store.open_run("demo", PRICES, "c0ffee").publish([good, bad], {})
    sql = "SELECT replaced, action, error FROM calls WHERE attempt = 0 ORDER BY ALL"
    assert rows(store, sql) == [
        (False, "print(42)", None),
        (True, "1/0", "ZeroDivisionError"),
    ]
    assert rows(store, "SELECT step, number, corrected, outcome FROM attempts") == [
        (1, 1, True, "error")
    ]
    assert rows(store, "SELECT n, judged, correct, kept_rows, mixed FROM problems") == [
        (2, 2, 1, 1, True)
    ]
    assert rows(store, "SELECT extreme, attempt FROM extremes ORDER BY 1") == [
        ("best", 0), ("worst", 1),
    ]  # fmt: skip
    sql = "SELECT prompt_tokens, money, money_per_kept, tokens_per_kept FROM costs"
    assert rows(store, sql) == [(2_000_000, 2.0 + 16 * 4e-6, 2.0 + 16 * 4e-6, 2_000_016.0)]


def test_rewards_are_those_of_the_records(tmp_path: Path, make_trajectory: Make) -> None:
    ran = Step(thought="", action="1", observation="1", outcome=Outcome.OK)
    failed = dataclasses.replace(ran, outcome=Outcome.ERROR)
    cases: list[dict[str, Any]] = [
        {},
        {"verdict": WRONG},
        {"verdict": None},
        {"verdict": Verdict(correct=False, method="unverifiable", reason="")},
        *({"ending": ending, "verdict": None} for ending in Ending),
        {"level": Level.STEP, "verdict": None, "steps": (failed, ran)},
        {"level": Level.STEP, "verdict": None, "steps": (ran, failed)},
        {"level": Level.STEP, "verdict": None, "steps": ()},
    ]
    made = [
        make_trajectory(f"p{n:02}", trajectory_id=f"t{n}", program=Program.ROLLOUT, **case)
        for n, case in enumerate(cases)
    ]
    store = Store(tmp_path)
    store.open_run("demo", {}, "c0ffee").publish(made, {})
    found = rows(store, "SELECT reward FROM rollouts ORDER BY problem_id")
    assert [reward for (reward,) in found] == [row.reward for row in made]


def documented() -> list[str]:
    [*blocks] = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("tirgen")]
    return [shlex.split(line)[2] for line in lines]


@pytest.mark.parametrize("sql", documented())
def test_every_query_of_the_page_is_one_short_line_that_runs(store: Store, sql: str) -> None:
    assert len(sql) <= 100
    query(store, sql)


def tirgen(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows", *arguments, "--store", str(store.root)]
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_the_command_line_compares_tagged_versions(store: Store) -> None:
    assert tirgen(store, "dataset", "tag", "demo@v1", "gold").returncode == 0
    found = tirgen(store, "dataset", "diff", "demo@gold", "demo", "--json", "--limit", "2")
    document = json.loads(found.stdout)
    assert (document["before"], document["after"]) == ("demo@v1", "demo@v2")
    assert [row["change"] for row in document["trajectories"]] == ["verdict", "gained"]
    assert {row["change"]: row["trajectories"] for row in document["counts"]} == {
        "gained": 1, "lost": 1, "verdict": 1,
    }  # fmt: skip
    shown = tirgen(store, "dataset", "diff", "demo@gold", "demo").stdout
    assert "41 is not 42" in shown
    assert "yes → no" in shown
    refused = tirgen(store, "dataset", "tag", "demo@v2", "gold")
    assert (refused.returncode, "--move" in refused.stderr) == (2, True)
    assert tirgen(store, "dataset", "diff", "demo", "demo@v9").returncode == 3


def test_the_difference_lists_changed_verdicts_first(store: Store) -> None:
    found = difference(store, "demo@v1", "demo@v2", limit=1)
    assert [row["change"] for row in found.trajectories] == ["verdict"]
