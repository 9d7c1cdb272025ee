"""Eight processes append batches at once; two are killed meanwhile, and a reader reads.

Measured is the way from records in memory to durable rows that SQL can read. Converting the records
is part of it and shown separately, since it costs most. A batch is lost if it was acknowledged and
cannot be read afterwards; it is torn if the reader saw some of its rows but not all.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb
import pyarrow as pa
from pydantic import TypeAdapter

from benchmarks import Figures, Result, narrate
from storage.datasets import Store
from storage.records import (
    Ending,
    FilterVerdict,
    Outcome,
    Problem,
    Program,
    Provenance,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)
from storage.schema import to_batch
from storage.sql import query

CLAIM = (
    "Eight processes append at once at least three times as fast as into one DuckDB file, an "
    "aggregate over what they wrote is at least three times as fast as over JSON in SQLite, and "
    "with two writers killed no acknowledged batch is lost and none is seen half."
)

WRITERS, KILLED, BATCH_ROWS = 8, 2, 200
READ_EVERY_S = 0.5
"""The reader's pause between two reads."""


class Contender(Protocol):
    """A place for batches that many processes append to."""

    def prepare(self, rows: Sequence[Trajectory]) -> Any:
        """The rows as this place stores them."""

    def append(self, prepared: Any) -> None:
        """Return only when the rows are durable."""

    def rows_by_batch(self) -> Counter[str]:
        """What a reader sees now; each batch has its own `problem_id`."""

    def aggregate(self) -> float:
        """The mean of one number over all rows, with SQL."""


class Ours:
    """The store: a Parquet file and a line in a log for each batch."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder)
        self._run = self._store.open_run("bench", {}, "bench")

    def prepare(self, rows: Sequence[Trajectory]) -> Sequence[Trajectory]:
        to_batch(rows, Trajectory)  # `append` does it again: counted twice, so as to be shown apart
        return rows

    def append(self, prepared: Sequence[Trajectory]) -> None:
        self._run.append(prepared)

    def rows_by_batch(self) -> Counter[str]:
        keys = self._run.keys()
        return Counter(problem for problem, _, _ in keys)

    def aggregate(self) -> float:
        table = query(self._store, "SELECT avg(wall_seconds) AS mean FROM running")
        return float(table["mean"][0].as_py())


class Sqlite:
    """One SQLite file in WAL mode, synced at each commit, rows as JSON beside their ids."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._connection = sqlite3.connect(folder / "rows.sqlite", timeout=600)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, batch TEXT, record TEXT)"
        )

    def prepare(self, rows: Sequence[Trajectory]) -> list[tuple[str, str, str]]:
        return [(r.trajectory_id, r.problem.problem_id, _as_json(r)) for r in rows]

    def append(self, prepared: list[tuple[str, str, str]]) -> None:
        with self._connection:
            self._connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", prepared)

    def rows_by_batch(self) -> Counter[str]:
        sql = "SELECT batch, count(*) FROM rows GROUP BY batch"
        return Counter(dict(self._connection.execute(sql).fetchall()))

    def aggregate(self) -> float:
        sql = "SELECT avg(json_extract(record, '$.cost.wall_seconds')) FROM rows"
        return float(self._connection.execute(sql).fetchone()[0])


