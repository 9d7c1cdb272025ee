"""Takes the names of our files out of the zygote's code: a snippet's output must not hold them.

Where a dump of the whole stack (`traceback.print_stack`, `faulthandler`) or a warning shows frames
of ours, they stand there as `<sandbox>`. Not covered: who walks up the stack may read our globals.
"""

from __future__ import annotations

import sys
import types

NAME = "<sandbox>"
_PACKAGE = __package__.partition(".")[0]


def forget_our_files() -> None:
    """Rename what every function of ours that is loaded says it comes from; calls made before keep
    the old name."""
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
