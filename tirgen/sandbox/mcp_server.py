"""The sandbox as an MCP server on standard input and output: one tool, which runs Python.

Built on the official SDK (the extra `mcp`). Only the client that started the process can talk to
it; no port is opened.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from storage.records import Outcome
from tirgen.sandbox.contract import PRINTED_NOTHING, Execution, Limits
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.result import FINISHED

TOOL = "run_python"


class Ran(BaseModel):
    """How a program ended, for clients that read structured results."""

    outcome: Outcome
    stdout: str
    stderr: str
    exit_code: int | None
    wall_ms: float
    truncated: bool


async def serve(sandbox: LocalSandbox, limits: Limits) -> None:
    """Open the sandbox and answer requests until standard input ends.

    Raises SandboxUnavailable.
    """
    async with sandbox:
        await server_of(sandbox, limits).run_stdio_async()


def server_of(sandbox: LocalSandbox, limits: Limits) -> MCPServer:
    """The server over an open sandbox; each program may use `limits`."""
    server = MCPServer("tirgen-sandbox", version=version("tirgen"), log_level="WARNING")

    async def run_python(
        code: Annotated[str, Field(description="A whole Python program. Print the results.")],
    ) -> Annotated[CallToolResult, Ran]:
        return _answer(await sandbox.run(code, limits))

    server.add_tool(
        run_python,
        name=TOOL,
        title="Run Python",
        description=(
            "Run a Python program in a sandbox and return what it printed. Each call is a new "
            "process: no variable or file is kept. No network and no other process; numpy and "
            f"sympy are there. Limits: {limits.cpu_seconds:g} s of CPU, {limits.wall_seconds:g} s "
            f"in all, {limits.memory_mb} MB."
        ),
        annotations=ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=False,
            open_world_hint=False,
        ),
    )  # fmt: skip
    return server


def _answer(ran: Execution) -> CallToolResult:
    """Text as a model reads it; a program that failed, or never ran, is an error of the tool."""
    printed = "\n".join(text.rstrip("\n") for text in (ran.stdout, ran.stderr) if text.strip())
    text = printed or (PRINTED_NOTHING if ran.outcome in FINISHED else f"[{ran.outcome.value}]")
    if ran.outcome is Outcome.INFRA_ERROR:
        text = f"The sandbox failed; the program is not to blame: {text}"
    facts = Ran(
        outcome=ran.outcome,
        stdout=ran.stdout,
        stderr=ran.stderr,
        exit_code=ran.exit_code,
        wall_ms=ran.wall_ms,
        truncated=ran.truncated,
    )
    return CallToolResult(
        content=[TextContent(text=text)],
        structured_content=facts.model_dump(mode="json"),
        is_error=ran.outcome not in FINISHED,
    )
