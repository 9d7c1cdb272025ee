"""Whether a program is worth a tool call: the paper's rule, by the syntax tree (method A10).

A block is substantial if it calls something that it imported, or has control flow. Lines are
counted only if the configuration says so. Nothing is executed.
"""

from __future__ import annotations

import ast
import builtins
import math
import warnings
from collections.abc import Sequence

_CONTROL_FLOW = (
    ast.For,
    ast.While,
    ast.If,
    ast.IfExp,
    ast.Match,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def trivial_reason(blocks: Sequence[str], largest_share: float, minimum_lines: int) -> str | None:
    """Why a trajectory's code is too trivial to learn from; None if it is not.

    Of ``n`` blocks, one must be substantial and at most ``ceil(largest_share * n)`` trivial.
    """
    trivial = sum(not is_substantial(block, minimum_lines) for block in blocks)
    if trivial == len(blocks):
        return f"none of {len(blocks)} blocks is substantial"
    if trivial > math.ceil(largest_share * len(blocks)):
        return f"{trivial} of {len(blocks)} blocks are trivial"
    return None


def is_substantial(code: str, minimum_lines: int = 0) -> bool:
    """Whether code has control flow or calls an imported library; not if it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if code_lines(code) < minimum_lines:
        return False
    nodes = list(ast.walk(tree))
    return any(isinstance(node, _CONTROL_FLOW) for node in nodes) or _calls_an_import(nodes)


def code_lines(code: str) -> int:
    """Lines that are neither blank nor a comment."""
    lines = (line.strip() for line in code.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _calls_an_import(nodes: Sequence[ast.AST]) -> bool:
    imported, starred = _imports(nodes)
    called = {name for node in nodes if isinstance(node, ast.Call) and (name := _root(node.func))}
    if starred:
        return bool(called - _local_names(nodes) - set(dir(builtins)))
    return bool(called & imported)


def _imports(nodes: Sequence[ast.AST]) -> tuple[set[str], bool]:
    """The names that imports bind, and whether one of them was ``import *``."""
    aliases = [
        alias for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]  # fmt: skip
    names = {alias.asname or alias.name.split(".")[0] for alias in aliases}
    return names - {"*"}, "*" in names


def _local_names(nodes: Sequence[ast.AST]) -> set[str]:
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _root(function: ast.expr) -> str | None:
    """The name a call starts from: ``np`` of ``np.linalg.det(m)``."""
    while isinstance(function, ast.Attribute | ast.Call | ast.Subscript):
        function = function.func if isinstance(function, ast.Call) else function.value
    return function.id if isinstance(function, ast.Name) else None
