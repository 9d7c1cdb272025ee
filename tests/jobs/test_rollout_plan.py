from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Ending, Level, Outcome, Problem, Program, Step, Trajectory, Verdict
from tests.engine.simulated import now, simulate
from tests.rows import row
from tirgen.jobs.branch import StepPlan, in_order
from tirgen.jobs.committed_rows import CommittedRow
from tirgen.jobs.progress import RolloutProgress
from tirgen.jobs.rollout import sample_problems
from tirgen.jobs.rollout_config import BranchSettings
from tirgen.jobs.rollout_plan import RolloutPlan, stream
from tirgen.tir.branch import FailedStep


def problem(name: str) -> Problem:
    return Problem(problem_id=name, source="s", question=f"{name}?", answer="1")


PROBLEMS = [problem(f"p{n:02}") for n in range(40)]


def sample(name: str, number: int, right: bool, ending: Ending = Ending.FINISHED) -> Trajectory:
    made = row(name, number, program=Program.ROLLOUT, ending=ending)
    verdict = Verdict(correct=right, method="m", reason="r")
    return replace(made, steps=(Step(thought="t"),), verdict=verdict, group_id=name)


def work(plan: RolloutPlan, mixed: set[str], rng: random.Random) -> list[str]:
    """Work a plan off, several problems open at once, which finish in any order."""
    begun, waiting = [], []
    while True:
        while (found := plan.next()) is not None:
            begun.append(found.problem_id)
            waiting.append(found)
        if not waiting or plan.is_over:
            return begun
        done = waiting.pop(rng.randrange(len(waiting)))
        for number in plan.missing(done):
            plan.record(sample(done.problem_id, number, done.problem_id in mixed and number == 0))
        plan.settle(done)


@given(st.sets(st.sampled_from([p.problem_id for p in PROBLEMS])), st.integers(1, 12), st.randoms())
def test_a_quota_asks_the_shortest_run_of_problems_that_fills_it(
    mixed: Any, quota: Any, rng: Any
) -> None:
    """Whatever finishes first: the set that is asked depends on the answers alone."""
    plan = RolloutPlan(PROBLEMS, samples=2, groups=quota, most=len(PROBLEMS))
    begun = work(plan, mixed, rng)
    needed, found = 0, 0
    for each in PROBLEMS:
        if found == quota:
            break
        needed, found = needed + 1, found + (each.problem_id in mixed)
    assert begun[:needed] == list(plan.asked) == [p.problem_id for p in PROBLEMS[:needed]]
    assert plan.mixed == found
    assert plan.full == (found == quota)
    assert plan.drawn == needed


@given(st.sets(st.sampled_from([p.problem_id for p in PROBLEMS])), st.integers(1, 12))
def test_waves_of_problems_end_in_the_round_of_one_process(mixed: Any, quota: Any) -> None:
    """Each wave is made as a whole, in any number of processes; the rows decide on the next."""
    straight = RolloutPlan(PROBLEMS, samples=2, groups=quota, most=len(PROBLEMS))
    work(straight, mixed, random.Random(0))
    rows: dict[tuple[str, int], CommittedRow] = {}
    while True:
        plan = RolloutPlan(PROBLEMS, samples=2, groups=quota, most=len(PROBLEMS))
        plan.load(rows.values())
        if not plan.due():
            break
        for each in PROBLEMS[: plan.drawn]:
            for number in range(2):
                right = each.problem_id in mixed and number == 0
                made = CommittedRow.of(sample(each.problem_id, number, right))
                rows[each.problem_id, number] = made
    assert list(plan.asked) == list(straight.asked)
    assert (plan.mixed, plan.full) == (straight.mixed, straight.full)


