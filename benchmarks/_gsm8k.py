"""TIRGen over recorded GSM8K reasoning, and the same reasoning without tools."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks._claims import CLAIM, computed, is_rounding
from benchmarks._replay import ClaimCritic, ReplayActor
from benchmarks._slips import spoil
from storage.records import Problem, Program, Trajectory
from tirgen.engine.protocol import Engine
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.generate_maker import TirgenMaker
from tirgen.jobs.maker import Item, RunIdentity
from tirgen.sandbox.contract import Sandbox
from tirgen.tir.core import Role
from tirgen.tir.prompts import STANDARD
from tirgen.verification import Verifier

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
AT_ONCE = 32
"""Trajectories at the same time; the sandbox limits its own processes."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded solution of one model to one problem."""

    problem: Problem
    solution: str
    is_correct: bool
    """The publishers' verdict on the recording."""

    @property
    def slips(self) -> bool:
        """Some marked calculation claims a value that is not the value of its expression."""
        claims = [(claim, computed(claim)) for claim in CLAIM.finditer(self.solution)]
        return any(v is not None and not is_rounding(c["value"], v) for c, v in claims)


@dataclass(frozen=True, slots=True)
class ModePair:
    """The same recording without tools and through TIRGen."""

    recording: Recording
    cot: Trajectory
    tir: Trajectory


def recordings(path: Path, problems: Sequence[Problem], model: str) -> list[Recording]:
    """One model's recordings, each with its problem of the published file."""
    by_question = {problem.question: problem for problem in problems}
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Recording(
            by_question[row["question"].strip()], row[model]["solution"], row[model]["is_correct"]
        )
        for row in rows
    ]


def with_slips(played: Sequence[Recording], seed: int) -> list[Recording]:
    """The right recordings with one wrong value each; everything after it is computed from that
    value."""
    spoilt = []
    for recording in played:
        rng = random.Random(f"{seed}/{recording.problem.problem_id}")
        solution = spoil(recording.problem.question, recording.solution, rng)
        if recording.is_correct and solution is not None:
            spoilt.append(replace(recording, solution=solution))
    return spoilt


async def play(
    played: Sequence[Recording], model: str, sandbox: Sandbox, verifier: Verifier
) -> list[ModePair]:
    """Both programs over each recording, in the order given."""
    config = GenerateConfig(dataset="replay", prompts=STANDARD, cot_samples=0)
    solutions = {r.problem.question: r.solution for r in played}
    engines: dict[Role, Engine] = {
        Role.ACTOR: ReplayActor(model, STANDARD, solutions),
        Role.CRITIC: ClaimCritic(STANDARD),
    }
    identity = RunIdentity("replay", config.fingerprint(), "benchmark", "replay")
    maker = TirgenMaker(config, identity, engines, sandbox, verifier)
    gate = asyncio.Semaphore(AT_ONCE)

    async def both(recording: Recording) -> ModePair:
        async with gate:
            problem = recording.problem
            cot = await maker.make(Item(problem=problem, program=Program.COT, attempt=0))
            tir = await maker.make(Item(problem=problem, program=Program.TIRGEN, attempt=0))
        return ModePair(recording, cot, tir)

    return await asyncio.gather(*map(both, played))


def summary(pairs: Sequence[ModePair]) -> Mapping[str, int]:
    """Counts of how the two programs ended."""
    return {
        "trajectories": len(pairs),
        "programs_run": sum(len(pair.tir.calls) for pair in pairs),
        "right_without_tools": sum(pair.cot.correct for pair in pairs),
        "right_with_tools": sum(pair.tir.correct for pair in pairs),
        "wrong_then_right": sum(not pair.cot.correct and pair.tir.correct for pair in pairs),
        "right_then_wrong": sum(pair.cot.correct and not pair.tir.correct for pair in pairs),
        "with_a_slip": sum(pair.recording.slips for pair in pairs),
        "failed_executions": sum(pair.tir.ending.value == "execution_failed" for pair in pairs),
    }


def judged_otherwise(pairs: Sequence[ModePair]) -> int:
    """How many recordings without tools have another verdict than their publishers'."""
    return sum(pair.cot.correct != pair.recording.is_correct for pair in pairs)
