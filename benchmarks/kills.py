"""Jobs that are killed at random instants, again and again, while a reader looks on.

What a reader saw before a kill must be there afterwards, once and whole, and what was paid for is
not paid for again. Each job is killed with all its processes and started again by the same command.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from benchmarks import Figures, Result, narrate
from benchmarks._slots_server import SlotsServer, application
from benchmarks.store import sample_row
from storage.checking import flaws, flaws_of_policy
from storage.datasets import Store
from storage.errors import NotFound
from storage.policies import Policies
from storage.runs import Run
from tirgen.embedded.models import MODEL_DIR

CLAIM = (
    "Generation, curation, export, compaction, publication, fine-tuning and RL, killed at random "
    "instants, lose nothing that a reader has seen, double nothing, show nothing partial, and ask "
    "an engine again at most what was in flight."
)
SECONDS, QUICK_SECONDS = 360.0, 30.0
SHARES = {
    "generation": 0.2, "curation": 0.08, "export": 0.06, "compaction": 0.08, "publication": 0.08,
    "sft": 0.2, "rl": 0.3,
}  # fmt: skip
"""Of the time."""
PROBLEMS, ANSWER_SECONDS, SLOTS = 40, 0.3, 16


@dataclass(slots=True)
class Tally:
    """What a kind of job has gone through."""

    kills: int = 0
    finished: int = 0
    """Jobs that came to their end in spite of the kills before."""
    acknowledged: int = 0
    """Rows, versions or files that a reader saw before a kill, each counted once."""
    lost: int = 0
    doubled: int = 0
    partial: int = 0
    complaints: list[str] = field(default_factory=list)


class Forks:
    """A warm process (`benchmarks._killed`) and the command that runs in a fork of it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks._killed"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = 0

    def start(self, words: list[str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self.pid = int(self._line())

    def wait(self, seconds: float) -> int | None:
        """The status once the command has ended; None if it has not within so long."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return int(self._line()) if ready else None

    def kill(self) -> None:
        """Kill all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait(60)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += self._process.stdout.read(1)
        return line


class Subject(Protocol):
    """A kind of job, in a store of its own or on the data of another."""

    def words(self) -> list[str]:
        """The command, the same until it has finished."""

    def seen(self) -> Counter[str]:
        """What a reader finds now, and how often."""

    def partial(self) -> list[str]:
        """What a reader finds that is not whole."""

    def finished(self) -> list[str]:
        """What is wrong at the end of a job; the next command is another one."""


class Generation:
    """`tirgen generate`, with a new set of problems for each job."""

    def __init__(self, root: Path, url: str) -> None:
        self.store = Store(root / "store")
        self._root, self._url, self._number = root, url, 0
        self._config()

    @property
    def dataset(self) -> str:
        return f"made{self._number}"

    def words(self) -> list[str]:
        return ["generate", "--config", str(self._root / "run.json"), "--store", str(self.store)]

    def seen(self) -> Counter[str]:
        return Counter(dict(_rows_of(self.store, self.dataset)))

    def partial(self) -> list[str]:
        return _flaws(self.store, self.dataset)

    def finished(self) -> list[str]:
        rows = list(self.store.version(self.dataset).read())
        wrong = [] if len({row.problem.problem_id for row in rows}) == PROBLEMS else ["rows lack"]
        self._number += 1
        self._config()
        return wrong

    def _config(self) -> None:
        problems = self._root / "problems.jsonl"
        lines = (
            json.dumps({"question": f"#{self._number}-{n}: what is 17 + 25?", "answer": "42"})
            for n in range(PROBLEMS)
        )
        problems.write_text("\n".join(lines))
        roles = {
            role: {"kind": "tokens", "base_urls": [self._url], "model": role,
                   "tokenizer": str(MODEL_DIR), "concurrency": SLOTS}
            for role in ("actor", "critic")
        }  # fmt: skip
        config = {
            "dataset": self.dataset, "problems": {"path": str(problems)}, "attempts": 1,
            "cot_samples": 0, "live_trajectories": PROBLEMS, "prompts": "standard",
            "loop": {"steps": 1, "step_delimiter": ""}, "filters": {"off": ["code_quality"]},
            **roles,
        }  # fmt: skip
        (self._root / "run.json").write_text(json.dumps(config))


class Versions:
    """Jobs that publish versions of one dataset: each shows all rows, or is not there."""

    def __init__(self, store: Store, dataset: str, words: Callable[[int], list[str]]) -> None:
        self._store, self._dataset, self._words, self._number = store, dataset, words, 1
        self._wanted = self._ids("v1")

    def words(self) -> list[str]:
        return self._words(self._number)

    def seen(self) -> Counter[str]:
        return Counter(str(version) for version in self._store.versions(self._dataset))

    def partial(self) -> list[str]:
        newest = self._store.versions(self._dataset)[-1].version
        wrong = [] if self._ids(newest) == self._wanted else [f"{newest} lacks rows"]
        return wrong + _flaws(self._store, f"{self._dataset}@{newest}")

    def finished(self) -> list[str]:
        self._number += 1
        return []

    def _ids(self, version: str) -> list[str]:
        rows = self._store.version(f"{self._dataset}@{version}").read()
        return [row.trajectory_id for row in rows]


class Export:
    """`tirgen dataset export`: the file has every row, or is not there."""

    def __init__(self, store: Store, dataset: str, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._store, self._dataset = store, dataset
        self._lines = store.version(dataset).manifest["kept_rows"]
        folder.mkdir()

    def words(self) -> list[str]:
        path = str(self._folder / f"{self._number}.jsonl")
        return ["dataset", "export", self._dataset, path, "--store", str(self._store)]

    def seen(self) -> Counter[str]:
        return Counter(path.name for path in self._folder.glob("*.jsonl"))

    def partial(self) -> list[str]:
        short = (path for path in self._folder.glob("*.jsonl") if self._lacks(path))
        return [f"{path.name} lacks rows" for path in short]

    def finished(self) -> list[str]:
        self._number += 1
        return []

    def _lacks(self, path: Path) -> bool:
        return len(path.read_text().splitlines()) != int(self._lines)


class Compaction:
    """A compactor in another process, while rows are appended here."""

    def __init__(self, store: Store) -> None:
        self._run = store.open_run("compacted", {}, "c0ffee")
        self._appended: set[str] = set()
        self.seen()

    def words(self) -> list[str]:
        return ["compact", str(self._run.folder)]

    def seen(self) -> Counter[str]:
        for _ in range(12):
            row = replace(sample_row(0, 0, len(self._appended)), dataset="compacted")
            self._run.append([row])
            self._appended.add(row.trajectory_id)
        return _ids(self._run)

    def partial(self) -> list[str]:
        missing = self._appended - {row.trajectory_id for row in self._run.read()}
        return [f"{len(missing)} rows are not there"] if missing else []

    def finished(self) -> list[str]:
        return []


class Training:
    """A training of the pocket, each time under another name.

    If it learns from stored rows it ends in the weights of the first, which was not killed. Rounds
    of RL sample rows of another name each time, so their weights are not compared here
    (tests/flows/training/test_rounds.py does it, in stores of their own).
    """

    def __init__(self, store: Store, name: str, words: list[str], *, same_rows: bool) -> None:
        self._same_rows = same_rows
        self._policies, self._name, self._words = Policies(store.root), name, words
        self._store, self._number = store, 0
        self._right: str | None = None

    def words(self) -> list[str]:
        return [*self._words, "--policy", f"{self._name}{self._number}"]

    def seen(self) -> Counter[str]:
        name = f"{self._name}{self._number}"
        found = Counter(str(one) for one in self._policies.versions(name))
        for dataset in self._store.names():
            if dataset == f"{name}-rollouts":
                found.update(dict(_rows_of(self._store, dataset)))
        return found

    def partial(self) -> list[str]:
        with suppress(NotFound):
            found = flaws_of_policy(self._policies, f"{self._name}{self._number}")
            return [f"{flaw.path} {flaw.why}" for flaw in found]
        return []

    def finished(self) -> list[str]:
        folder = self._policies.version(f"{self._name}{self._number}").path
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        self._right = self._right or weights
        self._number += 1
        differs = self._same_rows and weights != self._right
        return ["the weights are others"] if differs else []


def _rows_of(store: Store, dataset: str) -> Iterator[tuple[str, int]]:
    """The trajectories of all runs of a dataset, and how many rows each has that say the same."""
    for run in sorted((store.root / "datasets" / dataset / "runs").glob("*")):
        found: Run | None = store.find_run(dataset, run.name)
        if found:
            yield from _ids(found).items()


def _ids(run: Run) -> Counter[str]:
    """Of every committed row."""
    ids = run.every_row(["trajectory_id"])["trajectory_id"].to_pylist()
    return Counter(str(one) for one in ids)


def _flaws(store: Store, reference: str) -> list[str]:
    """Without the half line that a killed writer leaves, which commits nothing."""
    try:
        found = [flaw for flaw in flaws(store, reference) if "cut short" not in flaw.why]
    except NotFound:
        return []
    return [f"{flaw.path} {flaw.why}" for flaw in found]


class Engine(SlotsServer):
    """An engine that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(ANSWER_SECONDS, SLOTS, 0.0)
        self.asked = Counter[str]()
        self.bearable = 0
        """Requests that were in flight at kills, and so may be asked again."""

    @property
    def twice(self) -> int:
        return self.asked.total() - len(self.asked)

    def killed(self) -> None:
        self.bearable += self._running + self._waiting

    async def _worked(self, body: Any) -> None:
        if (body.get("max_tokens") or 1000) > 12:
            text = json.dumps(body, sort_keys=True)
            self.asked[hashlib.sha256(text.encode()).hexdigest()] += 1
        await super()._worked(body)


@contextmanager
def _serving(engine: Engine) -> Iterator[str]:
    """Serve in a thread; yields the address."""
    loop, ready, urls = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def serve() -> None:
        runner = web.AppRunner(application(engine), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        ready.set()

    loop.create_task(serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ready.wait()
    yield urls[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def _undisturbed(forks: Forks, subject: Subject) -> float:
    """How many seconds a job takes that is not killed. Raises RuntimeError if it fails."""
    began, words = time.monotonic(), subject.words()
    forks.start(words)
    if status := forks.wait(600):
        raise RuntimeError(f"{words} ended with {status}")
    subject.finished()
    return time.monotonic() - began


def _kill_for(
    seconds: float,
    longest: float,
    forks: Forks,
    subject: Subject,
    killed: Callable[[], None] = lambda: None,
) -> Tally:
    """Start the job and kill it at a random instant, for so many seconds."""
    tally, rng, ever = Tally(), random.Random(1), set[str]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        forks.start(subject.words())
        status = forks.wait(rng.uniform(0, longest))
        before = set(subject.seen())
        if status is None:
            killed()
            forks.kill()
            tally.kills += 1
        after = subject.seen()
        wrong = subject.partial()
        tally.acknowledged += len(before - ever)
        ever |= before
        tally.lost += len(before - set(after))
        tally.doubled += sum(after.values()) - len(after)
        tally.partial += len(wrong)
        if status is not None:
            ended = [f"status {status}"] if status else subject.finished()
            tally.finished += not ended
            wrong += ended
        tally.complaints += wrong
    return tally


def run(quick: bool) -> Result:
    total = QUICK_SECONDS if quick else SECONDS
    tallies: dict[str, Tally] = {}
    engine = Engine()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, _serving(engine) as url:
        root, forks = Path(name), Forks()
        generation = Generation(root, url)
        data, longest = generation.dataset, _undisturbed(forks, generation)
        store = str(generation.store)

        def curate(number: int) -> list[str]:
            setting = f"filters.minimum_code_lines={number}"
            return ["dataset", "curate", f"{data}@v1", "--set", setting, "--store", store]

        small = (
            *("rollouts.problems.limit=8", "rollouts.groups=null", "rollouts.samples=4"),
            *("rollouts.branches=null", "update.updates=2"),
        )
        settings = [part for each in small for part in ("--set", each)]
        subjects: dict[str, Callable[[], Subject]] = {
            "generation": lambda: generation,
            "curation": lambda: Versions(generation.store, data, curate),
            "export": lambda: Export(generation.store, data, root / "exports"),
            "compaction": lambda: Compaction(generation.store),
            "publication": lambda: _publications(generation.store),
            "sft": lambda: Training(
                generation.store, "tuned",
                ["policy", "sft", f"{data}@v1", "--set", "epochs=1", "--set",
                 "checkpoint_every=1", "--store", store],
                same_rows=True,
            ),
            "rl": lambda: Training(
                generation.store, "reinforced",
                ["policy", "rl", "tuned0@v1", "--rounds", "1", *settings, "--store", store],
                same_rows=False,
            ),
        }  # fmt: skip
        for kind, make in subjects.items():
            subject = make()
            if kind != "generation":
                longest = _undisturbed(forks, subject)
            killed = engine.killed if kind == "generation" else (lambda: None)
            tallies[kind] = _kill_for(total * SHARES[kind], 1.2 * longest, forks, subject, killed)
            narrate(f"{kind}: {tallies[kind]}")
        forks.close()
    return _result(tallies, engine)


def _publications(store: Store) -> Versions:
    run = store.open_run("published", {}, "c0ffee")
    run.append([replace(sample_row(0, 0, n), dataset="published") for n in range(200)])
    run.publish(run.read(), {})
    words = ["publish", str(store), "published", "c0ffee"]
    return Versions(store, "published", lambda number: words)


def _result(tallies: dict[str, Tally], engine: Engine) -> Result:
    names = ("kills", "finished", "acknowledged", "lost", "doubled", "partial")
    each: dict[str, Figures] = {
        kind: {name: getattr(tally, name) for name in names} for kind, tally in tallies.items()
    }
    sums = {name: sum(getattr(tally, name) for tally in tallies.values()) for name in names}
    complaints = [one for tally in tallies.values() for one in tally.complaints]
    for complaint in complaints:
        narrate(complaint)
    return Result(
        ours={**sums, "calls": len(engine.asked), "calls_paid_twice": engine.twice,
              "in_flight_at_kills": engine.bearable},
        peers=each,
        reached=not complaints and not sums["lost"] and not sums["doubled"]
        and engine.twice <= engine.bearable and all(tally.kills for tally in tallies.values()),
        note=(
            "SIGKILL to all processes of a job at a random instant of its length; what a reader "
            "saw before counts as acknowledged: rows, versions, files. The lines below are the "
            "kinds of jobs; an SFT that finished has the weights of one that was not killed"
        ),
    )  # fmt: skip
