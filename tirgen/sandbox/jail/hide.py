"""Hides the sandbox's own code from snippets: file names in tracebacks, and modules.

In a dump of the whole stack (`traceback.print_stack`, `faulthandler`) or a warning, frames of the
sandbox have the file name `<sandbox>`. Not covered: code that walks up the stack can read our
globals.
"""

from __future__ import annotations

import sys
import types

NAME = "<sandbox>"
_PACKAGE = __package__.partition(".")[0]


def hide_file_names() -> None:
    """Replace the file name of every loaded function of tirgen; running calls keep the old one."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == _PACKAGE:
            for thing in vars(module).values():
                _rename(thing)


def _rename(thing: object) -> None:
    if isinstance(thing, classmethod | staticmethod):
        thing = thing.__func__
    if not str(getattr(thing, "__module__", "")).startswith(f"{_PACKAGE}."):
        return
    if isinstance(thing, types.FunctionType):
        thing.__code__ = _renamed(thing.__code__)
    elif isinstance(thing, type):
        for member in vars(thing).values():
            _rename(member)


def _renamed(code: types.CodeType) -> types.CodeType:
    inner = (_renamed(c) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=NAME, co_consts=tuple(inner))


def unload_modules() -> None:
    """Remove this package from the loaded modules: a snippet finds what plain Python would have."""
    sys.orig_argv[:] = ["python"]
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
