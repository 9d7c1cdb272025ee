"""Runs one snippet the way `python -u` would, in a fresh `__main__`, and returns its exit status.

Tracebacks show the snippet's own frames with their source lines and nothing else: no frame, path
or line number of the sandbox or of this machine.
"""

from __future__ import annotations

import _sitebuiltins
import ast
import atexit
import builtins
import contextlib
import io
import linecache
import mmap
import os
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable

from tirgen.sandbox.jail.wire import MEMORY_ERROR_STATUS, PERHAPS_MEMORY_STATUS

FILENAME = "<code>"
_reserve = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
"""Freed when an error is reported: by then the snippet may have filled its memory."""
_own_files = {FILENAME}
"""The file names of the snippet's own source in tracebacks."""


def open_streams() -> None:
    """stdin, stdout and stderr over 0, 1 and 2; unbuffered, so a kill loses no output.

    Python checks here, once, what 1 and 2 are: they must be pipes already, as in every child.
    """
    sys.stdin = sys.__stdin__ = open(  # type: ignore[misc]  # noqa: SIM115
        0, encoding="utf-8", closefd=False
    )
    sys.stdout = sys.__stdout__ = _unbuffered(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _unbuffered(2)  # type: ignore[misc]


def _unbuffered(fd: int) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(
        raw,
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )


def fresh_main() -> types.ModuleType:
    """Make the process look like an interpreter that has just started: an empty `__main__`."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    builtins.exit, builtins.quit = (_sitebuiltins.Quitter(name, "") for name in ("exit", "quit"))
    sys.modules["__main__"] = main
    sys.argv[:] = [""]
    threading.excepthook = _report_thread
    sys.unraisablehook = _report_ignored
    warnings.formatwarning = _format_warning
    return main


def run(source: str) -> int:
    """Execute `source` and print what Python would; returns the status Python would exit with."""
    status = execute(source, FILENAME, fresh_main())
    return _contain(_finish, status)


def execute(source: str, filename: str, main: types.ModuleType, echo: bool = False) -> int:
    """Run `source` in `main` and report what it raises; `echo` prints a last bare expression."""
    _own_files.add(filename)
    return _contain(lambda: _execute(source, filename, main, echo), 0)


def _contain(action: Callable[[], None], status: int) -> int:
    """Call `action`; returns `status`, or the exit status of a program that raised the same.

    Nothing escapes from here, whatever the snippet did to the error, the interpreter or the memory.
    """
    try:
        try:
            action()
        except SystemExit as exit_:
            return _exit_status(exit_.code)
        except BaseException as error:  # noqa: BLE001 - the boundary to the snippet
            return _report(error)
    except MemoryError:  # not even enough memory is left to report it
        return MEMORY_ERROR_STATUS
    except BaseException:  # noqa: BLE001 - an unreadable exit code, broken builtins
        return 1
    return status


def _execute(source: str, filename: str, main: types.ModuleType, echo: bool) -> None:
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    if echo:
        _execute_and_echo(source, filename, main)
    else:
        exec(compile(source, filename, "exec", dont_inherit=True), main.__dict__)


def _execute_and_echo(source: str, filename: str, main: types.ModuleType) -> None:
    tree = ast.parse(source, filename)
    last = _take_last_expression(tree)
    exec(compile(tree, filename, "exec", dont_inherit=True), main.__dict__)
    if last is not None:
        value = eval(compile(last, filename, "eval", dont_inherit=True), main.__dict__)
        if value is not None:
            print(repr(value))


def _take_last_expression(tree: ast.Module) -> ast.Expression | None:
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return None
    expression = tree.body.pop()
    assert isinstance(expression, ast.Expr)
    return ast.Expression(expression.value)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        # by the methods of int: the snippet may have overridden the number's own
        return int.__and__(code, 0xFF) if int.bit_length(code) < 64 else 0xFF
    _write_stderr(f"{code}\n")
    return 1


def _finish() -> None:
    """Wait for the snippet's threads and exit handlers, as the interpreter would."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def _report(error: BaseException) -> int:
    """Print an uncaught error on stderr; returns the exit status."""
    _reserve.close()
    status = _failure_status(error)
    _write_stderr(_without_paths(_description(error)))
    return status


def _failure_status(error: BaseException) -> int:
    if issubclass(type(error), MemoryError) and _own_frames(error.__traceback__):
        return MEMORY_ERROR_STATUS
    ambiguous = issubclass(type(error), MemoryError | SystemError)
    return PERHAPS_MEMORY_STATUS if ambiguous else 1


def _description(error: BaseException) -> str:
    """As Python shows it; less of a chain of thousands, or of an error that prevents its report."""
    for show in (_with_causes, traceback.format_exception_only):
        with contextlib.suppress(BaseException):
            return "".join(show(error))
    return f"{type.__getattribute__(type(error), '__name__')}\n"


def _with_causes(error: BaseException) -> list[str]:
    _hide_frames(error)
    return traceback.format_exception(error)


def _write_stderr(text: str) -> None:
    """To the snippet's stderr; to the real one if the snippet has broken it."""
    try:
        sys.stderr.write(text)
    except BaseException:  # noqa: BLE001 - the snippet may have put anything there
        os.write(2, text.encode(errors="backslashreplace"))


def _report_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread else "unknown"
    _write_stderr(f"Exception in thread {name}:\n")
    _report(args.exc_value)


def _report_ignored(args: sys.UnraisableHookArgs) -> None:
    """An error that cannot be caught: in an exit handler or a finaliser."""
    what, source = args.err_msg or "Exception ignored in", "<object repr() failed>"
    with contextlib.suppress(BaseException):
        source = repr(args.object)
    _write_stderr(f"{what}: {source}\n")
    if args.exc_value is not None:
        _report(args.exc_value)


def _hide_frames(error: BaseException) -> None:
    """Keep only the snippet's frames in this error and in those that caused it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _own_frames(one.__traceback__)
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


def _own_frames(tb: types.TracebackType | None) -> types.TracebackType | None:
    frames = []
    while tb is not None:
        if tb.tb_frame.f_code.co_filename in _own_files:
            frames.append(tb)
        tb = tb.tb_next
    kept: types.TracebackType | None = None
    for tb in reversed(frames):
        kept = types.TracebackType(kept, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return kept


def _without_paths(text: str) -> str:
    """Shorten the path of a library file to its path inside the library."""
    for directory in sorted(filter(None, sys.path), key=len, reverse=True):
        text = text.replace(f"{directory}/", "")
    return text


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    where = f"{_without_paths(filename)}:{lineno}: {category.__name__}: {message}\n"
    source = linecache.getline(filename, lineno) if line is None else line
    return where + (f"  {source.strip()}\n" if source.strip() else "")


def exit_process(status: int) -> None:
    """Exit at once: nothing that the snippet left behind in this process runs."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):  # the snippet may have put anything there
            stream.flush()
    os._exit(status)
