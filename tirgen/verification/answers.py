r"""The grammar of answers: from the text of a box to one typed value.

    answer    := group (("or" | ";" | newline) group)*
    group     := statement (("," | "and") statement)*
    statement := [label] relation [condition]
    relation  := side (("=" | "<" | "\le" | ... | "\in") side)*

What is no mathematics is `Text`, what is mathematics beyond the grammar `Opaque`. Reading never
raises, and takes time linear in the length of the answer but for its bounded nesting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from tirgen.verification import ranges
from tirgen.verification.arithmetic import Costly, approximate, product, rational
from tirgen.verification.grammar import FUNCTIONS, LIBRARY, Beyond, Expressions, base_of, node_of
from tirgen.verification.moments import clock, date
from tirgen.verification.naming import BOUND, NAMING
from tirgen.verification.tokens import Kind, Token, Unreadable, spelled, tokenize
from tirgen.verification.units import PERCENT, UnitError, unit_of
from tirgen.verification.values import (
    CONSTANTS,
    Based,
    Bracket,
    Cases,
    Choice,
    Expression,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Number,
    Op,
    Opaque,
    Quantity,
    Ratio,
    Region,
    Relation,
    Residues,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
    renamed,
    symbols,
    walk,
)
from tirgen.verification.vocabulary import (
    COPULAS,
    DECLARING,
    DERIVING,
    LABELS,
    MEANINGS,
    PREFIXES,
    is_word,
    number_in,
    words_of,
)

_SIGNS = {
    "=": "=", "<": "<", ">": ">", "<=": "le", ">=": "ge", "le": "le", "ge": "ge",
    "ne": "ne", "!=": "ne", "approx": "approx", "~": "approx", "in": "in", "equiv": "equiv",
    "ni": "ni", "notin": "notin", "subset": "subset", "subseteq": "subset", "ll": "<", "gg": ">",
}  # fmt: skip
_CONDITIONS = frozenset({"for", "where", "with", "when", "if", "such", "over"})
_LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|mbox|hbox|mathrm|mathbf|mathit|operatorname|emph|bf|rm)"
    r"(?![a-z])\s*"
)
_WRAPPED = re.compile(r"^\s*(\*\*|__|`+|\"|“|'(?=.*'\s*$))(.+?)(?:\1|”)\s*[.。]?\s*$", re.DOTALL)
_JSON = re.compile(r'^\s*\[\s*".*"\s*\]\s*$', re.DOTALL)
_LABELLED = re.compile(r"(?:\(([A-J])\)|([A-J])(?=$| ?\)| ?[.:])) ?[).:]? ?(.*)", re.DOTALL)
_LETTERS = re.compile(r"\(?[A-H]\)?(?:(?: ?[,&] ?| )?(?:and )?\(?[A-H]\)?)+")
_CHOSEN = re.compile(
    r"(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?\s*:?\s*\(?([A-Ja-j])\)?", re.IGNORECASE
)
_MARKERS = re.compile(r"\([A-Z]\)|\b[A-Z] ?[:.)]")
_CIRCLES = re.compile(r"(?:\\circled\s*\{\w+\}[\s,;]*(?:and)?\s*)+")
_AFFIRMED = re.compile(r"(yes|no|true|false)[,.;:] (.*)", re.IGNORECASE | re.DOTALL)
_REFUSED = re.compile(r"\b(?:not|never)\b|n't\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:if|unless|but|except|only|maybe|perhaps|sometimes|when|however|otherwise|or|yes|no"
    r"|false|true)\b|\?",
    re.IGNORECASE,
)
_BURNING = re.compile(r"\d{5,}|\d\s*\^\s*\{?\s*\d{3,}|\^\s*\{?\s*[\w\\]+\s*\^|!\s*[)}]*\s*!")
"""Towers of powers and large bounds, which the libraries would try to compute."""
_MOST_ITEMS = 64


@lru_cache(maxsize=16_384)
def read(answer: str) -> Value:
    """The value that an answer says, whatever the text."""
    try:
        return _read(answer)
    except (Unreadable, UnitError, ArithmeticError, ValueError):
        return Text(words_of(answer[:4000]))


def _read(answer: str) -> Value:
    while wrapped := _WRAPPED.match(answer):
        answer = wrapped[2]
    if _JSON.match(answer):
        return _listed_in_json(answer)
    if len(answer) > 4000:
        raise Unreadable("too long")
    plain = plain_of(answer)
    special = _special(plain)
    if special is not None:
        return special
    tokens = tokenize(answer)
    if any(token.kind is Kind.BAD for token in tokens):
        raise Unreadable("a character that mathematics does not have")
    try:
        return _Answers(tokens).whole()
    except Beyond:
        known = all(token.text in LIBRARY for token in tokens if token.kind is Kind.COMMAND)
        source = spelled(answer)
        return Opaque(source, readable=known and not _BURNING.search(source))
    except Unreadable:
        if _is_wordy(tokens):
            raise
        return Opaque(spelled(answer), readable=False)


def plain_of(answer: str) -> str:
    """An answer as its reader sees the words of it."""
    text = _LATEX_TEXT.sub(" ", spelled(answer).replace("\\circled{", "\\circled "))
    text = re.sub(r"\s+", " ", re.sub(r"(?<!\\)[{}]", " ", text))
    return re.sub(r"\\ |\\[,;:!]|\\q?quad", " ", text).strip(' .,;:"')


def _is_wordy(tokens: list[Token]) -> bool:
    return any(
        token.kind is Kind.WORD or (token.kind is Kind.NAME and is_word(token.text))
        for token in tokens
    )


def _listed_in_json(answer: str) -> Value:
    try:
        items = json.loads(answer)
    except ValueError as error:
        raise Unreadable("a broken list") from error
    values = [read(item) for item in items if isinstance(item, str)]
    if len(values) != len(items) or not values:
        raise Unreadable("a list of other things than answers")
    return values[0] if len(values) == 1 else Listing(tuple(values))


def _special(plain: str) -> Value | None:  # noqa: C901  one line for each form
    """Forms whose parts mean nothing by themselves: choices, times, dates, phrases, yes and no."""
    if _CIRCLES.fullmatch(
        plain.replace("\\circled ", "\\circled{").replace("\\circled{", "\\circled{", 1)
    ) or (plain.startswith("\\circled ")):
        labels = re.findall(r"\\circled (\w+)", plain)
        if labels and not re.sub(r"\\circled \w+|[\s,;]|and", "", plain):
            return Choice(frozenset(labels))
    if plain.endswith("?"):
        return Text(words_of(plain) + "?")
    if letters := _chosen(plain):
        return letters
    if words_of(plain) == "does not exist":
        return Text("does not exist")
    if (based := _BASED.fullmatch(plain)) and (number := _based(based)):
        return number
    if grouped := _grouped(plain):
        return grouped
    words = words_of(plain)
    if phrase := MEANINGS.get(plain.lower()) or MEANINGS.get(words):
        return read(phrase)
    if affirmed := _AFFIRMED.fullmatch(plain):
        refused = affirmed[1].lower() in ("yes", "true") and _REFUSED.search(affirmed[2])
        if not refused and not _TAKEN_BACK.search(affirmed[2]):
            return Text(affirmed[1].lower())
        return Text(words)
    return date(plain) or clock(plain)


_BASED = re.compile(
    r"(?:\\overline )?\(? ?([0-9a-fA-F ]+?) ?\)? ?(?:_|\(?(?=base))[ (]*(?:base ?)?(\w+) ?\)?",
    re.IGNORECASE,
)


def _based(match: re.Match[str]) -> Value | None:
    """A number with its base, the letters of which are digits from eleven on."""
    digits, base = match[1].replace(" ", ""), base_of(match[2])
    hexadecimal = base is not None and base > 10 and (base == 16 or re.search(r"\d", digits))
    if base is None or not (digits.isdigit() or hexadecimal):
        return None
    try:
        int(digits, base)
    except ValueError:
        return None
    return Based(digits.upper(), base)


_COMMAS = re.compile(r"(-?)([0-9]+),([0-9]+)(?P<rest>\s*(?:\\?%|[^\W\d_]{2,}.*)?)", re.DOTALL)
_GROUPS = re.compile(r"\d{1,3}(?:,\d{3})+", re.ASCII)


def _grouped(plain: str) -> Value | None:
    """Numbers with a comma that may also be two, or a list of them."""
    if _GROUPS.fullmatch(plain.removeprefix("-")) and not plain.lstrip("-").startswith("0"):
        groups = tuple(Fraction(int(group)) for group in plain.split(","))
        return Number(Fraction(int(plain.replace(",", ""))), groups=groups)
    match = _COMMAS.fullmatch(plain)
    thousands = match and len(match[3]) == 3 and not match[2].startswith("0")
    if match is None or thousands or re.match(r"\s*(?:and|or|mod)\b", match["rest"]):
        return None
    if match["rest"].strip():
        return read(plain.replace(",", ".", 1))
    sign, whole, places = match.groups()[:3]
    decimal = read(f"{sign}{whole}.{places}")
    pair = (Number(Fraction(int(sign + whole))), Number(Fraction(int(places))))
    return Listing(pair, decimal=decimal if isinstance(decimal, Number) else None)


def _chosen(plain: str) -> Choice | None:
    if match := _CHOSEN.fullmatch(plain):
        return Choice(frozenset(match[1].upper()))
    if _LETTERS.fullmatch(plain):
        letters = re.findall(r"[A-H]", plain)
        return Choice(frozenset(letters)) if len(set(letters)) == len(letters) else None
    match = _LABELLED.fullmatch(plain)
    if match is None or _MARKERS.search(match[3]):
        return None
    rest = match[3].strip()
    if rest[:1] in tuple("=^_+*/<>-"):
        return None
    return Choice(frozenset(match[1] or match[2]), read(rest) if rest else None)


class _Answers(Expressions):
    """The statements of an answer."""

    _ratios = True

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
            if sum(map(len, groups)) > _MOST_ITEMS:
                raise Unreadable(f"more than {_MOST_ITEMS} answers")
        return _assembled(groups, joints)

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

    # -- statements

    def statement(self) -> Value:
        label = self._label()
        if label is not None:
            value = self.statement()
            return Named(label, value) if label else value
        if self.word_next():
            return self._in_words()
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
            if token.kind is Kind.WORD or (token.kind is Kind.NAME and is_word(token.text)):
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
        while self.word_next() or (words and self.is_operator("-", "'") and self._word_after()):
            text = self.take().text
            if text not in "-'":
                words.append(text)
        return words

    def _word_after(self) -> bool:
        token = self.peek()
        return token.kind is Kind.WORD or (token.kind is Kind.NAME and is_word(token.text))

    def _in_words(self) -> Value:
        """A statement that begins with a word: a number in words, a prefix of one, or text."""
        start = self.at
        if self.next.text.lower() in ("negative", "minus") and self.peek().kind is Kind.NUMBER:
            self.take()
            return product([Expression(Num(Fraction(-1))), self.statement()])
        while self.word_next() and self.next.text.lower() in PREFIXES:
            self.take()
            self.accept(".")
        opens = self.next.kind is Kind.COMMAND or self.is_operator("-", "(")
        value_next = opens and self.at > start and not self.word_next()
        if self.next.kind is Kind.NUMBER or self._is_compared() or value_next:
            return self._conditioned(self.relation())
        at = self.at
        words = self._words()
        number = number_in([word.lower() for word in words])
        if number is not None:
            value = read(number[0])
            rest = " ".join(words[number[1] :])
            assert isinstance(value, Number)
            if not rest:
                return value
            return _counted(value, rest)
        self.at = at
        return self._text(start)

    def _is_compared(self) -> bool:
        """Whether a variable and a relation are next: ``all real x \\ne 1``."""
        return self.next.kind is Kind.NAME and self.peek().text in _SIGNS and not self.word_next()

    def _text(self, start: int) -> Value:
        """Words up to the next joint or the bracket that ends here."""
        self.at = start
        pieces: list[str] = []
        ends = (",", ";", "and", "or", "\\", ")", "]", "}", "\\}")
        while self.next.kind is not Kind.END and not self.is_operator(*ends):
            if self.next.kind in (Kind.NUMBER, Kind.COMMAND) or self.is_operator(
                "(", "=", "<", ">"
            ):
                raise Unreadable("words and numbers mixed")
            token = self.take()
            pieces.append(" " if token.text == "-" else token.text)
        words = words_of(" ".join(pieces).replace(" ' ", "'"))
        return read(MEANINGS[words]) if words in MEANINGS else Text(words)

    def _conditioned(self, value: Value) -> Value:
        """A value without a clause after it that only declares a variable."""
        start = self.at
        parenthesised = self.accept("(")
        comma = self.accept(",")
        worded = self.word_next() and self.next.text.lower() in _CONDITIONS
        opens = worded or self.is_command("forall")
        if not opens:
            if comma or parenthesised:
                self.at = start
                declared = self._declared_member()
                if not declared:
                    self.at = start
                else:
                    return _declared(value, list(self.tokens[start : self.at]))
            return value
        clause: list[Token] = []
        while self.next.kind is not Kind.END and not self.is_operator("\\", ";", "or"):
            token = self.take()
            clause.append(token)
            if (
                token.kind is Kind.WORD or is_word(token.text)
            ) and token.text.lower() not in DECLARING | _CONDITIONS:
                raise Unreadable(f"the condition {token.text!r}")
            if token.text in ("<", "=", "le") or (token.kind is Kind.NUMBER and token.text != "0"):
                raise Unreadable("a condition")
        return _declared(value, clause)

    def _declared_member(self) -> bool:
        r"""``, k \in \mathbb{Z}`` after a comma, which declares a parameter."""
        self.accept(",")
        self.accept("(")
        if (
            self.next.kind is Kind.NAME
            and self.peek().text == "in"
            and self.peek(2).text in ("ZZ", "NN", "RR", "QQ")
        ):
            self.at += 3
            self._skip_power()
            self.accept(")")
            return self.peek(0).kind is Kind.END or self.is_operator(";", "\\", "or", "and", ".")
        return False

    def _skip_power(self) -> None:
        while self.is_operator("^", "_", "{", "}", "+", "-", "*"):
            self.take()

    def condition(self) -> Value:
        """What a set's elements must be: statements side by side."""
        items = [finished(self.statement())]
        while self.accept(",", "and", "or"):
            items.append(finished(self.statement()))
        return _joined(items, "or" in {t.text for t in self.tokens}, True)

    def _quantified(self) -> Value:
        raise Beyond("a quantified statement")

    def _with_residues(self, value: Value) -> Value:
        r"""A value with the modulus that follows it: ``3 \pmod 7``."""
        bracket = self.is_operator("(") and self.peek().text in ("mod", "modulo")
        if (
            not bracket
            and not self.is_command("mod")
            and not (
                self.next.kind in (Kind.WORD, Kind.NAME) and self.next.text in ("mod", "modulo")
            )
        ):
            match value:
                case Relation((left, right), ("equiv",)):
                    return related([left, right], ["="])
            return value
        if bracket:
            self.take()
        self.take()
        braced = self.is_operator("{", "(") and bool(self.take())
        token = self.take()
        if braced and not self.accept("}", ")"):
            raise Unreadable("a modulus that is no number")
        if bracket:
            self.expect(")")
        if (
            token.kind is not Kind.NUMBER
            or not token.text.isdigit()
            or not 1 < int(token.text) < 10**5
        ):
            raise Unreadable("a modulus that is no number")
        return _residues(value, int(token.text))

    # -- relations

    def relation(self) -> Value:
        sides: list[Value] = []
        signs: list[str] = []
        if self._sign_next():
            sign = _SIGNS[self.take().text]
            if sign not in ("=", "approx"):
                raise Unreadable("a relation without its left side")
        sides.append(self._side())
        while self._sign_next():
            signs.append(_SIGNS[self.take().text])
            sides.append(self._side())
        return related([finished(side) for side in sides], signs) if signs else sides[0]

    def _sign_next(self) -> bool:
        token = self.next
        return token.kind in (Kind.OPERATOR, Kind.COMMAND) and token.text in _SIGNS

    def _side(self) -> Value:
        start, tokens = self.at, self.tokens
        try:
            value = self.side()
        except Beyond:
            self.at, self.tokens = start, tokens
            return self._opaque()
        value = self._following_quantities(value)
        if self._ratios and self.is_operator(":") and isinstance(value, Expression | Number):
            return self._ratio(value)
        if isinstance(value, Expression) and self.word_next():
            if self.next.text == "to" and self.peek().kind is Kind.NUMBER:
                return self._ratio(value)
            return self._out_of(value)
        return value

    def _out_of(self, value: Expression) -> Value:
        """``3 out of 10`` and ``1 in 6`` as fractions."""
        words = [self.next.text, self.peek().text]
        count = 2 if words == ["out", "of"] else 1 if words[0] == "in" else 0
        if not count or self.peek(count).kind is not Kind.NUMBER:
            return value
        self.at += count
        return Expression(Op("div", (value.node, node_of(self.side()))))

    def _ratio(self, first: Value) -> Value:
        parts = [first]
        while self.is_operator(":") or (self.next.text == "to"):
            self.take()
            parts.append(self.side())
        return Ratio(tuple(finished(part) for part in parts))

    def _following_quantities(self, value: Value) -> Value:
        """``5 hours 20 minutes``, ``70° 30'``: quantities of one dimension side by side."""
        parts = [value]
        while isinstance(value, Quantity) and (
            self.next.kind is Kind.NUMBER
            or (self.is_operator(",", "and") and self.peek().kind is Kind.NUMBER)
        ):
            start = self.at
            self.accept(",", "and")
            part = self.term()
            smaller = isinstance(part, Quantity) and (
                part.unit.dimensions == value.unit.dimensions
                and part.unit.factor < value.unit.factor
            )
            if not smaller:
                self.at = start
                break
            parts.append(part)
            value = part
        return _added_up(parts) if len(parts) > 1 else value

    def _opaque(self) -> Value:
        """Mathematics beyond the grammar, up to the end of its side."""
        start, depth = self.at, 0
        while self.next.kind is not Kind.END:
            if depth == 0 and (self.is_operator("=", "<", ">", ",", ";", "\\", "}", ")")):
                break
            depth += self.is_operator("(", "[", "{", "\\{") - self.is_operator(")", "]", "}", "\\}")
            self.take()
        if self.at == start:
            raise Unreadable("nothing where a value is expected")
        return Opaque(latex_of(self.tokens[start : self.at]))

    def case_condition(self) -> Value:
        """The condition of a case, with or without "if"."""
        if self.word_next():
            words = self._words()
            if set(map(str.lower, words)) <= {"otherwise", "else"}:
                return Text("otherwise")
        return self.statement()


