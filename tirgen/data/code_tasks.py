"""Code benchmarks from files: HumanEval, MBPP, their EvalPlus versions, and LiveCodeBench.

Layouts are told apart by their fields. EvalPlus publishes each benchmark twice: as programs that
test (``-OriginFmt``, and on the Hub), which are read, and as inputs, whose comparison is in its own
package; those are refused, since their field ``test`` holds the tests before EvalPlus only.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import pickletools
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from storage.records import Problem
from tirgen.data.errors import BadRow, ProblemsError
from tirgen.data.files import read_rows

MOST_TEST_BYTES = 1 << 28
"""Of one task's hidden tests, unpacked."""
_TEXT_ONLY = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"} | {
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
"""Opcodes of a pickle that is one text. LiveCodeBench packs its tests so; nothing is unpickled."""
_STARRED = "string re datetime collections heapq bisect copy math random statistics itertools"
_MODULES = f"{_STARRED} functools operator io sys json typing".split()
JUDGE_IMPORTS = "".join(
    f"from {name} import *\nimport {name}\n" for name in _MODULES
) + "sys.setrecursionlimit(50_000)\n"  # fmt: skip
"""What LiveCodeBench's judge puts before a solution; starter code relies on it."""


class CodeLayout(StrEnum):
    """The published layouts."""

    HUMANEVAL = "humaneval"
    """The beginning of a function, and a program that checks it."""
    MBPP = "mbpp"
    """A sentence, and assertions about a function."""
    LIVECODEBENCH = "livecodebench"
    """A problem of a contest with cases: inputs and outputs of a program, or of a method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTask:
    """A problem and how its solutions are tested."""

    problem: Problem
    """The question as the policy gets it. The answer is a hash: tests can have megabytes."""
    layout: CodeLayout
    entry_point: str
    """The function or method that is called; empty for a program that reads stdin."""
    prelude: str
    """Code before the solution; of HumanEval, the beginning of the function."""
    tests: str
    """A program for HumanEval and MBPP; for LiveCodeBench, a JSON array of [input, output]."""


@dataclass(frozen=True, slots=True)
class Window:
    """The days of contests that count, both included; None for no bound."""

    since: date | None = None
    until: date | None = None

    @property
    def is_open(self) -> bool:
        return self.since is None and self.until is None

    def holds(self, day: date) -> bool:
        return not (self.since and day < self.since) and not (self.until and day > self.until)


def load_code_tasks(
    path: str, limit: int | None = None, window: Window = Window()
) -> tuple[CodeTask, ...]:
    """The tasks of a JSONL, JSON or Parquet file, the first `limit` within the window.

    Raises `ProblemsError` for a file that is missing, has no task within the window, or has a row
    of no known layout.
    """
    where = Path(path).expanduser()
    if not where.is_file():
        raise ProblemsError(f"{where} does not exist; give the file of a code benchmark")
    tasks: list[CodeTask] = []
    for row in read_rows(where):
        if isinstance(row, BadRow):
            raise ProblemsError(f"{where}, line {row.line}: {row.why}")
        try:
            if window.is_open or window.holds(_day(row.fields)):
                tasks.append(_task(where.name.partition(".")[0], row.fields))
        except _NoTask as error:
            raise ProblemsError(f"{where}, line {row.line}: {error}") from error
        if len(tasks) == limit:
            break
    if not tasks:
        raise ProblemsError(f"{where} has no task" + ("" if window.is_open else " of these days"))
    return tuple(tasks)


class _NoTask(ValueError):
    """The row is no task; the message says why."""


def _task(source: str, fields: Mapping[str, Any]) -> CodeTask:
    if "plus_input" in fields:
        raise _NoTask(
            "its tests are inputs for EvalPlus' own judge; take the same release's file "
            "-OriginFmt.jsonl.gz, or evalplus/humanevalplus and evalplus/mbppplus from the Hub"
        )
    for needed, read in _LAYOUTS:
        if needed <= fields.keys():
            return read(source, fields)
    known = "; ".join(", ".join(sorted(needed)) for needed, _ in _LAYOUTS)
    raise _NoTask(f"it is no code task; known layouts have the fields {known}")


def _humaneval(source: str, fields: Mapping[str, Any]) -> CodeTask:
    prompt, name = _text(fields, "prompt"), _text(fields, "entry_point")
    tests = f"{_text(fields, 'test').strip()}\n\ncheck({name})\n"
    problem = _problem(source, _text(fields, "task_id"), prompt, tests)
    return CodeTask(
        problem=problem, layout=CodeLayout.HUMANEVAL, entry_point=name, prelude=prompt, tests=tests
    )


def _mbpp(source: str, fields: Mapping[str, Any]) -> CodeTask:
    asked = _text(fields, "prompt" if "prompt" in fields else "text")
    examples = _texts(fields, "test_list")
    tests = _text(fields, "test") if fields.get("test") else "\n".join(examples)
    question = f"{asked.strip()}\n\n```python\n{examples[0].strip()}\n```"
    setup = _texts(fields, "test_imports") if "test_imports" in fields else []
    problem = _problem(source, str(fields["task_id"]), question, tests)
    return CodeTask(
        problem=problem,
        layout=CodeLayout.MBPP,
        entry_point=_called(examples, _text(fields, "code")),
        prelude="".join(f"{line}\n" for line in setup),
        tests=tests,
    )


def _called(examples: list[str], code: str) -> str:
    """The function of the published solution that the assertions call."""
    try:
        defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
        calls = [node for node in ast.walk(ast.parse("\n".join(examples)))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]  # fmt: skip
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _NoTask(f"its code or test_list is no Python: {error}") from error
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id in defined:
            return call.func.id
    raise _NoTask("test_list calls no function of code")


def _livecodebench(source: str, fields: Mapping[str, Any]) -> CodeTask:
    starter = _text(fields, "starter_code").rstrip()
    question = _text(fields, "question_content").strip()
    if starter:
        question += f"\n\n```python\n{starter}\n```"
    cases = [case for name in ("public_test_cases", "private_test_cases")
             for case in _cases(fields.get(name) or "[]", name)]  # fmt: skip
    metadata = fields.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _json(metadata, "metadata")
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    if not cases or bool(name) != (cases[0]["testtype"] == "functional"):
        raise _NoTask("it has no tests, or func_name in its metadata does not fit their testtype")
    tests = json.dumps([[case["input"], case["output"]] for case in cases])
    problem = _problem(
        source, str(fields["question_id"]), question, tests, str(fields.get("difficulty") or "")
    )
    return CodeTask(
        problem=problem, layout=CodeLayout.LIVECODEBENCH, entry_point=name or "",
        prelude=JUDGE_IMPORTS, tests=tests,
    )  # fmt: skip


def _cases(packed: Any, name: str) -> Iterator[dict[str, str]]:
    """The cases of one field: JSON, or base64 of a compressed pickle of JSON text."""
    if isinstance(packed, str):
        packed = _json(packed if packed.lstrip().startswith("[") else _unpacked(packed), name)
    for case in packed:
        if not all(isinstance(case.get(key), str) for key in ("input", "output", "testtype")):
            raise _NoTask(f"{name} has a case without the texts input, output and testtype")
        yield case


def _unpacked(packed: str) -> str:
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(packed, validate=True), MOST_TEST_BYTES)
        operations = list(pickletools.genops(data))
    except (ValueError, zlib.error) as error:
        raise _NoTask(f"private_test_cases cannot be unpacked: {error}") from error
    texts = [value for _, value, _ in operations if isinstance(value, str)]
    if not stream.eof or len(texts) != 1 or {op.name for op, _, _ in operations} - _TEXT_ONLY:
        raise _NoTask("private_test_cases is not one text, or too long")
    return texts[0]


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _NoTask(f"{name} is not JSON") from error


def _problem(source: str, name: str, question: str, tests: str, difficulty: str = "") -> Problem:
    return Problem(
        problem_id=f"{source}-{name}", source=source, question=question,
        answer=f"tests sha256:{hashlib.sha256(tests.encode()).hexdigest()}",
        difficulty=difficulty or None,
    )  # fmt: skip


def _day(fields: Mapping[str, Any]) -> date:
    found = fields.get("contest_date")
    if isinstance(found, datetime):
        return found.date()
    try:
        return datetime.fromisoformat(str(found)).date()
    except ValueError:
        raise _NoTask("it has no contest_date; leave since and until out") from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        raise _NoTask(f"{name} is no text")
    return str(fields[name])


def _texts(fields: Mapping[str, Any], name: str) -> list[str]:
    found = fields.get(name)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _NoTask(f"{name} is no list of texts")
    return found


_LAYOUTS: tuple[tuple[set[str], Callable[[str, Mapping[str, Any]], CodeTask]], ...] = (
    ({"task_id", "prompt", "test", "entry_point"}, _humaneval),
    ({"task_id", "code", "test_list"}, _mbpp),
    ({"question_id", "question_content", "starter_code", "public_test_cases"}, _livecodebench),
)
