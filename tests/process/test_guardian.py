from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tirgen.process import wait_until

FAMILY = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
def leave(*_):
    (folder / "checkpoint").write_text("written on SIGTERM")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
time.sleep(0.3)
(folder / "pids").write_text(f"{os.getpid()} {child.pid} {stray.pid}")
time.sleep(600)
"""
CALLER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-m", "tirgen.guardian", *sys.argv[1:]],
                 stdin=subprocess.PIPE).wait()
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def family(folder: Path) -> tuple[list[str], Path]:
    script = folder / "trainer.py"
    script.write_text(textwrap.dedent(FAMILY))
    return [sys.executable, str(script), str(folder)], folder / "pids"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_descendant_outlives_a_caller_that_is_killed(tmp_path: Path, how: Any) -> None:
    """The grandchild that ignores SIGTERM and the one in a session of its own included."""
    command, pids = family(tmp_path)
    caller = subprocess.Popen([sys.executable, "-c", CALLER, *command])
    assert wait_until(lambda: pids.exists() and bool(pids.read_text()), 30)
    started = [int(pid) for pid in pids.read_text().split()]
    assert all(map(lives, started))
    os.kill(caller.pid, how)
    caller.wait()
    assert wait_until(lambda: not any(map(lives, started)), 30)
    assert (tmp_path / "checkpoint").read_text() == "written on SIGTERM"


@pytest.mark.parametrize("which", ["outer", "inner"])
def test_no_descendant_outlives_a_guardian_that_is_killed(tmp_path: Path, which: str) -> None:
    """Only the stubborn grandchild needs SIGKILL; the others had their time."""
    command, pids = family(tmp_path)
    outer = subprocess.Popen(
        [sys.executable, "-m", "tirgen.guardian", *command], stdin=subprocess.PIPE
    )
    assert wait_until(lambda: pids.exists() and bool(pids.read_text()), 30)
    started = [int(pid) for pid in pids.read_text().split()]
    inner = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
    os.kill(outer.pid if which == "outer" else inner, signal.SIGKILL)
    assert wait_until(lambda: not any(map(lives, [*started, inner])), 30)
    assert (tmp_path / "checkpoint").read_text() == "written on SIGTERM"
    assert outer.wait(30) == (-9 if which == "outer" else 128 + 9)
    assert outer.stdin is not None
    outer.stdin.close()


def test_the_guardian_itself_may_be_told_to_end(tmp_path: Path) -> None:
    command, pids = family(tmp_path)
    guardian = subprocess.Popen(
        [sys.executable, "-m", "tirgen.guardian", *command], stdin=subprocess.PIPE
    )
    assert wait_until(lambda: pids.exists() and bool(pids.read_text()), 30)
    started = [int(pid) for pid in pids.read_text().split()]
    guardian.terminate()
    assert guardian.wait(30) == 143
    assert not any(map(lives, started))
    assert guardian.stdin is not None
    guardian.stdin.close()


@pytest.mark.parametrize(
    ("code", "status"),
    [("exit(0)", 0), ("exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
)
def test_the_exit_status_is_the_commands_own(code: str, status: Any) -> None:
    guardian = subprocess.Popen(
        [sys.executable, "-m", "tirgen.guardian", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
    )
    assert guardian.wait(30) == status
    assert guardian.stdin is not None
    guardian.stdin.close()
