"""Filters a dataset version again under other settings, and optionally verifies it again first.

Without inference: every verdict follows from the stored rows. The result is the dataset's next
version: it shares the rows of the version that it was made from, with its own verdicts beside them.
Rejected rows stay, with their reasons. Rows are read problem by problem; new verdicts of the
verifier and the judge are written to a temporary folder between the two passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pydantic import Field

from storage.checksums import StoredFile
from storage.datasets import Store
from storage.documents import fingerprint
from storage.parquet import Part, VerdictFile
from storage.records import Problem, Verdicts
from storage.versions import DatasetVersion
from tirgen.data.contamination import load_benchmarks
from tirgen.engine.engine_config import EngineConfig
from tirgen.filters.apply import Filtering, YieldRow, yield_table
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.judge import AnswerJudge
from tirgen.jobs.engines import open_engine
from tirgen.jobs.reverify import Change, Count, changes, reverify
from tirgen.jobs.shards import named_lease
from tirgen.settings import ExactDigits, Settings, load_settings


class CurateConfig(Settings):
    """How a version is curated; by default as the version that it is made from."""

    filters: FilterConfig = FilterConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the draws within problems and groups."""
    exact_digits: ExactDigits = None
    judge: EngineConfig | None = None
    """A language model that is asked about answers that the rules call wrong: the only setting
    here that costs inference. Default: none is asked, and stored opinions stay."""
    judge_tokens: int = Field(16, ge=1)
    """Longest reply of the judge."""


class MatchedProblem(NamedTuple):
    """A problem and the other problem that it matched."""

    problem: Problem
    rule: str
    matched: str
    """The test that matched, and the id of the other problem."""


CHUNK_ROWS = 5_000
"""Rows that are verified or judged at once."""
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
    kept: int
    matches: list[MatchedProblem]
    """Each problem that was dropped for its similarity to another one, once."""
    changed: list[Change]
    """Trajectories whose verdict changed."""


def curate_config(
    source: DatasetVersion, path: Path | None, overrides: dict[str, Any]
) -> CurateConfig:
    """The settings of `source`, changed by a file and overrides. Raises `ConfigError`."""
    own = source.manifest["config"]
    base = {name: own[name] for name in ("filters", "seed", "exact_digits") if name in own}
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
    with TemporaryDirectory(prefix="tirgen-curate-") as folder:
        parts, changed = await _judged(source, config, again, Path(folder), count)
        curation = _Curation(source, config, again, parts)
        may_reuse = not again and config.judge is None
        reused = version = None
        if publish:
            reused, version = await _publish(store, source, curation, may_reuse)
        if not publish or reused:
            for _ in curation.found():
                pass
    return CurationReport(
        source=source,
        version=version,
        reused=reused is not None,
        before=yield_table(source.found()),
        after=curation.filtering.yields,
        kept=curation.filtering.kept,
        matches=list(curation.matches),
        changed=changed,
    )


class _Curation:
    """The new verdicts of a version, found row by row."""

    def __init__(
        self, source: DatasetVersion, config: CurateConfig, again: bool, parts: Sequence[Part]
    ) -> None:
        self.config_hash = fingerprint([str(source), config.model_dump(mode="json"), again])
        self.filtering = Filtering(
            lambda: chain.from_iterable(part.trajectories(tokens=False) for part in parts),
            config.filters,
            config.seed,
        )
        self.matches: dict[MatchedProblem, None] = {}
        self._source = source
        self._config = config
        self._again = again

    def found(self) -> Iterator[Verdicts]:
        """What is found out about each row, in the order of the rows."""
        for row in self.filtering.rows():
            for verdict in row.filters:
                if verdict.rule in _SIMILARITY and not verdict.kept:
                    self.matches[MatchedProblem(row.problem, verdict.rule, verdict.reason)] = None
            yield Verdicts.of(row)

    def described(self) -> dict[str, Any]:
        """For the manifest, behind the last row."""
        settings = self._config.model_dump(mode="json")
        return {
            "run_id": self._source.manifest["run_id"],
            "config_hash": self.config_hash,
            "config": {**self._source.manifest["config"], **settings},
            "reverified": self._again,
            "summary": {
                "problems": self.filtering.problems,
                "trajectories": self.filtering.count,
                "yield": [asdict(row) for row in self.filtering.yields],
            },
        }


async def _judged(
    source: DatasetVersion, config: CurateConfig, again: bool, folder: Path, count: Count
) -> tuple[Sequence[Part], list[Change]]:
    """The rows with what verifier and judge say of them, and all changed verdicts."""
    changed: list[Change] = []
    if not again and config.judge is None:
        return source.parts, changed
    parts, done, total = [], 0, int(source.manifest["rows"])
    async with AsyncExitStack() as stack:
        judge = None
        if config.judge:
            engine = await stack.enter_async_context(open_engine(config.judge))
            judge = AnswerJudge(engine, config.judge_tokens, config.seed)
        for part in source.parts:
            rows = part.trajectories(tokens=False)
            with VerdictFile(folder / part.rows.name) as written:
                while old := list(islice(rows, CHUNK_ROWS)):
                    counted = partial(_count_from, done, total, count)
                    new = await reverify(old, counted, config.exact_digits) if again else old
                    new = await judge.with_opinions(new) if judge else new
                    changed += changes(old, new)
                    written.write(map(Verdicts.of, new))
                    done += len(old)
            parts.append(Part(part.rows, StoredFile(written.path)))
    return parts, changed


def _count_from(start: int, total: int, count: Count, done: int, chunk: int) -> None:
    count(start + done, total)


async def _publish(
    store: Store, source: DatasetVersion, curation: _Curation, may_reuse: bool
) -> tuple[DatasetVersion | None, DatasetVersion]:
    """The version that was reused, if any, and the version that holds the verdicts.

    The lease makes the same curation in another process wait, so that it finds this version.
    """
    folder = store.dataset_folder(source.dataset)
    name = f"curation-{curation.config_hash}"
    async with named_lease(folder, name, waiting=lambda holder: None) as lease:
        if may_reuse and (made := _made_before(store, source, curation.config_hash)):
            return made, made
        lease.check()
        return None, store.derive(source, curation.found(), curation.described)


def _made_before(store: Store, source: DatasetVersion, wanted: str) -> DatasetVersion | None:
    found = (v for v in store.versions(source.dataset) if v.manifest["config_hash"] == wanted)
    return next(found, None)