class DuckDB:
    """One DuckDB file; whoever appends or reads opens it, and tries again while it is locked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / "rows.duckdb"

    def prepare(self, rows: Sequence[Trajectory]) -> pa.Table:
        return pa.Table.from_batches([to_batch(rows, Trajectory)])

    def append(self, prepared: pa.Table) -> None:
        with self._open() as connection:
            connection.register("batch", prepared)
            connection.execute("CREATE TABLE IF NOT EXISTS rows AS FROM batch LIMIT 0")
            connection.execute("INSERT INTO rows FROM batch")

    def rows_by_batch(self) -> Counter[str]:
        with self._open() as connection:
            sql = "SELECT problem_id, count(*) FROM rows GROUP BY problem_id"
            return Counter(dict(connection.execute(sql).fetchall()))

    def aggregate(self) -> float:
        with self._open() as connection:
            [(mean,)] = connection.execute("SELECT avg(wall_seconds) FROM rows").fetchall()
        return float(mean)

    def _open(self) -> duckdb.DuckDBPyConnection:
        while True:
            try:
                return duckdb.connect(self._path)
            except duckdb.IOException:
                time.sleep(random.uniform(0.001, 0.02))


class Ack(NamedTuple):
    """A batch that was acknowledged as durable to its writer."""

    batch: str
    seconds: float
    cpu_seconds: float
    converting_seconds: float
    """Of the CPU seconds, those before the first byte was written."""


def run(quick: bool) -> Result:
    """Measure each contender in its own folder on the same disk."""
    batches = 5 if quick else 25
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        ours = _measure(Ours, root / "ours", batches)
        sqlite = _measure(Sqlite, root / "sqlite", batches)
        one_file = _measure(DuckDB, root / "duckdb", max(2, batches // 5))
    peers = {
        f"sqlite {sqlite3.sqlite_version}": sqlite,
        f"one duckdb {duckdb.__version__} file": one_file,
    }
    reached = (
        ours["acknowledged_lost"] == ours["torn_reads"] == 0
        and _figure(ours, "rows_per_s") >= 3 * _figure(one_file, "rows_per_s")
        and _figure(sqlite, "aggregate_us_per_row") >= 3 * _figure(ours, "aggregate_us_per_row")
    )
    note = (
        f"{WRITERS} writers, {batches} batches each ({max(2, batches // 5)} for duckdb, which "
        f"would take too long), {BATCH_ROWS} rows of {len(_as_json(sample_row(0, 0, 0)))} "
        f"bytes as JSON; {KILLED} writers killed half-way; a reader polls throughout. SQLite "
        "spends less CPU on an append: it neither compresses nor makes columns. A quick run is "
        "too small for the aggregate: setting up the SQL session is most of it"
    )
    return Result(ours=ours, peers=peers, reached=reached, note=note)


def _figure(figures: Figures, name: str) -> float:
    return float(figures[name] or 0)


def _measure(contender: Callable[[Path], Contender], folder: Path, batches: int) -> Figures:
    narrate(f"{contender.__name__}: {WRITERS} writers, {batches} batches each")
    reader = contender(folder)
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for writer in range(WRITERS):
        receiving, sending = context.Pipe(duplex=True)
        process = context.Process(target=_write, args=(contender, folder, writer, batches, sending))
        process.start()
        sending.close()
        pipes.append(receiving)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    started = time.monotonic()
    for pipe in pipes:
        pipe.send("go")
    acknowledged, torn, reads = _watch(reader, pipes, processes, WRITERS * batches // 2)
    seconds = time.monotonic() - started
    for process in processes:
        process.join()
    seen = reader.rows_by_batch()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    asked = time.monotonic()
    reader.aggregate()
    asked = time.monotonic() - asked
    return {
        "rows_per_s": round(len(acknowledged) * BATCH_ROWS / seconds),
        "cpu_ms_per_append": round(_mean([a.cpu_seconds for a in acknowledged]) * 1000, 1),
        "cpu_ms_converting": round(_mean([a.converting_seconds for a in acknowledged]) * 1000, 1),
        "p99_append_s": round(
            sorted(a.seconds for a in acknowledged)[-len(acknowledged) // 100], 3
        ),
        "bytes_per_row": round(size / seen.total()),
        "aggregate_us_per_row": round(asked / seen.total() * 1e6, 2),
        "acknowledged": len(acknowledged),
        "acknowledged_lost": sum(seen[ack.batch] != BATCH_ROWS for ack in acknowledged),
        "torn_reads": torn,
        "reads": reads,
    }


def _watch(
    reader: Contender, pipes: list[Connection], processes: Sequence[BaseProcess], half: int
) -> tuple[list[Ack], int, int]:
    """Collect acknowledgements and read, until all writers have ended; kill some half-way."""
    acknowledged: list[Ack] = []
    torn = reads = 0
    last_read = time.monotonic()
    open_pipes, doomed = list(pipes), list(processes[:KILLED])
    while open_pipes:
        for pipe in wait(open_pipes, timeout=0.2):
            assert isinstance(pipe, Connection)
            try:
                acknowledged.append(pipe.recv())
            except EOFError:
                open_pipes.remove(pipe)
        if doomed and len(acknowledged) >= half:
            os.kill(doomed.pop().pid or 0, signal.SIGKILL)
        if acknowledged and time.monotonic() - last_read > READ_EVERY_S:
            torn += sum(rows != BATCH_ROWS for rows in reader.rows_by_batch().values())
            reads += 1
            last_read = time.monotonic()
    return acknowledged, torn, reads


def _write(
    contender: Callable[[Path], Contender],
    folder: Path,
    writer: int,
    batches: int,
    pipe: Connection,
) -> None:
    """One writer process: append, acknowledge, go on."""
    place = contender(folder)
    work = [[sample_row(writer, batch, n) for n in range(BATCH_ROWS)] for batch in range(batches)]
    pipe.send("ready")
    pipe.recv()
    for rows in work:
        started, cpu = time.monotonic(), time.process_time()
        prepared = place.prepare(rows)
        converting = time.process_time() - cpu
        place.append(prepared)
        spent = time.monotonic() - started, time.process_time() - cpu
        pipe.send(Ack(rows[0].problem.problem_id, *spent, converting))


def _as_json(row: Trajectory) -> str:
    """With the fastest encoder here, so that the peer is not slowed down by tirgen's."""
    return _ENCODER.dump_json(row).decode()


_ENCODER = TypeAdapter(Trajectory)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def sample_row(writer: int, batch: int, number: int) -> Trajectory:
    """A row of a few KB: four steps of words and code, and a token stream."""
    generator = random.Random(f"{writer}-{batch}-{number}")
    step = Step(
        thought=_words(generator, 60),
        action=_words(generator, 30),
        observation=_words(generator, 5),
        outcome=Outcome.OK,
    )
    tokens = tuple(generator.randrange(4_000) for _ in range(300))
    return replace(
        _TEMPLATE,
        trajectory_id=f"t{writer}-{batch}-{number}",
        problem=replace(_TEMPLATE.problem, problem_id=f"{writer}-{batch}"),
        attempt=number,
        steps=(step,) * 4,
        tokens=TokenStream(
            token_ids=tokens,
            loss_mask=(True,) * 300,
            logprobs=tuple(-round(generator.random(), 3) for _ in tokens),
        ),
    )


def _words(generator: random.Random, count: int) -> str:
    return " ".join(f"w{generator.randrange(5_000)}" for _ in range(count))


_TEMPLATE = Trajectory(
    trajectory_id="",
    dataset="bench",
    program=Program.TIRGEN,
    attempt=0,
    problem=Problem(
        problem_id="", source="bench", question=_words(random.Random(0), 40), answer="1"
    ),
    steps=(),
    final_answer="1",
    ending=Ending.FINISHED,
    verdict=Verdict(correct=True, method="none", reason="benchmark"),
    filters=(FilterVerdict(rule="none", kept=True),),
    provenance=Provenance(
        run_id="bench",
        config_hash="bench",
        actor_model="none",
        critic_model=None,
        engine="none",
        exact_tokens=True,
        sampling="{}",
        actor_prompt_hash="",
        critic_prompt_hash=None,
        seed=0,
        code_version="0",
        sandbox="none",
    ),
    created_at=0.0,
)
