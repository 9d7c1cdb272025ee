"""Names that the grammar knows: functions, operators, sets of numbers, and what is beyond it."""

from __future__ import annotations

from tirgen.verification.symbols import GREEK

FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "asin": "asin", "acos": "acos",
    "atan": "atan", "arccot": "acot", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "ln": "ln", "exp": "exp", "det": "det", "tr": "tr", "re": "re", "im": "im",
    "arg": "arg", "sgn": "sign", "sign": "sign", "deg": "deg", "dim": "dim", "ker": "ker",
    "log": "log", "sqrt": "sqrt", "cbrt": "cbrt",
}  # fmt: skip
"""Functions that may stand without brackets, in LaTeX and in Python."""
CALLED = {
    "Abs": "abs", "abs": "abs", "factorial": "factorial", "binomial": "binom", "gcd": "gcd",
    "lcm": "lcm", "floor": "floor", "ceiling": "ceil", "ceil": "ceil", "max": "max", "min": "min",
    "Max": "max", "Min": "min", "Rational": "printed", "Fraction": "printed", "Pow": "pow",
    "conjugate": "conjugate", "Decimal": "same", "Float": "same", "Mod": "mod",
}  # fmt: skip
"""Functions that need brackets."""
COLLECTED = {"FiniteSet", "Interval", "Union", "Matrix", "Eq", "EmptySet"}
PYTHON = {"pi": "pi", "oo": "oo", "inf": "oo", "infinity": "oo", "infty": "oo"}
APPLIED = frozenset("fghFG") | {"phi", "psi"}
"""Letters before brackets that are functions and no factors."""
MAYBE_APPLIED = frozenset("PQEHVLTRp")
"""Letters before brackets that are functions of a single letter or number."""
NUMBER_SETS = {"RR": "R", "ZZ": "Z", "NN": "N", "QQ": "Q", "CC": "C"}
BEYOND = frozenset({"sum", "prod", "int", "lim", "iint", "iiint", "oint", "limsup", "liminf",
                     "partial", "nabla", "underbrace", "underset", "overset",
                     "stackrel"})  # fmt: skip
DECORATED = frozenset({"vec", "hat", "widehat", "tilde", "mathbf"})
LIBRARY = (
    BEYOND
    | FUNCTIONS.keys()
    | GREEK
    | DECORATED
    | NUMBER_SETS.keys()
    | frozenset(
        [
            "frac",
            "binom",
            "infty",
            "pm",
            "mp",
            "ldots",
            "overline",
            "rightarrow",
            "le",
            "ge",
            "ne",
            "approx",
            "in",
            "cup",
            "cap",
            "setminus",
            "gcd",
            "lcm",
            "max",
            "min",
            "lfloor",
            "rfloor",
            "lceil",
            "rceil",
            "ell",
            "hbar",
            "dot",
            "Delta",
            "Gamma",
            "Theta",
            "Lambda",
            "Phi",
            "Psi",
            "Omega",
            "emptyset",
            "degree",
            "circ",
        ]
    )
)
"""Commands that may be shown to the libraries, which pass over what they do not know."""
