"""The labelled pairs, judged in this process, and the publishers' files."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.records import Verdict
from tirgen.verification import extract_answer
from tirgen.verification.judge import judge
from tirgen.verification.symbolic import decide

PAIRS = Path(__file__).with_name("pairs.jsonl")
SECONDS = 1.0
"""CPU time of one comparison, beyond which it is stopped as a worker would stop it."""


class _Stopped(BaseException):
    pass


@pytest.fixture(scope="session")
def pairs() -> list[dict[str, Any]]:
    """kind, gold, response, correct (the label), hostile; exact_digits, with which it is right.

    Pairs with `exact_digits` were labelled right until issue 13 decided that a decimal of fewer
    than 12 digits is no exact value unless a setting says so.
    """
    return [json.loads(line) for line in PAIRS.read_text().splitlines()]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public files, which are not part of the repository."""
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("TIRGEN_SHARED", root.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no public files at {folder}; set TIRGEN_SHARED")
    return folder


@pytest.fixture(scope="session")
def benchmark_files(shared: Path) -> Path:
    """The publishers' benchmark files."""
    return shared / "data"


@pytest.fixture(scope="session")
def in_process() -> Iterator[Callable[[str, str], Verdict]]:
    """What a worker does with a gold answer and a response, here, with the libraries loaded once.

    `test_pairs` holds it against the real verifier on a sample.
    """

    def stop(*_: object) -> None:
        raise _Stopped

    def verdict(gold: str, response: str) -> Verdict:
        answer = extract_answer(response)
        if answer is None:
            return Verdict(correct=False, method="extract", reason="no boxed answer")
        gc.disable()  # what is raised in a callback of the collector stops nothing
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, SECONDS / 4)  # again, if it was swallowed
        try:
            return judge(extract_answer(gold) or gold, answer, decide)
        except _Stopped:
            return Verdict(correct=False, method="timeout", reason="stopped")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            gc.enable()

    before = signal.signal(signal.SIGVTALRM, stop)
    yield verdict
    signal.signal(signal.SIGVTALRM, before)
