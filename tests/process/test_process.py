"""A supervised child: it never outlives its parent, and its end is bounded and explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tirgen.process import Child, ChildLost, end_tree, start_time, wait_until

CHILD = """
import os, time
from tirgen.process import end_with_parent
end_with_parent()
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import os, sys, threading, time
from tirgen.process import Child
def begin():
    child = Child([sys.executable, "-c", sys.argv[1]], stdout="pipe")
    children.append(child)
    print(child.read_line(60).decode().strip(), flush=True)
    if sys.argv[2] == "forks" and os.fork() == 0:
        time.sleep(600)
children = []
starter = threading.Thread(target=begin)
starter.start()
starter.join()
time.sleep(600)
"""
STUBBORN_FAMILY = """
import signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN)"
stubborn += "; print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
stray = subprocess.Popen(
    [sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True
)
child.stdout.readline(), stray.stdout.readline()
print(child.pid, stray.pid, flush=True)
time.sleep(600)
"""


def python(code: str, **options: object) -> Child:
    return Child([sys.executable, "-uc", code], stdout="pipe", **options)  # type: ignore[arg-type]


def lives(pid: int) -> bool:
    return start_time(pid) is not None


@pytest.mark.parametrize("manner", ["plain", "forks"])
def test_a_child_ends_with_its_parent_and_not_with_the_thread_that_started_it(manner: str) -> None:
    """A fork of the parent holds the child's input open; the child must not need its end."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, manner],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        assert lives(child)
        parent.kill()
        parent.wait()
        assert wait_until(lambda: not lives(child), 10)
        if manner == "forks":
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_child_ends_when_its_input_is_closed() -> None:
    child = python(CHILD)
    pid = int(child.read_line(60))
    assert child._process.stdin is not None
    child._process.stdin.close()
    assert wait_until(lambda: not lives(pid), 10)
    assert child.end() == -signal.SIGTERM


def test_the_whole_tree_is_ended_in_bounded_time() -> None:
    child = python(STUBBORN_FAMILY)
    family = [child.pid, *map(int, child.read_line(60).split())]
    assert all(map(lives, family))
    child.end(grace=0.5)
    assert wait_until(lambda: not any(map(lives, family)), 5)


def test_a_tree_that_somebody_else_started_is_ended_too() -> None:
    command = [sys.executable, "-c", STUBBORN_FAMILY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        family = [leader.pid, *map(int, leader.stdout.readline().split())]
        end_tree(leader.pid, 0.2, lambda: not lives(leader.pid))
        assert wait_until(lambda: not any(map(lives, family)), 5)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; print('no disk', file=sys.stderr); exit(3)", "ended with exit code 3: no di"),
        ("exit(0)", "ended with exit code 0: it printed no message"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
        ("import os, time; os.close(1); time.sleep(600)", "closed its output"),
        ("import time; time.sleep(600)", "gave no answer for 2 s"),
    ],
)
def test_a_lost_child_says_why(code: str, why: str) -> None:
    child = python(code)
    with pytest.raises(ChildLost, match=why):
        child.read_line(2 if "no answer" in why else 60)
    child.end(grace=0)


def test_a_child_that_is_killed_wakes_the_thread_that_waits_for_it() -> None:
    child = python("import time; time.sleep(600)")
    threading.Timer(0.3, child.kill).start()
    with pytest.raises(ChildLost, match="signal 9"):
        child.read_line(60)
    with pytest.raises(ChildLost, match="signal 9"):
        child.write(b"x" * 100_000)
    assert child.end() == -signal.SIGKILL


def test_lines_that_come_together_are_read_one_by_one() -> None:
    child = python("import sys, time; sys.stdout.write('1\\n2\\n3'); time.sleep(600)")
    assert [child.read_line(60), child.read_line(60)] == [b"1", b"2"]
    with pytest.raises(ChildLost, match="no answer for 1 s"):
        child.read_line(1)
    child.end()


def test_waiting_until_a_child_is_ready(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    child = python(f"open({str(flag)!r}, 'w'); import time; time.sleep(600)")
    child.wait_ready(flag.exists, 60)
    with pytest.raises(ChildLost, match="not ready within 0 s"):
        child.wait_ready(lambda: False, 0.1)
    child.kill()
    with pytest.raises(ChildLost, match="signal 9"):
        child.wait_ready(lambda: False, 60)
    child.end()


def test_a_command_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        Child(["/nonexistent/program"])


def test_a_forked_process_starts_children_of_its_own() -> None:
    code = """
import os, sys
from tirgen.process import Child
def works():
    child = Child([sys.executable, "-c", "print(6 * 7)"], stdout="pipe")
    answer = child.read_line(60), child.wait(), child.end()
    return answer == (b"42", 0, 0)
assert works()
pid = os.fork()
right = works()
if pid == 0:
    os._exit(0 if right else 1)
assert right and os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
