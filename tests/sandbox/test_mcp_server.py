"""`tirgen sandbox mcp`, started and asked by the official SDK's own client."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

mcp = pytest.importorskip("mcp", reason="pip install 'tirgen[mcp]'")

from mcp_types import CallToolResult, TextContent  # noqa: E402


@asynccontextmanager
async def client(*options: str) -> AsyncIterator[Any]:
    started = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "flows", "sandbox", "mcp", *options]
    )
    async with mcp.Client(started) as connected:
        yield connected


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


async def test_one_tool_runs_python_and_tells_failures_apart() -> None:
    async with client("--cpu-seconds", "1", "--wall-seconds", "20") as connected:
        [tool] = (await connected.list_tools()).tools
        assert (tool.name, tool.input_schema["required"]) == ("run_python", ["code"])
        assert "1 s of CPU" in tool.description

        async def run(code: str) -> CallToolResult:
            result: CallToolResult = await connected.call_tool("run_python", {"code": code})
            return result

        right = await run("import sympy\nprint(sympy.factorint(360))")
        assert (text_of(right), right.is_error) == ("{2: 3, 3: 2, 5: 1}", False)
        assert right.structured_content is not None
        assert right.structured_content["outcome"] == "ok"

        failed = await run("print('before')\n1/0")
        assert failed.is_error
        assert text_of(failed).startswith("before\n")
        assert "ZeroDivisionError" in text_of(failed)

        silent = await run("x = 1")
        assert (text_of(silent), silent.is_error) == (
            "[the program ran and printed nothing]",
            False,
        )
        endless = await run("while True: pass")
        assert endless.is_error
        assert endless.structured_content is not None
        assert endless.structured_content["outcome"] == "timeout"
        assert "NameError" in text_of(await run("print(x)")), "nothing is kept between calls"
        refused = await run("import socket\nsocket.create_connection(('127.0.0.1', 1))")
        assert refused.is_error


async def test_what_a_program_prints_cannot_speak_for_the_server() -> None:
    """Standard output is the protocol's; a program's own is a pipe."""
    forged = '{"jsonrpc": "2.0", "id": 1, "result": {}}'
    code = f"import os\nos.write(1, b'{forged}\\n')\nprint('end')"
    async with client() as connected:
        result = await connected.call_tool("run_python", {"code": code})
        assert text_of(result) == f"{forged}\nend"
