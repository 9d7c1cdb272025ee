"""The packaged pocket as a policy that writes programs, some of them broken, to every question.

It writes programs when asked to rewrite a step; so here the steps are the questions, and that
instruction is the policy's prompt. Run as a script, it collects into a store, to be killed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

from storage.datasets import Store
from storage.records import Trajectory
from tirgen.embedded.models import MODEL_DIR
from tirgen.embedded.pocket.families import FAMILIES
from tirgen.embedded.pocket.problems import draw_problem
from tirgen.engine.engine_config import EngineConfig
from tirgen.jobs.rollout import collect_rollouts
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.tir.prompts import POCKET, PROMPT_SETS, PromptSet

WRITER = PromptSet(
    name="writer",
    cot=POCKET.cot,
    tir=POCKET.critic.replace("{step}", "{question}"),
    critic=POCKET.critic,
)
PROMPT_SETS[WRITER.name] = WRITER


def write_steps(path: Path, count: int) -> Path:
    """Problems whose questions are first steps of solutions, as the pocket words them."""
    rng = random.Random(4)
    rows = []
    for number in range(count):
        family = sorted(FAMILIES)[number % len(FAMILIES)]
        draw = draw_problem(rng, family, 2, "train")
        step = next(draw.solve(random.Random(number)))
        rows.append({"id": number, "question": step.plain(step.value), "answer": step.value})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(problems: Path, **changes: Any) -> RolloutConfig:
    return RolloutConfig.model_validate(
        {
            "dataset": "r",
            "problems": {"path": str(problems)},
            "prompts": WRITER.name,
            "samples": 4,
            "loop": {"tokens": 400},
            "branches": {"samples": 4, "suffix_tokens": 3, "tokens": 200},
            **changes,
        }
    )


def comparable(row: Trajectory) -> tuple[object, ...]:
    """Everything of a row but the clock and the log-probabilities.

    Which rows share a batch moves those by a rounding error of single precision (1e-6).
    """
    steps = [(s.thought, s.action, s.observation, s.outcome, s.attempts) for s in row.steps]
    tokens = (row.tokens.token_ids, row.tokens.loss_mask, row.tokens.prompt_length)
    return (row.trajectory_id, row.ending, row.verdict, tokens, row.filters, steps)


def served(base_url: str) -> EngineConfig:
    """The packaged pocket where it already runs."""
    return EngineConfig(
        kind="tokens", base_urls=[base_url], model="pocket", tokenizer=str(MODEL_DIR)
    )


if __name__ == "__main__":
    asked = settings(Path(sys.argv[1]), policy=served(sys.argv[3]))
    asyncio.run(collect_rollouts(asked, Store(Path(sys.argv[2]))))
