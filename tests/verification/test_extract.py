from __future__ import annotations

import pytest

from tirgen.verification import extract_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so $\boxed{5}$.", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed 5", "5"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\left\{ 1, 2 \right\}}", r"\left\{ 1, 2 \right\}"),
        (r"\boxed{x \}}", r"x \}"),
        (r"first \boxed{1}, no: \boxed{2}.", "2"),
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        (r"$x = \boxed{1}$ or $x = \boxed{2}$", "x = 1, x = 2"),
        (r"\(\boxed{1}\) and \(\boxed{2}\)", "1, 2"),
        (r"$\boxed{1}$, $\boxed{2}$, or $\boxed{3}$", "1, 2, 3"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{7}. It is in the \boxed{}.", "7"),
        (r"So it is \boxed{}.", None),
        (r"So it is \boxed{ }.", None),
        (r"\boxed{12", None),
        (r"\boxed{3} and then \boxed{12", "3"),
        (r"\boxedanswer{5}", None),
        ("the answer is 5", None),
        ("", None),
    ],
)
def test_the_last_balanced_box_is_the_answer(response: str, answer: str | None) -> None:
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    "shield",
    [
        "```output\n{}\n```",
        "```python\nprint('{}')\n```",
        "~~~\n{}\n~~~",
        "````\n```\n{}\n```\n````",
        "```output\n{}",
        "inline ```{}``` code",
        "<tool_response>{}</tool_response>",
        "<OUTPUT id=3>{}</OUTPUT>",
        "<interpreter>{}",
        "<tool_output>{}</tool_output>",
        "<execution_results>\n{}\n</execution_results>",
        "Tool output: {}",
        "<|im_start|>user\nIt is {}.<|im_end|>",
        "[INST] Say {} [/INST]",
        "<!-- {} -->",
        "<span hidden>{}</span>",
        r"\iffalse {} \fi",
        r"\phantom{{}}",
        r"\color{white}{{}}",
        r"\cancel{{}}",
        "~~{}~~",
        "<del>{}</del>",
        "User: please say {}",
        "> **Human:** please say {}",
        "% {}",
        "It is not ${}$.",
        "Take 36 rather than {}.",
        "A common mistake is {}.",
        "If we forgot the carry we would get {}.",
        "{} is wrong.",
    ],
)
def test_boxes_that_the_model_does_not_say_or_show_are_no_answer(shield: str) -> None:
    text = shield.replace("{}", r"\boxed{37}")
    assert extract_answer(text) is None
    assert extract_answer(r"I find \boxed{36}." + "\n" + text) == "36"


@pytest.mark.parametrize(
    "aside",
    [
        "> She asked me to end with {}.",
        'The page says "just write {} at the end".',
        "The page says “just write {} at the end”.",
    ],
)
def test_a_quoted_box_counts_only_where_no_other_does(aside: str) -> None:
    text = aside.replace("{}", r"\boxed{37}")
    assert extract_answer(text) == "37"
    assert extract_answer(r"I find \boxed{36}." + "\n" + text) == "36"


def test_thinking_holds_no_answer_where_text_follows_it() -> None:
    assert extract_answer(r"<think>\boxed{7}</think> I do not know.") is None
    assert extract_answer(r"so \boxed{6}?</think> It is \boxed{7}.") == "7"
    assert extract_answer(r"<think>so \boxed{7}</think>") == "7"


@pytest.mark.parametrize(
    "block",
    [
        "```python\nprint(18)\n```\n```output\n18\n```\n",
        "Code: ```python\nprint(18)\n```\n",
        "```python\nprint(18)```\n```output\n18\n```\n",
        "  ```\n18\n  ``` ",
        "Use ```print``` here. ",
        "It is more than 50% of them, not few. ",
    ],
)
def test_text_after_a_code_block_still_counts(block: str) -> None:
    assert extract_answer(block + "She makes $\\boxed{18}$.") == "18"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("5 + 7 = 12\n#### 12", "12"),
        ("so 12\nA: 12", "12"),
        ("The answer is 12.", "12"),
        ("The final answer is: **12**", "12"),
        ("Answer: $\\frac{1}{2}$.", "\\frac{1}{2}"),
        ("#### 1,234", "1,234"),
        ("The answer is $x+1$. I hope it is correct.", "x+1"),
        ("### Final Answer\n\n$$-7$$", "-7"),
        ("**Answer:** 12", "12"),
        ("I announce nothing.", None),
        (r"The answer is 3. No: \boxed{4}", "4"),
    ],
)
def test_announced_answers_count_only_when_asked(response: str, answer: str | None) -> None:
    assert extract_answer(response, require_box=False) == answer
    if r"\boxed" not in response:
        assert extract_answer(response) is None


def test_extraction_takes_linear_time_on_hostile_text() -> None:
    assert extract_answer("\\boxed{" * 20_000) is None
    assert extract_answer("`" * 100_000) is None
    assert extract_answer("<a hidden" * 20_000) is None
    assert extract_answer("~~a" * 30_000) is None
    assert extract_answer("\\boxed{4} and " * 5_000 + "\\boxed{5}") is not None
