"""Writes a small store with the code of a schema version: `PYTHONPATH=CODE python -P make.py OUT`.

With `curated` behind OUT the store also has a version with verdicts beside shared rows.

The stores beside this file were made so from the last commit of each version. Fields that a version
does not have are left out. The file of views was removed, since it contains absolute paths.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from storage import records
from storage.datasets import Store


def make(kind: Any, **values: Any) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})


def row(problem: str, attempt: int, kept: bool) -> Any:
    attempts = (
        make(
            records.Attempt,
            thought="a",
            action="1/0",
            observation="ZeroDivisionError",
            outcome=records.Outcome.ERROR,
        ),
    )
    first = make(
        records.Step,
        thought="Let me compute it.",
        action="print(6 * 7)",
        observation="42",
        outcome=records.Outcome.OK,
        draft="6 times 7 is 43.",
        attempts=attempts,
        policy_tokens=9,
        llm_seconds=0.5,
        sandbox_seconds=0.25,
    )
    return make(
        records.Trajectory,
        trajectory_id=records.trajectory_id("demo", "c0ffee", (problem, "tirgen", attempt)),
        dataset="demo",
        program=records.Program.TIRGEN,
        attempt=attempt,
        problem=make(
            records.Problem,
            problem_id=problem,
            source="unit",
            question="What is 6 times 7?",
            answer="42",
            difficulty="easy",
        ),
        steps=(first, make(records.Step, thought="So it is \\boxed{42}.", policy_tokens=7)),
        final_answer="42",
        ending=records.Ending.FINISHED,
        verdict=make(
            records.Verdict,
            correct=kept,
            method="math-verify",
            reason="42 = 42",
            gold_value="42",
            answer_value="42",
        ),
        filters=(
            make(records.FilterVerdict, rule="correct", kept=kept, reason="" if kept else "wrong"),
        ),
        provenance=make(
            records.Provenance,
            run_id="demo-c0ffee",
            config_hash="c0ffee",
            actor_model="pocket",
            critic_model="pocket",
            engine="pocket/0.1.0",
            exact_tokens=True,
            sampling="{}",
            actor_prompt_hash="p",
            critic_prompt_hash="q",
            seed=attempt,
            code_version="0.1.0",
            sandbox="zygote/1",
            tokenizer="f00d",
        ),
        cost=make(records.Cost, actor_calls=2, actor_completion_tokens=16, llm_seconds=0.5),
        tokens=make(
            records.TokenStream,
            token_ids=(1, 2, 3),
            loss_mask=(False, True, True),
            logprobs=(None, -0.5, -0.25),
            prompt_length=1,
        ),
        created_at=1.5,
    )


def main() -> None:
    store = Store(Path(sys.argv[1]))
    run = store.open_run("demo", {}, "c0ffee")
    run.append([row("p1", 0, True), row("p2", 0, False)])
    run.append([row("p3", 1, True)])
    run.publish(list(run.read()), {"problems": 3, "yield": []})
    store.open_run("demo", {}, "0pen").append([row("p4", 0, True)])
    if "curated" in sys.argv:
        source = store.version("demo@v1")
        late = records.FilterVerdict(rule="late", kept=False, reason="too long")
        found = [dataclasses.replace(one, filters=(late,)) for one in source.found()]
        store.derive(source, found, lambda: {**source.manifest, "config_hash": "cu4a7ed"})


if __name__ == "__main__":
    main()
