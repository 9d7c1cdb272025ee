"""Leases: one holder at a time, over processes, deaths and machines that cannot be looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from storage import leases
from storage.leases import Claim, Holder, Lease, LeaseLost, holders

HOLD = """
import sys, time
from pathlib import Path
from storage.leases import Claim, Lease
granted = Claim(Path(sys.argv[1]), "whole").attempt()
print(isinstance(granted, Lease), flush=True)
time.sleep(600)
"""


def held(folder: Path, name: str = "whole") -> Lease:
    granted = Claim(folder, name).attempt()
    assert isinstance(granted, Lease)
    return granted


def refused(folder: Path, name: str = "whole") -> Holder:
    granted = Claim(folder, name).attempt()
    assert isinstance(granted, Holder)
    return granted


def test_a_second_claim_is_told_who_holds_the_lease(tmp_path: Path) -> None:
    lease = held(tmp_path)
    holder = refused(tmp_path)
    assert (holder.pid, holder.token) == (os.getpid(), lease.holder.token)
    assert str(holder).startswith(f"process {os.getpid()} on ")
    assert set(holders(tmp_path)) == {"whole"}
    lease.release()
    assert holders(tmp_path) == {}


def test_a_released_lease_is_free_at_once(tmp_path: Path) -> None:
    held(tmp_path).release()
    held(tmp_path).release()


def test_leases_of_other_names_do_not_matter(tmp_path: Path) -> None:
    one, other = held(tmp_path, "1-of-2"), held(tmp_path, "2-of-2")
    refused(tmp_path, "1-of-2")
    one.release()
    other.release()


def test_a_holder_that_was_killed_is_noticed_at_once(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert refused(tmp_path).pid == holder.pid
    holder.send_signal(signal.SIGSTOP)  # silent, and alive
    refused(tmp_path)
    holder.kill()
    holder.communicate()
    held(tmp_path).release()


def test_of_many_that_claim_a_dead_holders_lease_one_gets_it(tmp_path: Path) -> None:
    for _ in range(20):
        left_by_a_dead_process(tmp_path)
        start, granted = threading.Barrier(8), list[Lease | Holder]()

        def claim(
            start: threading.Barrier = start, granted: list[Lease | Holder] = granted
        ) -> None:
            start.wait()
            granted.append(Claim(tmp_path, "whole").attempt())

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [each for each in granted if isinstance(each, Lease)]
        assert len(won) == 1
        won[0].release()


def left_by_a_dead_process(folder: Path, **changes: Any) -> Path:
    """The file of a holder whose process has ended, or, by `changes`, of another machine."""
    lease = held(folder)
    lease.release()
    path = max(folder.glob("whole.*.json"))
    holder = replace(lease.holder, started=1, **changes)
    path.write_text(json.dumps(asdict(holder)))
    return path


def test_a_silent_holder_elsewhere_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its process cannot be looked at, its silence is measured by the clock of who waits."""
    left_by_a_dead_process(tmp_path, machine="another", host="elsewhere")
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    claim = Claim(tmp_path, "whole")
    assert isinstance(claim.attempt(), Holder)
    now[0] += leases.SILENCE_SECONDS - 1
    assert isinstance(claim.attempt(), Holder)
    now[0] += 2
    granted = claim.attempt()
    assert isinstance(granted, Lease)
    granted.release()


def test_a_holder_elsewhere_that_beats_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its clock says: only that its file changes counts."""
    path = left_by_a_dead_process(tmp_path, machine="another", since="2001-01-01T00:00:00+00:00")
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    claim = Claim(tmp_path, "whole")
    for beats in range(10):
        document = {**json.loads(path.read_bytes()), "beats": beats}
        path.write_text(json.dumps(document))
        assert isinstance(claim.attempt(), Holder)
        now[0] += leases.SILENCE_SECONDS - 1


def test_a_holder_beats_and_notices_that_it_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    lease = held(tmp_path)
    deadline = time.monotonic() + 60
    while refused(tmp_path).beats < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lease.check()
    mine = max(tmp_path.glob("whole.*.json"))
    other = replace(lease.holder, token="other", host="elsewhere")
    (tmp_path / "whole.000002.json").write_text(json.dumps(asdict(other)))
    with pytest.raises(LeaseLost, match="elsewhere"):
        lease.check()
    lease.release()
    assert refused(tmp_path).token == "other"
    assert mine.name == "whole.000001.json"
