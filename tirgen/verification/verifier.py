"""The verifier: a gold answer and a whole response in, a verdict out. Blocking and async."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from storage.records import Verdict
from tirgen.verification.extract import extract_answer
from tirgen.verification.judge import judge
from tirgen.verification.matching import MatchResult
from tirgen.verification.pool import WorkerLimits, WorkerPool
from tirgen.verification.values import Value

NO_ANSWER = Verdict(correct=False, method="extract", reason="no boxed answer")
_CACHE_SIZE = 65_536


class _WorkerNeeded(Exception):
    """The cheap layers could not decide."""


class _Decider:
    """Cheap layers in this process, the rest in a worker, every result remembered by content."""

    def __init__(self, pool: WorkerPool, exact_digits: int | None) -> None:
        self.pool = pool
        self._exact_digits = exact_digits
        self._known: OrderedDict[tuple[str, str], Verdict] = OrderedDict()
        self._lock = threading.Lock()

    def without_worker(self, pair: tuple[str, str]) -> Verdict | None:
        """The verdict, if it is known or the cheap layers decide it."""
        with self._lock:
            if pair in self._known:
                self._known.move_to_end(pair)
                return self._known[pair]
        try:
            return self._remember(pair, judge(*pair, _refuse, self._exact_digits))
        except _WorkerNeeded:
            return None

    def with_worker(self, pair: tuple[str, str]) -> Verdict:
        return self._remember(pair, self.pool.compare(*pair, self._exact_digits))

    def _remember(self, pair: tuple[str, str], verdict: Verdict) -> Verdict:
        if verdict.method != "crash":
            with self._lock:
                self._known[pair] = verdict
                if len(self._known) > _CACHE_SIZE:
                    self._known.popitem(last=False)
        return verdict


def _pair(gold: str, response: str, require_box: bool) -> tuple[str, str] | None:
    """The two answers to compare, or None if the response gives none."""
    answer = extract_answer(response, require_box=require_box)
    return None if answer is None else (extract_answer(gold) or gold, answer)


def _refuse(gold: Value, answer: Value) -> MatchResult:
    raise _WorkerNeeded


class Verifier:
    """Verifies thousands of responses at once: ``async with Verifier() as verifier``.

    With ``require_box=False`` an announced answer counts where a response has no box, which
    foreign recorded responses need. From `exact_digits` significant digits on, a decimal may stand
    for an exact gold answer; None: only a float printed in full may.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: WorkerLimits | None = None,
        require_box: bool = True,
        exact_digits: int | None = None,
    ) -> None:
        self._decider = _Decider(WorkerPool(workers, limits), exact_digits)
        self._require_box = require_box
        self._threads: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Verifier:
        self._threads = ThreadPoolExecutor(self._decider.pool.size, "verifier")
        self._decider.pool.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._threads is not None
        await asyncio.to_thread(self._decider.pool.close)
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def verify(self, gold: str, response: str) -> Verdict:
        """Is the final answer of `response` the gold answer? Raises VerifierUnavailable."""
        if self._threads is None:
            raise RuntimeError("a Verifier is used as: async with Verifier() as verifier")
        pair = _pair(gold, response, self._require_box)
        if pair is None:
            return NO_ANSWER
        known = self._decider.without_worker(pair)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decider.with_worker, pair)


_shared: dict[int | None, _Decider] = {}
"""By `exact_digits`."""
_shared_lock = threading.Lock()


def verify(
    gold: str, response: str, *, require_box: bool = True, exact_digits: int | None = None
) -> Verdict:
    r"""Is the final answer of `response`, the model's whole text, the gold answer?

    Blocking; safe in any thread and inside a running event loop (where it blocks the loop: use
    `Verifier` there). Worker processes start on first need and end with this process. The settings
    are those of `Verifier`.

    >>> verify(r"\frac{1}{2}", r"So the probability is $\boxed{0.5}$.").correct
    True
    """
    decider = _shared_decider(exact_digits)
    pair = _pair(gold, response, require_box)
    if pair is None:
        return NO_ANSWER
    return decider.without_worker(pair) or decider.with_worker(pair)


def same_answer(first: str, second: str, exact_digits: int | None = None) -> bool:
    """Whether two extracted answers say the same, whichever of them were the gold one.

    Blocking, deterministic and symmetric, for votes: ``1/2`` is ``0.5``, but 0.33 is not 1/3.
    `exact_digits` is that of `Verifier`.
    """
    decider = _shared_decider(exact_digits)
    pairs = ((first, second), (second, first))
    return all((decider.without_worker(p) or decider.with_worker(p)).correct for p in pairs)


def _shared_decider(exact_digits: int | None) -> _Decider:
    with _shared_lock:
        decider = _shared.get(exact_digits)
        if decider is None:
            decider = _shared[exact_digits] = _Decider(WorkerPool(), exact_digits)
        return decider


@atexit.register
def _close_shared() -> None:
    for decider in _shared.values():
        decider.pool.close()


def _forget_shared() -> None:
    """A forked process starts its own workers and leaves its parent's alone."""
    global _shared_lock
    _shared_lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget_shared)
