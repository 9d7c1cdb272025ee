"""Measures a pocket model on held-out problems through the real server, loop and sandbox.

    python tests/embedded/pocket/quality.py [MODEL] [PROBLEMS] [MODE] [CRITIC]

prints the tables of docs/pocket.md; MODE is non_reasoning or reasoning. Answers are compared as
text: the families box them plainly.
"""

import asyncio
import random
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from storage.records import Outcome, Problem, Program, Trajectory
from tirgen.embedded.pocket.families import FAMILIES, LEVELS, SolutionStep
from tirgen.embedded.pocket.mistakes import wrong_value
from tirgen.embedded.pocket.problems import draw_problem, problems
from tirgen.engine.protocol import Sampling
from tirgen.filters.filter_config import TrajectoryMode
from tirgen.jobs.engines import open_engines
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.generate_maker import TirgenMaker
from tirgen.jobs.maker import Item, RunIdentity
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox
from tirgen.settings import load_settings
from tirgen.tir.core import Loop, OffFormat, Role, Sampler
from tirgen.tir.driver import Driver, UsageCounter
from tirgen.tir.prompts import POCKET
from tirgen.tir.refine import Refinement, ToolPolicy, refine
from tirgen.verification import Verifier

TOOLS = ToolPolicy(limits=Limits(), observation_characters=1024, stop_at_failure=True)


@dataclass
class Scores:
    """Shares by family, by level and over all, in the order they were added."""

    counts: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    def add(self, family: str, level: str, right: bool) -> None:
        for key in (family, level, "all"):
            self.counts[key].append(right)

    def share(self, key: str = "all") -> float:
        return sum(self.counts[key]) / len(self.counts[key])


@dataclass(frozen=True)
class Bench:
    """A pocket model that is being served, and all that runs beside it."""

    config: GenerateConfig
    maker: TirgenMaker
    driver: Driver

    async def answers(self, found: list[Problem], program: Program) -> list[Trajectory]:
        items = [Item(problem=problem, program=program, attempt=0) for problem in found]
        return list(await asyncio.gather(*map(self.maker.make, items)))

    async def rewrite(self, step: str, seed: int) -> Refinement | None:
        """What the critic makes of a step; None where it left the format."""
        sampling = self.config.critic_sampling.model_dump()
        engine = self.driver.engines[Role.CRITIC]
        sampler = Sampler(Role.CRITIC, engine.renderer, Sampling(max_tokens=300, **sampling), seed)
        return await self.driver.drive(_rewriting(sampler, step), UsageCounter())


@asynccontextmanager
async def bench(
    model: str,
    temperature: float,
    mode: TrajectoryMode = TrajectoryMode.NON_REASONING,
    critic: str | None = None,
) -> AsyncIterator[Bench]:
    limits = {"loop.steps": 12, "loop.tokens": 1200} if mode is TrajectoryMode.NON_REASONING else {}
    config = load_settings(
        GenerateConfig,
        None,
        {
            "mode": mode.value,
            "actor.model": model,
            "critic.model": critic or model,
            "actor_sampling.temperature": temperature,
            "critic_sampling.temperature": temperature,
            **limits,
        },
    )
    async with (
        open_engines(config.actor, config.critic) as engines,
        LocalSandbox() as sandbox,
        Verifier() as verifier,
    ):
        roles = dict(zip((Role.ACTOR, Role.CRITIC), engines, strict=True))
        identity = RunIdentity("quality", config.fingerprint(), "0", engines[0].server)
        maker = TirgenMaker(config, identity, roles, sandbox, verifier)
        yield Bench(config, maker, Driver(roles, sandbox, Limits(), 600))


def score(found: list[Problem], rows: list[Trajectory]) -> Scores:
    scores = Scores()
    for problem, row in zip(found, rows, strict=True):
        right = row.final_answer == problem.answer
        _, family, *_ = problem.problem_id.split("-")  # pocket-modpow-3-1a2b3c4d
        scores.add(family, str(problem.difficulty), right)
    return scores


async def score_critic(bench: Bench, count: int) -> Scores:
    """How often the critic's program prints the value of a step whose own claim is wrong."""
    steps = list(held_out_steps(count))
    rewrites = await asyncio.gather(
        *(bench.rewrite(claim, seed) for seed, (_, _, _, claim) in enumerate(steps))
    )
    scores = Scores()
    for (family, level, step, _), rewrite in zip(steps, rewrites, strict=True):
        actions = rewrite.actions if rewrite else []
        right = len(actions) == 1 and actions[0].outcome is Outcome.OK
        scores.add(family, f"level {level}", right and actions[0].observation == step.value)
    return scores


def held_out_steps(count: int) -> Iterator[tuple[str, int, SolutionStep, str]]:
    """Family, level, a step of a test problem, and the step claiming a wrong value."""
    rng = random.Random(99)
    cells = [(family, level) for level in LEVELS for family in FAMILIES]
    for place in range(count):
        family, level = cells[place % len(cells)]
        step = rng.choice(steps_of(draw_problem(rng, family, level, "test").solve(rng)))
        yield family, level, step, step.plain(wrong_value(rng, step.value))


def steps_of(solution: Generator[SolutionStep, str, str]) -> list[SolutionStep]:
    steps: list[SolutionStep] = []
    try:
        step = next(solution)
        while True:
            steps.append(step)
            step = solution.send(step.value)
    except StopIteration:
        return steps


def _rewriting(sampler: Sampler, step: str) -> Loop[Refinement | None]:
    try:
        return (yield from refine(sampler, POCKET, step, 1, TOOLS))
    except OffFormat:
        return None


async def main(model: str, count: int, mode: TrajectoryMode, critic: str | None) -> None:
    found = problems("test", count)
    columns: dict[str, Scores] = {}
    for temperature in (1.0, 0.6):
        async with bench(model, temperature, mode, critic) as measured:
            rows = await measured.answers(found, Program.COT)
            columns[f"CoT T={temperature}"] = score(found, rows)
            if mode is TrajectoryMode.NON_REASONING:
                columns[f"critic T={temperature}"] = await score_critic(measured, count)
            rows = await measured.answers(found, Program.TIRGEN)
            columns[f"TIRGen T={temperature}"] = score(found, rows)
            kept = sum(row.kept for row in rows)
            firsts = Counter(next((v.rule for v in r.filters if not v.kept), "kept") for r in rows)
            Console(stderr=True).print(f"T={temperature}: {kept} of {count} pass: {firsts}")
    table = Table("share right, %", *columns)
    for key in [*FAMILIES, *(f"level {level}" for level in LEVELS), "all"]:
        table.add_row(key, *(f"{100 * scores.share(key):.0f}" for scores in columns.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    asyncio.run(
        main(
            given.get(1, "base"),
            int(given.get(2, 324)),
            TrajectoryMode(given.get(3, TrajectoryMode.NON_REASONING)),
            given.get(4),
        )
    )
