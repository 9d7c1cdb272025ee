"""Filters a dataset version again under other settings, and optionally verifies it again first.

Without inference: every verdict follows from the stored rows. The result is the dataset's next
version. It names the version that it was made from and keeps rejected rows with their reasons. Rows
are read again for each pass; only their verdicts stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from storage.datasets import Store
from storage.names import fingerprint
from storage.records import Problem, Trajectory
from storage.versions import DatasetVersion
from tirgen.data.contamination import load_benchmarks
from tirgen.engine.engine_config import EngineConfig
from tirgen.filters.apply import Filtered, YieldRow, filter_stream, yield_table
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.judge import AnswerJudge
from tirgen.jobs.engines import open_engine
from tirgen.jobs.reverify import Change, Count, changes, reverify
from tirgen.jobs.shards import named_lease
from tirgen.settings import Settings, load_settings


class CurateConfig(Settings):
    """How a version is curated; by default as the version that it is made from."""

    filters: FilterConfig = FilterConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the draws within problems and groups."""
    judge: EngineConfig | None = None
    """A language model that is asked about answers that the rules call wrong: the only setting
    here that costs inference. Default: none is asked, and stored opinions stay."""
    judge_tokens: int = Field(16, ge=1)
    """Longest reply of the judge."""


class Match(NamedTuple):
    """A problem and the other problem that it matched."""

    problem: Problem
    rule: str
    matched: str
    """The test that matched, and the id of the other problem."""


CHUNK_ROWS = 5_000
"""Rows that are verified or judged at once, and then held as their verdicts only."""
_JUDGED = ("final_answer", "verdict", "opinion", "ending", "error")
_SIMILARITY = {Rule.CONTAMINATED, Rule.NEAR_DUPLICATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationReport:
    """What a curation did."""

    source: DatasetVersion
    version: DatasetVersion | None
    """None if nothing was to be published."""
    reused: bool
    """The same curation of the same version was published before."""
    before: list[YieldRow]
    after: list[YieldRow]
    filtered: Filtered
    changed: list[Change]
    """Trajectories whose verdict changed."""

    @property
    def rows(self) -> Iterator[Trajectory]:
        """All rows with their verdicts, read again."""
        return self.filtered.rows()

    @property
    def kept(self) -> int:
        return sum(row.kept for row in self.rows)

    @property
    def matches(self) -> Iterator[Match]:
        """Each problem that was dropped for its similarity to another one, once."""
        seen = set()
        for row in self.rows:
            for verdict in row.filters:
                match = Match(row.problem, verdict.rule, verdict.reason)
                if verdict.rule in _SIMILARITY and not verdict.kept and match not in seen:
                    seen.add(match)
                    yield match


def curate_config(
    source: DatasetVersion, path: Path | None, overrides: dict[str, Any]
) -> CurateConfig:
    """The filters and seed of `source`, changed by a file and overrides. Raises `ConfigError`."""
    own = source.manifest["config"]
    base = {name: own[name] for name in ("filters", "seed") if name in own}
    return load_settings(CurateConfig, path, overrides, base)


async def curate_version(
    store: Store,
    source: DatasetVersion,
    config: CurateConfig,
    *,
    again: bool = False,
    publish: bool = True,
    count: Count = lambda done, total: None,
) -> CurationReport:
    """Filter a version and publish the result; with `again`, verify every answer first.

    Raises `ProblemsError` for benchmarks that cannot be read, before anything is done.
    """
    load_benchmarks(config.filters.against, config.filters.against_similarity)
    judged, changed = await _judged(source, config, again, count)

    def read() -> Iterator[Trajectory]:
        for row in source.read():
            yield replace(row, **judged.get(row.trajectory_id, {}))

    filtered = filter_stream(read, config.filters, config.seed)
    reused = version = None
    if publish:
        described = _described(source, config, again, filtered)
        may_reuse = not again and config.judge is None
        reused, version = await _publish(store, source, filtered.rows(), described, may_reuse)
    return CurationReport(
        source=source,
        version=version,
        reused=reused is not None,
        before=yield_table(source.read()),
        after=filtered.yields,
        filtered=filtered,
        changed=changed,
    )


async def _judged(
    source: DatasetVersion, config: CurateConfig, again: bool, count: Count
) -> tuple[dict[str, dict[str, Any]], list[Change]]:
    """By trajectory, the fields that verifier and judge changed, and all changed verdicts."""
    judged: dict[str, dict[str, Any]] = {}
    changed: list[Change] = []
    if not again and config.judge is None:
        return judged, changed
    rows, total = source.read(), int(source.manifest["rows"])
    async with AsyncExitStack() as stack:
        judge = None
        if config.judge:
            engine = await stack.enter_async_context(open_engine(config.judge))
            judge = AnswerJudge(engine, config.judge_tokens, config.seed)
        start = 0
        while old := list(islice(rows, CHUNK_ROWS)):
            counted = partial(_count_from, start, total, count)
            new = await reverify(old, counted) if again else old
            new = await judge.with_opinions(new) if judge else new
            changed += changes(old, new)
            for row in new:
                judged[row.trajectory_id] = {name: getattr(row, name) for name in _JUDGED}
            start += len(old)
    return judged, changed


def _count_from(start: int, total: int, count: Count, done: int, chunk: int) -> None:
    count(start + done, total)


async def _publish(
    store: Store,
    source: DatasetVersion,
    rows: Iterable[Trajectory],
    described: dict[str, Any],
    may_reuse: bool,
) -> tuple[DatasetVersion | None, DatasetVersion]:
    """The version that was reused, if any, and the version that holds the rows.

    The lease makes the same curation in another process wait, so that it finds this version.
    """
    name = f"curation-{described['config_hash']}"
    folder = store.dataset_folder(source.dataset)
    async with named_lease(folder, name, waiting=lambda holder: None) as lease:
        if may_reuse and (made := _made_before(store, source, described)):
            return made, made
        lease.check()
        return None, store.derive(source, rows, lambda: described)


def _described(
    source: DatasetVersion, config: CurateConfig, again: bool, filtered: Filtered
) -> dict[str, Any]:
    settings = config.model_dump(mode="json")
    return {
        "run_id": source.manifest["run_id"],
        "config_hash": fingerprint([str(source), settings, again]),
        "config": {**source.manifest["config"], **settings},
        "reverified": again,
        "summary": {
            "problems": filtered.problems,
            "trajectories": filtered.count,
            "yield": [asdict(row) for row in filtered.yields],
        },
    }


def _made_before(
    store: Store, source: DatasetVersion, described: dict[str, Any]
) -> DatasetVersion | None:
    wanted = described["config_hash"]
    found = (v for v in store.versions(source.dataset) if v.manifest["config_hash"] == wanted)
    return next(found, None)