def _declared(value: Value, clause: list[Token]) -> Value:
    """A value whose declared parameters are bound: any other name would do for them."""
    words = {token.text.lower() for token in clause}
    if words & {"all", "any", "every", "each", "RR", "real"}:
        return value
    if not words & {
        "integer",
        "integers",
        "ZZ",
        "NN",
        "zz",
        "nn",
        "constant",
        "constants",
        "arbitrary",
    }:
        if "some" in words:
            raise Unreadable("some value, but not which")
        return value
    names = {
        token.text: BOUND + token.text
        for token in clause
        if token.kind is Kind.NAME and len(token.text) == 1
    }
    return _with_names(value, names)


def _with_names(value: Value, names: dict[str, str]) -> Value:
    match value:
        case Expression(node, percent):
            return Expression(renamed(node, names), percent)
        case Named(name, inner):
            return Named(name, _with_names(inner, names))
        case Tuple(items):
            return Tuple(tuple(_with_names(item, names) for item in items))
        case Listing(items, either):
            return Listing(tuple(_with_names(item, names) for item in items), either)
    return value


def latex_of(tokens: Sequence[Token]) -> str:
    """Tokens as LaTeX again."""
    pieces = []
    for token in tokens:
        if token.kind is Kind.COMMAND:
            pieces.append(f"\\{token.text} ")
        elif token.kind is Kind.WORD:
            pieces.append(f"\\text{{{token.text}}}")
        else:
            pieces.append((" " if token.spaced else "") + token.text)
    return "".join(pieces)


