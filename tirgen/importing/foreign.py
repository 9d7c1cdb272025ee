"""One function imports a file of other people's trajectories as a dataset version.

Like a generation it can be stopped anywhere and called again: what was committed is not run again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import islice

from storage.datasets import Store
from storage.records import Problem
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.committed import version_of
from tirgen.committer import Committer
from tirgen.curation.reverify import Count
from tirgen.filters.curate import YieldRow, curate, yield_table
from tirgen.importing.config import ImportConfig
from tirgen.importing.intake import Intake, Response
from tirgen.importing.maker import ForeignMaker
from tirgen.problems.errors import BadRow, ProblemsError, describe
from tirgen.sandbox.opening import open_sandbox
from tirgen.tasks import for_each
from tirgen.verification import Verifier

AT_ONCE = 32
"""Responses worked on at once; the sandbox bounds its own programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did."""

    version: DatasetVersion
    made: int
    """Responses run and judged by this call."""
    reused: int
    """Responses that earlier calls had committed."""
    skipped: tuple[BadRow, ...]
    yields: list[YieldRow]


async def import_trajectories(
    config: ImportConfig, store: Store, limit: int | None = None, count: Count = lambda *_: None
) -> ImportReport:
    """Run and judge every response of the file and publish them all, kept or not.

    `limit` takes only the first so many. Raises `ProblemsError` where nothing can be read,
    `SandboxUnavailable`, and `VerifierUnavailable`.
    """
    intake = Intake(config)
    responses = list(islice(intake.responses(), limit))
    if not responses:
        why = describe(tuple(intake.bad)) if intake.bad else "it is empty"
        raise ProblemsError(f"{config.path} holds no response: {why}", tuple(intake.bad))
    run = store.find_run(config.dataset, config.hash)
    done = _committed(run)
    todo = [response for response in responses if done.get(response.identity) != response.problem]
    reused = len(responses) - len(todo)
    count(reused, len(responses))
    if todo or run is None:
        numbers = iter(range(reused + 1, len(responses) + 1))
        run = await _work(config, store, todo, lambda: count(next(numbers), len(responses)))
    version = version_of(run) or _publish(run, config)
    return ImportReport(
        version=version,
        made=len(todo),
        reused=reused,
        skipped=tuple(intake.bad),
        yields=yield_table(version.read()),
    )


def _committed(run: Run | None) -> dict[str, Problem]:
    """What need not be run again, by id, and the problem it was judged by.

    Rows lost to the machinery are run again, as are those whose gold answer has changed.
    """
    rows = run.read() if run else ()
    return {row.trajectory_id: row.problem for row in rows if not row.ending.is_infrastructure}


async def _work(
    config: ImportConfig, store: Store, todo: list[Response], made: Callable[[], None]
) -> Run:
    """Open sandbox and verifier, and only then the run: a bad start writes nothing."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(open_sandbox(**config.sandbox.place()))
        verifier = await stack.enter_async_context(Verifier(require_box=False))
        run = store.open_run(config.dataset, config.model_dump(mode="json"), config.hash)
        committer = await stack.enter_async_context(Committer(run.append))
        maker = ForeignMaker(config, run.run_id, sandbox, verifier)

        async def work(response: Response) -> None:
            await committer.add(await maker.make(response))
            made()

        await for_each(todo, work, AT_ONCE)
    return run


def _publish(run: Run, config: ImportConfig) -> DatasetVersion:
    rows = curate(run.read(), config.filters, config.seed)
    summary = {
        "problems": len({row.problem.problem_id for row in rows}),
        "trajectories": len(rows),
        "yield": [asdict(row) for row in yield_table(rows)],
    }
    return run.publish(rows, summary)
