"""What to do next, in the log of a flow run that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger

from flows.failures import classify


@contextmanager
def hinted() -> Iterator[None]:
    """Let every failure through, after saying what went wrong and what helps."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            _say_hint()


def _say_hint() -> None:
    error = sys.exception()
    if error is not None:
        failure = classify(error)
        get_run_logger().error("%s: %s\nnext: %s", failure.kind, failure.message, failure.hint)
