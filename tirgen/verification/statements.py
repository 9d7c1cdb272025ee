"""The rules for statements: labels, words and clauses around a value, and how they are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.arithmetic import product
from tirgen.verification.cursor import OutsideGrammar, is_worded
from tirgen.verification.finishing import MOST_ITEMS, assembled, finished, flat, joined
from tirgen.verification.naming import BOUND, NATURAL, function_of
from tirgen.verification.sides import Sides, related
from tirgen.verification.symbols import FUNCTIONS, NUMBER_SETS, SIGNS
from tirgen.verification.tokens import Kind, Token, Unreadable
from tirgen.verification.units import unit_of
from tirgen.verification.values import (
    Expression,
    Listing,
    Named,
    Num,
    Op,
    Quantity,
    Relation,
    Residues,
    Set,
    Text,
    Value,
    number,
    renamed_in,
)
from tirgen.verification.vocabulary import (
    COPULAS,
    CURVES,
    DECLARING,
    DERIVING,
    LABELS,
    comparison_in,
    is_word,
    meaning,
    number_in,
    words_of,
)

_MODULO = ("mod", "modulo")
_GIVEN = frozenset({"all", "any", "every", "each", "real"})
_CONSTANTS = frozenset({"constant", "constants", "arbitrary"})
_PARAMETERS = _CONSTANTS | frozenset({"integer", "integers", "zz", "nn", "rr"})
_NATURAL = frozenset({"nn", "natural", "positive", "nonnegative", "+"})
_CONDITIONS = frozenset({"for", "where", "with", "when", "if", "such", "over"})


class Clauses(Sides):
    """Reads the clause after a statement."""

    def _conditioned(self, value: Value) -> Value:
        """A value without a clause after it that only declares a variable."""
        start = self.at
        if self.is_operator("(") and self.peek().text in ("approx", "=", "or"):
            return self._said_again(value)
        self.accept("(")
        self.accept(",")
        word = self.next.text.lower() if self.word_next() else ""
        if word in ("since", "because"):
            return self._reasoned(value)
        if word in _CONDITIONS or self.is_command("forall"):
            return _declared(value, self._clause())
        if self.at > start and self._declared_member():
            return _declared(value, self.tokens[start : self.at])
        self.at = start
        return value

    def _said_again(self, value: Value) -> Value:
        """A value with the same in parentheses: ``(or 0.5)``, ``(\\approx 1.41)``."""
        self.take()
        sign = "approx" if self.take().text == "approx" else "="
        again = self.relation()
        self.expect(")")
        if isinstance(value, Named):
            return Named(value.name, related([finished(value.value), finished(again)], [sign]))
        return related([finished(value), finished(again)], [sign])

    def _clause(self) -> list[Token]:
        """What follows up to the next answer: a declaration, and no other condition."""
        clause: list[Token] = []
        while self.next.kind is not Kind.END and not self.is_operator("\\", ";", "or"):
            token = self.take()
            clause.append(token)
            worded = token.kind is Kind.WORD or is_word(token.text)
            if worded and token.text.lower() not in DECLARING | _CONDITIONS:
                raise Unreadable(f"the condition {token.text!r}")
            if token.text in ("<", "=", "le") or (token.kind is Kind.NUMBER and token.text != "0"):
                raise Unreadable("a condition")
        return clause

    def _reasoned(self, value: Value) -> Value:
        """A value whose reason follows to the end: ``3 since x > 0``."""
        while self.next.kind is not Kind.END:
            if self.take().text in (",", ";", "and", "or", "\\"):
                raise Unreadable("more than a reason")
        return value

    def _declared_member(self) -> bool:
        r"""``, k \in \mathbb{Z}`` after a comma, which declares a parameter."""
        self.accept("(")
        name, sign, numbers = self.next, self.peek(), self.peek(2)
        if name.kind is not Kind.NAME or sign.text != "in" or numbers.text not in NUMBER_SETS:
            return False
        self.at += 3
        while self.is_operator("^", "_", "{", "}", "+", "-", "*", ")"):
            self.take()
        return self.next.kind is Kind.END or self.is_operator(";", "\\", "or", "and", ".")

    def _with_residues(self, value: Value) -> Value:
        r"""A value with the modulus that follows it: ``3 \pmod 7``."""
        bracket = self.is_operator("(") and self.peek().text in _MODULO
        if not bracket and self.next.text not in _MODULO:
            match value:
                case Relation((left, right), ("equiv",)):
                    return related([left, right], ["="])
            return value
        self.at += 1 + bracket
        braced = self.accept("{", "(")
        modulus = self.take().text
        closed = [self.accept("}", ")") for opened in (braced, bracket) if opened]
        if not all(closed) or not modulus.isdecimal() or not 1 < int(modulus) < 10**5:
            raise Unreadable("a modulus that is no number")
        return _residues(value, int(modulus))


def _declared(value: Value, clause: Sequence[Token]) -> Value:
    """A value whose declared parameters are bound: any other name would do for them."""
    words = {token.text.lower() for token in clause}
    given = words & _GIVEN and not words & _CONSTANTS
    if given or not words & _PARAMETERS:
        if "some" in words and not words & _GIVEN:
            raise Unreadable("some value, but not which")
        return value
    names = {token.text for token in clause if token.kind is Kind.NAME and len(token.text) == 1}
    if "rr" in words:
        function = function_of(value.name) if isinstance(value, Named) else None
        names = names - set(function[1]) if function else set()
    before = NATURAL if words & _NATURAL else BOUND
    return renamed_in(value, {name: before + name for name in names})


def _residues(value: Value, modulus: int) -> Value:
    named, inner = False, finished(value)
    if isinstance(value, Relation) and value.signs == ("equiv",):
        named, inner = True, finished(value.sides[1])
    if isinstance(value, Named):
        inner = finished(value.value)
    items = inner.items if isinstance(inner, Listing) else (inner,)
    numbers = [found.value for item in items if (found := number(item))]
    if len(numbers) < len(items) or any(number.denominator != 1 for number in numbers):
        raise OutsideGrammar("a congruence of other things than numbers")
    return Residues(frozenset(int(number) % modulus for number in numbers), modulus, named)


class Statements(Clauses):
    """Reads the statements of an answer."""

    def __init__(self, tokens: Sequence[Token], read: Callable[[str], Value]) -> None:
        super().__init__(tokens)
        self._read = read

    def element(self) -> Value:
        """The first of a set, after which a colon may stand for "such that"."""
        self._ratios = False
        value = self.statement()
        self._ratios = True
        return value

    def whole(self) -> Value:
        groups: list[list[Value]] = [[]]
        joints: set[str] = set()
        while True:
            groups[-1].append(finished(self.statement()))
            joint = self._joint()
            if self.next.kind is Kind.END:
                break
            if not joint:
                raise Unreadable(f"{self.next.text!r} after an answer")
            joints.add(joint)
            if joint in ("or", ";", "\\"):
                groups.append([])
            if sum(map(len, groups)) > MOST_ITEMS:
                raise Unreadable(f"more than {MOST_ITEMS} answers")
        return assembled(groups, joints)

    def _joint(self) -> str:
        """What joins this statement to the next one: a comma, a conjunction, a new line."""
        joint = ""
        while self.next.kind is Kind.OPERATOR and self.next.text in (
            ",", ";", "and", "or", "\\", "&", ".", "vee", "wedge"
        ):  # fmt: skip
            text = self.take().text
            if text == "&" and self.is_operator("&"):
                raise Unreadable("an empty cell")
            joint = text if text in ("and", "or") or not joint else joint
        if self.accept("vee"):
            return "or"
        if self.accept("wedge"):
            return "and"
        return joint

    def statement(self) -> Value:
        label = self._label()
        if label is not None:
            value = self.statement()
            return Named(label, value) if label else value
        if self.word_next():
            return self._in_words()
        if self.next.kind is Kind.NAME and len(self.next.text) == 1 and self.peek().text == ":":
            start = self.at
            self.at += 2
            if (equation := self._equation()) is not None:
                return equation
            self.at = start
        if self.is_command("forall", "exists"):
            return self._quantified()
        return self._conditioned(self._with_residues(self.relation()))

    def _label(self) -> str | None:  # noqa: C901  one line for each kind of token
        """The words before a value up to "is" or a colon; empty where they say nothing."""
        end, worded = self.at, False
        while True:
            token = self.tokens[end]
            if token.text in FUNCTIONS:
                return None
            if is_worded(token):
                if token.text.lower() in COPULAS and (worded or end > self.at):
                    break
                worded = True
            elif (
                token.text == ":" and worded and self.tokens[end - 1].kind is not Kind.OPERATOR
            ) or (token.text == "=" and worded and end > self.at):
                break
            elif (
                token.kind is Kind.NUMBER and (end == self.at or self.tokens[end + 1].text != ":")
            ) or (token.kind not in (Kind.NAME, Kind.NUMBER) and token.text not in ("-", "'")):
                return None
            end += 1
            if end - self.at > 16:
                return None
        if {token.text.lower() for token in self.tokens[self.at : end]} & DERIVING:
            raise Unreadable("a label of something else")
        label = words_of(" ".join(token.text for token in self.tokens[self.at : end]))
        if not worded and self.tokens[end].text.lower() not in COPULAS:
            return None
        self.at = end + 1
        if self.tokens[end].text in COPULAS:
            self.accept(":")
        return "" if set(label.split()) <= LABELS else label

    def _words(self) -> list[str]:
        """The words that are next, hyphens between them dropped."""
        words: list[str] = []
        while self.word_next() or (words and self.is_operator("-", "'") and is_worded(self.peek())):
            text = self.take().text
            if text not in "-'":
                words.append(text)
        return words

    def _in_words(self) -> Value:
        """A statement that begins with a word: a number in words, a prefix of one, or text."""
        start = self.at
        if self._currency_next():
            return self._conditioned(self.relation())
        if self.next.text.lower() in ("negative", "minus") and self.peek().kind is Kind.NUMBER:
            self.take()
            return product([Expression(Num(Fraction(-1))), self.statement()])
        while self.word_next() and self.next.text.lower() in LABELS:
            self.take()
            self.accept(".")
        if self.at == start + 1:
            self.accept(",")
        opens = self.next.kind is Kind.COMMAND or self.is_operator("-", "(", "[")
        value_next = opens and self.at > start and not self.word_next()
        if self.next.kind is Kind.NUMBER or self._is_compared() or value_next:
            return self._conditioned(self.relation())
        at = self.at
        words = self._words()
        small = [word.lower() for word in words]
        compared = comparison_in(small)
        if compared is not None and compared[1] == len(words):
            return ranges.bounded(compared[0], finished(self.relation()))
        if {*small} <= CURVES | LABELS and (equation := self._equation()) is not None:
            return equation
        number = number_in(small)
        if number is not None:
            value = self._read(number[0])
            rest = " ".join(words[number[1] :])
            assert isinstance(value, Expression)
            if not rest:
                return value
            return _counted(value, rest)
        self.at = at
        return self._text(start)

    def _equation(self) -> Value | None:
        """The equation in variables that is next, if one is; its name was read."""
        start, tokens = self.at, self.tokens
        try:
            value = self._conditioned(self.relation())
        except Unreadable:
            value = Text("")
        match value:
            case Relation(_, ("=",)) | Named(_, Expression(Op())):
                return value
        self.at, self.tokens = start, tokens
        return None

    def _is_compared(self) -> bool:
        """Whether a variable and a relation are next: ``all real x \\ne 1``."""
        return self.next.kind is Kind.NAME and self.peek().text in SIGNS and not self.word_next()

    def _text(self, start: int) -> Value:
        """Words up to the next joint or the bracket that ends here."""
        self.at = start
        pieces: list[str] = []
        ends = (",", ";", "and", "or", "\\", ")", "]", "}", "\\}")
        while self.next.kind is not Kind.END and not self.is_operator(*ends):
            phrase = " ".join(pieces).lower()
            if self.next.text.lower() == "except" and (meant := meaning(phrase)):
                self.take()
                return ranges.minus(self._read(meant), Set(flat((self.condition(),))))
            if self.next.kind in (Kind.NUMBER, Kind.COMMAND) or self.is_operator(
                "(", "=", "<", ">"
            ):
                raise Unreadable("words and numbers mixed")
            token = self.take()
            pieces.append(" " if token.text == "-" else token.text)
        words = words_of(" ".join(pieces).replace(" ' ", "'"))
        meant = meaning(words)
        return self._read(meant) if meant else Text(words)

    def condition(self) -> Value:
        """What a set's elements must be: statements side by side."""
        items = [finished(self.statement())]
        while self.accept(",", "and", "or"):
            items.append(finished(self.statement()))
        return joined(items, "or" in {t.text for t in self.tokens}, True)

    def _quantified(self) -> Value:
        raise OutsideGrammar("a quantified statement")

    def case_condition(self) -> Value:
        """The condition of a case, with or without "if"."""
        if self.word_next():
            words = self._words()
            if set(map(str.lower, words)) <= {"otherwise", "else"}:
                return Text("otherwise")
        return self.statement()


def _counted(value: Expression, words: str) -> Value:
    if words.lower() in ("percent", "per cent", "pct"):
        return Expression(value.node, percent=True)
    return Quantity(value, unit_of(words))
