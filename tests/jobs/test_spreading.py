"""Evaluations and rounds of rollouts that are made shard by shard, beside those of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from storage.calls import calls
from storage.datasets import Store
from storage.records import Level, Trajectory
from tests.jobs.writing_policy import comparable, settings, write_steps
from tirgen.evaluation.results import BenchmarkResult
from tirgen.jobs.evaluate import SpreadEvaluation, evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.progress import P, RolloutProgress, Watch, unwatched
from tirgen.jobs.rollout import SpreadRollouts, collect_rollouts
from tirgen.jobs.shards import Shard
from tirgen.jobs.spreading import R, SpreadableJob, Wave, one_shard, spread

PROBLEMS = 8


class Tasks:
    """A place where every shard is a task of this process."""

    def __init__(self, shard_problems: int) -> None:
        self.waves: list[Wave] = []
        self.shards: list[Shard] = []
        self._shard_problems = shard_problems

    async def __call__(self, job: SpreadableJob[P, R], watch: Watch[P]) -> R:
        async def make(wave: Wave, shards: Sequence[Shard]) -> None:
            self.waves.append(wave)
            self.shards += shards
            await asyncio.gather(*(job.settle(shard, wave=wave) for shard in shards))

        return await spread(job, watch, make, self._shard_problems)


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_steps(tmp_path_factory.mktemp("problems") / "steps.jsonl", PROBLEMS)


@pytest.fixture
def policy(pocket_url: str, sandbox_url: str) -> dict[str, Any]:
    engine = {"kind": "tokens", "base_urls": [pocket_url], "model": "pocket"}
    return {"policy": engine, "sandbox": {"services": [sandbox_url]}, "samples": 2}


def ordered(rows: list[Trajectory]) -> list[tuple[object, ...]]:
    return [comparable(row) for row in rows]


def figures(result: BenchmarkResult) -> dict[str, Any]:
    return result.model_dump(exclude={"seconds_per_sample"})


async def test_a_round_with_quotas_is_made_wave_by_wave_as_one_process_makes_it(
    problems: Path, policy: dict[str, Any], tmp_path: Path
) -> None:
    branches = {"samples": 2, "suffix_tokens": 3, "tokens": 200, "groups": 1}
    config = settings(problems, **policy, groups=2, branches=branches)
    straight = await collect_rollouts(config, Store(tmp_path / "straight"))
    store, place, seen = Store(tmp_path / "spread"), Tasks(4), list[RolloutProgress]()
    made = await place(SpreadRollouts(config, store), seen.append)
    assert {shard.of for shard in place.shards} == {2}
    assert {wave.level for wave in place.waves} == set(Level)
    assert ordered(list(made.version.read())) == ordered(list(straight.version.read()))
    assert (made.levels, made.full) == (straight.levels, straight.full)
    assert made.next_start == straight.next_start
    assert [version.version for version in store.versions("r")] == ["v1"]
    run = SpreadRollouts(config, store).run
    assert run is not None
    keys = [row.key for row in run.read()]
    assert made.progress.trajectories == len(keys) == len(set(keys))
    noted = [call.progress for call in calls(run.folder)]
    assert made.progress.branches == sum(one["branches"] for one in noted) > 0
    assert made.progress.idle["policy"].sums["busy"] > 0
    again = await place(SpreadRollouts(config, store), unwatched)
    assert again.reused_version
    assert again.progress.trajectories == 0


async def test_a_quota_is_not_filled_shard_by_shard(
    problems: Path, policy: dict[str, Any], tmp_path: Path
) -> None:
    """Which problems a shard has to sample is not known before others have sampled theirs."""
    job = SpreadRollouts(settings(problems, **policy, groups=5), Store(tmp_path))
    with pytest.raises(ValueError, match="wave by wave"):
        await job.settle(Shard(1, 2))


@pytest.mark.slow
async def test_an_evaluation_in_shards_has_the_figures_of_one_process(
    problems: Path, policy: dict[str, Any], tmp_path: Path
) -> None:
    """The shard that ends last publishes."""
    config = EvaluationConfig.model_validate(
        {
            **policy,
            "benchmarks": [{"path": str(problems)}],
            "prompts": "writer",
            "loop": {"tokens": 300},
            "analysis": {"pass_at": [1, 2], "resamples": 200},
        }
    )
    straight = await evaluate(config, Store(tmp_path / "straight"))
    job = SpreadEvaluation(config, Store(tmp_path / "spread"))
    assert await one_shard(job, Shard(1, 2)) is None
    assert not job.store.versions("evaluation")
    last = await one_shard(job, Shard(2, 2))
    assert last is not None
    [version] = job.store.versions("evaluation")
    assert ordered(list(version.read())) == ordered(list(straight.version.read()))
    assert [*map(figures, last.results)] == [*map(figures, straight.results)]
    assert job.run is not None
    made = [call.progress["trajectories"] for call in calls(job.run.folder)]
    assert sum(made) == 2 * PROBLEMS
