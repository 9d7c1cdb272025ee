"""The surface format round-trips, and hostile or sloppy text does not confuse it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tirgen.tir.markup import (
    CODE_STOP,
    ParsedStep,
    closed_code,
    defuse_fences,
    invents_output,
    parse_trajectory,
    render_output,
    render_step,
    strip_blocks,
)

prose = st.text(st.characters(exclude_characters="`", exclude_categories=["Cs"])).map(str.strip)
"""Anything without backticks, as thoughts come stripped."""
code = st.text(st.sampled_from("ab(=)#'\" \n`\tpython")).filter(
    lambda program: not any(line.strip() and not line.strip("` \t") for line in program.split("\n"))
)
"""Programs full of backticks and the word python, without a line of bare backticks."""


def steps() -> st.SearchStrategy[list[ParsedStep]]:
    call = st.builds(ParsedStep, prose, code, prose)
    last = st.builds(ParsedStep, prose.filter(bool), st.none(), st.none())
    return st.builds(lambda calls, end: [*calls, end], st.lists(call, max_size=4), last)


def render(parsed: list[ParsedStep]) -> str:
    return "".join(render_step(*step) for step in parsed)


def stopped(text: str) -> str:
    """What an engine returns of `text` under `CODE_STOP`, the stop string kept."""
    ends = [text.index(stop) + len(stop) for stop in CODE_STOP if stop in text]
    return text[: min(ends, default=len(text))]


@given(steps())
def test_rendered_steps_parse_back(parsed: list[ParsedStep]) -> None:
    assert parse_trajectory(render(parsed)) == parsed


@given(steps())
def test_nothing_but_thoughts_survives_stripping(parsed: list[ParsedStep]) -> None:
    assert strip_blocks(render(parsed)).split() == " ".join(s.thought for s in parsed).split()


@given(prose, code)
def test_the_code_is_seen_as_soon_as_its_fence_closes(thought: str, program: str) -> None:
    text = render_step(thought, program, None)
    assert closed_code(text) == program
    assert closed_code(text.removesuffix("\n")) == program
    assert closed_code(text.removesuffix("```\n")) is None


@given(prose, code, st.text())
def test_one_call_stops_right_after_the_program(thought: str, program: str, more: str) -> None:
    told = render_step(thought, program, None)
    assert stopped(told + "```output\n" + more) == told


@given(st.text())
def test_no_observation_ends_its_own_block(observation: str) -> None:
    text = render_step("t", "print(1)", None) + render_output(observation) + "\\boxed{1}"
    assert parse_trajectory(text) == [
        ParsedStep("t", "print(1)", defuse_fences(observation)),
        ParsedStep("\\boxed{1}", None, None),
    ]


@given(st.text(st.sampled_from("`\n pythonout")))
def test_any_text_parses(text: str) -> None:
    assert parse_trajectory(text)
    strip_blocks(text)
    closed_code(text)
    invents_output(text)


def test_a_response_without_blocks_is_one_step() -> None:
    assert parse_trajectory("just words\n") == [ParsedStep("just words", None, None)]


@pytest.mark.parametrize("tag", ["python", "py", "Python", "python3", " python", "python title"])
def test_python_goes_by_several_tags(tag: str) -> None:
    assert closed_code(f"```{tag}\nprint(1)\n```\n") == "print(1)"


@pytest.mark.parametrize("tag", ["", "text", "cpp", "pythonic", "output"])
def test_other_blocks_are_not_programs(tag: str) -> None:
    assert closed_code(f"```{tag}\nprint(1)\n```\n") is None


def test_a_comment_that_ends_in_python_does_not_restart_the_program() -> None:
    program = "x = 1  # this is python\n# python\nprint(x)"
    assert closed_code(f"Let me use python\n```python\n{program}\n```\n") == program


def test_backticks_within_a_line_do_not_close_the_program() -> None:
    program = 'print("```")\nfence = "```python"\nprint(fence)  # ```'
    assert closed_code(f"```python\n{program}\n```\n") == program


def test_an_opening_fence_may_follow_prose_on_its_line() -> None:
    text = "We compute: ```python\nprint(1)\n```\n"
    assert parse_trajectory(text) == [ParsedStep("We compute:", "print(1)", None)]


def test_inline_backticks_open_nothing() -> None:
    text = "```python print(1)``` is inline, and so is ```x```.\n"
    assert parse_trajectory(text) == [ParsedStep(text.strip(), None, None)]


def test_an_indented_block_loses_its_indentation() -> None:
    text = "1. First\n   ```python\n   for i in range(2):\n       print(i)\n   ```\n"
    assert closed_code(text) == "for i in range(2):\n    print(i)"


def test_carriage_returns_do_not_hide_a_fence() -> None:
    assert parse_trajectory("```python\r\nprint(1)\r\n```\r\nso 1")[-1].thought == "so 1"


def test_an_empty_program_is_still_a_program() -> None:
    assert closed_code("```python\n```\n") == ""


@pytest.mark.parametrize("next_line", ["   ```output\n   7\n   ```\n", "which prints 7\n"])
def test_the_model_is_stopped_at_an_indented_closing_fence(next_line: str) -> None:
    text = stopped(f"1. First\n   ```python\n   print(1)\n   ```\n{next_line}")
    assert text.endswith("\n   ```\n")
    assert closed_code(text) == "print(1)"
    told = parse_trajectory(text + render_output("1", after=text))
    assert told == [ParsedStep("1. First", "print(1)", "1")]


@pytest.mark.parametrize("end", ["", "\n", "\n```output", "\n```output\n"])
def test_the_output_is_completed_from_wherever_the_model_stopped(end: str) -> None:
    after = "```python\nf()\n```" + end
    assert closed_code(after) == "f()"
    told = after + render_output("3", after=after)
    assert told == "```python\nf()\n```\n```output\n3\n```\n"


def test_a_program_that_was_read_is_not_run_again() -> None:
    assert closed_code("```python\nf()\n```\n```output\n3\n```\n") is None
    assert closed_code("```python\nf()\n```\nSo it is 3.") is None


def test_only_the_last_program_counts() -> None:
    text = render_step("", "f()", "3") + "Now g.\n```python\ng()\n```\n"
    assert closed_code(text) == "g()"


def test_an_untagged_block_is_prose_and_closes_again() -> None:
    text = "A table:\n```\na b\n```\nthen\n```python\nf()\n```\n"
    assert closed_code(text) == "f()"
    assert closed_code(stopped(text)) is None
    assert not invents_output(stopped(text))


@pytest.mark.parametrize(
    "text",
    [
        "The result is\n```output",
        "It prints ```output\n3\n```\n",
        "```python\nf()\n```\nwhich prints\n```output\n3\n```\n",
        "```python\nf()\n```\n```output\n3\n```\n```output",
        "```python\nf()\n```output",
        "```python\nf()\n```\n```output\n3",
        "```output\n3\n```\n",
        render_step("", "f()", "3"),
    ],
)
def test_an_output_in_a_models_own_words_is_an_invention(text: str) -> None:
    assert invents_output(text)
    assert closed_code(text) is None


@pytest.mark.parametrize(
    "text", ["", "words", "```python\nf()\n```\n", "```python\nf()\n```\n```output"]
)
def test_honest_text_invents_nothing(text: str) -> None:
    assert not invents_output(text)


def test_an_output_that_answers_no_program_stays_in_the_thought() -> None:
    text = "```python\nf()\n```\nwhich prints\n```output\n3\n```\nso 3"
    [call, last] = parse_trajectory(text)
    assert call == ParsedStep("", "f()", None)
    assert "```output" in last.thought


def test_a_program_that_never_closed_is_no_action() -> None:
    assert [step.action for step in parse_trajectory("so\n```python\nf()\n")] == [None]


def test_boxes_in_programs_and_outputs_are_stripped_even_unclosed() -> None:
    told = render_step("a", "print(r'\\boxed{1}')", "\\boxed{2}")
    assert strip_blocks(told + "b\n```python\n\\boxed{3}") == "a\nb\n"


def test_a_program_with_a_line_of_backticks_gets_a_longer_fence() -> None:
    program = "x = '''\n````\n'''\nprint(x)"
    text = render_step("", program, "1") + "so 1"
    assert text.startswith("`````python\n")
    assert parse_trajectory(text) == [ParsedStep("", program, "1"), ParsedStep("so 1", None, None)]


lines = st.text("ab(=)#'\" `~\tpython", max_size=12)
fence = st.sampled_from("`~").flatmap(lambda mark: st.integers(3, 6).map(lambda n: mark * n))
tags = st.sampled_from(["python", "Python3", "py", "py3", "python3.11", "ipython", "{python}",
                        "{.python .numberLines}", "python title=x", "python:main.py"])  # fmt: skip


@given(fence, tags, st.lists(lines, max_size=4), st.text(" \t", max_size=3), st.booleans())
def test_fences_are_read_as_commonmark_has_them(
    fence: Any, tag: Any, program: Any, space: Any, returns: Any
) -> None:
    mark = fence[0]
    program = [line for line in program if not line.rstrip().endswith(mark * len(fence))]
    end = "\r\n" if returns else "\n"
    written = [f"so{end}{fence}{tag}{space}", *program, f"{fence}{mark}{space}", "hence"]
    assert parse_trajectory(end.join(written)) == [
        ParsedStep("so", "\n".join(program), None),
        ParsedStep("hence", None, None),
    ]


def test_vllm_takes_the_stop_strings() -> None:
    assert len(CODE_STOP) <= 4


@given(st.integers(3, 5), st.sampled_from(["\n", "\r\n", " \n", "  \n"]))
def test_one_call_ends_at_any_closing_fence(length: int, end: str) -> None:
    fence = "`" * length
    text = f"{fence}python\nprint(1)\n{fence}"
    written = stopped(f"{text}{end}and more")
    assert f"{text}{end}".startswith(written)
    assert closed_code(written) == "print(1)"


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n", ""])
@pytest.mark.parametrize("code", ["print(1)", "x = '#'; print(x) ", 'print("it\'s")'])
def test_a_closing_fence_may_stand_on_the_codes_line(code: str, end: str) -> None:
    text = f"so\n```python\nx = 2\n{code}```{end}"
    written = stopped(text + "more") if end else text
    assert text.startswith(written)
    assert closed_code(written) == f"x = 2\n{code}".rstrip()


def test_a_shorter_fence_or_another_closes_nothing() -> None:
    program = "a\n```\n~~~~\nb"
    assert closed_code(f"````python\n{program}\n````\n") == program
    assert closed_code(f"````python\n{program}\n```\n") is None


def test_inline_code_before_an_opening_fence_does_not_hide_it() -> None:
    assert closed_code("Call `f` here: ```python\nf()\n```\n") == "f()"
    assert closed_code("We use ```python for that.\nprint(1)\n```\n") is None


def test_hostile_fences_are_read_in_linear_time() -> None:
    for piece in ("`", "~", "``` ", "```python\n", "`````` `", "\t~~~py", "a```", "'", "\n```"):
        text = piece * 200_000
        parse_trajectory(text)
        strip_blocks("```python\n" + text + "```\n")
