"""Finds training problems that are also in an evaluation benchmark, by three tests.

exact     the same words after normalisation
13-gram   the same run of 13 words
similar   the same question in other words (`similarity`), also for short problems

A run of words that several benchmark problems share is a phrase ("express your answer as a common
fraction") and does not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from storage.records import Problem
from tirgen.data.load import load_problems
from tirgen.data.similarity import ComparedQuestion, SimilarityIndex, read

RUN = 13
"""Words of a run."""
WORDING = 3
"""A run in this many benchmark problems is a phrase."""


class BenchmarkMatch(NamedTuple):
    """A match with a benchmark problem, and the test that found it."""

    test: str
    benchmark_problem: str
    """The id of the benchmark problem; it begins with the benchmark's name."""

    def __str__(self) -> str:
        return f"{self.test}: {self.benchmark_problem}"


class Benchmarks:
    """An index of the problems that must not be trained on."""

    def __init__(self, problems: Iterable[Problem], least: float) -> None:
        self._exact: dict[tuple[str, ...], str] = {}
        self._runs: dict[tuple[str, ...], str] = {}
        self._similar = SimilarityIndex(least)
        occurrences: Counter[tuple[str, ...]] = Counter()
        for problem in problems:
            text = read(problem.question)
            if self._exact.setdefault(text.words, problem.problem_id) != problem.problem_id:
                continue
            self._similar.add(problem.problem_id, text)
            runs = set(_runs(text))
            occurrences.update(runs)
            self._runs.update(dict.fromkeys(runs, problem.problem_id))
        for run, count in occurrences.items():
            if count >= WORDING:
                del self._runs[run]

    def find(self, question: str) -> BenchmarkMatch | None:
        """The benchmark problem that matches this question by the strictest test, or None."""
        text = read(question)
        if text.words in self._exact:
            return BenchmarkMatch("exact", self._exact[text.words])
        shared = next((run for run in _runs(text) if run in self._runs), None)
        if shared is not None:
            return BenchmarkMatch(f"{RUN}-gram {' '.join(shared)!r}", self._runs[shared])
        match = self._similar.best(text)
        return match and BenchmarkMatch(f"similar {match.resemblance:.2f}", match.name)


@lru_cache(maxsize=4)
def load_benchmarks(paths: tuple[str, ...], least: float) -> Benchmarks:
    """Benchmarks from problem files, as `load_problems` reads them; bad rows are left out.

    Raises `ProblemsError`.
    """
    problems = (p for path in paths for p in load_problems(path, skip_bad_rows=True).problems)
    return Benchmarks(problems, least)


def _runs(text: ComparedQuestion) -> Iterator[tuple[str, ...]]:
    """Runs that are mostly words; runs of formulas look alike in different problems."""
    words = [word for word in text.words if word.isalnum()]
    for at in range(len(words) - RUN + 1):
        run = tuple(words[at : at + RUN])
        if sum(word.isalpha() and len(word) > 1 for word in run) > RUN / 2:
            yield run