def _counted(value: Number, words: str) -> Value:
    if words.lower() in ("percent", "per cent", "pct"):
        return Number(value.value, value.unit, value.digits, percent=True)
    return Quantity(value, unit_of(words))


def finished(value: Value) -> Value:  # noqa: C901  one case for each type
    """A parsed value with its constants folded and its signs written out."""
    match value:
        case Expression(node, percent):
            return _expanded(node, percent)
        case Quantity(amount, unit):
            inner = finished(amount)
            if unit == PERCENT and isinstance(inner, Number):
                return Number(inner.value, inner.unit, inner.digits, percent=True)
            if isinstance(inner, Listing):
                return Listing(
                    tuple(
                        finished(Quantity(one, unit))
                        for one in inner.items
                        if isinstance(one, Number | Expression)
                    )
                )
            if not isinstance(inner, Number | Expression):
                raise Unreadable("an amount that is no number")
            return Quantity(inner, unit) if unit.dimensions else inner
        case Tuple(items):
            return _both_signs(tuple(map(finished, items)))
        case Bracket(items):
            return Bracket(tuple(map(finished, items)))
        case Set(items):
            return Set(_spelled_out(_flat(tuple(map(finished, items)))))
        case Listing(items, either, decimal):
            return Listing(_flat(tuple(map(finished, items))), either, decimal)
        case Matrix(rows):
            return Matrix(tuple(tuple(map(finished, row)) for row in rows))
        case Cases(rows):
            return Cases(tuple((finished(value), finished(condition)) for value, condition in rows))
        case Named(name, inner):
            return Named(name, finished(inner))
    return value


