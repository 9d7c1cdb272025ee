from __future__ import annotations

import pytest

from tirgen.data.similarity import SimilarityIndex, read, resemblance, same

ROBE = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total?"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $\dfrac{1}{2}$ of 1,000.", r"find $\frac12$ of 1000".replace("12", "{1}{2}")),
        (r"Let $\left( x \right) = 3$.", "Let (x) = three"),
        ("How many? [asy]draw((0,0)--(1,1));[/asy]", "How many?"),
    ],
)
def test_layout_and_spelling_do_not_count(one: str, other: str) -> None:
    assert read(one).words == read(other).words


def test_a_rewording_with_the_same_numbers_is_the_same_problem() -> None:
    reworded = (
        "A robe needs 2 bolts of blue fiber and half as much white. How many bolts does it take?"
    )
    assert same(read(ROBE), read(reworded), 0.5) is not None


def test_a_template_with_other_numbers_is_another_problem() -> None:
    one, other = (
        read("What is the greatest common factor of 24 and 36?"),
        read("What is the greatest common factor of 30 and 45?"),
    )
    assert resemblance(one, other) > 0.5
    assert same(one, other, 0.5) is None


def test_the_same_long_text_with_one_other_number_is_the_same_problem() -> None:
    long = ROBE * 4
    assert same(read(long), read(long.replace("2 bolts", "7 bolts", 1)), 0.5) is not None


def test_the_index_finds_the_most_similar_of_many() -> None:
    index = SimilarityIndex(0.5)
    for number in range(200):
        index.add(f"p{number}", read(f"What is {number} plus {number * 7} times {number + 3}?"))
    found = index.best(read("What's 50 plus 350 times 53?"))
    assert found is not None
    assert found.name == "p50"


def test_the_index_finds_nothing_where_nothing_is_alike() -> None:
    index = SimilarityIndex(0.5)
    index.add("p", read(ROBE))
    assert index.best(read("Compute the determinant of a 3 by 3 matrix of ones.")) is None
