"""The surface format of TIR text: fenced programs, the outputs injected after them, and back.

    thought                     ```python … ```          ```output … ```
    r^t, the policy's words     a^t, the policy's code   o^t, the executor's words     (eq. 1)

A block opens with three or more backticks and a tag, and closes with a line of nothing but
backticks; both may be indented. An opening fence tagged as Python or output may also stand at the
end of a line of prose, where models like to put it. A line inside a block opens nothing (spec
D16), and backticks within a line of code close nothing. Untagged and other blocks are prose.

Not covered: tildes as fences, programs written inline (`` ```print(1)``` ``), and programs whose
own text has a line of bare backticks, which no fence of this format could hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

CODE_STOP = ("\n```\n", " ```\n", "```output")
"""Stop strings under which one call writes thought and program and ends at the closing fence.

The first two match closing fences, indented ones too, but no opening ```` ```python ````; the
third stops a model that goes on to write its own output. After a stop, `closed_code` has the
program; where it is None, `invents_output` tells an invention from an untagged block that merely
opened, after which the model should just go on.
"""

THINK_OPEN = "<think>\n"
"""What opens a thinking section, where the chat template does not open it."""
THINK_CLOSE = "</think>"
"""What closes it; everything after it is the answer part."""

PYTHON_TAGS = frozenset({"python", "python3", "py"})
OUTPUT_TAG = "output"
OUR_TAGS = PYTHON_TAGS | {OUTPUT_TAG}

_OPENING = re.compile(r"(?P<before>[^`]*)`{3,}[ \t]*(?P<info>[^`]*)")
_CLOSING = re.compile(r"[ \t]*`{3,}\s*")


class ParsedStep(NamedTuple):
    """One step of a response that was read back from text."""

    thought: str
    action: str | None
    """The program, without its fences; None in the last step."""
    observation: str | None
    """What the output block held; None where none followed the program."""


class _Block(NamedTuple):
    """One fenced block, from its opening backticks to past the newline of its closing line."""

    tag: str
    body: str
    start: int
    end: int
    closed: bool

    @property
    def is_code(self) -> bool:
        return self.tag in PYTHON_TAGS

    @property
    def is_output(self) -> bool:
        return self.tag == OUTPUT_TAG

    @property
    def is_unfilled_output(self) -> bool:
        return self.is_output and not self.closed and not self.body


def closed_code(text: str) -> str | None:
    """The program that is now to be run: `text` ends with its closing fence.

    The model may have opened the ```` ```output ```` after it already. None where the text ends
    otherwise; an empty program is the empty string.
    """
    blocks = list(_blocks(text))
    if len(blocks) > 1 and blocks[-1].is_unfilled_output:
        text = text[: blocks.pop().start]
    if not blocks or not blocks[-1].is_code or not blocks[-1].closed:
        return None
    return None if text[blocks[-1].end :].strip() else blocks[-1].body


def action_start(text: str) -> int:
    """Where the last program of `text` opens its fence: the thought ends there.

    Raises ValueError where the text has no program.
    """
    starts = [block.start for block in _blocks(text) if block.is_code]
    if not starts:
        raise ValueError("the text has no program")
    return starts[-1]


def invents_output(text: str) -> bool:
    """A model played the executor: `text`, all of which is its own, holds an output.

    One that it only opened, right after a program, is none, since the executor's words complete it;
    one that opens inside a program that never closed is.
    """
    blocks = list(_blocks(text))
    for before, block in zip([None, *blocks], blocks, strict=False):
        opened = block.is_unfilled_output and before and _follows(text, before, block)
        if block.is_output and not opened:
            return True
    if not blocks or blocks[-1].closed:
        return False
    return any(_tag(line) == OUTPUT_TAG for line in blocks[-1].body.split("\n"))


def render_output(observation: str, after: str = "```\n") -> str:
    """The text to inject so that `after`, which ends in a program, goes on with its output."""
    newline = "" if after.endswith("\n") else "\n"
    opening = "" if after.rstrip().endswith(f"```{OUTPUT_TAG}") else f"```{OUTPUT_TAG}\n"
    return f"{newline}{opening}{defuse_fences(observation)}\n```\n"


def defuse_fences(observation: str) -> str:
    """Backticks a program printed must not end its output block: ``` becomes '''.

    Otherwise a program could print the end of its own block and a boxed answer after it.
    """
    return re.sub("`{3,}", lambda run: "'" * len(run[0]), observation)


def render_step(thought: str, action: str | None, observation: str | None) -> str:
    """One step as text, ready to be followed by the next.

    Raises ValueError for a program with a line of bare backticks.
    """
    if action is None:
        return thought
    if any(_CLOSING.fullmatch(line) for line in action.split("\n")):
        raise ValueError("the program has a line of bare backticks, which would close its block")
    text = (f"{thought}\n" if thought else "") + f"```python\n{action}\n```\n"
    return text if observation is None else text + render_output(observation)


def close_thinking(sentence: str) -> str:
    """The text that ends a thinking section for the policy, from the beginning of a line on."""
    return f"{sentence}\n{THINK_CLOSE}\n\n"


def parse_trajectory(text: str) -> list[ParsedStep]:
    """Split a whole response into alternating thought, action and observation (eq. 1).

    Thoughts come stripped, programs and observations exact. The last step has no action, and is
    left out where nothing follows the last block. A program that was never closed is not an
    action, nor an output without a program an observation: both stay in the thought.
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
    """The text without programs and outputs, closed or not: where an answer may be looked for."""
    kept, position = [], 0
    for block in _blocks(text):
        if block.is_code or block.is_output:
            kept.append(text[position : block.start])
            position = block.end
    return "".join([*kept, text[position:]])


def _blocks(text: str) -> Iterator[_Block]:
    """Every fenced block of the text in order; only the last can be unclosed."""
    tag, start, indent, body = "", -1, 0, list[str]()
    position = 0
    for line in text.split("\n"):
        end = min(position + len(line) + 1, len(text))
        if start < 0:
            opening = _OPENING.fullmatch(line)
            if opening and (_tag(line) in OUR_TAGS or not opening["before"].strip()):
                before = opening["before"]
                tag, start, body = _tag(line), position + len(before), []
                indent = 0 if before.strip() else len(before)
        elif _CLOSING.fullmatch(line):
            yield _Block(tag, "\n".join(body), start, end, closed=True)
            start = -1
        else:
            body.append(_without_indent(line, indent))
        position = end
    if start >= 0:
        yield _Block(tag, "\n".join(body), start, len(text), closed=False)


def _tag(line: str) -> str:
    """The first word after an opening fence, in lower case; empty where there is none."""
    opening = _OPENING.fullmatch(line)
    words = opening["info"].split() if opening else []
    return words[0].lower() if words else ""


def _without_indent(line: str, indent: int) -> str:
    """An indented block's line loses as much indentation as its opening fence has."""
    margin = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, margin) :]


def _filled(output: _Block | None) -> str | None:
    return output.body if output and output.closed else None


def _follows(text: str, code: _Block, output: _Block) -> bool:
    """The output stands right after the closed program, and is complete or not yet begun."""
    if not (code.is_code and code.closed and output.is_output):
        return False
    return (output.closed or output.is_unfilled_output) and not text[
        code.end : output.start
    ].strip()
