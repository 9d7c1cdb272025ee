from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from storage.records import Outcome
from tirgen.sandbox.contract import Limits, SandboxUnavailable
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.open import open_sandbox
from tirgen.sandbox.remote import RemoteSandbox
from tirgen.sandbox.service import serving
from tirgen.sandbox.token import read_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(cpu_seconds=4, wall_seconds=8, memory_mb=256)
KEEPALIVE = (
    socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
)  # fmt: skip
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address() -> AsyncIterator[str]:
    async with serving(LocalSandbox(slots=2), token="t0ken") as address:
        yield address


async def test_executions_come_back_whole(address: str) -> None:
    async with RemoteSandbox([address], "t0ken") as remote, LocalSandbox() as local:
        for code in (
            "print('ü' * 3)\n1 / 0",
            "x = 1",
            "import sys; sys.exit(3)",
            "print('y' * 10_000)",
        ):
            small = Limits(cpu_seconds=4, wall_seconds=8, memory_mb=256, output_bytes=1000)
            ours, theirs = await local.run(code, small), await remote.run(code, small)
            for name in ("outcome", "stdout", "stderr", "exit_code", "truncated"):
                assert getattr(theirs, name) == getattr(ours, name)
            assert theirs.cpu_ms > 0
        assert remote.mode == local.mode


async def test_exact_limits_arrive(address: str) -> None:
    async with RemoteSandbox([address], "t0ken") as remote:
        late = await remote.run("while True: pass", Limits(cpu_seconds=0.2, wall_seconds=9))
        big = await remote.run("bytearray(200 << 20)", Limits(memory_mb=100))
    assert (late.outcome, big.outcome) == (Outcome.TIMEOUT, Outcome.OOM)
    assert late.cpu_ms < 1000


async def test_a_wrong_token_is_said_at_the_start(address: str) -> None:
    with pytest.raises(SandboxUnavailable, match="put it into TIRGEN_SANDBOX_TOKEN"):
        async with RemoteSandbox([address], "wrong"):
            pass


async def test_a_service_below_the_floor_is_refused() -> None:
    async with serving(LocalSandbox(mode="posix")) as weak:
        with pytest.raises(SandboxUnavailable, match="below the floor bare; start it with"):
            async with RemoteSandbox([weak]):
                pass
        async with RemoteSandbox([weak], floor="posix") as remote:
            assert remote.mode.endswith("posix")


async def test_the_services_take_turns_and_a_dead_one_is_passed_over(address: str) -> None:
    async with RemoteSandbox([NOBODY_LISTENS, address], "t0ken") as remote:
        executions = await asyncio.gather(*(remote.run(f"print({n})", LIMITS) for n in range(6)))
    assert [execution.stdout for execution in executions] == [f"{n}\n" for n in range(6)]


async def test_with_no_service_left_it_is_nobodys_code_that_failed(address: str) -> None:
    async with serving(LocalSandbox()) as other:
        remote = RemoteSandbox([other])
        await remote.__aenter__()
    try:
        execution = await remote.run("print(1)", LIMITS)
    finally:
        await remote.__aexit__(None, None, None)
    assert execution.outcome is Outcome.INFRA_ERROR
    assert execution.exit_code is None


@contextlib.asynccontextmanager
async def service_process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    program = (
        "import asyncio; from tirgen.sandbox.local import LocalSandbox\n"
        "from tirgen.sandbox.service import serve\n"
        "announce = lambda at: print(at, flush=True)\n"
        "asyncio.run(serve(LocalSandbox(slots=2), announce=announce))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_service_killed_in_the_middle_loses_nothing(address: str) -> None:
    async with (
        service_process() as (process, doomed),
        RemoteSandbox([doomed, address], "t0ken") as remote,
    ):
        code = "import time; time.sleep(1); print(1)"
        running = [asyncio.create_task(remote.run(code, LIMITS)) for _ in range(4)]
        await asyncio.sleep(0.4)
        os.kill(process.pid, signal.SIGKILL)
        executions = await asyncio.gather(*running)
    assert [execution.stdout for execution in executions] == ["1\n"] * 4


async def test_a_session_stays_on_its_service_and_branches(address: str) -> None:
    async with RemoteSandbox([address, address], "t0ken") as remote:
        if remote.mode.endswith("bare"):
            pytest.skip("no sessions in this mode")
        session = await remote.session()
        await session.run("x = 1", LIMITS)
        branch = await session.branch()
        await branch.run("x += 1", LIMITS)
        ends = [(await s.run("x", LIMITS)).stdout for s in (session, branch)]
        assert ends == ["1\n", "2\n"]
        await branch.close()
        await session.close()
        gone = await session.run("x", LIMITS)
    assert gone.outcome is Outcome.INFRA_ERROR
    assert "no session" in gone.stderr


async def test_connections_notice_a_machine_that_is_gone(address: str) -> None:
    """A machine that loses its power says nothing; TCP alone would wait a quarter of an hour."""
    async with RemoteSandbox([address], "t0ken") as remote:
        await remote.run("print(1)", LIMITS)
        port = int(address.rpartition(":")[2])
        ours = psutil.Process().net_connections("tcp")
        [descriptor] = [each.fd for each in ours if each.raddr and each.raddr.port == port]
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            tcp = [connection.getsockopt(socket.IPPROTO_TCP, option) for option in KEEPALIVE]
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp == [15, 5, 3, 30_000]


async def test_one_word_of_configuration_chooses_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert isinstance(open_sandbox(), LocalSandbox)
    assert isinstance(open_sandbox([NOBODY_LISTENS]), RemoteSandbox)
    monkeypatch.setenv("TIRGEN_SANDBOX_TOKEN", "from the environment")
    assert read_token() == "from the environment"
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("TIRGEN_SANDBOX_TOKEN_FILE", str(tmp_path / "token"))
    assert read_token() == "from a file"
