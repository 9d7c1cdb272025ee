"""Every kind of file that the store writes, what is read from it, and what a flipped bit does."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.live.work import Work, every_work
from storage import damage, documents, files
from storage.calls import CallNote, calls
from storage.checking import flaws, flaws_of_policy
from storage.commits import LOG, CommitLog
from storage.compaction import Compactor
from storage.datasets import Store
from storage.errors import NotFound, StoreError
from storage.idle import IdleLog, IdleSecond
from storage.journal import Journal
from storage.leases import LEASES, Claim, Lease, holders
from storage.policies import LINEAGE, Policies
from storage.records import Step, Trajectory, Verdicts
from storage.retention import fates, remove
from storage.sql import query
from tests.rows import row
from trainer.history import HISTORY, History, history_of

RUN, POLICY = r"datasets/\w+/runs/\w+/", r"policies/\w+/"
KINDS: Mapping[str, str] = {
    "configuration": RUN + r"config\.json",
    "log": RUN + r"log\.jsonl",
    "checkpoint of a log": RUN + r"log\.checkpoint",
    "batch": RUN + r"batches/[0-9a-f]{24}\.parquet",
    "columns": RUN + r"batches/empty\.parquet",
    "journal": RUN + r"journal/.+",
    "lease": RUN + r"leases/.+",
    "note": RUN + r"calls/.+",
    "idle ledger": RUN + r"idle/.+",
    "manifest": r"datasets/\w+/versions/v\d+/manifest\.json",
    "rows": r"datasets/\w+/versions/v\d+/part-.+",
    "verdicts": r"datasets/\w+/versions/v\d+/verdicts-.+",
    "removed version": r"datasets/\w+/removed/v\d+/manifest\.json",
    "tag": r"datasets/\w+/tags/.+",
    "policy": POLICY + r"versions/v\d+/manifest\.json",
    "weights": POLICY + r"versions/v\d+/model\..+",
    "lineage": POLICY + r"work/\w+/lineage\.json",
    "history": POLICY + r"work/\w+/history\.jsonl",
}
"""By kind, the paths of its files in the store."""
FOLLOWS = r"tirgen\.duckdb|.+/latest|.+/compaction\.lock"
"""What is made from the rest, or has no content."""


def kind_of(path: str) -> str | None:
    """The kind of a file, by its path in the store; None for what follows from the rest.

    Raises KeyError for one of no known kind.
    """
    if re.fullmatch(FOLLOWS, path):
        return None
    for kind, pattern in KINDS.items():
        if re.fullmatch(pattern, path):
            return kind
    raise KeyError(path)


def rows_of(first: int, count: int) -> list[Trajectory]:
    steps = (Step(thought="words " * 50, action="print(1)", observation="1"),)
    made = (row(f"p{n}", kept=n % 2 == 0) for n in range(first, first + count))
    return [replace(one, dataset="bad", steps=steps) for one in made]


def make(root: Path) -> Store:
    """A store with every kind of file: a published run, one at work, and a trained policy."""
    store = Store(root)
    run = store.open_run("bad", {"problems": {"limit": 8}}, "one")
    for start in range(0, 8, 2):
        run.append(rows_of(start, 2))
    Compactor(run.folder, fan_in=2).compact()
    log = CommitLog(run.folder / LOG)
    log.update()
    log.save_checkpoint(1)
    run.publish(run.read(), {"problems": 8})
    first = run.publish(run.read(), {"problems": 8})
    found = [replace(Verdicts.of(one), filters=()) for one in first.read()]
    store.derive(first, found, lambda: dict(first.manifest))
    run.publish(run.read(), {"problems": 8, "results": []})
    store.tag("bad@v3", "gold")
    remove(store, [one for one in fates(store) if str(one.version) == "bad@v1"])

    work = store.open_run("bad", {"problems": {"limit": 9}}, "two")
    work.append(rows_of(20, 3))
    work.append(rows_of(30, 3))
    Journal(work.folder).of("unfinished").append("key", {"text": "a reply", "tokens": [1, 2, 3]})
    note = CallNote(work.folder)
    note.write({"done": 6})
    seconds = [IdleSecond(roles="actor", second=n, slots=4, busy=3, sandbox=1) for n in range(3)]
    IdleLog(work.folder, note.name).append(seconds)
    lease = Claim(work.folder / LEASES, "whole").attempt()
    assert isinstance(lease, Lease)
    lease.release()

    policies = Policies(store.root)
    described = {"kind": "sft", "parent": "p", "dataset": "bad@v3", "config_hash": "done"}
    policies.publish("pupil", lambda to: _weights(to), described)
    training = policies.work("pupil", "begun")
    files.make_folder(training)
    files.write_atomic(training / LINEAGE, documents.dump({"dataset": "bad@v2"}))
    history = History(training / HISTORY, 0)
    for step in range(3):
        history.append({"step": step, "loss": 0.5})
    return store


def _weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(random.Random(0).randbytes(400))


def _sql(*queries: str) -> Callable[[Store], Any]:
    # The name makes damage in the dataset an error.
    return lambda store: [query(store, one + " -- 'bad'").to_pylist() for one in queries]


def _runs(store: Store) -> Any:
    runs = [store.find_run("bad", name) for name in ("one", "two")]
    return [run and (list(run.read()), sorted(run.keys())) for run in runs]


def _work(store: Store) -> list[Work]:
    return sorted(every_work(store), key=lambda work: work.name)


def _gc(store: Store) -> Any:
    found = [(str(one.version), one.stays) for one in fates(store)]
    for _, stays in found:
        if stays and stays.startswith("damaged"):
            raise StoreError(stays, "it stays, and gc says why")
    return found


def _policy(store: Store) -> Any:
    policies = Policies(store.root)
    folder = policies.version("pupil").fetched()
    weights = (folder / "model.safetensors").read_bytes()
    return weights, policies.unfinished(), history_of(policies.work("pupil", "begun"))


READS: Mapping[str, Callable[[Store], Any]] = {
    "rows": _sql(
        "SELECT sum(hash(t)) AS h FROM (FROM all_trajectories UNION ALL FROM running) AS t"
    ),
    "versions": _sql("FROM datasets ORDER BY ALL", "FROM origins ORDER BY ALL"),
    "tags": _sql("FROM tags"),
    "policies": _sql("SELECT * EXCLUDE (path) FROM policies"),
    "idle": _sql("FROM idle ORDER BY ALL"),
    "runs": _runs,
    "configurations": lambda store: [(one.name, one.kind, one.config) for one in _work(store)],
    "calls": lambda store: [calls(one.folder) for one in _work(store)],
    "holders": lambda store: [holders(one.folder / LEASES) for one in _work(store)],
    "tagged": lambda store: [str(store.version("bad@gold")), *store.version("bad@gold").read()],
    "gc": _gc,
    "policy": _policy,
}
"""By name, what is read of a store, and by SQL what names the damaged dataset."""

OF_KIND: Mapping[str, tuple[str, ...]] = {
    "configuration": ("runs", "configurations"),
    "log": ("rows", "runs"),
    "checkpoint of a log": ("rows", "runs"),
    "batch": ("rows", "runs"),
    "columns": ("rows", "runs"),
    "journal": ("journal",),
    "lease": ("holders", "gc"),
    "note": ("calls",),
    "idle ledger": ("idle",),
    "manifest": ("rows", "versions", "tagged", "gc"),
    "rows": ("rows", "tagged"),
    "verdicts": ("rows", "tagged"),
    "removed version": ("versions", "rows"),
    "tag": ("tags", "tagged", "gc"),
    "policy": ("policies", "policy", "gc"),
    "weights": ("policy",),
    "lineage": ("policy", "gc"),
    "history": ("policy",),
}
"""What rests on a kind of file."""


ASKED_AGAIN = "the call is made again"


def journalled(store: Store) -> Any:
    """The kept reply; a lost one counts as right, since its call is only made again."""
    folder = store.root / "datasets" / "bad" / "runs" / "two"
    journal = Journal(folder)
    journal.unfinished()  # as a job begins
    return journal.of("unfinished").read() or ASKED_AGAIN


def answers(store: Store, names: Iterable[str]) -> dict[str, Any]:
    """What is read, or the error of the store; any other error is one of ours and passes."""
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = READS[name](store) if name != "journal" else journalled(store)
        except StoreError as error:
            found[name] = error
    return found


def checked(store: Store) -> bool:
    """Whether a check finds damage."""
    try:
        return any(flaws(store, "bad")) or any(flaws_of_policy(Policies(store.root), "pupil"))
    except NotFound:
        return True


class Sweep:
    """Flips bits one after the other and counts, by kind of file, what came of it."""

    def __init__(self, store: Store) -> None:
        self.found: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.wrong: list[str] = []
        """Flips that gave another answer and no sign of it."""
        self._store = store
        damage._warned.clear()
        self._right = answers(store, [*READS, "journal"])
        errors = [one for one in self._right.values() if isinstance(one, StoreError)]
        assert not errors, errors
        assert not damage._warned

    def flip(self, path: Path, kind: str, bit: int, reads: Iterable[str]) -> None:
        """Flip one bit of a file, read, and flip it back."""
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        damage._warned.clear()
        try:
            found = answers(self._store, reads)
            known = checked(self._store)
        finally:
            path.write_bytes(whole)
        self.count(kind, f"bit {bit} of {path.relative_to(self._store.root)}", found)
        self.found[kind]["check"] += known

    def count(self, kind: str, what: str, found: Mapping[str, Any]) -> None:
        """Count what was read after a flip, and what was warned about meanwhile."""
        differs = [name for name, answer in found.items() if answer != self._right[name]]
        untold = [
            name
            for name in differs
            if not isinstance(found[name], StoreError) and found[name] != ASKED_AGAIN
        ]
        if differs == ["journal"] and not untold:
            self.found[kind][ASKED_AGAIN] += 1
        elif untold and not damage._warned:
            self.found[kind]["WRONG"] += 1
            self.wrong.append(f"{what}: {untold}")
        elif differs:
            self.found[kind]["read" if not untold else "left out and told"] += 1
        else:
            self.found[kind]["right"] += 1
        self.found[kind]["flips"] += 1
