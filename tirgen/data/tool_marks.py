"""Turns publishers' marks of programs and outputs into tirgen's fenced blocks.

In the text:    <code> … </code>, <llm-code> … </llm-code>, <tool_call> code or JSON </tool_call>
                <interpreter> … , <llm-code-output> … , <tool_response> …
In the turns:   `tool_calls` of an assistant's turn, turns of the role `function_call`
                `reasoning_content` or `reasoning` of an assistant's turn, its thinking
                turns of the roles `tool`, `observation`, `function`, `ipython`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tirgen.data.columns import structured
from tirgen.data.questions import content_text
from tirgen.tir.markup import defuse_fences

_PROGRAM = re.compile(r"<(code|llm-code|tool_call)>\n?(.*?)\n?</\1>", re.DOTALL)
_OUTPUT = re.compile(r"<(interpreter|llm-code-output|tool_response)>\n?(.*?)\n?</\1>", re.DOTALL)
_FENCED = re.compile(r"\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)

USER = ("user", "human")
ASSISTANT = ("assistant", "gpt", "model")
_CALLING = ("function_call", "tool_call")
_TOOL = ("tool", "observation", "function", "ipython", "tool_response")


def in_fenced_blocks(text: str) -> str:
    """The text with its programs and outputs as fenced blocks."""
    text = _PROGRAM.sub(lambda found: program_block(_code_of(found[2])), text)
    return _OUTPUT.sub(lambda found: output_block(found[2]), text)


def program_block(code: str) -> str:
    return f"```python\n{code}\n```"


def output_block(output: str) -> str:
    return f"```output\n{defuse_fences(output)}\n```"


def turn_role(turn: Mapping[str, Any]) -> str:
    """The role of a turn: `user`, `assistant`, `tool`, or the turn's own word in lower case.

    Qwen's template has tool responses in a user's turn, without other text.
    """
    role = str(turn.get("role") or turn.get("from") or "").lower()
    if role in USER:
        rest = _OUTPUT.sub("", turn_text(turn))
        return "tool" if not rest.strip() and turn_text(turn).strip() else "user"
    if role in (*ASSISTANT, *_CALLING):
        return "assistant"
    return "tool" if role in _TOOL else role


def turn_text(turn: Mapping[str, Any]) -> str:
    """The text of a turn. Raises `NoQuestion` where it has more than text."""
    return content_text(turn.get("content", turn.get("value")))


def response_of(turns: Sequence[Mapping[str, Any]]) -> str:
    """The turns of assistant and tools as one response."""
    return "\n".join(piece for turn in turns for piece in _pieces(turn) if piece)


def _pieces(turn: Mapping[str, Any]) -> Iterator[str]:
    text = turn_text(turn)
    if turn_role(turn) == "tool":
        yield in_fenced_blocks(text) if _OUTPUT.search(text) else output_block(text.strip("\n"))
        return
    if str(turn.get("from") or turn.get("role")).lower() in _CALLING:
        yield program_block(_code_of(text))
        return
    if thought := turn.get("reasoning_content") or turn.get("reasoning"):
        yield f"<think>\n{thought}\n</think>\n"
    yield in_fenced_blocks(text)
    for call in structured(turn.get("tool_calls")) or ():
        yield program_block(_code_of_call(call))


def _code_of(call: str) -> str:
    """The program of a call: JSON with its arguments, a fenced block, or the program itself."""
    try:
        found = json.loads(call)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, Mapping):
        return _code_of_call(found)
    fenced = _FENCED.fullmatch(call)
    return fenced[1] if fenced else call.strip("\n")


def _code_of_call(call: Any) -> str:
    """The argument `code`, or the only text among the arguments; empty where there is none."""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    arguments = structured(arguments)
    if isinstance(arguments, str):
        return arguments
    texts = {k: v for k, v in (arguments or {}).items() if isinstance(v, str)}
    code = texts.get("code") or (next(iter(texts.values())) if len(texts) == 1 else "")
    fenced = _FENCED.fullmatch(code)
    return fenced[1] if fenced else code
