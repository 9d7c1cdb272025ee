"""The surface format of TIR text: fenced programs, the outputs injected after them, and back.

    thought                     ```python … ```          ```output … ```
    r^t, the policy's text      a^t, the policy's code   o^t, the executor's text      (eq. 1)

Fences are CommonMark's (https://spec.commonmark.org/0.31.2/#fenced-code-blocks): three or more
backticks or tildes and an info string open a block, and a line of at least as many of the same
closes it. A carriage return or spaces may follow a fence. A line inside a block opens nothing
(method D16). Blocks without a tag and of other languages are prose.

Models write more than CommonMark allows, so these are read too: fences with any indentation; an
opening fence of Python or output at the end of a line of prose; a closing fence of backticks at the
end of the last line of code, unless it is in a string or comment of that line. Python's info string
may have a version, attributes or braces: `py`, `Python3`, `{python}`.

Not covered: programs written inline (`` ```print(1)``` ``), and tildes around anything but Python
or output, which open nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from storage.records import Step

CODE_STOP = ("```\n", "```\r", "``` ", "```output")
"""Stop strings with which one call writes thought and program and ends at the closing fence.

Four, since vLLM takes no more (`VLLM_MAX_STOP_STRINGS`); so a program in tildes is run only where
the turn ends with it. The first three match closing fences at any place, but no opening
```` ```python ````. The last stops a model that begins to write the output itself. After a stop,
`closed_code` returns the program. Where it is None, `invents_output` says whether the model wrote
an output; if not, it only opened a block without a tag, and should continue.
"""

THINK_OPEN = "<think>\n"
"""Opens a thinking section, where the chat template does not open it."""
THINK_CLOSE = "</think>"
"""Closes a thinking section; the text after it is the answer."""

PYTHON_TAG, OUTPUT_TAG = "python", "output"
_PYTHON = re.compile(r"(?:i?python|py)[\d.]*", re.IGNORECASE)
_TAG = re.compile(r"\{?\s*\.?([\w.+#-]*)")
_OPENING = re.compile(r"(?P<before>.*?)(?<!`)(?P<fence>`{3,}+)\s*+(?P<info>[^`]*+)")
_TILDES = re.compile(r"(?P<before>\s*+)(?P<fence>~{3,}+)(?P<info>.*)")


class ParsedStep(NamedTuple):
    """One step of a response, parsed from text."""

    thought: str
    action: str | None
    """The program, without its fences; None in the last step."""
    observation: str | None
    """Content of the output block; None where none follows the program."""


class _Block(NamedTuple):
    """One fenced block, from its opening backticks to past the newline of its closing line."""

    tag: str
    """First word of the info string in lower case; ``python`` for all names of Python."""
    body: str
    start: int
    end: int
    closed: bool

    @property
    def is_code(self) -> bool:
        return self.tag == PYTHON_TAG

    @property
    def is_output(self) -> bool:
        return self.tag == OUTPUT_TAG

    @property
    def is_unfilled_output(self) -> bool:
        return self.is_output and not self.closed and not self.body


def closed_code(text: str) -> str | None:
    """The program to run now, if `text` ends with its closing fence; otherwise None.

    The model may already have opened ```` ```output ```` after it. An empty program is the empty
    string.
    """
    blocks = list(_blocks(text))
    if len(blocks) > 1 and blocks[-1].is_unfilled_output:
        text = text[: blocks.pop().start]
    if not blocks or not blocks[-1].is_code or not blocks[-1].closed:
        return None
    return None if text[blocks[-1].end :].strip() else blocks[-1].body


def action_start(text: str) -> int:
    """Where the last program of `text` opens its fence, which is where the thought ends.

    Raises ValueError where the text has no program.
    """
    starts = [block.start for block in _blocks(text) if block.is_code]
    if not starts:
        raise ValueError("the text has no program")
    return starts[-1]


def invents_output(text: str) -> bool:
    """Whether a model wrote an output itself; all of `text` must be its own.

    An output block that it only opened, right after a program, does not count, since the executor
    fills it. One that opens inside a program without an end counts.
    """
    blocks = list(_blocks(text))
    for before, block in zip([None, *blocks], blocks, strict=False):
        opened = block.is_unfilled_output and before and _follows(text, before, block)
        if block.is_output and not opened:
            return True
    if not blocks or blocks[-1].closed:
        return False
    openings = filter(None, map(_opening, blocks[-1].body.split("\n")))
    return any(opening.tag == OUTPUT_TAG for opening in openings)


def render_output(observation: str, after: str = "```\n") -> str:
    """The text to inject after `after`, which ends with a program, to show its output."""
    newline = "" if after.endswith("\n") else "\n"
    opening = "" if after.rstrip().endswith(f"```{OUTPUT_TAG}") else f"```{OUTPUT_TAG}\n"
    return f"{newline}{opening}{defuse_fences(observation)}\n```\n"


def defuse_fences(observation: str) -> str:
    """Replace ``` by ''' in a program's output.

    Otherwise a program could print the end of its own output block and a boxed answer after it.
    """
    return re.sub("`{3,}", lambda run: "'" * len(run[0]), observation)


