from __future__ import annotations

from typing import Any

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.jail.wire import PERHAPS_MEMORY_STATUS
from tirgen.sandbox.outcome import Facts, Stop, judge
from tirgen.sandbox.result import HeadAndTail


def test_ok_needs_exit_zero_and_something_printed(run: Run) -> None:
    execution = run("print(6 * 7)")
    assert (execution.outcome, execution.stdout, execution.stderr) == (Outcome.OK, "42\n", "")
    assert (execution.exit_code, execution.truncated) == (0, False)


@pytest.mark.parametrize(
    "code", ["", "x = 1", "print()", "import sys; print('x', file=sys.stderr)"]
)
def test_nothing_visible_on_stdout_is_no_output(run: Run, code: str) -> None:
    execution = run(code)
    assert (execution.outcome, execution.exit_code) == (Outcome.NO_OUTPUT, 0)


def test_stdout_of_a_failing_program_is_kept(run: Run) -> None:
    execution = run("print('so far')\nraise ValueError('no further')")
    assert (execution.outcome, execution.stdout) == (Outcome.ERROR, "so far\n")


def test_output_that_mentions_an_error_is_a_success_in_full(run: Run) -> None:
    execution = run("print('Error: 1')\nprint('SyntaxError')\nprint(2)")
    assert (execution.outcome, execution.stdout) == (
        Outcome.OK,
        "Error: 1\nSyntaxError\n2\n",
    )


def test_the_traceback_is_the_snippets_own_with_its_source(run: Run) -> None:
    execution = run("def f(x):\n    return 1 / x\n\nf(0)\n")
    assert execution.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<code>", line 4, in <module>\n'
        "    f(0)\n"
        '  File "<code>", line 2, in f\n'
        "    return 1 / x\n"
        "           ~~^~~\n"
        "ZeroDivisionError: division by zero\n"
    )


def test_a_syntax_error_points_at_its_place(run: Run) -> None:
    execution = run("x = 1\ny = (2 +\n")
    assert execution.stderr == (
        "  File \"<code>\", line 2\n    y = (2 +\n        ^\nSyntaxError: '(' was never closed\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import sympy; sympy.Symbol('x').nope()",
        "from sympy import nope",
        "import sympy; sympy.solve(1, 2, 3, nope=4, check=object())\nimport nope",
        "import numpy; numpy.linalg.inv(numpy.zeros((2, 2)))",
        "import json; json.loads('{')",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e",
        "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
        "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()",
        "import warnings, sympy; sympy.warnings.warn('w')\nimport numpy; numpy.log(numpy.zeros(1))",
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        "x = (",
        "exit(3)",
        "import traceback; traceback.print_stack()",
        "import faulthandler; faulthandler.dump_traceback()",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "class D:\n    __repr__ = __call__ = lambda *a: 1 / 0\n"
        "import weakref\nx = {1}\nr = weakref.ref(x, D())\ndel x",
    ],
)
def test_no_path_of_this_machine_is_shown(run: Run, code: str) -> None:
    stderr = run(code).stderr
    for ours in (
        "tirgen",
        "site-packages",
        "python3.",
        "/work",
        "/usr",
        "/root",
        "zygote",
        "runner",
    ):
        assert ours not in stderr


def test_exit_status_and_message_are_pythons(run: Run) -> None:
    execution = run("import sys; sys.exit('the reason')")
    assert (execution.outcome, execution.exit_code) == (Outcome.ERROR, 1)
    assert execution.stderr == "the reason\n"
    assert run("raise SystemExit(7)").exit_code == 7
    assert run("print(1); exit()").outcome is Outcome.OK
    assert run("raise SystemExit(10**30)").exit_code == 255


def test_limits_too_short_for_any_jail_are_not_our_fault(run: Run) -> None:
    execution = run("while True: pass", cpu_seconds=1e-6, wall_seconds=1e-6)
    assert execution.outcome is Outcome.TIMEOUT


def test_threads_and_exit_handlers_finish_before_the_end(run: Run) -> None:
    execution = run(
        "import atexit, threading, time\n"
        "atexit.register(print, 'handler')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
        "print('main')"
    )
    assert execution.stdout == "main\nthread\nhandler\n"


def test_the_namespace_is_that_of_a_program(run: Run) -> None:
    execution = run("if __name__ == '__main__': print(sorted(k for k in globals() if k[0] != '_'))")
    assert execution.stdout == "[]\n"


