"""The server as a process: how it starts, what it holds on to, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tirgen.embedded.local import embedded_server
from tirgen.embedded.server import main
from tirgen.engine.errors import EngineMisconfigured

LONG = {"prompt": "1", "max_tokens": 400, "ignore_eos": True}


def alive(pid: int) -> bool:
    """Running, and not a zombie whose parent has yet to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def gone(pid: int, seconds: float = 15) -> bool:
    for _ in range(int(seconds * 50)):
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


def children(parent: int) -> set[int]:
    """The processes it has started and that still run, from /proc."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, ppid = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(ppid) == parent and alive(int(path.parent.name)):
            found.add(int(path.parent.name))
    return found


async def test_the_server_lives_as_long_as_the_block(tiny_model: Path) -> None:
    before = children(os.getpid())
    async with embedded_server(tiny_model) as base_url, aiohttp.ClientSession() as http:
        async with http.get(base_url + "/models") as answer:
            assert answer.status == 200
        (server,) = children(os.getpid()) - before
    assert not alive(server)


async def test_a_model_that_does_not_load_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(EngineMisconfigured, match=r"exit code 1.*holds no config\.json"):
        async with embedded_server(tmp_path):
            pass


async def test_a_port_that_is_taken_is_told(tiny_model: Path) -> None:
    async with embedded_server(tiny_model) as base_url:
        port = int(base_url.split(":")[2].removesuffix("/v1"))
        with pytest.raises(EngineMisconfigured, match="address already in use"):
            async with embedded_server(tiny_model, port=port):
                pass


PARENT = """
import asyncio, os, signal, sys, time
from pathlib import Path
from tirgen.embedded.local import embedded_server
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
async def main():
    async with embedded_server(Path(sys.argv[1])) as base_url:
        if sys.argv[2] == "forks" and os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        print(base_url, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def start_parent(model_dir: Path, manner: str) -> asyncio.subprocess.Process:
    """A process of its own that holds a server."""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(model_dir), manner),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert (await parent.stdout.readline()).startswith(b"http://127.0.0.1:")
    return parent


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_server_dies_with_its_parent(tiny_model: Path, number: int) -> None:
    parent = await start_parent(tiny_model, "plain")
    (server,) = children(parent.pid)
    parent.send_signal(number)
    await parent.communicate()
    assert await gone(server)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's parent-death signal")
async def test_a_fork_of_the_parent_does_not_keep_the_server(tiny_model: Path) -> None:
    """The fork holds the server's input open; the server must not need its end."""
    parent = await start_parent(tiny_model, "forks")
    processes = children(parent.pid)
    (server,) = (pid for pid in processes if b"--die-with-parent" in command_line(pid))
    (fork,) = processes - {server}
    parent.kill()
    assert await gone(server, 8)
    assert alive(fork)
    os.kill(fork, signal.SIGKILL)
    await parent.communicate()


async def test_the_end_of_its_input_ends_the_server(tiny_model: Path) -> None:
    command = ("-m", "tirgen.embedded.server", str(tiny_model), "--port", "0", "--die-with-parent")
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=pipe, stdout=pipe)
    assert server.stdin is not None
    assert server.stdout is not None
    await server.stdout.readline()
    server.stdin.close()
    await asyncio.wait_for(server.communicate(), 15)
    assert server.returncode == 0


@asynccontextmanager
async def started(
    model_dir: Path, **environment: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server that nothing ends but a signal: its base URL and its process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tirgen.embedded.server", str(model_dir), "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip(), process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 15)


async def test_a_signal_lets_what_runs_finish(
    tiny_model: Path, http: aiohttp.ClientSession
) -> None:
    async with started(tiny_model) as (base_url, process):
        async with http.post(base_url + "/completions", json=LONG | {"stream": True}) as answer:
            # A busy machine may put all there is into the first event.
            body = await answer.content.readline()
            process.send_signal(signal.SIGTERM)
            body += await answer.read()
        await asyncio.wait_for(process.wait(), 15)
    assert b'"finish_reason":"length"' in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert process.returncode == 0


async def test_an_api_key_guards_everything_under_v1(
    tiny_model: Path, http: aiohttp.ClientSession
) -> None:
    statuses = []
    async with started(tiny_model, TIRGEN_SERVE_API_KEY="secret") as (base_url, _):
        for key in (None, "wrong", "secret"):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with http.get(base_url + "/models", headers=headers) as answer:
                statuses.append(answer.status)
        async with http.get(base_url.removesuffix("/v1") + "/health") as answer:
            statuses.append(answer.status)
    assert statuses == [401, 401, 200, 200]


async def test_another_address_than_loopback_needs_a_key(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TIRGEN_SERVE_API_KEY", raising=False)
    assert main([str(tiny_model), "--host", "0.0.0.0", "--port", "0"]) == 1
    assert "set TIRGEN_SERVE_API_KEY" in capsys.readouterr().err


async def test_it_listens_on_loopback_only(tiny_server: str) -> None:
    assert tiny_server.startswith("http://127.0.0.1:")


def test_the_client_side_does_not_load_the_engine() -> None:
    script = "import sys, tirgen.embedded.local; print('openvino' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry writes ~/intel/openvino_ga_cid before it sends; a socket would raise here."""
    script = """
import json, socket, sys
def refuse(*_): raise AssertionError("opened a connection")
socket.create_connection = socket.socket.connect = refuse
from tirgen.embedded.runtime import genai, ov
print(json.dumps(sorted(m for m in sys.modules if m.startswith("openvino_telemetry."))))
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HOME": str(tmp_path), "CI": ""},
    )
    assert json.loads(run.stdout) == []
    assert list(tmp_path.iterdir()) == []
