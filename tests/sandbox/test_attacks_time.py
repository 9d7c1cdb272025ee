from __future__ import annotations

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run

SHORT = {"cpu_seconds": 0.3, "wall_seconds": 0.3}


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("while True: pass", id="loop"),
        pytest.param("import time; time.sleep(1e6)", id="sleep"),
        pytest.param(
            "while True:\n try:\n  while True: pass\n except BaseException: pass",
            id="swallows every exception",
        ),
        pytest.param("sum(range(10**12))", id="C loop"),
        pytest.param("10**(10**9)", id="big integer"),
        pytest.param("import re; re.match('(a+)+b', 'a' * 60)", id="regular expression"),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)\nwhile 1: pass", id="stop"
        ),
        pytest.param(
            "class E(Exception):\n def __str__(self):\n  while True: pass\nraise E",
            id="endless str",
        ),
        pytest.param(
            "import atexit\n@atexit.register\ndef f():\n while True: pass", id="endless atexit"
        ),
        pytest.param(
            "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()",
            id="thread outlives main",
        ),
        pytest.param(
            "import signal\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n"
            " except (OSError, ValueError): pass\nwhile True: pass",
            id="ignores every signal",
        ),
        pytest.param(
            "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile 1: pass",
            id="blocks every signal",
        ),
        pytest.param(
            "import os\nfor fd in (0, 1, 2): os.close(fd)\nwhile 1: pass", id="closes all"
        ),
        pytest.param("import signal; signal.pause()", id="pause"),
        pytest.param(
            "import threading; l = threading.Lock(); l.acquire(); l.acquire()", id="deadlock"
        ),
        pytest.param(
            "import threading\ndef f():\n while 1: pass\n"
            "for _ in range(20): threading.Thread(target=f).start()",
            id="many busy threads",
        ),
        pytest.param(
            "class D:\n def __del__(self):\n  while 1: pass\nd = D(); del d", id="finalizer"
        ),
    ],
)
def test_nothing_outlasts_its_limit(run: Run, code: str) -> None:
    execution = run(code, **SHORT)
    assert execution.outcome is Outcome.TIMEOUT
    assert execution.cpu_ms < 1500


def test_stdin_is_empty_rather_than_waiting(run: Run) -> None:
    execution = run("input()")
    assert execution.outcome is Outcome.ERROR
    assert "EOFError" in execution.stderr


def test_output_before_a_timeout_is_kept_even_without_a_newline(run: Run) -> None:
    execution = run("print('partial', end='')\nwhile True: pass", **SHORT)
    assert (execution.outcome, execution.stdout) == (Outcome.TIMEOUT, "partial")