def _both_signs(items: tuple[Value, ...]) -> Value:
    """``(0, \\pm 2)`` as two tuples, in which every sign is the upper or the lower one."""
    if not any(isinstance(item, Listing) and len(item.items) == 2 for item in items):
        return Tuple(items)
    pairs = [item.items if isinstance(item, Listing) else (item, item) for item in items]
    return Listing(tuple(Tuple(tuple(pair[sign] for pair in pairs)) for sign in (0, 1)))


def _spelled_out(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Every number of ``1, 2, ..., 10``, at most `_MOST_ITEMS` of them."""
    gap = Expression(Sym("ldots"))
    if items.count(gap) != 1 or not 2 <= items.index(gap) <= len(items) - 2:
        return items
    place = items.index(gap)
    match items[place - 2], items[place - 1], items[place + 1]:
        case Number(before), Number(start), Number(end):
            step = start - before
            count = (end - start) / step if step else Fraction(0)
            if count.denominator == 1 and 0 < count <= _MOST_ITEMS:
                between = (Number(start + k * step) for k in range(1, int(count)))
                return (*items[:place], *between, *items[place + 1 :])
    return items


def _flat(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Items, those of a list among them one by one."""
    found: list[Value] = []
    for item in items:
        found.extend(item.items if isinstance(item, Listing) else (item,))
    return tuple(found)


def _expanded(node: Node, percent: bool) -> Value:
    if any(isinstance(one, Op) and one.name in ("pm", "mp") for one in walk(node)):
        both = (_signed(node, upper=True), _signed(node, upper=False))
        return Listing(tuple(_expanded(one, percent) for one in both))
    match node:
        case Num(value, unit, digits):
            return Number(value, unit, digits, percent)
        case Op("neg", (Sym("oo"),)) | Op("mul", (Num(value=_), Sym("oo"))):
            return Expression(Op("neg", (Sym("oo"),)))
    try:
        exact = rational(node)
    except Costly:
        return Expression(node, percent)
    return Expression(node, percent) if exact is None else Number(exact, percent=percent)


def _signed(node: Node, upper: bool) -> Node:
    match node:
        case Op("pm" | "mp" as sign, (inner,)):
            arg = _signed(inner, upper)
            return arg if (sign == "pm") == upper else Op("neg", (arg,))
        case Op(name, args):
            return Op(name, tuple(_signed(arg, upper) for arg in args))
    return node


def _added_up(parts: list[Value]) -> Value:
    """Quantities of one dimension in the unit of the last."""
    last = parts[-1]
    assert isinstance(last, Quantity)
    nodes: list[Node] = []
    for part in parts:
        assert isinstance(part, Quantity)
        amount = (
            node_of(part.amount) if isinstance(part.amount, Expression) else Num(part.amount.value)
        )
        nodes.append(Op("mul", (amount, Num(part.unit.factor / last.unit.factor))))
    return Quantity(Expression(Op("add", tuple(nodes))), last.unit)


def _residues(value: Value, modulus: int) -> Value:
    named, inner = False, finished(value)
    if isinstance(value, Relation) and value.signs == ("equiv",):
        named, inner = True, finished(value.sides[1])
    items = inner.items if isinstance(inner, Listing) else (inner,)
    numbers = [item.value for item in items if isinstance(item, Number)]
    if len(numbers) < len(items) or any(number.denominator != 1 for number in numbers):
        raise Beyond("a congruence of other things than numbers")
    return Residues(frozenset(int(number) % modulus for number in numbers), modulus, named)


def related(sides: list[Value], signs: list[str]) -> Value:
    """What sides joined by signs say."""
    if signs and signs[-1] == "approx":
        if _approximates(sides[-2], sides[-1]):
            both = Relation((sides[-2], sides[-1]), ("approx",))
            return related([*sides[:-2], both], signs[:-1])
        signs = [*signs[:-1], "=" if len(signs) == 1 else "unlike"]
    if not signs:
        return sides[0]
    if signs[-1] == "in" and len(signs) == 1:
        return _member(sides[0], sides[1])
    if set(signs) == {"="}:
        return _equation(sides)
    relation = Relation(tuple(sides), tuple(signs))
    return ranges.solved(relation) or relation


def _approximates(exact: Value, rounded: Value) -> bool:
    """Whether a decimal is about the constant that it follows."""
    if isinstance(exact, Quantity):
        exact = exact.amount
    if isinstance(rounded, Quantity):
        rounded = rounded.amount
    first, second = ranges.node(exact), ranges.node(rounded)
    if isinstance(exact, Number):
        first = Num(exact.value / (100 if exact.percent else 1))
    if isinstance(rounded, Number):
        second = Num(rounded.value / (100 if rounded.percent else 1))
    if first is None or second is None:
        return False
    left, right = approximate(first), approximate(second)
    if left is None or right is None:
        return False
    return abs(left - right) <= 0.02 * max(abs(left), abs(right))


def _member(element: Value, collection: Value) -> Value:
    name = (
        element.node.name
        if isinstance(element, Expression) and isinstance(element.node, Sym)
        else None
    )
    if isinstance(collection, Expression) and isinstance(collection.node, Sym):
        return Relation((element, collection), ("in",))
    region = ranges.region_of(collection) if not isinstance(collection, Set) else None
    if region is not None:
        return Region(region.pieces, name)
    if isinstance(collection, Set):
        if name is None:
            return collection
        several = len(collection.items) != 1
        return Named(Sym(name), Listing(collection.items) if several else collection.items[0])
    return Relation((element, collection), ("in",))


def _equation(sides: list[Value]) -> Value:
    first, last = sides[0], sides[-1]
    if len(sides) > 2:
        kept = [side for side in sides[:-1] if not _is_label(side)]
        if not kept:
            return Named(_name(first), last)
        if _is_label(first) and len(sides) >= 2 and all(map(_is_constant, sides[1:])):
            return Named(_name(first), Relation(tuple(sides[1:]), ("=",) * (len(sides) - 2)))
        return Relation(tuple(sides), ("=",) * (len(sides) - 1))
    match first, last:
        case Tuple(names), Tuple(values) if len(names) == len(values) and all(
            map(_is_label, names)
        ):
            pairs = zip(names, values, strict=True)
            return Listing(tuple(Named(_name(name), value) for name, value in pairs))
    composite = isinstance(last, Matrix | Tuple | Region | Set | Cases)
    if _is_label(first) or (composite and isinstance(first, Expression)):
        return Named(_name(first), last)
    if _is_label(last):
        return Named(_name(last), first)
    return Relation((first, last), ("=",))


def _is_label(value: Value) -> bool:
    """Whether a side of an equation only names what the other side says."""
    match value:
        case Opaque():
            return True
        case Text():
            return True
        case Choice() | Tuple():
            return False
        case Expression(Sym(name)):
            return name not in CONSTANTS
        case Expression(Op(name, _)) if name in NAMING:
            return True
        case Expression(Op("mul", args)):
            return len(args) in (2, 3) and all(
                isinstance(a, Sym) and a.name.isupper() for a in args
            )
    return False


def _name(value: Value) -> Node | str:
    match value:
        case Expression(node):
            return node
        case Opaque(latex):
            return re.sub(r"\s+", "", latex)
        case Text(words):
            return words
    raise Unreadable("a name that is none")


def _is_constant(value: Value) -> bool:
    return isinstance(value, Number) or (isinstance(value, Expression) and not symbols(value.node))


def _assembled(groups: list[list[Value]], joints: set[str]) -> Value:
    if len(groups) == 1:
        return _joined(groups[0], "or" in joints, "and" in joints)
    if any(len(group) > 1 for group in groups) and all(
        isinstance(item, Named) for group in groups for item in group
    ):
        names = [
            tuple(str(item.name) for item in group if isinstance(item, Named)) for group in groups
        ]
        if len(set(names)) == 1 and len(set(names[0])) == len(names[0]) > 1:
            return Listing(tuple(Listing(tuple(group)) for group in groups), either=True)
    return _joined([item for group in groups for item in group], "or" in joints, "and" in joints)


def _joined(items: list[Value], either: bool, both: bool) -> Value:
    items = (
        list(_flat(tuple(items)))
        if not any(isinstance(i, Listing) and _is_record(i) for i in items)
        else items
    )
    items = list(_spelled_out(tuple(items)))
    if len(items) == 1:
        return items[0]
    items = _with_exceptions(items)
    if len(items) == 1:
        return items[0]
    regions = _combined(items, both, either)
    if regions is not None:
        return regions
    first = items[0]
    if isinstance(first, Named) and not any(isinstance(item, Named) for item in items[1:]):
        function = isinstance(first.name, Op) and first.name.name == "call"
        if not function:
            return Named(first.name, Listing((first.value, *items[1:]), either))
    names = {item.name for item in items if isinstance(item, Named)}
    if len(names) == 1 and all(isinstance(item, Named) for item in items):
        values = _flat(tuple(item.value for item in items if isinstance(item, Named)))
        return Named(names.pop(), Listing(values, either))
    return Listing(tuple(items), either)


def _is_record(value: Listing) -> bool:
    return all(isinstance(item, Named) for item in value.items)


def _with_exceptions(items: list[Value]) -> list[Value]:
    """``x \\ne 0, 1``: the numbers after an inequality are left out too."""
    first = items[0]
    if isinstance(first, Region) and first.name and len(first.pieces) == 2 and all(
        isinstance(item, Number) for item in items[1:]
    ) and first.pieces[0].high == first.pieces[1].low:  # fmt: skip
        return [ranges.minus(first, Set(tuple(items[1:])))]
    return items


def _combined(items: list[Value], both: bool, either: bool) -> Value | None:
    """Inequalities in one variable together: what all of them allow, or what any does."""
    if not any(isinstance(item, Region) and item.name for item in items):
        return None
    regions = [ranges.region_of(item) for item in items if isinstance(item, Region | Named)]
    known = [region for region in regions if region is not None]
    if len(known) < len(items) or len({region.name for region in known}) != 1:
        return None
    try:
        result: Value = known[0]
        for region in known[1:]:
            common = ranges.meet(result, region)
            apart = either or not (both or common.pieces)
            result = ranges.union(result, region) if apart else common
    except Unreadable:
        return None
    return result