def test_a_continued_round_begins_nothing_twice() -> None:
    mixed = {p.problem_id for p in PROBLEMS[::3]}
    first = RolloutPlan(PROBLEMS, 2, 5, 40)
    work(first, mixed, random.Random(1))
    again = RolloutPlan(PROBLEMS, 2, 5, 40)
    made = [sample(n, k, n in mixed and k == 0) for n in first.asked for k in range(2)]
    assert again.load(map(CommittedRow.of, made[:7])) == 7
    assert work(again, mixed, random.Random(2))[: len(first.asked) - 3] == list(first.asked)[3:]
    assert list(again.asked) == list(first.asked)
    assert again.mixed == first.mixed


@pytest.mark.parametrize(("keep_failed", "mixed"), [(False, 0), (True, 1)])
def test_a_continued_round_counts_failed_code_as_the_first_call_did(
    keep_failed: bool, mixed: int
) -> None:
    broken = Step(thought="t", action="1/0", outcome=Outcome.ERROR)
    made = [sample("p00", 0, True), replace(sample("p00", 1, False), steps=(broken,))]
    first, again = (RolloutPlan(PROBLEMS, 2, None, 1, keep_failed) for _ in range(2))
    first.next()
    for each in made:
        first.record(each)
    first.settle(PROBLEMS[0])
    again.load(map(CommittedRow.of, made))
    assert (first.next(), again.next()) == (None, None)
    assert (first.mixed, again.mixed) == (mixed, mixed)


def test_attempts_lost_to_infrastructure_are_made_again_by_the_next_call() -> None:
    plan = RolloutPlan(PROBLEMS, 2, None, 1)
    made = [sample("p00", 0, True), sample("p00", 1, False, Ending.ENGINE_ERROR)]
    plan.load(map(CommittedRow.of, made))
    assert plan.next() == PROBLEMS[0]
    assert plan.missing(PROBLEMS[0]) == [1]


def test_without_a_quota_every_problem_is_asked_once() -> None:
    plan = RolloutPlan(PROBLEMS, 2, None, len(PROBLEMS))
    assert work(plan, set(), random.Random(0)) == [p.problem_id for p in PROBLEMS]
    assert plan.full


def test_the_stream_goes_on_where_the_round_before_stopped() -> None:
    whole = list(islice(stream(PROBLEMS, 3, 0), 100))
    assert list(islice(stream(PROBLEMS, 3, 37), 63)) == whole[37:]
    assert sorted(p.problem_id for p in whole[:40]) == [p.problem_id for p in PROBLEMS]
    assert whole[:40] != whole[40:80]
    assert whole[:40] != list(islice(stream(PROBLEMS, 4, 0), 40))


def test_a_problem_that_the_stream_repeats_within_a_round_is_asked_once() -> None:
    plan = RolloutPlan(stream(PROBLEMS[:3], 0, 2), 2, 9, 5)
    begun = work(plan, set(), random.Random(0))
    assert sorted(begun) == ["p00", "p01", "p02"]
    assert plan.drawn == 5
    assert not plan.full


def failed(name: str, attempt: int, step: int = 1) -> FailedStep:
    return FailedStep(
        trajectory_id=f"{name}-{attempt}", problem=problem(name), attempt=attempt, step=step
    )


MANY = [failed(f"q{n}", attempt) for n in range(6) for attempt in range(4)]


def test_one_step_a_problem_comes_before_a_second_of_any() -> None:
    """Method A18."""
    ordered = in_order(MANY, 0)
    assert len({s.problem.problem_id for s in ordered[:6]}) == 6
    assert len({s.group_id for s in ordered}) == len(MANY)


def test_the_order_depends_on_the_seed_alone() -> None:
    shuffled = random.Random(5).sample(MANY, len(MANY))
    assert in_order(shuffled, 3) == in_order(MANY, 3)
    assert in_order(MANY, 3)[:9] != in_order(MANY, 4)[:9]


def test_every_step_is_as_likely_as_any_other_of_its_problem() -> None:
    counts = [0] * 4
    for seed in range(800):
        counts[in_order(MANY[:4], seed)[0].attempt] += 1
    assert all(150 < count < 250 for count in counts)


