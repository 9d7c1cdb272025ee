from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from storage.records import Outcome
from tirgen.sandbox.contract import Limits, SandboxUnavailable
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.sessions.session import Session

LIMITS = Limits(cpu_seconds=1, wall_seconds=5, memory_mb=256)
SHORT = Limits(cpu_seconds=0.3, wall_seconds=0.3)
MODES = ["root", "userns"] if os.geteuid() == 0 else ["userns"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(params=MODES, scope="module", loop_scope="module")
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[LocalSandbox]:
    try:
        async with LocalSandbox(mode=request.param) as sandbox:
            yield sandbox
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(loop_scope="module")
async def session(sandbox: LocalSandbox) -> AsyncIterator[Session]:
    session = await sandbox.session(memory_mb=256)
    yield session
    await session.close()


async def descriptors() -> int:
    """How many are open, once those of sessions that were closed before are gone."""
    seen: list[int] = []
    while len(seen) < 5 or len({*seen[-5:]}) > 1:
        await asyncio.sleep(0.05)
        seen.append(len(os.listdir("/proc/self/fd")))
    return seen[-1]


async def shown(session: Session, code: str) -> str:
    execution = await session.run(code, LIMITS)
    assert execution.outcome is Outcome.OK, execution
    return execution.stdout.strip()


async def test_variables_survive_and_a_last_expression_is_shown(session: Session) -> None:
    assert (await session.run("x = 20", LIMITS)).outcome is Outcome.NO_OUTPUT
    assert await shown(session, "import math\nx + 1") == "21"
    assert await shown(session, "print(math.gcd(x, 15))") == "5"


@pytest.mark.parametrize(
    ("code", "outcome", "exit_code"),
    [
        ("x = 2\nwhile True: pass", Outcome.TIMEOUT, -9),
        ("x = 2\nimport os; os._exit(3)", Outcome.ERROR, 3),
        ("x = 2\nimport ctypes; ctypes.string_at(0)", Outcome.ERROR, -11),
        ("x = 2\nL = [bytes(1 << 20) for _ in range(1000)]", Outcome.OOM, 1),
        ("x = 2\nwhile True: print('x' * 10000)", Outcome.ERROR, -9),
        ("x = 2\nimport os\nfor fd in range(3, 64):\n try: os.close(fd)\n except OSError: pass\n"
         "while True: pass", Outcome.ERROR, -9),
    ],
)  # fmt: skip
async def test_a_cell_that_dies_leaves_the_state_before_it(
    session: Session, code: str, outcome: Outcome, exit_code: int
) -> None:
    await session.run("x = 1", LIMITS)
    execution = await session.run(code, SHORT if outcome is Outcome.TIMEOUT else LIMITS)
    if outcome is Outcome.ERROR and exit_code == -9:  # flood, or silence: whichever ends it first
        assert execution.outcome in (Outcome.ERROR, Outcome.TIMEOUT)
    else:
        assert (execution.outcome, execution.exit_code) == (outcome, exit_code)
    assert await shown(session, "x") == "1"


async def test_an_exception_keeps_what_was_done_before_it(session: Session) -> None:
    execution = await session.run("x = 5\nprint('so far')\n1 / 0", LIMITS)
    assert (execution.outcome, execution.stdout) == (Outcome.ERROR, "so far\n")
    assert await shown(session, "x") == "5"


async def test_tracebacks_name_the_cell_each_line_is_from(session: Session) -> None:
    await session.run("def f():\n    return 1 / 0", LIMITS)
    stderr = (await session.run("f()", LIMITS)).stderr
    assert 'File "<cell 2>", line 1, in <module>\n    f()' in stderr
    assert 'File "<cell 1>", line 2, in f\n    return 1 / 0' in stderr
    assert "tirgen" not in stderr


async def test_branches_start_alike_and_never_meet(session: Session) -> None:
    await session.run("x = 10", LIMITS)
    branches = [await session.branch() for _ in range(4)]
    runs = (branch.run(f"x += {n}; x", LIMITS) for n, branch in enumerate(branches))
    assert [e.stdout.strip() for e in await asyncio.gather(*runs)] == ["10", "11", "12", "13"]
    assert await shown(session, "x") == "10"
    assert [await shown(branch, "x") for branch in branches] == ["10", "11", "12", "13"]
    for branch in branches:
        await branch.close()
    assert await shown(session, "x") == "10"


async def test_a_cell_cannot_start_processes_or_signal_its_keepers(session: Session) -> None:
    for attack in ("os.fork()", "os.kill(os.getppid(), 9)", "os.kill(1, 9)", "os.kill(-1, 9)",
                   "open('/etc/passwd')", "__import__('socket').socket()"):  # fmt: skip
        execution = await session.run(f"import os; {attack}", LIMITS)
        assert execution.outcome is Outcome.ERROR, attack
        assert "PermissionError" in execution.stderr or "FileNotFoundError" in execution.stderr
    assert await shown(session, "6 * 7") == "42"


async def test_a_thread_left_running_gets_no_time_between_cells(session: Session) -> None:
    await session.run(
        "import threading\nn = 0\ndef count():\n    global n\n    while True: n += 1\n"
        "threading.Thread(target=count, daemon=True).start()",
        LIMITS,
    )
    first = int(await shown(session, "n"))
    await asyncio.sleep(0.3)
    assert int(await shown(session, "n")) - first < 5_000_000


async def test_words_forged_on_the_control_socket_gain_nothing(session: Session) -> None:
    forge = (
        "import os\n"
        "for fd in range(3, 64):\n"
        "    for word in (b'D\\0', b'D', b'J', b'H' * 5, b'x' * 60):\n"
        "        try: os.write(fd, word)\n"
        "        except OSError: pass\n"
    )
    await session.run(forge + "while True: pass", SHORT)
    execution = await session.run("print(6 * 7)", LIMITS)
    assert execution.outcome is not Outcome.INFRA_ERROR


BREAK = (
    "import sys\n"
    "for depth in range(1, 7):\n"
    "    for name in {names}: sys._getframe(depth).f_globals[name] = None"
)


async def test_a_cell_that_breaks_its_own_machinery_at_once_is_rolled_back(
    session: Session,
) -> None:
    execution = await session.run(BREAK.format(names=["_write", "_fork", "os"]), LIMITS)
    assert execution.outcome is Outcome.ERROR
    assert await shown(session, "6 * 7") == "42"


async def test_a_session_whose_machinery_was_broken_fails_as_its_own_error(
    session: Session,
) -> None:
    await session.run(BREAK.format(names=["_fork"]), LIMITS)
    execution = await session.run("print(1)", LIMITS)
    assert execution.outcome is Outcome.ERROR
    assert "an earlier cell broke it" in execution.stderr


MACHINERY = (
    "import os, sys\n"
    "frame = sys._getframe()\n"
    "while '_State' not in frame.f_globals: frame = frame.f_back\n"
    "own = frame.f_globals\n"
)
"""Finds, in a cell, the globals of the session's own code."""


async def test_a_process_smuggled_in_ends_the_session(session: Session) -> None:
    """It would run between the cells, and its time would count for no cell."""
    await session.run(
        MACHINERY + "def smuggle(self, echo, fds):\n"
        "    os.write(fds[4], own['Cell'].HERE + own['Cell'].PID.pack(os.getpid()))\n"
        "    if own['_fork']() == 0:\n"
        "        while True: pass\n"
        "own['_State']._fork_cell = smuggle",
        LIMITS,
    )
    states = set(session._jail.held)
    execution = await session.run("print(1)", LIMITS)
    assert execution.outcome is Outcome.ERROR
    assert "an earlier cell broke it" in execution.stderr
    assert (await session.run("print(1)", LIMITS)).outcome is Outcome.ERROR
    left = states
    for _ in range(100):
        left = states & {int(name) for name in os.listdir("/proc") if name.isdigit()}
        if not left:
            break
        await asyncio.sleep(0.05)
    assert not left


async def test_an_unused_permission_to_fork_cannot_be_saved(session: Session) -> None:
    await session.run(MACHINERY + "own['_State']._fork_cell = lambda *a: None", LIMITS)
    await session.run("print(1)", LIMITS)
    assert session._jail.permits
    assert not session._jail.permits._permitted


async def test_a_session_that_ends_itself_is_no_fault_of_ours(session: Session) -> None:
    await session.run(MACHINERY + "own['_State']._fork_cell = lambda *a: os._exit(0)", LIMITS)
    for _ in range(2):
        assert (await session.run("print(1)", LIMITS)).outcome is Outcome.ERROR


@pytest.mark.parametrize("ended", [(0, 0), (0x7F, 0), (9, 1 << 62), (-1, 0)])
async def test_an_end_forged_by_an_earlier_cell_changes_no_fact(
    session: Session, ended: Any
) -> None:
    await session.run(
        "import os, socket, struct\n"
        "for fd in range(3, 64):\n"
        f"    try: os.write(fd, b'D\\0'), os.write(fd, struct.pack('<iQ', *{ended}))\n"
        "    except OSError: pass",
        LIMITS,
    )
    before = session._jail.cpu_left
    execution = await session.run("while True: pass", SHORT)
    assert execution.outcome is Outcome.TIMEOUT
    assert execution.cpu_ms > 100
    assert execution.peak_memory_mb <= 256
    assert session._jail.cpu_left < before - 0.1


async def test_a_cell_given_up_at_any_moment_leaves_nothing(session: Session) -> None:
    await session.run("x = 1", LIMITS)
    before = await descriptors()
    for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.02):
        cell = asyncio.create_task(session.run("while True: pass", LIMITS))
        await asyncio.sleep(delay)
        cell.cancel()
        await asyncio.wait([cell])
        assert cell.cancelled()
    assert await descriptors() == before
    assert await shown(session, "x") == "1"


