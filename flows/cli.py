"""The ``tirgen`` command: runs one command line and turns every exception into an exit code.

Everything else is imported inside `run`, so that an interrupt ends quietly at any moment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DONE, USAGE, INTERRUPTED = 0, 2, 130


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; failures are printed, never raised."""
    try:
        return _run(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader closed the pipe
        return DONE
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else DONE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one boundary
        from flows.terminal.failures import classify, report

        failure = classify(error)
        report(failure, as_json="--json" in arguments)
        return failure.code


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    from flows.tree import called, tree

    command = called(arguments)
    app = tree([command])
    try:
        app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        from flows.terminal.failures import Failure, report, say_next

        hint = f"{' '.join(['tirgen', *command.split()])} --help"
        if "--json" in arguments:
            report(Failure("usage", str(error), hint, USAGE), as_json=True)
        else:
            say_next(hint)  # cyclopts has printed what is wrong
        return USAGE
    return DONE


def main() -> None:
    """Entry point of the installed command."""
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first is reported
        code = INTERRUPTED
    sys.exit(code)
