"""Generations on several real engines, of which one is killed, stopped or another model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from storage.datasets import Store
from tests.embedded.tiny_model import write_tiny_model
from tests.jobs.generating import committed
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import EngineMisconfigured
from tirgen.jobs.doctor import examine
from tirgen.jobs.engines import open_engine
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import load_settings
from tirgen.tir.prompt_check import CheckLevel


@contextmanager
def served(folder: Path = MODEL_DIR) -> Iterator[tuple[str, int]]:
    """Address and process id of an engine that serves the folder as ``pocket``."""
    command = ["-m", "tirgen.embedded.server", str(folder), "--model", "pocket", "--port", "0"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def config(urls: list[str], limit: int) -> GenerateConfig:
    settings = {"dataset": "killed", "problems.path": "pocket:test", "problems.limit": limit}
    for role in ("actor", "critic"):
        settings |= {f"{role}.kind": "tokens", f"{role}.base_urls": urls, f"{role}.model": "pocket"}
    return load_settings(GenerateConfig, None, settings)


def once_committed(store: Store, rows: int, act: Callable[[], None]) -> threading.Thread:
    """Do something when so many rows are committed."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while len(committed(store)) < rows and time.monotonic() < deadline:
            time.sleep(0.1)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "fate", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)]
)
async def test_a_replica_that_dies_or_hangs_under_load_loses_no_row(
    tmp_path: Path, fate: signal.Signals
) -> None:
    store = Store(tmp_path)
    with ExitStack() as stack:
        servers = [stack.enter_context(served()) for _ in range(2)]
        urls = [url for url, _ in servers]
        act = once_committed(store, 30, lambda: os.kill(servers[0][1], fate))
        report = await generate(config(urls, 90), store)
        act.join()
    assert report.progress.infrastructure == 0
    assert report.progress.settled == 90
    rows = list(report.version.read())
    assert len({row.trajectory_id for row in rows}) == len(rows) == report.progress.trajectories
    places = Counter(url for row in rows for url in urls if url in row.provenance.engine)
    assert len(places) == 2
    assert sum(places.values()) >= len(rows)


async def test_a_server_of_another_model_is_no_replica(tmp_path: Path) -> None:
    folders = [write_tiny_model(tmp_path / str(seed), seed) for seed in range(2)]
    with served(folders[0]) as (one, _), served(folders[1]) as (other, _):
        urls, tokenizer = (one, other), str(folders[0])
        engine = EngineConfig(kind="tokens", base_urls=urls, model="pocket", tokenizer=tokenizer)
        with pytest.raises(EngineMisconfigured, match="is no replica of"):
            async with open_engine(engine):
                pass


async def test_a_replica_that_is_absent_at_the_start_is_left_out() -> None:
    with served() as (url, _):
        urls = ("http://127.0.0.1:1/v1", url)
        engine = EngineConfig(kind="tokens", base_urls=urls, model="pocket")
        async with open_engine(engine) as opened:
            assert opened.model == "pocket"


async def test_the_doctor_names_each_replica_and_the_one_that_is_absent(tmp_path: Path) -> None:
    with served() as (url, _):
        urls = [url, "http://127.0.0.1:1/v1"]
        findings = await examine(config(urls, 1), Store(tmp_path))
    found = {(one.check, one.level) for one in findings if one.check.startswith("replica")}
    assert found == {
        (f"replica ({r})", level) for r in ("actor", "critic") for level in ("ok", "FAIL")
    }
    [absent, _] = [one.found for one in findings if one.level is CheckLevel.FAIL]
    assert "127.0.0.1:1" in absent