async def test_all_cells_together_have_one_budget(sandbox: LocalSandbox) -> None:
    session = await sandbox.session(cpu_budget=0.4)
    outcomes = [(await session.run("while True: pass", SHORT)).outcome for _ in range(3)]
    last = await session.run("print(1)", LIMITS)
    await session.close()
    assert outcomes == [Outcome.TIMEOUT] * 3
    assert last.outcome is Outcome.TIMEOUT
    assert "all its cells together" in last.stderr


async def test_sessions_leave_no_descriptor_behind(sandbox: LocalSandbox) -> None:
    await (await sandbox.session()).close()
    before = await descriptors()
    for _ in range(5):
        session = await sandbox.session()
        await session.run("x = 1", LIMITS)
        branch = await session.branch()
        await branch.run("import os; os._exit(1)", LIMITS)
        await session.close()
        await branch.close()
    assert await descriptors() == before


async def test_a_mode_without_namespaces_says_that_it_has_no_sessions() -> None:
    async with LocalSandbox(mode="bare") as sandbox:
        with pytest.raises(SandboxUnavailable, match="sessions need pid namespaces"):
            await sandbox.session()


async def test_descriptors_a_cell_sends_pile_up_nowhere(session: Session) -> None:
    await shown(session, "1")
    before = await descriptors()
    for _ in range(10):
        await session.run(
            "import os, socket\n"
            "reading, _ = os.pipe()\n"
            "for fd in range(3, 64):\n"
            "    try:\n"
            "        kind = socket.SOCK_SEQPACKET\n"
            "        s = socket.socket(socket.AF_UNIX, kind, 0, fileno=os.dup(fd))\n"
            "        socket.send_fds(s, [b'D\\0'], [reading])\n"
            "    except OSError: pass",
            LIMITS,
        )
    assert await descriptors() == before


