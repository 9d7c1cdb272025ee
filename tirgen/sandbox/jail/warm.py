"""Does once, before the first fork, what each snippet would otherwise have to do.

It loads modules that are imported lazily, fills the caches of sympy, and repeats common work with
other numbers until the interpreter has specialised its bytecode.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterable

PRELOAD = [
    "ast", "cmath", "collections", "dataclasses", "datetime", "decimal", "fractions",
    "functools", "heapq", "itertools", "json", "math", "operator", "re", "statistics", "string",
    "textwrap", "time", "typing", "numpy", "sympy",
]  # fmt: skip

_CALLS = """
from sympy import *
x, y, n = symbols("x y n")
solve(x**2 - 3*x + 2, x); solve([x + y - 2, x - y], [x, y]); solve(x**3 - x - 1, x)
solve(Eq(sin(x), 0), x); solveset(x**2 - 4, x, S.Reals); nsolve(cos(x) - x, 1)
simplify((x**2 - 1)/(x - 1)); integrate(x*sin(x), x); integrate(exp(-x), (x, 0, oo))
diff(sin(x)**2, x); factor(x**3 - 1); expand((x + 1)**3); limit(sin(x)/x, x, 0)
series(sin(x), x, 0, 4); summation(n**2, (n, 1, 10)); Matrix([[1, 2], [3, 4]]).inv().eigenvals()
factorint(360); isprime(97); gcd(12, 18); binomial(10, 3); divisors(28); totient(12)
str(N(pi, 30)); latex(x**2/2); str(sqrt(8)); nsimplify(0.5); Rational(1, 3) + 1
from sympy.solvers.inequalities import reduce_inequalities
reduce_inequalities(x**2 < 4, x); sympify("x + 1"); lambdify(x, x**2)(3)
import numpy
numpy.linalg.eigvals(numpy.eye(2)); numpy.roots([1, -3, 2]); numpy.linalg.det(numpy.eye(2))
"""
_ROUNDS = 8
_COMMON_CALLS = """
from sympy import *
x, y = symbols("x y")
str(solve(x**2 - {b}*x + {a}, x)); str(solve(Eq({a}*x + {b}, 3*x), x))
str(solve([x + {a}*y - {b}, x - y], [x, y])); str(simplify((x**2 - {a}**2)/(x - {a})))
str(factor(x**2 - {a}**2)); str(expand((x + {a})**3)); str(Rational({a}, {b}) + 1)
str(integrate({a}*x**2 + {b}, x)); str(diff({a}*x**3 + sin({b}*x), x)); N(sqrt({a}))
"""


def load(preload: Iterable[str] = (), *, warmed: bool = True) -> list[str]:
    """Import the installed mathematics libraries; returns which were found.

    If `warmed`, use each once, so that the first snippets need not. Raises ImportError where one of
    `preload` cannot be imported.
    """
    found = []
    for name in PRELOAD:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue  # numpy and sympy are optional here; a snippet gets the ordinary error
        found.append(name)
    if {"numpy", "sympy"} <= set(found):
        if warmed:
            _run(_CALLS)
            for number in range(_ROUNDS):
                _run(_COMMON_CALLS.format(a=number + 2, b=2 * number + 9))
        _seed_numpy()
    found += [importlib.import_module(name).__name__ for name in preload]
    random.seed(0)
    return found


def _run(code: str) -> None:
    exec(compile(code, "<warm>", "exec"), {"__name__": "warm"})


def _seed_numpy() -> None:
    import numpy

    numpy.random.seed(0)
