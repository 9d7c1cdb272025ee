import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.errors import NotFound, QueryError
from storage.find import Pick, find_trajectory, list_trajectories, pick_trajectories
from storage.records import Attempt, Outcome, TokenStream, Trajectory

Make = Callable[..., Trajectory]


@pytest.fixture
def store(tmp_path: Path, make_trajectory: Make) -> Store:
    """One published row that is right, one that is wrong, and one of a run that goes on."""
    store = Store(tmp_path)
    right, wrong, new = map(make_trajectory, ("right", "wrong", "new"))
    assert wrong.verdict
    wrong = dataclasses.replace(wrong, verdict=dataclasses.replace(wrong.verdict, correct=False))
    store.open_run("demo", {}, "c0ffee").publish([right, wrong], {})
    store.open_run("demo", {}, "decaf").append([new])
    return store


def test_a_trajectory_is_found_whole(store: Store, make_trajectory: Make) -> None:
    base = make_trajectory("rich")
    failed = Attempt(thought="t", action="a", observation="o", outcome=Outcome.TIMEOUT)
    rich = dataclasses.replace(
        base,
        dataset="rich",
        steps=(dataclasses.replace(base.steps[0], attempts=(failed,)), base.steps[1]),
        tokens=TokenStream(token_ids=(1, 2), loss_mask=(False, True), logprobs=(None, -0.5)),
    )
    store.open_run("rich", {}, "c0ffee").append([rich])
    assert find_trajectory(store, rich.trajectory_id) == rich
    store.open_run("rich", {}, "c0ffee").publish([rich], {})
    assert find_trajectory(store, rich.trajectory_id) == rich


def test_the_beginning_of_an_id_is_enough(store: Store, make_trajectory: Make) -> None:
    row = make_trajectory("right")
    assert find_trajectory(store, row.trajectory_id[:8]) == row


def test_the_newest_version_of_a_trajectory_counts(store: Store, make_trajectory: Make) -> None:
    run = store.open_run("demo", {}, "c0ffee")
    for attempt_error in map(str, range(9)):  # v2 to v10: numbers, not texts, decide
        run.publish([make_trajectory("right", error=attempt_error)], {})
    found = find_trajectory(store, make_trajectory("right").trajectory_id)
    assert found.error == "8"


def test_an_ambiguous_beginning_asks_for_more(store: Store) -> None:
    with pytest.raises(NotFound, match="several trajectories begin with 't'"):
        find_trajectory(store, "t")


@pytest.mark.parametrize("prefix", ["nothing", "'", "' OR true --", "%"])
def test_an_unknown_id_teaches_the_command_that_lists_them(store: Store, prefix: str) -> None:
    with pytest.raises(NotFound, match="tirgen traj list"):
        find_trajectory(store, prefix)


def test_the_list_begins_with_what_went_wrong(store: Store) -> None:
    assert list_trajectories(store)[0]["problem_id"] == "wrong"


def test_the_list_covers_runs_that_go_on(store: Store) -> None:
    rows = list_trajectories(store, "demo")
    assert {(row["problem_id"], row["version"]) for row in rows} == {
        ("right", "v1"),
        ("wrong", "v1"),
        ("new", None),
    }


def test_the_list_of_one_version_is_that_version(store: Store) -> None:
    rows = list_trajectories(store, "demo@v1")
    assert {row["problem_id"] for row in rows} == {"right", "wrong"}


def test_the_list_is_filtered_and_limited(store: Store) -> None:
    assert [r["problem_id"] for r in list_trajectories(store, where="NOT correct -- !")] == [
        "wrong"
    ]
    assert len(list_trajectories(store, limit=1)) == 1


def test_a_condition_that_is_no_sql_is_refused(store: Store) -> None:
    with pytest.raises(QueryError, match="nothing"):
        list_trajectories(store, where="nothing = 1")


@pytest.mark.parametrize("dataset", ["unknown", "demo@v9", "unknown@v1"])
def test_a_list_of_an_unknown_dataset_is_refused(store: Store, dataset: str) -> None:
    with pytest.raises(NotFound, match="tirgen dataset"):
        list_trajectories(store, dataset)


def test_whole_trajectories_are_picked_with_their_version_as_they_are_listed(store: Store) -> None:
    found = pick_trajectories(store, None, "", 10, pick=Pick.ALL)
    listed = list_trajectories(store)
    assert [(one.trajectory.trajectory_id, one.version) for one in found] == [
        (row["trajectory_id"], row["version"]) for row in listed
    ]
    assert {one.version for one in found} == {"v1", None}
    first = found[0].trajectory
    assert first == find_trajectory(store, first.trajectory_id)
    [right] = pick_trajectories(store, "demo", "correct and version = 'v1'", 10, pick=Pick.ALL)
    assert right.trajectory.problem.problem_id == "right"


def test_the_extremes_are_the_worst_and_the_best_of_each_group(
    store: Store, make_trajectory: Make
) -> None:
    def attempts(problem: str, right: set[int]) -> list[Trajectory]:
        rows = [make_trajectory(problem, attempt, dataset="groups") for attempt in range(4)]
        wrong = dataclasses.replace(rows[0].verdict, correct=False)  # type: ignore[type-var]
        return [
            row if row.attempt in right else dataclasses.replace(row, verdict=wrong) for row in rows
        ]

    rows = [*attempts("mixed", {2}), *attempts("never", set()), *attempts("alone", {0})[:1]]
    store.open_run("groups", {}, "c0ffee").publish(rows, {})
    found = pick_trajectories(store, "groups", "", 10, pick=Pick.EXTREMES)
    picked = {problem: set[int]() for problem in ("mixed", "never", "alone")}
    for one in found:
        picked[one.trajectory.problem.problem_id].add(one.trajectory.attempt)
    assert 2 in picked["mixed"]
    assert {problem: len(kept) for problem, kept in picked.items()} == {
        "mixed": 2,
        "never": 2,
        "alone": 1,
    }
    assert len(pick_trajectories(store, "groups", "", 3, pick=Pick.EXTREMES)) == 3
    [best] = pick_trajectories(store, "groups", "problem_id = 'mixed'", 9, pick=Pick.BEST)
    [worst] = pick_trajectories(store, "groups", "problem_id = 'mixed'", 9, pick=Pick.WORST)
    assert (best.trajectory.correct, worst.trajectory.correct) == (True, False)
    assert len(pick_trajectories(store, "groups", "", 20, pick=Pick.ALL)) == 9
