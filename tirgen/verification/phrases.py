r"""Phrases that stand for mathematics: ``all real numbers`` is ``(-\infty, \infty)``."""

from __future__ import annotations

_MEANINGS: dict[str, tuple[str, ...]] = {
    "\\emptyset": (
        *("none", "no solution", "no solutions", "no real solution", "no real solutions"),
        *("empty set", "the empty set", "\\{\\}"),
    ),
    "does not exist": ("dne", "d.n.e"),
    "(0,0)": ("the origin",),
    "(-\\infty,\\infty)": ("all real numbers", "all reals", "\\mathbb{R}"),
    "(0,\\infty)": (
        *("all positive real numbers", "all positive reals", "\\mathbb{R}^+", "\\mathbb{R}^{+}"),
        *("\\mathbb{R}_+", "\\mathbb{R}_{+}", "\\mathbb{R}_{>0}"),
    ),
    "[0,\\infty)": (
        *("all nonnegative real numbers", "all non-negative real numbers"),
        *("all nonnegative reals", "\\mathbb{R}_{\\ge0}"),
    ),
    "(-\\infty,0)": ("all negative real numbers", "all negative reals"),
    "(-\\infty,0)\\cup(0,\\infty)": ("\\mathbb{R}^*", "\\mathbb{R}^{*}"),
    "\\mathbb{Z}": ("all integers", "the integers"),
    "\\mathbb{N}": (
        *("all positive integers", "the positive integers", "all natural numbers"),
        *("\\mathbb{Z}^+", "\\mathbb{Z}^{+}", "\\mathbb{Z}_{>0}"),
    ),
    "\\infty": (
        *("positive infinity", "infinitely many", "infinitely many solutions", "infinite"),
        *("diverges to \\infty", "tends to \\infty"),
    ),
    "-\\infty": ("negative infinity",),
}
SYMBOLS = {phrase: symbol for symbol, phrases in _MEANINGS.items() for phrase in phrases}
"""In small letters without a full stop at the end; LaTeX without spaces."""
