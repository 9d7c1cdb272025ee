"""Labelled answer pairs, our verifier against math-verify: accuracy, hangs and cost.

Both graders run in a process of their own that is killed at a limit, and are charged the CPU time
of that process. The public sets are in `../shared/cases`, or where TIRGEN_SHARED points.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import Figures, Result, narrate
from benchmarks._golds import GOLDS, golds, same_number, shuffled, spelled_alike
from tirgen.verification import Verifier, extract_answer, verify

CLAIM = (
    "On pairs of this project, of public bug reports and of HardVerify-Math and on shuffled gold "
    "answers our verifier accepts no wrong answer, accepts at least 97 % of the right ones, and "
    "is faster than math-verify"
)
TESTS = Path(__file__).parent.parent / "tests" / "verification"
SHARED = Path(os.environ.get("TIRGEN_SHARED", Path(__file__).parents[2] / "shared"))
LIMIT_SECONDS = 5.0
PUBLIC = ("bug_reports", "hardverify")
SPARED = 64
"""Of the other sets math-verify gets one pair in this many: all would take it half an hour."""
THREADS = 8
_MARK = "TIRGEN_VERIFY_BENCHMARK"


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """One labelled pair; a disputed label counts neither way."""

    gold: str
    response: str
    correct: bool
    disputed: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What a grader said of one pair; None where it had to be killed."""

    said: bool | None
    milliseconds: float


Grader = Callable[[str, str], bool]


def run(quick: bool) -> Result:
    """Every set through our grader and its peer; a tenth of each if quick."""
    sets = {name: pairs[:: 10 if quick else 1] for name, pairs in _sets().items()}
    ours: dict[str, Any] = {}
    peer: dict[str, Any] = {}
    for name, pairs in sets.items():
        narrate(f"{name}: {len(pairs)} pairs")
        ours |= _figures(name, pairs, _graded(pairs, _ours))
        sample = pairs if name in PUBLIC else pairs[::SPARED]
        peer |= _figures(name, sample, _graded(sample, _math_verify))
    narrate(f"through the service: {THREADS} threads, and inside a running event loop")
    ours |= asyncio.run(_throughput(sets["own"])) | _elsewhere(sets["own"][::4])
    peer["fails_in_a_thread"] = _fails_in_a_thread()
    missing = [] if SHARED.is_dir() else [f"the public sets are not in {SHARED}; set TIRGEN_SHARED"]
    return Result(
        ours=ours,
        peers={"math-verify 0.9, last box": peer},
        reached=_reached(sets, ours, peer),
        note=". ".join([
            "The rules were written on the own pairs and mended on the fresh ones, so accuracy on "
            "either is no estimate. Disputed labels (tests/verification/disputed.jsonl) count "
            "as `disputed` only. Milliseconds are CPU time of the deciding process, libraries "
            f"loaded; a hang is a comparison killed after {LIMIT_SECONDS:.0f} s. math-verify gets "
            f"the public sets whole, of the others every {SPARED}th pair",
            *missing,
        ]),
    )  # fmt: skip


def _reached(sets: Mapping[str, Sequence[LabelledPair]], ours: Figures, peer: Figures) -> bool:
    def total(figures: Figures, name: str) -> float:
        return sum(float(figures[f"{one}_{name}"] or 0) for one in sets)

    speeds = [f"{name}_pairs_per_cpu_second" for name in sets]
    right = sum(pair.correct and not pair.disputed for pairs in sets.values() for pair in pairs)
    return (
        total(ours, "false_positives") == 0
        and total(ours, "false_negatives") <= 0.03 * right
        and all(float(ours[name] or 0) > float(peer[name] or 0) for name in speeds)
        and ours["other_verdicts_in_threads"] == ours["other_verdicts_in_an_event_loop"] == 0
        and ours["processes_left"] == 0
    )


# -- the sets