def branch(step: FailedStep, number: int, outcome: Outcome | None) -> Trajectory:
    made = row(step.problem.problem_id, number, program=Program.ROLLOUT)
    action = None if outcome is None else "print(1)"
    steps = (Step(thought="t", action=action, outcome=outcome),)
    return replace(made, steps=steps, level=Level.STEP, group_id=step.group_id)


def work_steps(plan: StepPlan, outcomes: Mapping[str, Sequence[Outcome | None]], rng: Any) -> None:
    """Work a plan off, several steps open at once, whose branches are made in any order."""
    waiting: list[tuple[FailedStep, list[int]]] = []
    while True:
        while (step := plan.next()) is not None:
            numbers = plan.missing(step)
            waiting.append((step, rng.sample(numbers, len(numbers))))
        if not waiting or plan.is_over:
            return
        place = rng.randrange(len(waiting))
        step, numbers = waiting[place]
        number = numbers.pop()
        plan.record(branch(step, number, outcomes[step.group_id][number]))
        if not numbers:
            plan.settle(waiting.pop(place)[0])


OUTCOMES = st.lists(st.sampled_from([Outcome.OK, Outcome.ERROR, None]), min_size=4, max_size=4)


@given(st.lists(OUTCOMES, min_size=24, max_size=24), st.integers(1, 8), st.randoms())
def test_a_quota_of_step_groups_branches_the_shortest_run_of_steps_that_fills_it(
    drawn: Any, quota: Any, rng: Any
) -> None:
    """Whatever is made first, and whatever looked mixed before half of its group was lost."""
    order = in_order(MANY, 0)
    outcomes = {step.group_id: found for step, found in zip(order, drawn, strict=True)}
    plan = StepPlan(order, BranchSettings(samples=4, groups=quota), most=2)
    work_steps(plan, outcomes, rng)
    needed, found = 0, 0
    for step in order:
        if found == quota:
            break
        ran = [o is Outcome.OK for o in outcomes[step.group_id] if o is not None]
        needed, found = needed + 1, found + (len(ran) >= 2 and len(set(ran)) == 2)
    assert plan.items == order[:needed]
    assert (plan.mixed, plan.full) == (found, found == quota)


def test_without_a_quota_so_many_steps_are_branched_and_no_more() -> None:
    order = in_order(MANY, 0)
    plan = StepPlan(order, BranchSettings(samples=4), most=7)
    never = {step.group_id: [Outcome.ERROR] * 4 for step in order}
    work_steps(plan, never, random.Random(0))
    assert plan.items == order[:7]
    assert plan.full


@pytest.mark.parametrize("share", [0.6, 0.4, 0.2])
def test_a_round_lasts_little_longer_than_its_longest_rollout(share: float) -> None:
    """64 mixed groups of 16 rollouts, whose lengths spread as those of real policies do."""
    lasted = [simulate(round_of(share, seed)) for seed in range(3)]
    assert statistics.mean(lasted) <= 1.3


async def round_of(share: float, seed: int) -> float:
    """The time of a round over that of its longest rollout."""
    rng = random.Random(f"{share}/{seed}")
    names = [problem(f"p{n:04}") for n in range(1000)]
    chance = {p.problem_id: rng.uniform(0.2, 0.8) * (rng.random() < share) for p in names}
    plan = RolloutPlan(names, samples=16, groups=64, most=len(names))
    job = SimpleNamespace(progress=RolloutProgress(problems=1000), watch=lambda progress: None)
    seconds: dict[tuple[str, int], float] = {}

    async def make(asked: Problem, number: int) -> None:
        name = asked.problem_id
        draw = random.Random(f"{seed}/{name}/{number}")
        seconds[name, number] = min(draw.lognormvariate(3, 1), 160)
        await asyncio.sleep(seconds[name, number])
        plan.record(sample(name, number, draw.random() < chance[name]))

    await sample_problems(cast(Any, job), plan, plan.due(), cast(Any, make), live=10_000)
    assert plan.full
    assert len(seconds) < 1.4 * 16 * len(plan.asked), "little is given up"
    return now() / max(seconds[name, number] for name in plan.asked for number in range(16))