def test_main_is_importable_by_pickle_and_dataclasses(run: Run) -> None:
    execution = run(
        "import pickle\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    x: int\n"
        "print(pickle.loads(pickle.dumps(P(1))))"
    )
    assert execution.stdout == "P(x=1)\n"


def test_chance_and_order_are_the_same_each_time(run: Run) -> None:
    code = (
        "import random, numpy\n"
        "print(random.random(), numpy.random.rand(), {'a', 'b', 'c', 'd', 'e'}, hash('x'))"
    )
    assert run(code).stdout == run(code).stdout


@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("\ufeffprint(1)", "1\n"),
        ("print('é∑')", "é∑\n"),
        ("print('\\udc80')", "\\udc80\n"),
        ("print(1)\r\nprint(2)\r\n", "1\n2\n"),
        ("print(1)\t# " + "x" * 3_000_000, "1\n"),
    ],
)
def test_unusual_text_runs_as_in_python(run: Run, code: str, stdout: str) -> None:
    assert run(code).stdout == stdout


def test_code_that_is_no_text_is_the_codes_error(run: Run) -> None:
    for code in ("print(1)\0", "\ud800", "x = \udcff"):
        assert run(code).outcome is Outcome.ERROR


def test_long_output_keeps_its_head_and_its_tail(run: Run) -> None:
    execution = run("for n in range(100_000): print(n)", output_bytes=1000)
    lines = execution.stdout.splitlines()
    assert execution.truncated
    assert (lines[0], lines[-1]) == ("0", "99999")
    assert "bytes left out" in execution.stdout
    assert len(execution.stdout) < 1100
    assert execution.outcome is Outcome.OK


def test_usage_is_measured(run: Run) -> None:
    execution = run("x = bytearray(100 << 20)\nn = 0\nfor _ in range(10**6): n += 1\nprint(n)")
    assert 100 <= execution.peak_memory_mb < 130
    assert execution.cpu_ms > 10
    assert execution.wall_ms >= execution.cpu_ms * 0.5


def test_the_mathematics_libraries_are_there(run: Run) -> None:
    execution = run(
        "import numpy as np\nfrom sympy import *\nx = symbols('x')\n"
        "print(solve(x**2 - 5*x + 6, x), np.linalg.det(np.eye(3)), N(pi, 20), latex(sqrt(8)))"
    )
    assert execution.stdout == "[2, 3] 1.0 3.1415926535897932385 2 \\sqrt{2}\n"


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "wait_status": 9,
        "jailed": True,
        "ready": True,
        "stopped": None,
        "printed": False,
        "cpu_seconds": 0.0,
        "peak_memory_bytes": 0,
    }
    return Facts(**{**given, **changes})


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (facts(ready=False, wait_status=0), Outcome.INFRA_ERROR),
        (facts(), Outcome.INFRA_ERROR),
        (facts(jailed=False), Outcome.ERROR),
        (facts(cpu_seconds=10), Outcome.TIMEOUT),
        (facts(peak_memory_bytes=800 << 20), Outcome.OOM),
        (facts(stopped=Stop.TIMEOUT), Outcome.TIMEOUT),
        (facts(stopped=Stop.STARVED), Outcome.INFRA_ERROR),
        (facts(stopped=Stop.OUTPUT), Outcome.ERROR),
        (facts(stopped=Stop.PAGE_TABLES), Outcome.OOM),
        (facts(wait_status=PERHAPS_MEMORY_STATUS << 8), Outcome.ERROR),
        (facts(wait_status=PERHAPS_MEMORY_STATUS << 8, peak_memory_bytes=800 << 20), Outcome.OOM),
        (facts(stopped=Stop.TIMEOUT, wait_status=0, printed=True), Outcome.OK),
        (facts(stopped=Stop.TIMEOUT, wait_status=1 << 8), Outcome.ERROR),
    ],
)
def test_a_kill_is_told_by_who_did_it(given: Any, outcome: Outcome) -> None:
    assert judge(given, Limits()) is outcome


@pytest.mark.parametrize("limit", [0, 1, 10, 99, 100, 101])
def test_head_and_tail_say_exactly_what_is_missing(limit: int) -> None:
    kept = HeadAndTail(limit)
    text = "".join(str(n % 10) for n in range(100))
    for start in range(0, 100, 7):
        kept.feed(text[start : start + 7].encode())
    if limit >= 100:
        assert (kept.text(), kept.truncated) == (text, False)
        return
    head, marker, tail = kept.text().split("\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert marker == f"[... {100 - len(head) - len(tail)} bytes left out ...]"
    assert len(head) + len(tail) == limit
