from __future__ import annotations

import pytest

from storage.records import Outcome
from tests.sandbox.conftest import Run


@pytest.mark.parametrize("where", ["sys.stdout", "sys.stderr"])
def test_a_gigabyte_of_output_is_cut_short(run: Run, where: str) -> None:
    execution = run(f"import sys\nfor _ in range(1024): {where}.write('x' * (1 << 20))")
    assert execution.outcome is Outcome.ERROR
    assert execution.truncated
    assert len(execution.stdout) + len(execution.stderr) < 80_000
    assert "Killed: it printed more than" in execution.stderr


def test_endless_short_lines_are_cut_short(run: Run) -> None:
    execution = run("while True: print(1)", cpu_seconds=0.5)
    assert execution.outcome in (Outcome.ERROR, Outcome.TIMEOUT)
    assert len(execution.stdout) < 80_000


@pytest.mark.parametrize("end", ["''", "'\\n'"])
def test_output_before_a_hard_exit_is_kept(run: Run, end: str) -> None:
    execution = run(f"import os; print('said', end={end}); os._exit(0)")
    assert (execution.outcome, execution.stdout.strip()) == (Outcome.OK, "said")


def test_closing_stdout_loses_only_what_follows(run: Run) -> None:
    execution = run("import os; print('before'); os.close(1); print('after')")
    assert (execution.outcome, execution.stdout) == (Outcome.ERROR, "before\n")


def test_garbage_on_every_descriptor_changes_nothing(run: Run) -> None:
    execution = run(
        "import os\n"
        "for fd in range(3, 1024):\n"
        "    for data in (b'R', b'\\x02' * 41, b'{\"exit\": 0}\\n'):\n"
        "        try: os.write(fd, data)\n"
        "        except OSError: pass\n"
        "raise SystemExit(3)"
    )
    assert (execution.outcome, execution.exit_code) == (Outcome.ERROR, 3)


def test_a_pickle_on_stdout_is_only_text(run: Run) -> None:
    execution = run("import pickle, sys; sys.stdout.buffer.write(pickle.dumps(print))")
    assert execution.outcome is Outcome.OK


@pytest.mark.parametrize(
    "code",
    [
        "class Code(int):\n    def __and__(self, other): return 'x'\nraise SystemExit(Code(3))",
        "class Exit(SystemExit):\n    code = property(lambda self: 1 / 0)\nraise Exit",
        "class Code:\n    def __str__(self): raise SystemExit(0)\nraise SystemExit(Code())",
        "import sys; sys.stderr = None; raise SystemExit('to nobody')",
    ],
)
def test_an_exit_code_built_to_resist_is_still_a_failure(run: Run, code: str) -> None:
    execution = run(code)
    assert (execution.outcome, execution.stdout) == (Outcome.ERROR, "")
    assert "sandbox" not in execution.stderr


@pytest.mark.parametrize("status", [1, 2, 99, 124, 125, 126, 127, 137, 139, 246, 247, 255])
def test_no_exit_status_forges_success_or_a_fault_of_ours(run: Run, status: int) -> None:
    execution = run(f"import os; print('x'); os._exit({status})")
    assert execution.outcome in (Outcome.ERROR, Outcome.OOM)


def test_killing_itself_is_never_a_fault_of_ours(run: Run) -> None:
    execution = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert execution.outcome is Outcome.ERROR


def test_a_thread_killing_the_process_is_never_a_fault_of_ours(run: Run) -> None:
    execution = run(
        "import signal, threading\n"
        "threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), 9)).start()"
    )
    assert execution.outcome is Outcome.ERROR


def test_running_out_of_cpu_by_many_threads_is_a_timeout(run: Run) -> None:
    execution = run(
        "import hashlib, threading\n"
        "def burn():\n"
        "    while True: hashlib.sha256(bytes(1 << 20)).digest()\n"
        "for _ in range(4): threading.Thread(target=burn).start()",
        cpu_seconds=0.5,
    )
    assert execution.outcome is Outcome.TIMEOUT


def test_a_forged_traceback_is_still_a_success(run: Run) -> None:
    execution = run("print('Traceback (most recent call last):\\nZeroDivisionError: no')")
    assert execution.outcome is Outcome.OK


def test_replaced_builtins_and_hooks_change_no_outcome(run: Run) -> None:
    execution = run(
        "import sys, builtins, os, traceback\n"
        "sys.excepthook = sys.unraisablehook = print\n"
        "traceback.format_exception = lambda *a: ['']\n"
        "builtins.isinstance = lambda *a: False\n"
        "os._exit = sys.exit = lambda *a: None\n"
        "1 / 0"
    )
    assert execution.outcome is Outcome.ERROR
    assert execution.exit_code == 1


def test_exiting_through_a_patched_exit_is_still_an_exit(run: Run) -> None:
    execution = run("import os; os._exit = lambda status: None\nprint('x')")
    assert (execution.outcome, execution.exit_code) == (Outcome.OK, 0)


def test_replaced_streams_cannot_stop_the_end(run: Run) -> None:
    execution = run("import sys\nclass S:\n def flush(self): raise OSError\nsys.stdout = S()")
    assert execution.outcome is Outcome.NO_OUTPUT


def test_walking_up_the_stack_finds_nothing_to_break(run: Run) -> None:
    """Frames of the runner are reachable in its own process; the verdict is made outside."""
    execution = run(
        "import sys\n"
        "frame = sys._getframe()\n"
        "while frame:\n"
        "    for name in list(frame.f_globals):\n"
        "        if name in ('run', '_report', '_finish', 'live', '_os_exit', 'os'):\n"
        "            frame.f_globals[name] = lambda *a: 0\n"
        "    frame = frame.f_back\n"
        "1 / 0"
    )
    assert execution.outcome is not Outcome.INFRA_ERROR
    assert run("print(1)").stdout == "1\n"
