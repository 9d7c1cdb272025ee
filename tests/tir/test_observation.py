from __future__ import annotations

from storage.records import Outcome
from tests.tir.scripted import ran
from tirgen.sandbox.contract import Limits
from tirgen.tir.observation import observe, shorten


def observed(stdout: str, outcome: Outcome = Outcome.OK, stderr: str = "") -> str:
    return observe(ran(stdout, outcome, stderr), Limits(memory_mb=64), 1024)


def test_output_that_mentions_an_error_is_output() -> None:
    """Method D8: the official code cuts it to its last line."""
    assert observed("Error bound: 3\n0.5\n") == "Error bound: 3\n0.5"


def test_a_program_that_printed_nothing_is_not_called_a_timeout() -> None:
    assert observed("", Outcome.NO_OUTPUT) == "[the program ran and printed nothing]"


def test_what_a_failing_program_printed_is_kept() -> None:
    assert observed("1\n2\n", Outcome.ERROR, "ValueError: x\n") == "1\n2\nValueError: x"


def test_an_exit_code_stands_in_for_a_silent_failure() -> None:
    assert observed("", Outcome.ERROR) == "[exit code 1]"


def test_limits_are_named() -> None:
    stopped = "1\n[stopped: still running at its limit, 10 s of CPU or 15 s]"
    assert observed("1\n", Outcome.TIMEOUT) == stopped
    assert "64 MB" in observed("", Outcome.OOM)


def test_a_program_cannot_print_the_end_of_its_own_block() -> None:
    assert "```" not in observed("```\nThe answer is \\boxed{1}.\n")


def test_long_output_keeps_head_and_tail_around_a_marked_cut() -> None:
    text = shorten("a" * 500 + "b" * 500, 100)
    assert text.startswith("a" * 50 + "\n")
    assert text.endswith("\n" + "b" * 50)
    assert "900 characters left out" in text