def _sets() -> dict[str, list[LabelledPair]]:
    sets = {"own": _labelled(TESTS / "pairs.jsonl", "correct"), "fresh": _fresh()}
    if (SHARED / "cases").is_dir():
        sets["bug_reports"] = _labelled(SHARED / "cases" / "verify.jsonl", "expected")
        sets["hardverify"] = _hardverify(SHARED / "cases" / "hardverify_even.jsonl")
        sets["shuffled_golds"] = _shuffled(SHARED / "data")
    return sets


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _labelled(path: Path, label: str) -> list[LabelledPair]:
    return [LabelledPair(row["gold"], row["response"], row[label]) for row in _rows(path)]


def _hardverify(path: Path) -> list[LabelledPair]:
    disputed = {(row["id"], row["field"]) for row in _rows(TESTS / "disputed.jsonl")}
    return [
        LabelledPair(
            row["ground_truth"], rf"\boxed{{{row[field]}}}", right, (row["id"], field) in disputed
        )
        for row in _rows(path)
        for field, right in (("fn_output", True), ("tn_output", False))
    ]


def _fresh() -> list[LabelledPair]:
    kinds = tomllib.loads((TESTS / "fresh.toml").read_text("utf-8"))
    return [
        LabelledPair(entry["gold"], rf"So $\boxed{{{answer}}}$.", label in ("right", "missed"))
        for entries in kinds.values()
        for entry in entries
        for label in ("right", "missed", "rounded", "wrong")
        for answer in entry.get(label, [])
    ]


def _shuffled(data: Path) -> list[LabelledPair]:
    """Every gold answer beside another one, unless the two are the same number or spelled alike."""
    pairs = [pair for name in GOLDS for pair in shuffled(golds(data, name), seed=1)]
    other = [pair for pair in pairs if not (spelled_alike(*pair) or same_number(*pair))]
    return [LabelledPair(gold, rf"\boxed{{{answer}}}", False) for gold, answer in other]


# -- the figures


def _figures(
    name: str, pairs: Sequence[LabelledPair], measured: Sequence[Measured]
) -> dict[str, Any]:
    both = list(zip(pairs, measured, strict=True))
    sound = [(pair, one) for pair, one in both if not pair.disputed]
    times = sorted(one.milliseconds for one in measured)
    wrong = sum(bool(one.said) and not pair.correct for pair, one in sound)
    missed = sum(pair.correct and not one.said for pair, one in sound)
    figures = {
        "pairs": len(pairs),
        "right_answers": sum(pair.correct for pair, _ in sound),
        "disputed": len(both) - len(sound),
        "accuracy_percent": round(100 * (1 - (wrong + missed) / len(sound)), 2),
        "false_positives": wrong,
        "false_negatives": missed,
        "hangs": sum(one.said is None for one in measured),
        "mean_ms": round(sum(times) / len(times), 2),
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[int(0.99 * (len(times) - 1))], 2),
        "cpu_seconds": round(sum(times) / 1000, 2),
        "pairs_per_cpu_second": round(1000 * len(times) / sum(times), 1),
    }
    return {f"{name}_{figure}": value for figure, value in figures.items()}


async def _throughput(pairs: Sequence[LabelledPair]) -> dict[str, float]:
    """All pairs at once through `Verifier`, the start of its workers included."""
    before = _cpu_seconds()
    async with Verifier() as verifier:
        await asyncio.gather(*(verifier.verify(p.gold, p.response) for p in pairs))
    return {"service_pairs_per_cpu_second": round(len(pairs) / (_cpu_seconds() - before), 1)}


