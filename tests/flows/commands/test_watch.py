"""`tirgen watch`: a real run seen from another process, killed, continued, and hostile rows."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run
from flows.live.screen import duration, screen
from flows.live.state import Watcher
from flows.live.work import find_work
from storage.calls import CallNote, calls
from storage.datasets import Store
from storage.errors import NotFound
from storage.leases import LEASES, Claim, Lease
from tests.flows.training.waiting import wait_until
from tests.rows import row
from tirgen.embedded.models import MODEL_DIR

SETTINGS = {"problems.limit": 24, "attempts": 2, "cot_samples": 1, "live_trajectories": 4}


def generation(store: Path, engine: str, sandbox: str) -> list[str]:
    roles: dict[str, Any] = {"sandbox.services": [sandbox]}
    for role in ("actor", "critic"):
        served = {"kind": "tokens", "base_urls": [engine], "model": "pocket"}
        served["tokenizer"] = str(MODEL_DIR)
        roles |= {f"{role}.{name}": value for name, value in served.items()}
    words = ["generate", "--dataset", "seen", "--store", str(store), "--json"]
    for name, value in (SETTINGS | roles).items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    return words


def watched(store: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = run(["watch", *words, "--store", str(store), "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_is_seen_at_work_killed_and_continued_by_the_command_that_is_told(
    tmp_path: Path, pocket_url: str, sandbox_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tirgen = [sys.executable, "-m", "flows"]
    started = [*tirgen, *generation(tmp_path, pocket_url, sandbox_url)]
    process = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / "datasets" / "seen"
    wait_until(lambda: [c for f in work.glob("runs/*") for c in calls(f) if c.progress], 120)
    code, state = watched(tmp_path, capsys, "seen", "--once")
    assert (code, state["status"], state["kind"]) == (0, "running", "generation")
    assert f"process {process.pid} on" in state["holders"][0]
    assert (state["total"], state["unit"]) == (24, "problems")
    wait_until(lambda: watched(tmp_path, capsys, "--latest", "--once")[1]["rows"]["rows"], 120)

    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    code, state = watched(tmp_path, capsys, "seen")
    assert (code, state["status"]) == (1, "stopped")
    assert state["why"] == f"process {process.pid} on {calls_host(work)} was killed"
    _, *words = shlex.split(state["resume"])
    assert run(["watch", state["name"][:9], "--once", "--store", str(tmp_path)]) == 1
    assert "tirgen generate" in capsys.readouterr().out.replace("\n", "")

    process = subprocess.Popen([*tirgen, *words], stdout=subprocess.DEVNULL)
    wait_until(lambda: watched(tmp_path, capsys, "seen", "--once")[1]["status"] == "running", 60)
    code, state = watched(tmp_path, capsys, "seen")
    assert process.wait() == 0
    assert (code, state["status"], state["published"]) == (0, "finished", "seen@v1")
    assert (state["done"], state["in_progress"], state["resume"]) == (24, None, None)
    assert state["rows"]["programs"]["ok"] > 0
    assert state["spent"]["minutes"] > 0
    code, listed = watched(tmp_path, capsys)
    assert [one["published"] for one in listed] == ["seen@v1"]


def calls_host(dataset: Path) -> str:
    [folder] = dataset.glob("runs/*")
    return calls(folder)[0].host


def held(folder: Path) -> Lease:
    lease = Claim(folder / LEASES, "whole").attempt()
    assert isinstance(lease, Lease)
    return lease


def test_time_left_follows_from_what_this_call_has_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.open_run("d", {"actor": {}}, "c0ffee")
    lease = held(made.folder)
    note = CallNote(made.folder, started=ago(100))
    note.write({"done": 60, "done_before": 20, "total": 100, "unit": "problems", "live": 3})
    state = Watcher(store, find_work(store, "d")).look()
    assert state.eta_seconds == pytest.approx(40 * 100 / 40, rel=0.01)
    assert (state.done, state.in_progress) == (60, 3)
    note.write({"done": 60}, ended=True, error=OSError(28, "No space left on device"))
    lease.release()
    state = Watcher(store, find_work(store, "d")).look()
    assert state.status == "stopped"
    assert state.why == "OSError: [Errno 28] No space left on device"


def ago(seconds_ago: float) -> float:
    return time.monotonic() - seconds_ago


def test_a_silent_holder_of_another_machine_is_at_work_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    made = store.open_run("d", {}, "c0ffee")
    lease = held(made.folder)
    try:
        (path,) = (made.folder / LEASES).glob("*.json")
        document = json.loads(path.read_text()) | {"machine": "elsewhere", "host": "far"}
        path.write_text(json.dumps(document))
        watcher = Watcher(store, find_work(store, "d"))
        assert watcher.look().status == "running"
        monkeypatch.setattr("flows.live.state.SILENCE_SECONDS", 0.0)
        assert watcher.look().status == "stopped"
    finally:
        lease.release()


def test_text_of_rows_cannot_act_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07[bold]x[/bold]\u202e"
    one = row(hostile)
    Store(tmp_path).open_run("d", {}, "c0ffee").append([replace(one, final_answer=hostile)])
    assert run(["watch", "d", "--once", "--store", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "[bold]x" in told


def test_names_are_found_by_their_beginning_and_told_where_they_fit_several(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for config_hash in ("aaaa1", "aaaa2", "bbbb1"):
        store.open_run("d", {}, config_hash)
    assert find_work(store, "d-b").config_hash == "bbbb1"
    assert find_work(store, "d").made == "d"
    with pytest.raises(NotFound, match="several runs begin with 'd-a'"):
        find_work(store, "d-a")
    with pytest.raises(NotFound, match="no dataset, policy or run 'nothing'"):
        find_work(store, "nothing")


def test_a_run_without_a_row_can_be_watched(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open_run("d", {}, "c0ffee")
    state = Watcher(store, find_work(store, "d")).look()
    assert (state.status, state.why) == ("stopped", "it was ended before it made a row")
    assert screen(state)


@pytest.mark.parametrize(
    ("seconds", "told"), [(12, "12 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")]
)
def test_durations_are_told_in_two_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told
