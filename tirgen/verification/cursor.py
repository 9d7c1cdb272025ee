"""A cursor over tokens, which the rules of the grammar share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from tirgen.verification.symbols import CALLED, COLLECTED, FUNCTIONS
from tirgen.verification.tokens import Kind, Token, Unreadable
from tirgen.verification.values import Value
from tirgen.verification.vocabulary import BARE, RATED, is_word

MAX_DEPTH = 24
"""Levels of brackets and arguments, beyond what any gold answer of the benchmarks has."""
_BEFORE_A_FACTOR = frozenset(
    ["=", "(", "[", "{", ",", ";", "+", "-", "*", "<", ">", "|", "&", "^", "and", "or", "le", "ge"]
)


class OutsideGrammar(Unreadable):
    """Mathematics, but not of this grammar."""


def is_worded(token: Token) -> bool:
    """Whether a token is a word, also one that stands in mathematics."""
    return token.kind is Kind.WORD or (token.kind is Kind.NAME and is_word(token.text))


class Cursor(ABC):
    """Where the reading of tokens stands; each rule of the grammar moves on."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self._depth = 0
        self.inside = False
        """Parentheses, in which a colon divides."""

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
            return token.text not in FUNCTIONS and not (called and token.text in CALLED)
        if token.kind is Kind.NAME and token.text.lower() in BARE:
            before = self.at - 1 - (self.tokens[self.at - 1].text == "(")
            return before >= 0 and self.tokens[before].text not in _BEFORE_A_FACTOR
        if token.kind is Kind.NAME and self._rate_next():
            return True
        if len(token.text) < 4 and self.peek().text in ("^", "_", "**"):
            return False
        if token.kind is Kind.NAME and len(token.text) < 3 and token.text.islower():
            return is_word(token.text) and (self._is_long(-1) or self._is_long(1))
        return token.kind is Kind.NAME and is_word(token.text) and not self._is_function(token)

    def _rate_next(self) -> bool:
        """Whether ``m/s`` follows a number: symbols of two units and no variables."""
        over, sign, under = self.next, self.peek(), self.peek(2)
        number = self.at and self.tokens[self.at - 1].kind is Kind.NUMBER and over.spaced
        known = over.text in RATED and under.text in RATED
        return bool(number and known and sign.text == "/" and self.peek(3).text != "(")

    def _is_long(self, offset: int) -> bool:
        """Whether a neighbour is a word that cannot be a product of letters."""
        place = min(max(self.at + offset, 0), len(self.tokens) - 1)
        token = self.tokens[place]
        long = token.kind is Kind.NAME and len(token.text) > 2 and is_word(token.text)
        return long or (token.kind is Kind.WORD and place != self.at)

    def _is_function(self, token: Token) -> bool:
        return token.text in FUNCTIONS or (
            (token.text in CALLED or token.text in COLLECTED) and self._bracket_after(token)
        )

    def _bracket_after(self, token: Token) -> bool:
        following = self.tokens[min(self.tokens.index(token, self.at) + 1, len(self.tokens) - 1)]
        return following.text in ("(", ".") or token.text == "EmptySet"

    def nested(self, rule: Callable[[], Value]) -> Value:
        """One level deeper. Raises Unreadable beyond `MAX_DEPTH`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels")
        value = rule()
        self._depth -= 1
        return value

    # -- the rules that other rules are made of

    @abstractmethod
    def statement(self) -> Value:
        """An item of a list; `answers` knows more of them than expressions."""

    @abstractmethod
    def sum(self) -> Value: ...

    @abstractmethod
    def factor(self) -> Value: ...

    @abstractmethod
    def primary(self) -> Value: ...

    @abstractmethod
    def _signed(self) -> Value: ...

    @abstractmethod
    def _signed_factor(self) -> Value: ...

    @abstractmethod
    def _factor_starts(self) -> bool: ...
