"""Wrong solutions that attack their tests: none passes, in any mode of this machine."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from textwrap import dedent, indent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Problem
from tirgen.data.code_tasks import CodeLayout, CodeTask
from tirgen.jobs.code_maker import run_tests
from tirgen.jobs.code_peer import Peer
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.remote import RemoteSandbox
from tirgen.sandbox.service import serving

MODES = ["root", "userns", "bare"] if os.geteuid() == 0 else ["userns", "bare"]
LIMITS = Limits(cpu_seconds=2, wall_seconds=4, memory_mb=256)
PROMPT = (
    "import math\n\n\ndef helper(x):\n    return x * math.pi\n\n\n"
    'def f(x):\n    """Twice the helper of x, for numbers and lists of numbers."""\n'
)
TESTS = """
METADATA = {"secret": "passed"}

def check(candidate):
    assert math.isclose(candidate(2.5), 2 * helper(2.5))
    assert candidate([1, 2]) == [2 * helper(1), 2 * helper(2)]
    assert candidate([]) == []
    assert len(candidate([7, 8, 9])) == 3
    assert all(map(lambda x: candidate(x) == 2 * helper(x), (0, 1, 2)))

check(f)
"""
TASK = CodeTask(
    problem=Problem(problem_id="t-0", source="t", question=PROMPT, answer=""),
    layout=CodeLayout.HUMANEVAL,
    entry_point="f",
    prelude=PROMPT,
    tests=TESTS,
)
HONEST = (
    "def f(x):\n    if isinstance(x, list):\n        return [f(y) for y in x]\n"
    "    return 2 * helper(x)\n"
)
EQUAL = """
class Yes({base}):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = lambda self: 0
    __len__ = lambda self: 3
    __float__ = lambda self: 1.0
    __sub__ = __rsub__ = __abs__ = lambda self, *other: self
    __bool__ = lambda self: True
    __iter__ = lambda self: iter([Yes()])
    __getattr__ = lambda self, name: Yes()
    __call__ = lambda self, *args: Yes()
    __contains__ = lambda self, item: True
