"""Conversations: plain messages, prompt and completion, and messages with tool calls.

In the last, each program is a call of the tool ``python`` and each output a message with role
``tool``. So trainers mask outputs by role (``assistant_only_loss`` in TRL), and chat templates
(Qwen3 and others) render calls in their own syntax. Text inside ``<think>`` becomes the message's
``reasoning_content``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pyarrow as pa

from storage.exports.common import Row, Texts, about, with_about
from storage.records import Step, Trajectory

TOOL_NAME = "python"
PYTHON_TOOL: Row = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Run a self-contained Python program and return what it prints.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The program."}},
            "required": ["code"],
        },
    },
}
"""The tool in OpenAI's function schema."""

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        (
            "function",
            pa.struct([("name", pa.string()), ("arguments", pa.struct([("code", pa.string())]))]),
        ),
    ]
)
_TOOL_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("reasoning_content", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("name", pa.string()),
        ("tool_call_id", pa.string()),
    ]
)

MESSAGES = with_about(("messages", pa.list_(_MESSAGE)))
PROMPT_COMPLETION = with_about(("prompt", pa.string()), ("completion", pa.string()))
TOOLS = with_about(("messages", pa.list_(_TOOL_MESSAGE)), ("tools", pa.string()))

_OPEN, _CLOSE = "<think>", "</think>"


def messages(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """One user and one assistant message; outputs are part of the assistant message."""
    for trajectory in trajectories:
        prompt, response = _texts(trajectory, texts)
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        yield {"messages": turns, **about(trajectory)}


def prompt_completion(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """The same as two texts."""
    for trajectory in trajectories:
        prompt, response = _texts(trajectory, texts)
        yield {"prompt": prompt, "completion": response, **about(trajectory)}


def tool_calls(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """Messages with `tool_calls`, role ``tool`` and a column `tools` (a JSON list)."""
    tools = json.dumps([PYTHON_TOOL])
    for trajectory in trajectories:
        user = {"role": "user", "content": texts.plain_prompt(trajectory.problem)}
        turns = [user, *step_messages(trajectory.steps)]
        yield {"messages": turns, "tools": tools, **about(trajectory)}


def step_messages(steps: Iterable[Step]) -> Iterator[Row]:
    """The assistant and tool messages of a trajectory's steps.

    A program without output, as the last step may have, has no tool message.
    """
    thinking = False
    for number, step in enumerate(steps, 1):
        content, reasoning, thinking = _parts(step.thought, thinking)
        message: Row = {"role": "assistant", "content": content}
        if reasoning:
            message["reasoning_content"] = reasoning
        if step.action is None:
            if content or reasoning:
                yield message
            continue
        name = f"call_{number}"
        function = {"name": TOOL_NAME, "arguments": {"code": step.action}}
        yield {**message, "tool_calls": [{"id": name, "type": "function", "function": function}]}
        if step.observation is not None:
            output = {"content": step.observation, "name": TOOL_NAME, "tool_call_id": name}
            yield {"role": "tool", **output}


def _parts(thought: str, thinking: bool) -> tuple[str, str, bool]:
    """The content and the reasoning of a thought, and whether ``<think>`` is open at its end."""
    if not thinking and _OPEN in thought:
        before, _, thought = thought.partition(_OPEN)
        content, reasoning, thinking = _parts(thought, True)
        return (before + content).strip(), reasoning, thinking
    if thinking:
        reasoning, closed, content = thought.partition(_CLOSE)
        return content.strip(), reasoning.strip(), not closed
    return thought.strip(), "", False


def _texts(trajectory: Trajectory, texts: Texts) -> tuple[str, str]:
    return texts.tool_prompt(trajectory.problem), texts.response(trajectory.steps)
