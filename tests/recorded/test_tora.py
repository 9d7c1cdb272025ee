"""ToRA's 1,319 recorded trajectories: parsed, run and judged by the real parts."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks._tora import ProgramComparison, Recorded, as_number, compare, read, rerun
from storage.records import Outcome
from tirgen.sandbox.contract import Execution
from tirgen.sandbox.local import LocalSandbox
from tirgen.tir.markup import parse_trajectory, render_step
from tirgen.verification import Verifier

CUT_OFF = 146
"""The one response that ends with its program; that has a syntax error, too."""
UNBOXED = 718
"""The one response that says its right answer in words, without a box."""


@pytest.fixture(scope="module")
def tora(shared: Path) -> list[Recorded]:
    return read(shared / "recorded" / "tora_code_34b_gsm8k.jsonl")


def test_every_response_parses_into_steps(tora: list[Recorded]) -> None:
    assert len(tora) == 1319
    for recorded in tora:
        call, *rest = parse_trajectory(recorded.text)
        assert call.action is not None
        assert (call.observation is None) == (recorded.idx == CUT_OFF)
        assert [step.action for step in rest] == ([] if recorded.idx == CUT_OFF else [None])


def test_the_steps_render_back_to_the_response(tora: list[Recorded]) -> None:
    for recorded in tora:
        steps = parse_trajectory(recorded.text)
        assert "".join(render_step(*step) for step in steps).strip() == recorded.text.strip()


async def test_programs_print_what_was_recorded(
    tora: list[Recorded], sandbox: LocalSandbox, verifier: Verifier
) -> None:
    reruns = await rerun(tora[::30], sandbox, verifier)
    assert {kind for rerun in reruns for kind in rerun.comparisons} == {
        ProgramComparison.SAME_OUTPUT
    }


async def test_recorded_failures_fail_alike(
    tora: list[Recorded], sandbox: LocalSandbox, verifier: Verifier
) -> None:
    reruns = await rerun([tora[1027], tora[1132], tora[CUT_OFF]], sandbox, verifier)
    assert [rerun.comparisons for rerun in reruns] == [
        [ProgramComparison.SAME_ERROR],
        [ProgramComparison.SAME_ERROR],
        [ProgramComparison.NOTHING_RECORDED],
    ]


@pytest.mark.slow
async def test_all_programs_print_what_was_recorded(
    tora: list[Recorded], sandbox: LocalSandbox, verifier: Verifier
) -> None:
    reruns = await rerun(tora, sandbox, verifier)
    assert Counter(kind for rerun in reruns for kind in rerun.comparisons) == {
        ProgramComparison.SAME_OUTPUT: 1316,
        ProgramComparison.SAME_ERROR: 2,
        ProgramComparison.NOTHING_RECORDED: 1,
    }


async def test_the_verifier_judges_as_tora_did(tora: list[Recorded], verifier: Verifier) -> None:
    judged_otherwise = {
        recorded.idx
        for recorded in tora
        if (await verifier.verify(recorded.gold, recorded.text)).correct
        != (as_number(recorded.prediction) == as_number(recorded.gold))
    }
    assert judged_otherwise == {UNBOXED}


@pytest.mark.parametrize(
    ("recorded", "outcome", "stdout", "stderr", "kind"),
    [
        ("18", Outcome.OK, "18\n", "", ProgramComparison.SAME_OUTPUT),
        ("0.3", Outcome.OK, "0.30000000000000004\n", "", ProgramComparison.SAME_NUMBERS),
        ("1,000 a", Outcome.OK, "1000.0 a\n", "", ProgramComparison.SAME_NUMBERS),
        ("18", Outcome.OK, "19\n", "", ProgramComparison.DIFFERENT),
        ("18", Outcome.OK, "18 18\n", "", ProgramComparison.DIFFERENT),
        ("18", Outcome.NO_OUTPUT, "", "", ProgramComparison.DIFFERENT),
        (
            "E: x",
            Outcome.ERROR,
            "",
            "Traceback\nE: x. Did you mean y?\n",
            ProgramComparison.SAME_ERROR,
        ),
        ("E: x", Outcome.ERROR, "", "Traceback\nF: x\n", ProgramComparison.DIFFERENT),
        ("18", Outcome.TIMEOUT, "", "", ProgramComparison.LIMIT),
        (None, Outcome.OK, "18\n", "", ProgramComparison.NOTHING_RECORDED),
    ],
)
def test_differences_are_told_apart(
    recorded: str | None, outcome: Outcome, stdout: str, stderr: str, kind: ProgramComparison
) -> None:
    execution = Execution(
        outcome=outcome,
        stdout=stdout,
        stderr=stderr,
        exit_code=0,
        wall_ms=1,
        cpu_ms=1,
        peak_memory_mb=1,
        truncated=False,
    )
    assert compare(recorded, execution) is kind