"""
ATTACKS = {
    "nothing": "def f(x):\n    return None\n",
    "ends at once": "import os\nos._exit(0)\ndef f(x): pass\n",
    "exits in the call": "def f(x):\n    raise SystemExit(0)\n",
    "exits hard in the call": "import os\ndef f(x):\n    os._exit(0)\n",
    "stops the iteration of the tests": "def f(x):\n    raise StopIteration\n",
    "ends a generator": "def f(x):\n    raise GeneratorExit\n",
    "interrupts": "def f(x):\n    raise KeyboardInterrupt\n",
    "error named like the module's own": "class SolutionFailed(Exception): pass\n"
    "def f(x):\n    raise SolutionFailed\n",
    **{
        f"equals everything as {base}": EQUAL.format(base=base)
        + "def f(x):\n    try:\n        return Yes()\n    except TypeError:\n"
        "        return Yes.__new__(Yes)\n"
        for base in ("object", "int", "float", "str", "list", "dict", "tuple", "set")
    },
    "equals everything within a list": EQUAL.format(base="float")
    + "def f(x):\n    return [Yes(), Yes()] if type(x) is list else Yes()\n",
    "a class": EQUAL.format(base="object") + "def f(x):\n    return Yes\n",
    "not a number": "def f(x):\n    return float('nan')\n",
    "constants of the frames": "import sys\ndef f(x):\n    frame = sys._getframe()\n"
    "    while frame:\n        for c in frame.f_code.co_consts:\n"
    "            if type(c) is str and 'pass' in c: print(c)\n        frame = frame.f_back\n"
    "    sys.stdout.flush(); import os; os._exit(0)\n",
    "patches what the tests use": "import builtins, math\nmath.isclose = lambda *a, **k: True\n"
    "builtins.AssertionError = KeyError\nbuiltins.len = lambda x: 3\nbuiltins.all = bool\n"
    "builtins.map = lambda *a: [1]\nhelper = lambda x: 0\ndef f(x):\n    return 0\n",
    "patches the protocol": "import json\njson.dumps = lambda *a: '[\"value\", null]'\n"
    "def f(x):\n    return 0\n",
    "rewrites the tests it finds": "import gc, sys\n"
    "for o in gc.get_objects():\n    if isinstance(o, dict) and 'check' in o:\n"
    "        o['check'] = lambda f: None\n"
    "for m in list(sys.modules.values()):\n    m.check = lambda f: None\ndef f(x): return 0\n",
    "traces": "import sys\ndef trace(frame, event, arg):\n"
    "    frame.f_locals.clear()\n    return trace\nsys.settrace(trace)\ndef f(x): return 0\n",
    "frames of callers": "import sys\ndef f(x):\n    frame = sys._getframe()\n"
    "    while frame:\n        frame.f_globals['check'] = print\n        frame = frame.f_back\n",
    "forks": "import os\ndef f(x):\n    return 0 if os.fork() else os._exit(0)\n",
    "runs another program": "import os\ndef f(x):\n    os.execv('/bin/true', ['true'])\n",
    "signals": "import os, signal\ndef f(x):\n"
    "    for p in (0, -1, 1, os.getppid(), os.getpid() + 1):\n"
    "        try: os.kill(p, signal.SIGTERM)\n        except OSError: pass\n",
    "exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    return 1/0\n",
    "hunts the descriptors": "import os\nfor d in range(64):\n"
    "    for data in (b'passed\\n', b'\\0' * 64):\n        try: os.write(d, data)\n"
    "        except OSError: pass\ndef f(x): return 0\n",
    "answers before it is asked": "import os, json\ndef say(m):\n    d = json.dumps(m).encode()\n"
    "    for n in range(16):\n        try: os.write(n, len(d).to_bytes(8, 'big') + d)\n"
    "        except OSError: pass\nfor _ in range(9): say(['value', True])\ndef f(x): return 0\n",
    "calls what the tests hold": "import os, json\ndef say(m):\n    d = json.dumps(m).encode()\n"
    "    for n in range(16):\n        try: os.write(n, len(d).to_bytes(8, 'big') + d)\n"
    "        except OSError: pass\nfor n in (0, -1, 'check', None): say(['call', n, [], {}])\n"
    "say(['end']); say(['raise', 'SystemExit', '0']); say({'value': 1})\ndef f(x): return 0\n",
    "a message that never ends": "import os\nfor n in range(16):\n"
    "    try: os.write(n, (1 << 60).to_bytes(8, 'big'))\n"
    "    except OSError: pass\ndef f(x): return 0\n",
    "nests deeply": "def f(x):\n    y = []\n    for _ in range(100000):\n        y = [y]\n"
    "    return y\n",
    "holds itself": "def f(x):\n    y = []\n    y.append(y)\n    return y\n",
    "without end": "import itertools\ndef f(x):\n    return itertools.count()\n",
    "never answers": "def f(x):\n    while True: pass\n",
    "sleeps": "import time\ntime.sleep(60)\ndef f(x): pass\n",
    "fills its memory": "def f(x):\n    return [0] * (1 << 30)\n",
    "fills the memory of its tests": "def f(x):\n"
    "    return {'a' * n: [None] * 1000 for n in range(9000)}\n",
    "changes its argument": "def f(x):\n    x.clear()\n    return []\n",
    "reads its program": "import linecache, glob\ndef f(x):\n"
    "    return [open(p).read() for p in glob.glob('/proc/*/mem') + ['/proc/self/environ']]\n",
    "no function": "f = 3\n",
    "no such name": "g = 3\n",
    "no Python": "def f(x:\n",
}


def verdicts(mode: str, *solutions: str) -> list[bool | None]:
    async def judge() -> list[bool | None]:
        async with LocalSandbox(mode=mode) as sandbox:
            replies = [f"```python\n{text}```\n" for text in solutions]
            tested = await asyncio.gather(
                *(run_tests(TASK, reply, sandbox, LIMITS) for reply in replies)
            )
        return [each.verdict.correct if each.verdict else None for each in tested]

    return asyncio.run(judge())


@pytest.mark.parametrize("mode", MODES)
def test_no_attack_passes_and_the_honest_solution_does(mode: Any) -> None:
    found = verdicts(mode, *ATTACKS.values(), HONEST)
    assert dict(zip([*ATTACKS, "honest"], found, strict=True)) == {
        **dict.fromkeys(ATTACKS, False),
        "honest": True,
    }


def test_the_plain_mode_judges_too() -> None:
    assert verdicts("posix", HONEST, ATTACKS["nothing"]) == [True, False]


def test_a_service_judges_too() -> None:
    async def judge() -> list[bool | None]:
        async with (
            serving(LocalSandbox(floor="bare")) as address,
            RemoteSandbox([address]) as sandbox,
        ):
            replies = [f"```python\n{text}```\n" for text in (HONEST, ATTACKS["nothing"])]
            tested = [await run_tests(TASK, reply, sandbox, LIMITS) for reply in replies]
        return [each.verdict.correct if each.verdict else None for each in tested]

    assert asyncio.run(judge()) == [True, False]


SIGNATURE = 'def g(x):\n    """What the tests want."""\n'


def judged(*cases: tuple[str, str]) -> list[str]:
    """Why each of these tests and solutions passed or not."""

    async def judge() -> list[str]:
        reasons = []
        async with LocalSandbox() as sandbox:
            for body, solution in cases:
                tests = f"def check(candidate):\n{indent(dedent(body), '    ')}\n\ncheck(g)\n"
                task = replace(TASK, prelude=SIGNATURE, entry_point="g", tests=tests)
                tested = await run_tests(task, f"```python\n{solution}```\n", sandbox, LIMITS)
                assert tested.verdict is not None
                reasons.append(tested.verdict.reason)
        return reasons

    return asyncio.run(judge())


def test_functions_iterators_and_the_numbers_of_libraries_arrive() -> None:
    functions = """
        twice = candidate(lambda x: x + 1)
        assert twice(3) == 5 and twice(4) == 6
        try:
            twice("a")
        except TypeError:
            return
        raise AssertionError
    """
    numbers = """
        one, many, yes = candidate(3)
        assert type(one) is int and one == 3 and list(many) == [0, 1, 2] and yes is True
    """
    cases = (
        (functions, "def g(h):\n    return lambda x: h(h(x))\n"),
        (
            numbers,
            "import numpy as np\ndef g(x):\n    return np.int64(x), map(abs, range(x)), np.True_\n",
        ),
    )
    assert judged(*cases) == ["passed", "passed"]


def test_what_a_failed_solution_did_is_said() -> None:
    bodies = ("return 2", "return 1 / 0", "return object()", "import os; os._exit(0)")
    test = "assert candidate(1) == 1"
    reasons = judged(*((test, f"def g(x):\n    {body}\n") for body in bodies))
    assert reasons[:2] == ["AssertionError", "ZeroDivisionError: division by zero"]
    assert reasons[2] == "AssertionError"
    assert reasons[3].endswith("SolutionFailed: the solution's process ended")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.complex_numbers(allow_nan=False) | st.binary() | st.fractions()
    | st.decimals(allow_nan=False) | st.integers(min_value=1 << 60, max_value=1 << 90),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(plain)
def test_plain_data_arrives_as_it_was(value: Any) -> None:
    peer = Peer(-1)
    arrived = peer.decode(peer.encode(value))
    assert arrived == value
    assert repr(arrived) == repr(value)
