from __future__ import annotations

import pytest

from tirgen.filters.text import foreign_script, repeated_ngram, unbalanced_dollars


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no mathematics at all",
        "the value $x$ of $5 + x$",
        "it costs $5",
        "apples at $3, pears at $4 and plums at $5.",
        "escaped \\$ and $y$",
        "display $$x^2$$",
        "she pays $1,250.50 for $n$ items",
    ],
)
def test_dollars_that_can_pair_up_are_kept(text: str) -> None:
    assert unbalanced_dollars(text) is None


@pytest.mark.parametrize("text", ["we find $x$ and $y.", "$a$ $b$ $c", "$$x^2$"])
def test_a_delimiter_left_open_is_dropped(text: str) -> None:
    assert unbalanced_dollars(text) is not None


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What is x?", "Let α = π and naïve Σ, 𝑥 ∈ ℝ, ½ × ² → done — “ok”"),
        ("求 x 的值", "因此 x = 3"),
        ("Сколько будет 2+2?", "Будет 4"),
        ("What is x?", ""),
    ],
)
def test_the_language_of_the_question_is_kept(question: str, text: str) -> None:
    assert foreign_script(question, text) is None


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("therefore 因此 3", "cjk"),
        ("the аnswer", "cyrillic"),
        ("답은 3", "hangul"),
        ("٣ الجواب", "arabic"),
    ],
)
def test_a_slip_into_another_language_is_named(text: str, script: str) -> None:
    reason = foreign_script("What is the answer?", text)
    assert reason is not None
    assert reason.startswith(script)


def test_an_ngram_is_counted_up_to_the_limit_and_no_further() -> None:
    def repeated(times: int) -> str:
        return " ".join(f"abcdefghijklmnopqrst{n:02d}" for n in range(times))

    assert repeated_ngram(repeated(20), length=20, most=20) is None
    assert "occurs 21 times" in (repeated_ngram(repeated(21), length=20, most=20) or "")


def test_indentation_is_not_repetition() -> None:
    code = "\n".join(" " * 40 + f"x{n} = {n * n}" for n in range(60))
    assert repeated_ngram(code, length=20, most=20) is None


def test_text_shorter_than_the_ngram_repeats_nothing() -> None:
    assert repeated_ngram("short", length=20, most=1) is None
