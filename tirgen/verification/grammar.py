r"""The grammar of expressions: a recursive-descent parser from tokens to values.

    sum     := ["+" | "-" | "\pm"] term (("+" | "-" | "\pm") term)*
    term    := factor (["*" | "/"] factor)* [unit]
    factor  := primary postfix*          postfix := "!" | "'" | "%" | degree | "^" arg | "_" arg
    primary := number | name | function | "(" items ")" | "[" items "]" | "\{" items "\}" | ...

Nesting is bounded by `MAX_DEPTH`. What lies beyond the grammar raises `Beyond`, which `answers`
turns into `Opaque`; what is no mathematics at all raises `Unreadable`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.arithmetic import product, rational, total
from tirgen.verification.symbols import GREEK
from tirgen.verification.tokens import Kind, Token, Unreadable
from tirgen.verification.unit_table import BARE
from tirgen.verification.units import UnitError, unit_of
from tirgen.verification.values import (
    Based,
    Bracket,
    Cases,
    Expression,
    Interval,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Number,
    Op,
    Quantity,
    Ratio,
    Region,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
)
from tirgen.verification.vocabulary import CLOSED, ORDINALS, SCALES, is_word


def _listed(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


MAX_DEPTH = 24
"""Levels of brackets and arguments, beyond what any gold answer of the benchmarks has."""
MAX_DIGITS = 400
"""Of one number."""

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
_CALLED = {
    "Abs": "abs", "abs": "abs", "factorial": "factorial", "binomial": "binom", "gcd": "gcd",
    "lcm": "lcm", "floor": "floor", "ceiling": "ceil", "ceil": "ceil", "max": "max", "min": "min",
    "Max": "max", "Min": "min", "Rational": "printed", "Fraction": "printed", "Pow": "pow",
    "conjugate": "conjugate", "Decimal": "same", "Float": "same", "Mod": "mod",
}  # fmt: skip
"""Functions that need brackets."""
_COLLECTED = {"FiniteSet", "Interval", "Union", "Matrix", "Eq", "EmptySet"}
_PYTHON = {"pi": "pi", "oo": "oo", "inf": "oo", "infinity": "oo", "infty": "oo"}
_APPLIED = frozenset("fghFG") | {"phi", "psi"}
"""Letters before brackets that are functions and no factors."""
_MAYBE_APPLIED = frozenset("PQEHVLTRp")
"""Letters before brackets that are functions of a single letter or number."""
_NUMBER_SETS = {"RR": "R", "ZZ": "Z", "NN": "N", "QQ": "Q", "CC": "C"}
_BEYOND = frozenset({"sum", "prod", "int", "lim", "iint", "iiint", "oint", "limsup", "liminf",
                     "partial", "nabla", "underbrace", "underset", "overset",
                     "stackrel"})  # fmt: skip
_DECORATED = frozenset({"vec", "hat", "widehat", "tilde", "mathbf"})
_INSIDE = {"(": ")", "[": "]", "\\{": "\\}", "{": "}"}
_BEFORE_A_FACTOR = _listed("= ( [ { , ; + - * < > | & ^ and or le ge")
_STOPS = frozenset({")", "]", "\\}", "}", ",", ";", "and", "or", "\\", "&", "|"})


LIBRARY = (
    _BEYOND
    | FUNCTIONS.keys()
    | GREEK
    | _DECORATED
    | _NUMBER_SETS.keys()
    | _listed(
        "frac binom infty pm mp ldots overline rightarrow le ge ne approx in cup cap setminus"
        " gcd lcm max min lfloor rfloor lceil rceil ell hbar dot Delta Gamma Theta Lambda Phi Psi"
        " Omega emptyset degree circ"
    )
)
"""Commands that may be shown to the libraries, which pass over what they do not know."""


class Beyond(Unreadable):
    """Mathematics, but not of this grammar."""


class Expressions:
    """A cursor over tokens; each method reads one rule of the grammar and moves on."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self._depth = 0

    # -- the cursor

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def is_operator(self, *texts: str) -> bool:
        return self.next.kind is Kind.OPERATOR and self.next.text in texts

    def is_command(self, *names: str) -> bool:
        return self.next.kind is Kind.COMMAND and self.next.text in names

    def take(self) -> Token:
        token = self.next
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def accept(self, *texts: str) -> bool:
        """Whether one of these operators or commands is next, which is then taken."""
        found = self.next.kind in (Kind.OPERATOR, Kind.COMMAND) and self.next.text in texts
        if found:
            self.take()
        return found

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unreadable(f"{text!r} expected, {self.next.text!r} found")

    def word_next(self) -> bool:
        token = self.next
        called = self.peek().text == "("
        if token.kind is Kind.WORD:
            return token.text not in FUNCTIONS and not (called and token.text in _CALLED)
        if token.kind is Kind.NAME and token.text.lower() in BARE:
            before = self.at - 1 - (self.tokens[self.at - 1].text == "(")
            return before >= 0 and self.tokens[before].text not in _BEFORE_A_FACTOR
        if len(token.text) < 4 and self.peek().text in ("^", "_", "**"):
            return False
        if token.kind is Kind.NAME and len(token.text) < 3 and token.text.islower():
            return is_word(token.text) and (self._is_long(-1) or self._is_long(1))
        return token.kind is Kind.NAME and is_word(token.text) and not self._is_function(token)

    def _is_long(self, offset: int) -> bool:
        """Whether a neighbour is a word that cannot be a product of letters."""
        place = min(max(self.at + offset, 0), len(self.tokens) - 1)
        token = self.tokens[place]
        long = token.kind is Kind.NAME and len(token.text) > 2 and is_word(token.text)
        return long or (token.kind is Kind.WORD and place != self.at)

    def statement(self) -> Value:
        """An item of a list; `answers` knows more of them than expressions."""
        return self.side()

    def nested(self, rule: Callable[[], Value]) -> Value:
        """One level deeper. Raises Unreadable beyond `MAX_DEPTH`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels")
        value = rule()
        self._depth -= 1
        return value

    # -- sets and sums

    def side(self) -> Value:
        """A side of a relation: sums joined as sets."""
        left = self.sum()
        while True:
            if self.accept("cup") or self._union_letter():
                left = ranges.union(left, self.sum())
            elif self.accept("cap"):
                left = ranges.meet(left, self.sum())
            elif self.accept("setminus"):
                left = ranges.minus(left, self.sum())
            else:
                return left

    def _union_letter(self) -> bool:
        """A capital U between brackets."""
        brackets = ("(", "[", "\\{")
        found = self.next.kind is not Kind.OPERATOR and self.next.text == "U"
        if found and self.peek().text in brackets and self.tokens[self.at - 1].text in ")]}\\}":
            self.take()
            return True
        return False

    def sum(self) -> Value:
        terms = [self.nested(self._signed)]
        while self.is_operator("+", "-") or self.is_command("pm", "mp"):
            minus_set = self.is_operator("-") and self.peek().text == "\\{"
            if minus_set and isinstance(terms[-1], Set | Region):
                self.take()
                terms[-1] = ranges.minus(terms[-1], self.term())
            else:
                terms.append(self.nested(self._signed))
        return total(terms)

    def _signed(self) -> Value:
        sign = ""
        while self.is_operator("+", "-") or self.is_command("pm", "mp"):
            text = self.take().text
            sign = {"+-": "-", "-+": "-", "--": "+"}.get(sign + text, text)
        value = self.term()
        if sign in ("", "+"):
            return value
        if sign == "-":
            return product([Expression(Num(Fraction(-1))), value])
        if isinstance(value, Quantity):
            return Quantity(Expression(Op(sign, (_node(value.amount),))), value.unit)
        if isinstance(value, Expression):
            return Expression(Op(sign, (value.node,)), value.percent)
        return Listing((value, product([Expression(Num(Fraction(-1))), value])))

    # -- products

    def term(self) -> Value:
        factors = [self._money() or self.factor()]
        while True:
            if isinstance(factors[-1], Quantity):
                break
            if self.accept("*"):
                factors.append(self._signed_factor())
            elif self.is_operator("/") and not self._unit_ahead():
                self.take()
                divisor = self._signed_factor()
                factors.append(Expression(Op("inv", (_node(divisor),))))
            elif self._fraction_of_number(factors):
                continue
            elif not self._factor_starts():
                break
            else:
                factors.append(self.factor())
        return self._with_unit(product(factors))

    def _signed_factor(self) -> Value:
        if self.accept("-"):
            return product([Expression(Num(Fraction(-1))), self.nested(self._signed_factor)])
        self.accept("+")
        return self.factor()

    def _fraction_of_number(self, factors: list[Value]) -> bool:
        """A mixed number: ``2\\frac13``, ``2 1/3``; two numbers side by side are unreadable."""
        whole = _whole(factors[-1])
        start, tokens = self.at, self.tokens
        part: Value | None = None
        if self.next.kind is Kind.NUMBER:
            before = self.tokens[self.at - 1]
            if before.text == "!" or (before.kind is not Kind.NUMBER and self.peek().text == "^"):
                return False
            if whole is None or not (self.peek().text == "/" and self.peek(2).kind is Kind.NUMBER):
                raise Unreadable("two numbers side by side")
            over = _literal(self.take().text)
            self.take()
            part = Expression(Op("div", (over, _literal(self.take().text))))
        elif self.is_command("frac") and whole is not None and len(factors) == 1:
            part = None if self._unit_fraction() else self.factor()
        match part:
            case Expression(Op("div", (Num(top, None), Num(bottom, None))), percent) if (
                whole is not None and 0 < top < bottom
            ):
                factors[-1] = Expression(Num(whole + top / bottom), percent)
                return True
        self.at, self.tokens = start, tokens
        return False

    def _factor_starts(self) -> bool:
        """Whether what is next multiplies what was before without a sign between them."""
        token = self.next
        if token.kind is Kind.NAME:
            return not self.word_next()
        if token.kind is Kind.WORD:
            return not self.word_next()
        if token.kind is Kind.COMMAND:
            if token.text == "Omega" and self.tokens[self.at - 1].kind is Kind.NUMBER:
                return False
            return self._starts_primary(token.text) and not self._unit_fraction()
        if token.kind is Kind.NUMBER:
            return True
        if token.text == "(" and self.peek().kind in (Kind.WORD, Kind.NAME):
            following = self.peek()
            return following.kind is Kind.NAME and not is_word(following.text)
        return token.kind is Kind.OPERATOR and token.text in ("(", "{")

    def _starts_primary(self, name: str) -> bool:
        if name in FUNCTIONS or name in _CALLED or name in GREEK or name in _DECORATED:
            return True
        return name in ("frac", "binom", "infty", "lfloor", "lceil", "overline", "angle",
                        "begin matrix", "begin determinant", "ell", "hbar", "dot") or name in (
                            "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi",
                            "Omega") or name in _BEYOND  # fmt: skip

    # -- units

    def _money(self) -> Value | None:
        """A currency sign before its amount."""
        name = ""
        if self.accept("dollar"):
            name = "dollar"
        elif self.accept("money"):
            self.expect("{")
            name = self.take().text
            self.expect("}")
        if not name:
            return None
        amount = self.nested(self._signed)
        if isinstance(amount, Quantity):
            amount = amount.amount
        if not isinstance(amount, Expression):
            raise Unreadable("a currency without an amount")
        return Quantity(amount, unit_of(name))

    def _unit_ahead(self) -> bool:
        """Whether a unit follows the slash that is next."""
        token = self.peek()
        return token.kind is Kind.WORD

    def _unit_fraction(self) -> bool:
        """Whether ``\\frac{km}{h}`` is next."""
        return (
            self.is_command("frac") and self.peek().text == "{" and self.peek(2).kind is Kind.WORD
        )

    def _with_unit(self, value: Value) -> Value:
        """A term with the unit that follows it."""
        while (
            self.word_next() and self.next.text.lower() in SCALES and isinstance(value, Expression)
        ):
            value = product([value, Expression(Num(Fraction(SCALES[self.take().text.lower()])))])
        if self.is_command("dollar", "degree", "circ", "money"):
            return self._with_sign_after(value)
        parenthesised = self.is_operator("(") and self.peek().kind in (Kind.WORD, Kind.NAME)
        start = self.at
        if parenthesised:
            self.take()
        phrase = self.unit_phrase()
        if not phrase or (parenthesised and not self.accept(")")):
            self.at = start
            return value
        try:
            unit = unit_of(phrase)
        except UnitError as error:
            raise Unreadable(str(error)) from error
        match value:
            case Expression():
                return Quantity(value, unit)
            case Quantity(amount, before) if not before.measured or before == unit:
                return Quantity(amount, unit)
            case Quantity(amount, before) if unit.factor == 1 and not unit.measured:
                return value
            case Region() | Tuple() | Bracket() | Listing():
                return value
        raise Unreadable("a unit after what is no amount")

    def _with_sign_after(self, value: Value) -> Value:
        name = self.take().text
        if name == "money":
            self.expect("{")
            name = self.take().text
            self.expect("}")
        if not isinstance(value, Expression):
            raise Unreadable("a unit after what is no amount")
        return Quantity(value, unit_of("degree" if name in ("degree", "circ") else name))

    def unit_phrase(self) -> str:
        """The words, slashes and powers of a unit that are next, as text; perhaps none."""
        pieces: list[str] = []
        while True:
            if self.word_next() and self._says_more():
                return " ".join(pieces)
            if self.word_next() or (pieces and self._unit_letter()):
                pieces.append(self.take().text)
            elif self.is_command("Omega"):
                self.take()
                prefix = pieces.pop() if pieces and pieces[-1] in ("k", "M", "m") else ""
                pieces.append(f"{prefix}ohm")
            elif self._unit_fraction():
                pieces.append(self._fraction_of_units())
            elif self.is_operator("/") and (self.peek().kind in (Kind.WORD, Kind.NAME)):
                pieces.append(self.take().text)
                if self.next.kind is Kind.NAME:
                    pieces.append(self.take().text)
            elif pieces and self.is_operator("^"):
                pieces.append("^" + self._unit_power())
            elif (
                pieces
                and self.is_operator("*", "-", "'", ".")
                and (self.peek().kind in (Kind.WORD, Kind.NAME))
            ):
                pieces.append({"'": "'"}.get(self.take().text, " "))
            else:
                return " ".join(pieces)

    def _says_more(self) -> bool:
        """Whether the word that is next says more of a number than what it counts."""
        word = self.next.text.lower()
        if word in ("per", "square", "cubic", "squared", "cubed", "of", "in", "on", "to", "each"):
            return word in ("in", "to") and self.peek().kind is Kind.NUMBER
        return word in CLOSED or word == "out"

    def _unit_letter(self) -> bool:
        return (
            self.next.kind is Kind.NAME
            and len(self.next.text) == 1
            and self.tokens[self.at - 1].text
            in ("/", "*", "per", "square", "cubic", "degrees", "degree")
        )

    def _unit_power(self) -> str:
        self.take()
        braced = self.accept("{")
        sign = "-" if self.accept("-") else ""
        power = self.take()
        if power.kind is not Kind.NUMBER or len(power.text) > 2:
            raise Unreadable("a unit to an odd power")
        if braced:
            self.expect("}")
        return sign + power.text

    def _fraction_of_units(self) -> str:
        self.take()
        parts = []
        for _ in range(2):
            self.expect("{")
            parts.append(self.unit_phrase())
            self.expect("}")
        return f"{parts[0]} / {parts[1]}"

    # -- factors

    def factor(self) -> Value:
        value = self.nested(self.primary)
        for _ in range(MAX_DEPTH):
            if self.is_operator("!") and self.peek().text != "=":
                self.take()
                value = Expression(Op("factorial", (_node(value),)))
            elif self.is_operator("'", '"'):
                value = self._primed(value)
            elif self.is_operator("%"):
                self.take()
                value = Expression(_node(value), percent=True)
            elif self.is_operator("^", "**"):
                self.take()
                value = self._power(value)
            elif self.is_operator("_"):
                self.take()
                value = self._indexed(value)
            elif self.is_operator("(") and self._applies(value):
                value = self._call(value)
            else:
                return value
        raise Unreadable("too many signs after a factor")

    def _primed(self, value: Value) -> Value:
        """A derivative; after a number feet and inches, or minutes and seconds after degrees."""
        primes = 0
        while self.is_operator("'", '"'):
            primes += 1 + (self.take().text == '"')
        match value:
            case Expression(Sym(name)):
                return Expression(Sym(name + "'" * primes))
            case Expression(Num()) if primes <= 2:
                arc = any(token.text in ("circ", "degree") for token in self.tokens)
                names = ("arcminute", "arcsecond") if arc else ("foot", "inch")
                return Quantity(value, unit_of(names[primes - 1]))
        raise Unreadable("a prime after what is no function")

    def _power(self, base: Value) -> Value:
        if (
            self.is_command("circ", "degree")
            or (self.is_operator("{") and self.peek().text in ("circ", "degree", "o"))
            or (self.next.text == "o")
        ):
            braced = self.accept("{")
            self.take()
            if braced:
                self.expect("}")
            return self._degrees(base)
        if self.next.text in ORDINALS or (self.is_operator("{") and self.peek().text in ORDINALS):
            braced = self.accept("{")
            self.take()
            if braced:
                self.expect("}")
            return base
        if self.is_operator("'") or (self.is_operator("{") and self.peek().text == "'"):
            braced = self.accept("{")
            value = self._primed(base)
            if braced:
                self.expect("}")
            return value
        if isinstance(base, Tuple | Matrix | Bracket):
            return self._transposed(base)
        if isinstance(base, Region | Set):
            return self._signed_set(base)
        exponent = self._argument(power=True)
        return Expression(Op("pow", (_node(base), _node(exponent))))

    def _degrees(self, base: Value) -> Value:
        if self.next.text in ("C", "F") and self.next.kind in (Kind.NAME, Kind.WORD):
            return Quantity(
                _amount(base), unit_of({"C": "celsius", "F": "fahrenheit"}[self.take().text])
            )
        return Quantity(_amount(base), unit_of("degree"))

    def _transposed(self, base: Value) -> Value:
        braced = self.accept("{")
        mark = self.take()
        if braced:
            self.expect("}")
        if mark.text not in ("T", "top", "intercal", "t"):
            raise Beyond("a power of a matrix")
        return Matrix(tuple(zip(*base.rows, strict=True))) if isinstance(base, Matrix) else base

    def _signed_set(self, base: Value) -> Value:
        """Positive, negative or nonzero numbers."""
        braced = self.accept("{")
        mark = self.take().text
        if braced:
            self.expect("}")
        zero, infinite = Num(Fraction(0)), Sym("oo")
        below = Interval(Op("neg", (infinite,)), zero, False, False)
        above = Interval(zero, infinite, False, False)
        pieces = {"+": (above,), "-": (below,), "*": (below, above)}
        if not isinstance(base, Region) or mark not in pieces:
            raise Beyond("a power of a set")
        return Region(pieces[mark])

    def _indexed(self, base: Value) -> Value:
        index = self._index()
        match base:
            case Expression(Num(value=whole, unit=None)) if whole.denominator == 1:
                return self._based(str(whole.numerator), index)
            case Expression(Sym(name)):
                return Expression(Sym(f"{name}_{index}"))
            case Expression(Op("mul", letters)) if all(isinstance(one, Sym) for one in letters):
                if base_of(index):
                    return self._based(
                        "".join(str(getattr(one, "name", "")) for one in letters), index
                    )
                *before, last = letters
                assert isinstance(last, Sym)
                return Expression(Op("mul", (*before, Sym(f"{last.name}_{index}"))))
            case Region():
                return _restricted(base, index)
        raise Unreadable("an index after what has none")

    def _based(self, digits: str, index: str) -> Value:
        base = base_of(index)
        if base is None:
            raise Unreadable("a number with an index that is no base")
        try:
            int(digits, base)
        except ValueError as error:
            raise Unreadable("digits that the base does not have") from error
        return Based(digits.upper(), base)

    def _index(self) -> str:
        if not self.is_operator("{"):
            if self.next.kind is Kind.NAME and len(self.next.text) > 1:
                return self._first_letter(self.next)
            return self.take().text
        self.take()
        depth, pieces = 1, list[str]()
        while self.next.kind is not Kind.END:
            depth += self.is_operator("{") - self.is_operator("}")
            if depth == 0:
                self.take()
                return "".join(pieces)
            pieces.append(self.take().text)
        raise Unreadable("an index that does not end")

    def _applies(self, value: Value) -> bool:
        match value:
            case Expression(Sym(name)):
                letter = name.rstrip("'").partition("_")[0].removesuffix("^-1")
            case Expression(Op("pow", (Sym(letter), Num(value=power)))) if power == -1:
                return letter in _APPLIED
            case _:
                return False
        if (
            letter in _APPLIED
            or name.endswith("'")
            or (letter in ("n", "d") and self.peek().text in "ABCXYZ")
        ):
            return True
        if self.is_plain_argument():
            return letter in _MAYBE_APPLIED or (self.at == 1 and letter != "e")
        return False

    def is_plain_argument(self) -> bool:
        """Whether ``(x)`` or ``(2)`` is next."""
        return (
            self.peek().kind in (Kind.NAME, Kind.NUMBER)
            and self.peek(2).text in (")", ",")
            and (len(self.peek().text) == 1 or self.peek().kind is Kind.NUMBER)
        )

    def _call(self, function: Value) -> Value:
        node = _node(function)
        if isinstance(node, Op):
            node = Sym(f"{getattr(node.args[0], 'name', '')}^-1")
        self.take()
        start = self.at
        arguments = self.items(")")
        assert isinstance(node, Sym)
        if len(arguments) > 1 and node.name.isupper() and self.tokens[start].kind is not Kind.NAME:
            return Tuple(tuple(arguments))
        try:
            return Expression(Op("call", (node, *map(_node, arguments))))
        except Unreadable:
            inside = "".join(token.text for token in self.tokens[start : self.at - 1])
            return Expression(Op("call", (node, Sym(inside))))

    # -- primaries

    def primary(self) -> Value:
        token = self.next
        if token.kind is Kind.NUMBER:
            return self._number()
        if token.kind is Kind.NAME or (token.kind is Kind.WORD and not self.word_next()):
            return self._name()
        if token.kind is Kind.WORD and len(token.text) == 1:
            self.take()
            return Expression(Sym(token.text))
        if token.kind is Kind.COMMAND:
            return self._command()
        if token.kind is Kind.OPERATOR and token.text in ("(", "[", "]", "\\{", "{", "|", "||"):
            return self._bracketed()
        raise Unreadable(f"{token.text!r} where an expression begins")

    def _number(self) -> Value:
        token = self.take()
        digits = token.text.replace("_", "")
        mantissa, _, exponent = digits.lower().partition("e")
        if len(digits) > MAX_DIGITS or len(exponent) > 4:
            raise Unreadable(f"a number of more than {MAX_DIGITS} digits")
        whole, point, places = mantissa.partition(".")
        if point and self.is_command("overline", "dot"):
            return self._repeating(whole, places)
        if places and (self.is_command("ldots") or self.next.text.startswith("...")):
            self.take()
            return _continued(whole, places)
        scale = Fraction(10) ** (int(exponent or 0))
        value = Fraction(int(whole + places or "0"), 10 ** len(places)) * scale
        if (not point or not places) and not exponent:
            return self._imaginary(Num(value))
        significant = len((whole + places).lstrip("0"))
        return self._imaginary(Num(value, scale / 10 ** len(places), significant))

    def _imaginary(self, number: Num) -> Value:
        """``2j`` as Python prints it, where nothing else is called j."""
        if self.next.text == "j" and not self.next.spaced:
            letters = {token.text for token in self.tokens if token.kind is not Kind.OPERATOR}
            if not letters & {"i", "k", "hat", "vec"}:
                self.take()
                return Expression(Op("mul", (number, Sym("i"))))
        return Expression(number)

    def _repeating(self, whole: str, places: str) -> Value:
        cycle = ""
        while self.is_command("overline", "dot"):
            self.take()
            braced = self.accept("{")
            digits = self.take()
            if digits.kind is not Kind.NUMBER or not digits.text.isdigit():
                raise Unreadable("a repeating decimal without digits")
            cycle += digits.text
            if braced:
                self.expect("}")
            if self.next.kind is Kind.NUMBER and self.peek().text == "dot":
                cycle += self.take().text
        start = Fraction(int(whole + places or "0"), 10 ** len(places))
        rest = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(places))
        return Expression(Num(start + rest))

    def _is_function(self, token: Token) -> bool:
        return token.text in FUNCTIONS or (
            (token.text in _CALLED or token.text in _COLLECTED) and self._bracket_after(token)
        )

    def _bracket_after(self, token: Token) -> bool:
        following = self.tokens[min(self.tokens.index(token, self.at) + 1, len(self.tokens) - 1)]
        return following.text in ("(", ".") or token.text == "EmptySet"

    def _name(self) -> Value:  # noqa: C901  one line for each kind of name
        token = self.take()
        text = token.text
        if text in FUNCTIONS:
            return self._function(FUNCTIONS[text], python=True)
        if text in _CALLED and self.is_operator("("):
            return self._called(_CALLED[text])
        if text in _COLLECTED:
            return self._collection(text)
        if text in ("I", "E") and self._in_python():
            return Expression(Sym(text.lower()))
        if text in _PYTHON:
            return Expression(Sym(_PYTHON[text]))
        if text in GREEK:
            return Expression(Sym(text))
        prefix = next((f for f in ("sin", "cos", "tan", "ln", "log") if text.startswith(f)), None)
        if prefix and len(text) == len(prefix) + 1:
            return Expression(Op(FUNCTIONS[prefix], (Sym(text[-1]),)))
        if len(text) == 1:
            return Expression(Sym(text))
        if (is_word(text) and text.lower() not in BARE and len(text) > 2) or len(text) > 8:
            raise Unreadable(f"the word {text!r} where an expression begins")
        letters = [Expression(Sym(letter)) for letter in text]
        if self.is_operator("^", "**", "_", "'") or (
            self.is_operator("(") and self._applies(letters[-1])
        ):
            *before, last = letters
            return product([*before, self._resumed(last)])
        return product(list(letters))

    def _in_python(self) -> bool:
        """Whether the text looks as Python prints it, with its signs and function names."""
        return any(token.text in ("*", "**", "sqrt", "exp") for token in self.tokens)

    def _resumed(self, value: Value) -> Value:
        """The last letter of a run with the power or index that belongs to it alone."""
        while True:
            if self.is_operator("^", "**"):
                self.take()
                value = self._power(value)
            elif self.is_operator("_"):
                self.take()
                value = self._indexed(value)
            elif self.is_operator("'"):
                value = self._primed(value)
            else:
                return value

    def _function(self, name: str, *, python: bool = False) -> Value:  # noqa: C901
        power: Value | None = None
        base: Value | None = None
        while name != "sqrt" and self.is_operator("^", "_"):
            if self.take().text == "^":
                power = self._argument(power=True)
            else:
                base = self._argument()
        if name == "sqrt":
            return self._root()
        if name == "cbrt":
            return Expression(Op("root", (_node(self._argument()), Num(Fraction(3)))))
        if self.accept("("):
            argument = [_radians(item) for item in self.items(")")]
        else:
            argument = [_radians(self._bare_argument())]
        if name == "log":
            if len(argument) == 2:
                argument, base = argument[:1], Expression(argument[1])
            node = (
                Op("logb", (*argument, _node(base)))
                if base
                else Op("ln" if python else "log", tuple(argument))
            )
        elif power is not None and power == Expression(Op("neg", (Num(Fraction(1)),))):
            return Expression(Op("a" + name, tuple(argument)))
        else:
            node = Op(name, tuple(argument))
        match power:
            case Expression(Num(value=one)) if one == -1:
                return Expression(Op("a" + name, tuple(argument)))
            case None:
                return Expression(node)
        return Expression(Op("pow", (node, _node(power))))

    def _bare_argument(self) -> Value:
        """The product after a function without brackets: ``\\sin 2x``, ``\\ln|x|``."""
        if self.is_operator("|", "{", "["):
            return self.factor()
        if self.is_operator("-"):
            return self._signed_factor()
        factors = [self.factor()]
        while self._factor_starts() and not (
            self.is_operator("(", "[", "{")
            or self.next.text in FUNCTIONS
            or self.next.kind is Kind.NUMBER
        ):
            factors.append(self.factor())
        while self.is_operator("/") and self.peek().kind is Kind.NUMBER and not self._unit_ahead():
            self.take()
            factors.append(Expression(Op("inv", (_node(self.factor()),))))
        return product(factors)

    def _root(self) -> Value:
        index: Value | None = None
        if self.is_operator("["):
            self.take()
            index = self.statement()
            self.expect("]")
        radicand = _node(self._argument(power=True))
        if index is None:
            return Expression(Op("sqrt", (radicand,)))
        return Expression(Op("root", (radicand, _node(index))))

    def _called(self, name: str) -> Value:
        self.take()
        arguments = tuple(map(_node, self.items(")")))
        if not arguments or (name in ("div", "binom", "pow", "mod") and len(arguments) > 2):
            raise Unreadable(f"{name} of {len(arguments)}")
        if name == "same":
            return Expression(arguments[0])
        if name == "printed":
            return _lowest_terms(arguments)
        return Expression(Op(name, arguments))

    def _collection(self, name: str) -> Value:
        """What sympy prints of sets, intervals and matrices."""
        if name == "EmptySet":
            if self.accept("("):
                self.expect(")")
            return Set(())
        openness = self.take().text if self.accept(".") else ""
        self.expect("(")
        items = self.items(")")
        if name == "FiniteSet":
            return Set(tuple(items))
        if name == "Eq" and len(items) == 2:
            return Named(_node(items[0]), items[1])
        if name == "Union":
            joined = items[0]
            for item in items[1:]:
                joined = ranges.union(joined, item)
            return joined
        if name == "Interval" and len(items) in (2, 4):
            flags = [item == Text("true") for item in items[2:]] or [
                openness in ("open", "Lopen"),
                openness in ("open", "Ropen"),
            ]
            low, high = _node(items[0]), _node(items[1])
            return ranges.region(low, high, not flags[0], not flags[1])
        if name == "Matrix" and len(items) == 1:
            return items[0]
        raise Unreadable(f"{name} of {len(items)}")

    def _command(self) -> Value:  # noqa: C901  one line for each command
        name = self.take().text
        if name in FUNCTIONS:
            return self._function(FUNCTIONS[name])
        if name == "Gamma" and self.is_operator("("):
            return self._called("gamma")
        if name in ("gcd", "lcm", "max", "min"):
            if self.is_operator("("):
                return self._called(_CALLED[name])
            raise Beyond(name)
        if name in GREEK or name in ("ell", "hbar", "ldots", "Delta", "Gamma", "Theta", "Lambda",
                                     "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"):  # fmt: skip
            return Expression(Sym(name))
        if name == "infty":
            return Expression(Sym("oo"))
        if name == "emptyset":
            return Set(())
        if name in _NUMBER_SETS:
            return ranges.ALL if name == "RR" else Expression(Sym(name))
        if name == "frac":
            return self._fraction()
        if name == "binom":
            return Expression(Op("binom", (_node(self._argument()), _node(self._argument()))))
        if name in ("lfloor", "lceil"):
            inner = self.statement()
            self.expect("r" + name[1:])
            return Expression(Op({"lfloor": "floor", "lceil": "ceil"}[name], (_node(inner),)))
        if name == "begin matrix":
            return self._matrix("end matrix")
        if name == "begin determinant":
            rows = self._matrix("end determinant")
            assert isinstance(rows, Matrix)
            return Expression(Op("det", tuple(_node(cell) for row in rows.rows for cell in row)))
        if name == "begin cases":
            return self._cases()
        if name == "dot":
            return self._primed_by_dot()
        if name == "overline":
            return self._overlined()
        if name in _DECORATED:
            inner = self._argument()
            match inner:
                case Expression(Op("mul", args)) if all(isinstance(a, Sym) for a in args):
                    return Expression(
                        Sym("vec " + " ".join(a.name for a in args if isinstance(a, Sym)))
                    )
            return inner
        if name in ("angle", "triangle"):
            return Expression(Op(name, (_node(self._vertices()),)))
        if name == "circled":
            raise Unreadable("a label")
        raise (Beyond if name in _BEYOND else Unreadable)(f"\\{name}")

    def _vertices(self) -> Value:
        """The letters that name an angle or a triangle."""
        if self.is_operator("{"):
            return self._argument()
        letters = [self.factor()]
        while self.next.kind is Kind.NAME and self.next.text.isupper():
            letters.append(self.factor())
        return product(letters)

    def _primed_by_dot(self) -> Value:
        inner = self._argument()
        match inner:
            case Expression(Sym(name)):
                return Expression(Sym(name + "'"))
        raise Beyond("a dot over what is no variable")

    def _overlined(self) -> Value:
        """A segment is its end points; anything else under a bar is another thing."""
        inner = _node(self._argument())
        match inner:
            case Op("mul", args) if all(isinstance(a, Sym) and a.name.isupper() for a in args):
                return Expression(inner)
        return Expression(Op("overline", (inner,)))

    def _fraction(self) -> Value:
        derivative = self._derivative()
        if derivative is not None:
            return derivative
        top = self._argument()
        bottom = self._argument()
        if isinstance(top, Quantity) and isinstance(bottom, Expression):
            return Quantity(Expression(Op("div", (_node(top.amount), bottom.node))), top.unit)
        return Expression(Op("div", (_node(top), _node(bottom))))

    def _derivative(self) -> Value | None:
        texts = [self.peek(k).text for k in range(6)]
        if texts[0] == "{" and texts[2:4] == ["}", "{"] and texts[5] == "}":
            over, under = texts[1], texts[4]
            if len(over) == len(under) == 2 and over[0] == under[0] == "d":
                self.at += 6
                return Expression(Sym(f"{over}/{under}"))
        return None

    def _argument(self, power: bool = False) -> Value:
        """The argument of a command or an exponent: braces, or a single thing."""
        if self.accept("{"):
            return self._group()
        token = self.next
        if power and self.is_operator("-", "+"):
            return self.nested(self._signed_power)
        if token.kind is Kind.NUMBER:
            if power or "." in token.text or len(token.text) == 1 or token.text.count("e"):
                self.take()
                return Expression(_literal(token.text))
            return self._digit(token)
        if (
            token.kind is Kind.NAME
            and len(token.text) > 1
            and token.text not in _PYTHON
            and (token.text not in GREEK and token.text not in FUNCTIONS)
        ):
            return self._letter(token)
        if self.is_operator("("):
            return self._bracketed()
        return self.nested(self.primary)

    def _signed_power(self) -> Value:
        minus = self.take().text == "-"
        value = self._argument(power=True)
        return product([Expression(Num(Fraction(-1))), value]) if minus else value

    def _digit(self, token: Token) -> Value:
        """The first digit of ``\\frac12``, whose second is the next argument."""
        rest = Token(Kind.NUMBER, token.text[1:])
        self.tokens = [*self.tokens[: self.at], rest, *self.tokens[self.at + 1 :]]
        return Expression(Num(Fraction(int(token.text[0]))))

    def _letter(self, token: Token) -> Value:
        return Expression(Sym(self._first_letter(token)))

    def _first_letter(self, token: Token) -> str:
        """The first letter of a run, whose others are what follows."""
        rest = Token(Kind.NAME, token.text[1:])
        self.tokens = [*self.tokens[: self.at], rest, *self.tokens[self.at + 1 :]]
        return token.text[0]

    # -- brackets

    def items(self, *closing: str) -> list[Value]:
        """The statements before a closing bracket, which is taken."""
        found: list[Value] = []
        ends = tuple(mark for mark in closing if mark != "[")
        if self.accept(*ends):
            return found
        while True:
            found.append(self.nested(self.statement))
            if self.accept(*closing):
                return found
            if not self.accept(",", ";", "and", "or"):
                raise Unreadable(f"{closing[0]!r} expected, {self.next.text!r} found")
            if self.accept(*ends):
                return found

    def _bracketed(self) -> Value:
        opening = self.take().text
        if opening in ("|", "||"):
            inner = self.nested(self.statement)
            self.expect(opening)
            return Expression(Op("abs", (_node(inner),)))
        if opening == "]":
            low, high = self.items("[", "]")
            return ranges.region(
                _node(low), _node(high), False, self.tokens[self.at - 1].text == "]"
            )
        if opening == "\\{" or (opening == "{" and not self._is_group()):
            return self._set("\\}" if opening == "\\{" else "}")
        if opening == "{":
            return self._group()
        return self._pair_or_group(opening)

    def _group(self) -> Value:
        """What stands in braces, perhaps around ``n \\choose k`` or ``a \\over b``."""
        value = self.nested(self.statement)
        for name, operation in (("choose", "binom"), ("over", "div")):
            if self.accept(name):
                value = Expression(
                    Op(operation, (_node(value), _node(self.nested(self.statement))))
                )
        self.expect("}")
        return value

    def _is_group(self) -> bool:
        """Whether braces group, as in LaTeX, and are no set as Python prints it."""
        depth = 0
        for token in self.tokens[self.at :]:
            if token.kind is Kind.OPERATOR:
                depth += (token.text in _INSIDE) - (token.text in (")", "]", "\\}", "}"))
                if depth < 0:
                    return True
                if depth == 0 and token.text in (",", ":"):
                    return False
        return True

    def _pair_or_group(self, opening: str) -> Value:
        items = self.items(")", "]", "[")
        closing = self.tokens[self.at - 1].text
        if len(items) == 2 and (opening == "[") != (closing == "]"):
            low, high = _node(items[0]), _node(items[1])
            return ranges.region(low, high, opening == "[", closing == "]")
        if {opening, closing} not in ({"(", ")"}, {"[", "]"}):
            raise Unreadable(f"{opening} closed by {closing}")
        if opening == "(" and len(items) == 1 and self.tokens[self.at - 2].text != ",":
            return items[0]
        if opening == "(":
            return Tuple(tuple(items))
        if len(items) == 1 and isinstance(items[0], Matrix):
            return items[0]
        if items and all(isinstance(item, Bracket) for item in items):
            rows = tuple(item.items for item in items if isinstance(item, Bracket))
            if len({len(row) for row in rows}) == 1:
                return Matrix(rows)
        return Bracket(tuple(items))

    def _set(self, closing: str) -> Value:
        start, tokens = self.at, self.tokens
        if self.accept(closing):
            return Set(())
        first = self.nested(self.element)
        if self.accept("|", ":"):
            if closing == "}" and self.tokens[self.at - 1].text == ":":
                self.at, self.tokens = start, tokens
                return self._dictionary(closing)
            condition = self.nested(self.condition)
            self.expect(closing)
            return ranges.such_that(first, condition)
        self.at, self.tokens = start, tokens
        return Set(tuple(self.items(closing)))

    def _dictionary(self, closing: str) -> Value:
        pairs: list[Value] = []
        while not self.accept(closing):
            name = _node(self.nested(self.sum))
            self.expect(":")
            pairs.append(Named(name, self.nested(self.sum)))
            self.accept(",")
        return pairs[0] if len(pairs) == 1 else Listing(tuple(pairs))

    def element(self) -> Value:
        return self.statement()

    def condition(self) -> Value:
        return self.statement()

    def _matrix(self, end: str) -> Value:
        rows: list[tuple[Value, ...]] = []
        row: list[Value] = []
        while not self.accept(end):
            row.append(self.nested(self.statement))
            if self.accept("\\"):
                rows.append(tuple(row))
                row = []
            elif not self.accept("&") and not self.is_command(end):
                raise Unreadable(f"{self.next.text!r} in a matrix")
        if row:
            rows.append(tuple(row))
        if len({len(one) for one in rows}) != 1:
            raise Unreadable("a matrix with rows of several lengths")
        if all(len(one) == 1 and isinstance(one[0], Named) for one in rows):
            return Listing(tuple(one[0] for one in rows))
        return Matrix(tuple(rows))

    def _cases(self) -> Value:
        rows: list[list[Value]] = []
        while not self.accept("end cases"):
            row = [self.nested(self.statement)]
            while self.accept("&", ","):
                self.accept("&")
                row.append(self.nested(self.case_condition))
            rows.append(row)
            if not self.accept("\\") and not self.is_command("end cases"):
                raise Unreadable(f"{self.next.text!r} in a case")
        if all(len(row) == 1 for row in rows):
            return Listing(tuple(row[0] for row in rows))
        if any(len(row) != 2 for row in rows):
            raise Unreadable("a case without its condition")
        return Cases(tuple((row[0], row[1]) for row in rows))

    def case_condition(self) -> Value:
        return self.statement()


def _lowest_terms(arguments: Sequence[Node]) -> Value:
    """``Rational(2, 7)`` as Python prints it; a call that is still to be computed is no answer."""
    parts = [rational(argument) for argument in arguments]
    match parts:
        case [Fraction() as top, Fraction() as bottom] if (
            bottom > 0 and top.denominator == bottom.denominator == 1
        ):
            value = top / bottom
            if value.denominator == bottom:
                return Expression(Num(value))
    raise Unreadable("a fraction that Python does not print so")


def _continued(whole: str, places: str) -> Value:
    """``0.333...``: its last digits go on as they did."""
    for length in range(1, len(places) // 2 + 1):
        cycle = places[-length:]
        if places.endswith(cycle * max(2, -(-3 // length))):
            before = places[:-length]
            start = Fraction(int(whole + before or "0"), 10 ** len(before))
            return Expression(
                Num(start + Fraction(int(cycle), (10**length - 1) * 10 ** len(before)))
            )
    raise Unreadable("a decimal that goes on nobody knows how")


def _whole(value: Value) -> Fraction | None:
    """A whole number as written, before which a fraction may stand to be added."""
    match value:
        case Expression(Num(value=number, unit=None), percent=False) if number.denominator == 1:
            return number
    return None


def _literal(text: str) -> Num:
    digits = text.replace("_", "")
    if "." not in digits and digits.isdigit() and len(digits) <= MAX_DIGITS:
        return Num(Fraction(int(digits)))
    try:
        value = Fraction(digits)
    except ValueError as error:
        raise Unreadable(f"the number {text!r}") from error
    places = len(digits.partition(".")[2])
    return Num(value, Fraction(1, 10**places), len(digits.replace(".", "").lstrip("0")))


def base_of(index: str) -> int | None:
    words = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
             "nine": 9, "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
    name = index.lower().replace("base", "").strip("()")
    base = words.get(name) or (int(name) if name.isdigit() and len(name) < 3 else 0)
    return base if 2 <= base <= 36 else None


def _restricted(base: Region, index: str) -> Region:
    r"""``\mathbb{R}_{>0}`` and the like."""
    zero, infinite = Num(Fraction(0)), Sym("oo")
    closed = index in ("ge0", "geq0", "geqslant0")
    if index in (">0", "+") or closed:
        return Region((Interval(zero, infinite, closed, False),))
    raise Beyond("a set with an index")


def _amount(value: Value) -> Expression:
    if not isinstance(value, Expression):
        raise Unreadable("a unit after what is no amount")
    return value


def _radians(value: Value) -> Node:
    """An argument of a function, degrees as radians."""
    if isinstance(value, Quantity) and value.unit == unit_of("degree"):
        return Op("mul", (_node(value.amount), Sym("pi"), Op("inv", (Num(Fraction(180)),))))
    return _node(value)


def _node(value: Value) -> Node:
    """The expression of a value. Raises Unreadable where it is something else."""
    if isinstance(value, Ratio) and len(value.parts) == 2:
        return Op("div", (_node(value.parts[0]), _node(value.parts[1])))
    if isinstance(value, Number):
        value = Expression(Num(value.value, value.unit, value.digits), value.percent)
    if isinstance(value, Expression):
        if value.percent:
            return Op("mul", (value.node, Num(Fraction(1, 100))))
        return value.node
    raise Unreadable(f"a {type(value).__name__.lower()} inside an expression")


node_of = _node
