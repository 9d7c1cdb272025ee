"""The rules for names and LaTeX commands: variables, functions, fractions, roots, sympy's types."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.arithmetic import product, rational
from tirgen.verification.cursor import OutsideGrammar
from tirgen.verification.literals import lowest_terms, node_of, radians
from tirgen.verification.postfixes import Postfixes
from tirgen.verification.symbols import (
    BEYOND,
    CALLED,
    COLLECTED,
    DECORATED,
    FUNCTIONS,
    GREEK,
    NUMBER_SETS,
    PYTHON,
)
from tirgen.verification.tokens import Kind, Unreadable
from tirgen.verification.values import (
    Bracket,
    Expression,
    Matrix,
    Named,
    Node,
    Num,
    Op,
    Quantity,
    Set,
    Sym,
    Text,
    Value,
)
from tirgen.verification.vocabulary import BARE, is_word


class Commands(Postfixes):
    """Reads names and commands."""

    def _name(self) -> Value:  # noqa: C901  one line for each kind of name
        token = self.take()
        text = token.text
        if text in FUNCTIONS:
            return self._function(FUNCTIONS[text], python=True)
        if text in CALLED and self.is_operator("("):
            return self._called(CALLED[text])
        if text in COLLECTED:
            return self._collection(text)
        if text in ("I", "E") and self._in_python():
            return Expression(Sym(text.lower()))
        if text in PYTHON:
            return Expression(Sym(PYTHON[text]))
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

    def _function(self, name: str, *, python: bool = False) -> Value:
        if name == "sqrt":
            return self._root()
        if name == "cbrt":
            return Expression(Op("root", (node_of(self._argument()), Num(Fraction(3)))))
        power: Value | None = None
        base: Node | None = None
        while self.is_operator("^", "_"):
            if self.take().text == "^":
                power = self._argument(power=True)
            else:
                base = node_of(self._argument())
        opened = self.accept("(")
        arguments = [
            radians(one) for one in (self.items(")") if opened else [self._bare_argument()])
        ]
        if name == "log" and len(arguments) == 2:
            base = arguments.pop()
        if power is not None and rational(node_of(power)) == -1:
            return Expression(Op("a" + name, tuple(arguments)))
        if name == "log" and base is not None:
            node = Op("logb", (*arguments, base))
        else:
            node = Op("ln" if python and name == "log" else name, tuple(arguments))
        return Expression(node if power is None else Op("pow", (node, node_of(power))))

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
            factors.append(Expression(Op("inv", (node_of(self.factor()),))))
        return product(factors)

    def _root(self) -> Value:
        index: Value | None = None
        if self.is_operator("["):
            self.take()
            index = self.statement()
            self.expect("]")
        radicand = node_of(self._argument(power=True))
        if index is None:
            return Expression(Op("sqrt", (radicand,)))
        return Expression(Op("root", (radicand, node_of(index))))

    def _called(self, name: str) -> Value:
        arguments = tuple(map(node_of, self.items({"(": ")", "\\{": "\\}"}[self.take().text])))
        if not arguments or (name in ("div", "binom", "pow", "mod") and len(arguments) > 2):
            raise Unreadable(f"{name} of {len(arguments)}")
        if name == "same":
            return Expression(arguments[0])
        if name == "printed":
            return lowest_terms(arguments)
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
        if name == "set" and len(items) == 1 and isinstance(items[0], Bracket | Set):
            return Set(items[0].items)
        if name == "Eq" and len(items) == 2:
            return Named(node_of(items[0]), items[1])
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
            low, high = node_of(items[0]), node_of(items[1])
            return ranges.region(low, high, not flags[0], not flags[1])
        if len(items) == 1 and (name == "Matrix" or isinstance(items[0], Bracket | Matrix)):
            return items[0]
        raise Unreadable(f"{name} of {len(items)}")

    def _command(self) -> Value:  # noqa: C901  one line for each command
        name = self.take().text
        if name in FUNCTIONS:
            return self._function(FUNCTIONS[name])
        if name in ("Gamma", "zeta") and self.is_operator("("):
            return self._called(name.lower())
        if name in ("gcd", "lcm", "max", "min"):
            if self.is_operator("(", "\\{"):
                return self._called(CALLED[name])
            raise OutsideGrammar(name)
        if name in GREEK or name == "ldots":
            return Expression(Sym(name))
        if name == "infty":
            return Expression(Sym("oo"))
        if name == "emptyset":
            return Set(())
        if name in NUMBER_SETS:
            return ranges.ALL if name == "RR" else Expression(Sym(name))
        if name == "frac":
            return self._fraction()
        if name == "binom":
            return Expression(Op("binom", (node_of(self._argument()), node_of(self._argument()))))
        if name in ("lfloor", "lceil"):
            inner = self.statement()
            self.expect("r" + name[1:])
            return Expression(Op({"lfloor": "floor", "lceil": "ceil"}[name], (node_of(inner),)))
        if name == "begin matrix":
            return self._matrix("end matrix")
        if name == "begin determinant":
            rows = self._matrix("end determinant")
            assert isinstance(rows, Matrix)
            return Expression(Op("det", tuple(node_of(cell) for row in rows.rows for cell in row)))
        if name == "begin cases":
            return self._cases()
        if name == "dot":
            return self._primed_by_dot()
        if name == "overline":
            return self._overlined()
        if name in DECORATED:
            inner = self._argument()
            match inner:
                case Expression(Op("mul", args)) if all(isinstance(a, Sym) for a in args):
                    return Expression(
                        Sym("vec " + " ".join(a.name for a in args if isinstance(a, Sym)))
                    )
            return inner
        if name in ("angle", "triangle"):
            return Expression(Op(name, (node_of(self._vertices()),)))
        if name == "circled":
            raise Unreadable("a label")
        raise (OutsideGrammar if name in BEYOND else Unreadable)(f"\\{name}")

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
        raise OutsideGrammar("a dot over what is no variable")

    def _overlined(self) -> Value:
        """A segment is its end points; anything else under a bar is another thing."""
        inner = node_of(self._argument())
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
            return Quantity(Expression(Op("div", (node_of(top.amount), bottom.node))), top.unit)
        return Expression(Op("div", (node_of(top), node_of(bottom))))

    def _derivative(self) -> Value | None:
        texts = [self.peek(k).text for k in range(6)]
        if texts[0] == "{" and texts[2:4] == ["}", "{"] and texts[5] == "}":
            over, under = texts[1], texts[4]
            if over == "d" and under[0] == "d":
                raise OutsideGrammar("a derivative")
            if len(over) == len(under) == 2 and over[0] == under[0] == "d":
                self.at += 6
                return Expression(Sym(f"{over}/{under}"))
        return None