def _elsewhere(pairs: Sequence[LabelledPair]) -> dict[str, float]:
    """The blocking call where timeouts by signal fail, each in a fresh interpreter."""
    os.environ[_MARK] = str(os.getpid())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        expected = fresh.submit(_in_turn, pairs).result()
    figures: dict[str, float] = {}
    for name, judged in (("threads", _in_threads), ("an_event_loop", _in_event_loop)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            said = fresh.submit(judged, pairs).result()
        figures[f"other_verdicts_in_{name}"] = sum(
            one != other for one, other in zip(said, expected, strict=True)
        )
    time.sleep(2)
    return {**figures, "processes_left": sum(map(_is_worker_of_ours, Path("/proc").iterdir()))}


def _in_turn(pairs: Sequence[LabelledPair]) -> list[bool]:
    return [verify(pair.gold, pair.response).correct for pair in pairs]


def _in_threads(pairs: Sequence[LabelledPair]) -> list[bool]:
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda pair: verify(pair.gold, pair.response).correct, pairs))


def _in_event_loop(pairs: Sequence[LabelledPair]) -> list[bool]:
    async def inside() -> list[bool]:
        return _in_turn(pairs)

    return asyncio.run(inside())


def _is_worker_of_ours(process: Path) -> bool:
    """Started under this benchmark, and outliving who started it."""
    try:
        environment = (process / "environ").read_bytes().split(b"\0")
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return f"{_MARK}={os.getpid()}".encode() in environment and b"verification.worker" in command


def _fails_in_a_thread() -> bool:
    """Whether math-verify, with its own timeouts as it is called by default, fails in a thread."""
    import math_verify

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(math_verify.parse, r"\boxed{7}")
        return answer.exception() is not None or not answer.result()


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# -- the graders, each in its process


def _ours(gold: str, response: str) -> bool:
    """What a worker does, in this process."""
    from tirgen.verification.judge import judge
    from tirgen.verification.symbolic import decide

    answer = extract_answer(response)
    return answer is not None and judge(extract_answer(gold) or gold, answer, decide).correct


def _math_verify(gold: str, response: str) -> bool:
    import math_verify

    start = response.rfind("\\boxed")
    if start < 0:
        return False
    parsed = math_verify.parse(f"\\boxed{{{gold}}}", parsing_timeout=None)
    answer = math_verify.parse(response[start:], parsing_timeout=None)
    return bool(math_verify.verify(parsed, answer, timeout_seconds=None))


def _graded(pairs: Sequence[LabelledPair], grader: Grader) -> list[Measured]:
    """Grade each pair in a process that is killed and replaced when it overruns."""
    measured = []
    process, pipe = _start(grader)
    for pair in pairs:
        pipe.send((pair.gold, pair.response))
        one = _answer(process, pipe)
        if one.said is None:
            process.kill()
            process.join()
            process, pipe = _start(grader)
        measured.append(one)
    process.kill()
    process.join()
    return measured


def _answer(process: multiprocessing.process.BaseProcess, pipe: Connection) -> Measured:
    """What the process says within its limit of CPU time, however busy the machine is."""
    before = _process_seconds(process.pid)
    while not pipe.poll(0.2):
        if not process.is_alive() or _process_seconds(process.pid) - before > LIMIT_SECONDS:
            return Measured(None, 1000 * LIMIT_SECONDS)
    try:
        measured: Measured = pipe.recv()
    except EOFError:
        return Measured(None, 1000 * LIMIT_SECONDS)
    return measured


def _process_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start(grader: Grader) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, grader), daemon=True)
    process.start()
    theirs.close()
    if not ours.poll(300):
        raise RuntimeError("a grader's process did not start within 300 s")
    ours.recv()
    return process, ours


def _serve(pipe: Connection, grader: Grader) -> None:
    import logging

    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    _limit_memory()
    grader(r"\sqrt{8}", r"\boxed{2\sqrt{2}}")
    pipe.send("ready")
    while True:
        gold, response = pipe.recv()
        started = time.process_time()
        try:
            said = grader(gold, response)
        except Exception:  # noqa: BLE001  a grader that fails says nothing right
            said = False
        pipe.send(Measured(said, 1000 * (time.process_time() - started)))


def _limit_memory() -> None:
    """About what our own workers get, libraries included: no pair may take the machine."""
    limit = 2 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
