"""The packaged problems: deterministic, even, and never in both splits."""

from collections import Counter

from tirgen.embedded.pocket.families import FAMILIES, LEVELS
from tirgen.embedded.pocket.problems import problems, split_of


def test_no_question_is_in_both_splits() -> None:
    train = {problem.question for problem in problems("train", 3000)}
    test = {problem.question for problem in problems("test", 540)}
    assert not train & test


def test_questions_and_ids_are_unique() -> None:
    found = problems("test", 540)
    assert len({problem.question for problem in found}) == 540
    assert len({problem.problem_id for problem in found}) == 540


def test_problems_are_spread_evenly_over_families_and_levels() -> None:
    found = problems("test", 540)
    cells = Counter(p.problem_id.rpartition("-")[0] for p in found)
    assert set(cells.values()) == {540 // (len(FAMILIES) * len(LEVELS))}


def test_a_longer_list_starts_with_the_shorter_one() -> None:
    assert problems("test", 200)[:50] == problems("test", 50)


def test_another_seed_draws_other_problems() -> None:
    first, second = ({p.question for p in problems("test", 108, seed=seed)} for seed in (0, 1))
    assert len(first & second) < 15


def test_a_problem_names_its_split_and_level() -> None:
    problem = problems("test", 1, levels=(3,))[0]
    assert problem.source == "pocket:test"
    assert problem.difficulty == "level 3"
    assert problem.problem_id.startswith("pocket-purchase-3-")
    assert split_of(problem.question) == "test"


def test_a_family_with_no_more_questions_leaves_the_others_to_go_on() -> None:
    found = problems("test", 1200, levels=(1,))
    assert len({problem.question for problem in found}) == 1200
    families = Counter(problem.problem_id.split("-")[1] for problem in found)
    assert families["powersum"] < families["purchase"]
    assert found[:300] == problems("test", 300, levels=(1,))
