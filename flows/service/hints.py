"""What to do next, in the log of a flow run that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger

from flows.failures import classify


@contextmanager
def hinted() -> Iterator[None]:
    """Let every failure through, after saying what went wrong and what helps.

    Silent when the run is cancelled, ended or suspended, which are no exceptions of that kind.
    """
    try:
        yield
    except Exception as error:
        failure = classify(error)
        get_run_logger().error("%s: %s\nnext: %s", failure.kind, failure.message, failure.hint)
        raise
