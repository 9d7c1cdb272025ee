r"""The tokenizer: LaTeX, Unicode and Python spellings of an answer as one stream of tokens.

Nothing is evaluated and nothing recurses. What typesets without meaning (sizes, fonts, spaces,
dollar signs around mathematics) is dropped here; what no reader can know stays as a BAD token.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from tirgen.verification.symbols import (
    ALIASES,
    ARRAYS,
    BARE_COMMANDS,
    CIRCLED,
    COMMANDS,
    CONJUNCTIONS,
    COPULAS_AFTER,
    DROPPED,
    FONTS,
    NEGATIONS,
    SPACES,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    TEXTS,
    UNICODE,
    VULGAR,
)

MAX_LENGTH = 2000
"""Characters of an answer that is read; the longest gold answer of the benchmarks has 600."""


class Kind(StrEnum):
    NUMBER = "number"
    """Digits, perhaps with a point and separators between groups of three."""
    NAME = "name"
    """A run of letters in mathematics: a variable, several, a function, or a word."""
    WORD = "word"
    r"""A run of letters in ``\text{}``, or of a script that mathematics does not use."""
    COMMAND = "command"
    OPERATOR = "operator"
    BAD = "bad"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    spaced: bool = False
    """Whether space stands before it."""


class Unreadable(ValueError):
    """The text does not follow the grammar; the message says where."""


_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060-\u2064\ufeff\u00ad]")
_RAISED = re.compile("[" + "".join(SUPERSCRIPTS) + "]+")
_LOWERED = re.compile("[" + "".join(SUBSCRIPTS) + "]+")
_EATEN = {"\x07": "\\a", "\x08": "\\b", "\x0b": "\\v", "\x0c": "\\f"}
"""Escapes that a careless JSON or Python string has taken for control characters."""
_EATEN_TAB = re.compile(r"\t(?=ext|imes|heta|frac|an\b|au\b)")
_LAYOUT = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\\(?:begin|end)\{(?:equation|align|aligned|gathered|split|math)\*?\}", " "),
        (r"\\\\\[\s*[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]|\\(?:hline|cr)(?![a-z])", r"\\\\ "),
        (r"\\(?:tag|label)\*?\{[^{}]*\}|\\hspace\*?\{[^{}]*\}", " "),
        (r"\\(?:textcolor|color)\s*\{\s*(?!white)[a-zA-Z]+\s*\}", " "),
        (r"\\(?:bold|display|text|script)style(?![a-zA-Z])", " "),
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?(?=\s*(?:[()\[\]|{}.<>]|\\|$))", " "),
        (r"\^\s*\{?(\d+)\}?\s*/\s*_\s*\{?(\d+)\}?", r"\\frac{\1}{\2}"),
        (r"\{\s*d\s+([a-zA-Z])\s*\}", r"{d\1}"),
        (r"&\s*(?=[=<>]|\\(?:le|ge|approx)(?![a-z]))", " "),
        (r"<sup>(.*?)</sup>", r"^{\1}"),
        (r"<sub>(.*?)</sub>", r"_{\1}"),
        (
            r"(?<=\d)(?<!\b0)(?:\{,\}|\\,|,\\!\s?|\\!,|\\ |~|\\[;:!]|[\u00a0\u2009\u202f])"
            r"(?=\d{3}(?!\d))",
            "\x01",
        ),
        (r"\{,\}", "\x02"),
        (r"\\mu\s*\\(text|mathrm)\s*\{\s*(?=[a-zA-Z])", r"\\\1{u"),
        (r"(\\(?:text|mathrm)\s*\{[^{}\\]*)\\mu\s*(?=[a-zA-Z])", r"\1u"),
        (r"(?<=\d)\s*(?:\\mathrm\s*\{E\}|(?<=\s)E)\s*(?=[-+]?\d)", "e"),
        (r"\{\s*([-+=:<>*/.])\s*\}", r"\1"),
        (r"\b(?:np|numpy|sp|sympy|math|mpmath|fractions|cmath)\.(?=[a-zA-Z])", ""),
        (r"\bmpf\('([^']*)'\)", r"\1"),
        (r"\b(?:float|int|mpf|mpc)\d*\((?=['\"-]?[\d.])", "Float("),
        (r"(?<![a-zA-Z\\])m\s*\\(?=(?:measured)?angle)", r"\\"),
        (r"(?<![a-zA-Z\\])log(2|10)(?=\()", r"\\log_{\1}"),
        (r"(?<![\w})])(?:\{\})?[_^]\s*\{?(\w+)\}?\s*C\s*_\s*\{?(\w+)\}?", r"\\binom{\1}{\2}"),
        (r"([a-zA-Z])\s*:\s*([a-z])\s*\\mapsto(?![a-z])", r"\1(\2)="),
        (r"([a-z])\s*\\mapsto(?![a-z])", r"f(\1)="),
        (r"\\#\s*", " "),
        (r"\+\s*\\text\s*\{\s*const(?:ant|\.)?\s*\}", "+C"),
        (r":=|\\coloneqq(?![a-z])", "="),
        (r"\\\(|\\\)|(?<!\\)\\\[|(?<!\\)\\\]", " "),
    )
)
_DOUBLED = re.compile(r"\\\\(?=(?:frac|sqrt|pi|cdot|times|text|left|right|infty|cup|pm)(?![a-z]))")
_ARRAY = re.compile(r"\\begin\s*\{")
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d+(?:[_\x01]\d{3})*(?!_\d{3})|(?<!\d)(?=\.\d))(?:[.\x02]\d+|\.(?!\w|\.))?(?:[eE][+-]?\d+(?![a-zA-Z]))?)"
    r"|(?P<environment>\\(?:begin|end)\s*\{[a-zA-Z]+\*?\}(?:\s*\{[clr|\s]*\})?)"
    r"|(?P<command>\\(?:[a-zA-Z]+|.)\*?)"
    r"|(?P<letters>[^\W\d_]+)"
    r"|(?P<operator>\*\*|<=|>=|!=|==|->|=>|&&|\|\||\.\.\.+|.)",
    re.DOTALL,
)
_GLUED = re.compile(
    r"(\\(?:" + "|".join(sorted(BARE_COMMANDS, key=len, reverse=True)) + r"))(\w{1,2})"
)
"""A command without arguments whose space before letters was lost: ``\\quadx``."""
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?")
_SPACED_GROUPS = re.compile(r"[1-9]\d{0,2}(?: \d{3})+(?![\d/]| ?\\frac| \d)(?:\.\d+)?")
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+")


def tokenize(answer: str) -> list[Token]:
    """The tokens of an answer, an END last. Raises Unreadable where it is too long."""
    if len(answer) > MAX_LENGTH:
        raise Unreadable(f"{len(answer)} characters, more than {MAX_LENGTH}")
    return _Scanner(spelled(answer)).tokens()


def spelled(answer: str) -> str:
    """An answer with Unicode symbols as LaTeX and without what is only layout."""
    for eaten, meant in _EATEN.items():
        answer = answer.replace(eaten, meant)
    text = _unicode(_EATEN_TAB.sub(r"\\t", answer))
    if not _ARRAY.search(text):
        text = _DOUBLED.sub(r"\\", text)
    for pattern, new in _LAYOUT:
        text = pattern.sub(new, text)
    return _money(re.sub(r"^\s*~", r"\\approx ", text).replace("~", " "))


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text)
    for char, ascii_ in VULGAR.items():
        text = text.replace(char, ascii_)
    text = _RAISED.sub(lambda run: "^{" + "".join(SUPERSCRIPTS[c] for c in run[0]) + "}", text)
    text = _LOWERED.sub(lambda run: "_{" + "".join(SUBSCRIPTS[c] for c in run[0]) + "}", text)
    for char, label in CIRCLED.items():
        text = text.replace(char, f"\\circled{{{label}}}")
    text = "".join("\ufffd" if unicodedata.category(char) == "No" else char for char in text)
    text = unicodedata.normalize("NFKC", text)
    return "".join(UNICODE.get(char, char) for char in text)


def _money(text: str) -> str:
    """Dollar signs in pairs delimit mathematics; a single one before a number is money."""
    text = re.sub(r"(?<![A-Za-z])US(?=\s*\\?\$)", "", text)
    text = text.replace("\\$", "\\dollar ").replace("\\textdollar", "\\dollar ")
    if text.count("$") % 2 and (match := re.search(r"\$(?=\s*[\d.])", text)):
        text = f"{text[: match.start()]}\\dollar {text[match.end() :]}"
    return text.replace("$", " ")


class _Scanner:
    """One pass over the text, with the braces that are open and what opened them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._spaced = False
        self._braces: list[str] = []
        self._depth = 0
        self._tokens: list[Token] = []

    def tokens(self) -> list[Token]:
        while self._at < len(self._text):
            self._step()
        self._add(Kind.END, "")
        return self._tokens

    def _step(self) -> None:
        if self._depth <= 0 and self._text[self._at].isdigit() and self._grouped():
            return
        match = _TOKEN.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        kind, text = match.lastgroup, match[0]
        if kind == "space":
            self._spaced = True
        elif kind == "number":
            self._number(text)
        elif kind == "environment":
            self._environment(text)
        elif kind == "command":
            self._command(text)
        elif kind == "letters":
            self._letters(text)
        else:
            self._operator(text)

    def _add(self, kind: Kind, text: str) -> None:
        self._tokens.append(Token(kind, text, self._spaced))
        self._spaced = False

    def _grouped(self) -> bool:
        """A number whose groups of three are separated, outside of brackets."""
        for pattern, separator in ((_GROUPED, ","), (_SPACED_GROUPS, " "), (_DOTTED, ".")):
            match = pattern.match(self._text, self._at)
            if match:
                self._at = match.end()
                digits = match[0].replace(separator, "_")
                self._add(Kind.NUMBER, digits.replace(",", "."))
                return True
        return False

    def _number(self, text: str) -> None:
        if not text.isascii():
            self._add(Kind.BAD, text)
        else:
            self._add(Kind.NUMBER, text.replace("\x02", ".").replace("\x01", "_"))

    def _environment(self, text: str) -> None:
        match = re.match(r"\\(begin|end)\s*\{([a-zA-Z]+)", text)
        assert match is not None
        known = match[2] in ARRAYS
        self._add(Kind.COMMAND if known else Kind.BAD, f"{match[1]} {ARRAYS.get(match[2], '')}")
        self._depth += 1 if match[1] == "begin" else -1

    def _command(self, text: str) -> None:
        if text[1:] not in COMMANDS and (glued := _GLUED.fullmatch(text)):
            text = glued[1]
            self._at -= len(glued[2])
        name = ALIASES.get(text[1:], text[1:])
        if text[1:] in SPACES or name == " ":
            self._spaced = True
        elif name in TEXTS or name in FONTS:
            self._font(name)
        elif name in DROPPED:
            return
        elif len(name) == 1 and name in "{}|%\\":
            self._operator({"{": "\\{", "}": "\\}", "|": "|"}.get(name, name))
        elif name.isalpha():
            self._add(Kind.COMMAND, name)
        else:
            self._operator(name)

    def _font(self, name: str) -> None:
        """The braces after a font hold words, or a letter of mathematics in another face."""
        match = re.compile(r"\s*\{\s*([^\W\d_])\s*\}").match(self._text, self._at)
        if name == "mathbb" and match:
            self._at = match.end()
            self._add(Kind.COMMAND, match[1] * 2)
        elif name in FONTS and match:
            self._at = match.end()
            before = self._tokens[-1] if self._tokens else Token(Kind.END, "")
            amount = before.kind is Kind.NUMBER or before.text in ("}", ")")
            unit = name == "mathrm" and self._spaced and amount and match[1] in "mgshlLVNJWKATCF"
            self._add(Kind.WORD if unit else Kind.NAME, match[1])
        elif opened := re.compile(r"\s*\{").match(self._text, self._at):
            self._at = opened.end()
            self._braces.append("text")
            self._spaced = True

    def _letters(self, text: str) -> None:
        conjunction = CONJUNCTIONS.get(text.lower())
        scripts = {unicodedata.name(char, "?").split()[0] for char in text}
        if conjunction:
            self._add(Kind.OPERATOR, conjunction)
        elif len(scripts) > 1 and not scripts <= {
            "CJK",
            "HIRAGANA",
            "KATAKANA",
            "KATAKANA-HIRAGANA",
        }:
            self._add(Kind.BAD, text)
        elif len(text) > 1 and text[-1] in COPULAS_AFTER and not set(text) & NEGATIONS:
            self._add(Kind.WORD, text[:-1])
            self._add(Kind.WORD, "is")
        elif "text" in self._braces or not text.isascii():
            self._add(Kind.WORD, text)
        else:
            self._add(Kind.NAME, text)

    def _operator(self, text: str) -> None:
        if text == "." and re.match(r"\s*(?:[)\]},;]|\\\}|$)", self._text[self._at :]):
            return
        if text == "{":
            self._braces.append("group")
        elif text == "}" and (not self._braces or self._braces.pop() == "text"):
            self._spaced = True
            return
        self._depth += (text in ("(", "[", "\\{")) - (text in (")", "]", "\\}"))
        if text == "\x01" or text == "\x02":
            text = ","
        printable = text.isascii() and text.isprintable()
        self._add(Kind.OPERATOR if printable else Kind.BAD, text)
