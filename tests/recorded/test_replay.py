"""TIRGen over recorded reasoning: real steps, real programs, real verdicts."""

from pathlib import Path

import pytest

from benchmarks._gsm8k import (
    MODELS,
    ModePair,
    Recording,
    judged_otherwise,
    play,
    recordings,
    summary,
    with_slips,
)
from benchmarks._replay import ClaimCritic, ReplayActor
from storage.records import Ending, Problem
from tirgen.data.load import load_problems
from tirgen.engine.protocol import Prompt, Sampling
from tirgen.sandbox.local import LocalSandbox
from tirgen.tir.prompts import STANDARD
from tirgen.verification import Verifier

QUESTION = "Tom has 3 bags of 14 apples and gives 9 away. How many are left?"
SLIPPED = "He has 3*14 = <<3*14=40>>40 apples.\nSome go.\nSo 40-9 = <<40-9=31>>31 stay.\nA: 31"


def recording(solution: str) -> Recording:
    problem = Problem(problem_id="p", source="s", question=QUESTION, answer="33")
    return Recording(problem, solution, False)


async def one(solution: str, sandbox: LocalSandbox, verifier: Verifier) -> ModePair:
    [pair] = await play([recording(solution)], "tom", sandbox, verifier)
    return pair


async def test_without_tools_the_recording_is_said_as_it_is() -> None:
    actor = ReplayActor("tom", STANDARD, {QUESTION: SLIPPED})
    prompt = Prompt(messages=STANDARD.for_cot(QUESTION))
    said = await actor.complete(prompt, Sampling(max_tokens=1000))
    assert said.ended_turn
    assert said.text == (
        "He has 3*14 = <<3*14=40>>40 apples.\n\nSome go.\n\nSo 40-9 = <<40-9=31>>31 stay.\n\n"
        "The answer is \\boxed{31}."
    )


async def test_a_stop_string_ends_the_actor_after_one_step() -> None:
    actor = ReplayActor("tom", STANDARD, {QUESTION: SLIPPED})
    reply = "He has 3*14 = <<3*14=40>>40 apples.\n\n"
    prompt = Prompt(messages=STANDARD.for_cot(QUESTION))
    first = await actor.complete(prompt, Sampling(max_tokens=99, stop=("\n\n",)))
    assert (first.text, first.stop_reason) == (reply, "\n\n")


async def test_the_critic_writes_one_program_for_each_claim() -> None:
    prompt = Prompt(messages=STANDARD.for_critic("He has 3*14 = <<3*14=40>>40 apples."))
    said = await ClaimCritic(STANDARD).complete(prompt, Sampling(max_tokens=99))
    assert said.text == "We compute 3*14.\n```python\nprint(3*14)\n```\n"


async def test_a_slip_is_corrected_and_the_rest_follows(
    sandbox: LocalSandbox, verifier: Verifier
) -> None:
    pair = await one(SLIPPED, sandbox, verifier)
    assert (pair.cot.final_answer, pair.cot.correct) == ("31", False)
    assert (pair.tir.final_answer, pair.tir.correct) == ("33", True)
    assert pair.tir.ending is Ending.FINISHED
    assert [(s.action, s.observation) for s in pair.tir.steps] == [
        ("print(3*14)", "42"),
        ("print(42-9)", "33"),
        (None, None),
    ]
    assert pair.tir.steps[0].draft == "He has 3*14 = <<3*14=40>>40 apples."
    assert "Some go." in pair.tir.steps[1].thought


async def test_a_wrong_idea_stays_wrong_with_tools(
    sandbox: LocalSandbox, verifier: Verifier
) -> None:
    pair = await one("He has 3+14 = <<3+14=17>>17.\nA: 17", sandbox, verifier)
    assert (pair.cot.correct, pair.tir.correct, pair.tir.final_answer) == (False, False, "17")


async def test_a_claim_that_cannot_run_ends_the_trajectory(
    sandbox: LocalSandbox, verifier: Verifier
) -> None:
    pair = await one("He has 9/0 = <<9/0=9>>9.\nA: 9", sandbox, verifier)
    assert pair.tir.ending is Ending.EXECUTION_FAILED
    assert "ZeroDivisionError" in (pair.tir.steps[0].observation or "")


def gsm8k(shared: Path, model: str) -> list[Recording]:
    problems = load_problems(str(shared / "problems" / "gsm8k_test.jsonl")).problems
    return recordings(shared / "recorded" / "gsm8k_model_solutions.jsonl", problems, model)


async def test_recorded_slips_are_righted(
    shared: Path, sandbox: LocalSandbox, verifier: Verifier
) -> None:
    slipped = [recording for recording in gsm8k(shared, "6b_verification") if recording.slips]
    counts = summary(await play(slipped, "6b_verification", sandbox, verifier))
    assert counts["trajectories"] == 15
    assert (counts["wrong_then_right"], counts["right_then_wrong"]) == (4, 0)


async def test_slips_of_ours_are_righted(
    shared: Path, sandbox: LocalSandbox, verifier: Verifier
) -> None:
    spoilt = with_slips(gsm8k(shared, "175b_verification")[:40], seed=0)
    counts = summary(await play(spoilt, "175b_verification", sandbox, verifier))
    assert counts["wrong_then_right"] >= 0.9 * counts["trajectories"] > 15


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
async def test_tirgen_over_300_problems(
    model: str, shared: Path, sandbox: LocalSandbox, verifier: Verifier
) -> None:
    pairs = await play(gsm8k(shared, model)[:300], model, sandbox, verifier)
    counts = summary(pairs)
    assert judged_otherwise(pairs) == 0
    assert counts["right_with_tools"] >= counts["right_without_tools"]
    assert counts["programs_run"] > 900
    assert {pair.tir.ending for pair in pairs} == {Ending.FINISHED}
