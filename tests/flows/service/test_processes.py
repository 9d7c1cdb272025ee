"""Processes that outlive their starter, and records that may be stale."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.service.processes import Process, Processes

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in made.all():
        process.stop(1)


def test_a_started_process_is_found_by_another_look(processes: Processes, tmp_path: Path) -> None:
    started = processes.start("one", SLEEPER, {}, "http://x")
    assert Processes(tmp_path).find("one") == started
    started.stop()
    os.waitpid(started.pid, 0)
    assert Processes(tmp_path).find("one") is None


def test_what_it_prints_is_in_its_log(processes: Processes) -> None:
    processes.start("one", SLEEPER, {}, "")
    deadline = time.monotonic() + 30
    while processes.log("one").read_text() != "up\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_record_of_a_process_that_is_gone_names_no_stranger(
    processes: Processes, tmp_path: Path
) -> None:
    """The kernel gave our own process the id of one that was recorded long ago."""
    started = processes.start("one", SLEEPER, {}, "")
    stale = replace(started, started=started.started - 1)
    (tmp_path / "processes" / "one.json").write_text(json.dumps(asdict(stale)))
    assert processes.find("one") is None
    started.stop()
    os.waitpid(started.pid, 0)


def test_a_process_that_ignores_its_end_is_killed(processes: Processes) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up')"
    process: Process = processes.start(
        "one", [sys.executable, "-uc", f"{stubborn}; time.sleep(600)"], {}, ""
    )
    while "up" not in processes.log("one").read_text():
        time.sleep(0.05)
    process.stop(0.5)
    assert os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]) == -9