async def test_chance_goes_on_from_cell_to_cell_the_same_each_time(sandbox: LocalSandbox) -> None:
    shows = []
    for _ in range(2):
        session = await sandbox.session(memory_mb=256)
        shows.append([await shown(session, "import random; random.random()") for _ in range(3)])
        await session.close()
    assert shows[0] == shows[1]
    assert len(set(shows[0])) == 3


@pytest.mark.parametrize("mode", MODES)
async def test_idle_sessions_hold_no_more_than_they_may_together(mode: Any) -> None:
    async with LocalSandbox(mode=mode, slots=2, session_memory_mb=400) as sandbox:
        small = await sandbox.session(memory_mb=256)
        await small.run("x = 7", LIMITS)
        large = [await sandbox.session(memory_mb=256) for _ in range(8)]
        cells = [await session.run("y = bytearray(150 << 20)", LIMITS) for session in large]
        assert await shown(small, "x") == "7"
        again = [await session.run("len(y)", LIMITS) for session in large]
        for session in (small, *large):
            await session.close()
    fine = [end for end in again if end.outcome is Outcome.OK]
    assert len(fine) == 2
    assert {end.outcome for end in (*cells, *again)} <= {
        Outcome.NO_OUTPUT, Outcome.OK, Outcome.OOM, Outcome.ERROR,
    }  # fmt: skip
    assert any("all sessions together" in end.stderr for end in (*cells, *again))


async def test_a_cell_that_is_too_much_for_all_sessions_is_undone(sandbox: LocalSandbox) -> None:
    async with LocalSandbox(mode=sandbox.mode.split()[1], session_memory_mb=100) as tight:
        session = await tight.session(memory_mb=256)
        await session.run("x = 1", LIMITS)
        crowded = await session.run("x = 2; y = bytearray(150 << 20)", LIMITS)
        assert crowded.outcome is Outcome.OOM
        assert "all sessions together" in crowded.stderr
        assert await shown(session, "x") == "1"
        await session.close()
