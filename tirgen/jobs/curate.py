"""A dataset version filtered again under other settings, and if wanted verified again first.

No inference: every verdict follows from the stored rows. What comes out is the dataset's next
version, which names the one it was made from and keeps the rejected rows with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from storage.datasets import Store
from storage.names import fingerprint
from storage.records import Problem, Trajectory
from storage.versions import DatasetVersion
from tirgen.data.contamination import load_benchmarks
from tirgen.engine.engine_config import EngineConfig
from tirgen.filters.curate import YieldRow, curate, yield_table
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.judge import AnswerJudge
from tirgen.jobs.engines import open_engine
from tirgen.jobs.reverify import Change, Count, changes, reverify
from tirgen.settings import Settings, load_settings


class CurateConfig(Settings):
    """How a version is curated; by default as the version it is made from was."""

    filters: FilterConfig = FilterConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the draws among siblings and strata."""
    judge: EngineConfig | None = None
    """A language model to ask of answers that the rules call wrong: the one thing here that
    costs inference. By default none is asked, and opinions that are stored stay."""
    judge_tokens: int = Field(16, ge=1)
    """Longest reply of the judge."""


class Match(NamedTuple):
    """A problem and what it matched."""

    problem: Problem
    rule: str
    matched: str
    """How, and the id of the other problem."""


_RESEMBLANCE = {Rule.CONTAMINATED, Rule.NEAR_DUPLICATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """What a curation did."""

    source: DatasetVersion
    version: DatasetVersion | None
    """None if nothing was to be published."""
    reused: bool
    """The same curation of the same version had been published before."""
    before: list[YieldRow]
    after: list[YieldRow]
    rows: list[Trajectory]
    changed: list[Change]
    """Trajectories judged otherwise than before."""

    @property
    def kept(self) -> int:
        return sum(row.kept for row in self.rows)

    @property
    def matches(self) -> Iterator[Match]:
        """Each problem that was dropped for what it resembles, once."""
        told = set()
        for row in self.rows:
            for verdict in row.filters:
                match = Match(row.problem, verdict.rule, verdict.reason)
                if verdict.rule in _RESEMBLANCE and not verdict.kept and match not in told:
                    told.add(match)
                    yield match


def curate_config(
    source: DatasetVersion, path: Path | None, overrides: dict[str, Any]
) -> CurateConfig:
    """The source's own filters and seed, with a file and overrides on top. Raises `ConfigError`."""
    own = source.manifest["config"]
    base = {name: own[name] for name in ("filters", "seed") if name in own}
    return load_settings(CurateConfig, path, overrides, base)


async def recurate(
    store: Store,
    source: DatasetVersion,
    config: CurateConfig,
    *,
    again: bool = False,
    publish: bool = True,
    count: Count = lambda done, total: None,
) -> Curation:
    """Filter a version again, after verifying it `again` if so told, and publish the result.

    Raises `ProblemsError` for benchmarks that cannot be read, before anything is done.
    """
    load_benchmarks(config.filters.against, config.filters.against_similarity)
    old = list(source.read())
    judged = await reverify(old, count) if again else old
    if config.judge:
        async with open_engine(config.judge) as engine:
            judge = AnswerJudge(engine, config.judge_tokens, config.seed)
            judged = await judge.with_opinions(judged)
    rows = curate(judged, config.filters, config.seed)
    described = _described(source, config, again, rows)
    fresh = again or config.judge is not None
    made = _made_before(store, source, described) if publish and not fresh else None
    version = store.derive(source, rows, lambda: described) if publish and made is None else made
    return Curation(
        source=source,
        version=version,
        reused=made is not None,
        before=yield_table(old),
        after=yield_table(rows),
        rows=rows,
        changed=list(changes(old, judged)),
    )


def _described(
    source: DatasetVersion, config: CurateConfig, again: bool, rows: list[Trajectory]
) -> dict[str, Any]:
    settings = config.model_dump(mode="json")
    return {
        "run_id": source.manifest["run_id"],
        "config_hash": fingerprint([str(source), settings, again]),
        "config": {**source.manifest["config"], **settings},
        "reverified": again,
        "summary": {
            "problems": len({row.problem.problem_id for row in rows}),
            "trajectories": len(rows),
            "yield": [asdict(row) for row in yield_table(rows)],
        },
    }


def _made_before(
    store: Store, source: DatasetVersion, described: dict[str, Any]
) -> DatasetVersion | None:
    wanted = described["config_hash"]
    found = (v for v in store.versions(source.dataset) if v.manifest["config_hash"] == wanted)
    return next(found, None)