def render_step(thought: str, action: str | None, observation: str | None) -> str:
    """One step as text, to be followed by the next step.

    A program with lines that could close its block gets a longer fence.
    """
    if action is None:
        return thought
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}(?=\s*$)", action, re.M))])
    text = (f"{thought}\n" if thought else "") + f"{fence}python\n{action}\n{fence}\n"
    return text if observation is None else text + render_output(observation)


def response_text(steps: Iterable[Step]) -> str:
    """A whole response as text: thoughts, programs and outputs in their blocks."""
    return "".join(render_step(step.thought, step.action, step.observation) for step in steps)


def close_thinking(sentence: str) -> str:
    """The text that ends a thinking section, from the beginning of a line on."""
    return f"{sentence}\n{THINK_CLOSE}\n\n"


def parse_trajectory(text: str) -> list[ParsedStep]:
    """Split a whole response into alternating thought, action and observation (eq. 1).

    Thoughts are stripped, programs and observations exact. The last step has no action; it is left
    out where nothing follows the last block. A program without an end is no action, and an output
    without a program is no observation: both stay in the thought.
    """
    steps: list[ParsedStep] = []
    thought_start = 0
    blocks = list(_blocks(text))
    for index, block in enumerate(blocks):
        if not (block.is_code and block.closed):
            continue
        next_one = blocks[index + 1] if index + 1 < len(blocks) else None
        answer = next_one if next_one and _follows(text, block, next_one) else None
        thought = text[thought_start : block.start].strip()
        steps.append(ParsedStep(thought, block.body, _filled(answer)))
        thought_start = (answer or block).end
    rest = text[thought_start:].strip()
    return [*steps, ParsedStep(rest, None, None)] if rest or not steps else steps


def strip_blocks(text: str) -> str:
    """The text without programs and outputs, closed or not: the text that may hold an answer."""
    kept, position = [], 0
    for block in _blocks(text):
        if block.is_code or block.is_output:
            kept.append(text[position : block.start])
            position = block.end
    return "".join([*kept, text[position:]])


def _blocks(text: str) -> Iterator[_Block]:
    """Every fenced block of the text in order; only the last may have no end."""
    opening: _Opening | None = None
    start, position = 0, 0
    body: list[str] = []
    for line in text.split("\n"):
        end = min(position + len(line) + 1, len(text))
        if opening is None:
            opening, start, body = _opening(line), position, []
        elif (last := _closes(line, opening)) is not None:
            body += [last] if last else []
            yield _block(opening, body, start, end, closed=True)
            opening = None
        else:
            body.append(line)
        position = end
    if opening is not None:
        yield _block(opening, body, start, len(text), closed=False)


class _Opening(NamedTuple):
    """The line that opens a block."""

    tag: str
    fence: str
    before: str
    """The part of the line before the fence."""
    carriage_return: bool
    """The line ends in one, and so do the lines of the block."""

    @property
    def is_python_or_output(self) -> bool:
        return self.tag in (PYTHON_TAG, OUTPUT_TAG)


def _opening(line: str) -> _Opening | None:
    """The block that this line opens, outside of other blocks."""
    found = _TILDES.fullmatch(line) or _OPENING.fullmatch(line)
    if not found:
        return None
    before, fence, info = found["before"], found["fence"], found["info"].strip()
    opening = _Opening(_tag(info), fence, before, line.endswith("\r"))
    if not opening.is_python_or_output and (before.strip() or fence.startswith("~")):
        return None
    is_sentence = before.strip() and len(info.split()) > 1
    return None if is_sentence else opening


def _closes(line: str, opening: _Opening) -> str | None:
    """The code before the closing fence on this line; None if the line does not close the block."""
    line = line.rstrip()
    before = line.rstrip(opening.fence[0])
    if len(line) - len(before) < len(opening.fence):
        return None
    if not before.strip():
        return ""
    ends_code = opening.tag == PYTHON_TAG and opening.fence.startswith("`")
    return before.rstrip(" \t") if ends_code and not _in_string_or_comment(before) else None


def _in_string_or_comment(line: str) -> bool:
    """Whether a string or comment that begins on this line is open at its end."""
    quote = ""
    for character in re.findall(r"\\.|['\"#]", line):
        if character == quote:
            quote = ""
        elif not quote and character == "#":
            return True
        elif not quote and character in "'\"":
            quote = character
    return bool(quote)


def _block(opening: _Opening, body: list[str], start: int, end: int, closed: bool) -> _Block:
    before = opening.before
    indent = 0 if before.strip() else len(before)
    if opening.carriage_return:
        body = [line.removesuffix("\r") for line in body]
    program = "\n".join(_without_indent(line, indent) for line in body)
    return _Block(opening.tag, program, start + len(before), end, closed)


def _tag(info: str) -> str:
    """The first word of an info string, in lower case; empty if there is none."""
    found = _TAG.match(info)
    word = found[1].lower() if found else ""
    return PYTHON_TAG if _PYTHON.fullmatch(word) else word


def _without_indent(line: str, indent: int) -> str:
    """Remove from a line as much indentation as the opening fence has."""
    margin = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, margin) :]


def _filled(output: _Block | None) -> str | None:
    return output.body if output and output.closed else None


def _follows(text: str, code: _Block, output: _Block) -> bool:
    """Whether the output follows right after the closed program, complete or still empty."""
    if not (code.is_code and code.closed and output.is_output):
        return False
    return (output.closed or output.is_unfilled_output) and not text[
        code.end : output.start
    ].strip()
