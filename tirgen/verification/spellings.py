r"""The tables of `normalise`: what every way to write a symbol, command or number becomes.

The stages follow each other: a later rule reads what earlier ones wrote, so their order counts.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain

_Rules = tuple[tuple[str, str], ...]
"""Pattern and replacement."""

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ", "0123456789+-()n")
INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060-\u2064\ufeff\u00ad]")
SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "⋅": r"\cdot ",
    "·": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "∞": r"\infty ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ", "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "∖": r"\setminus ", "≈": r"\approx ", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"',
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
    "δ": r"\delta ", "λ": r"\lambda ", "μ": r"\mu ", "σ": r"\sigma ", "φ": r"\phi ",
    "ω": r"\omega ", "≡": r"\equiv ", "⟨": r"\langle ", "⟩": r"\rangle ", "Å": "angstrom",
    "¢": r"\text{ cents}",
    "Ω": r"\Omega ", "ε": r"\epsilon ", "∠": r"\angle ", "√": r"\sqrt ", "ρ": r"\rho ",
    "τ": r"\tau ", "∧": r"\wedge ", "∨": r"\vee ",
}  # fmt: skip
VULGAR = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0x00BC, 0x00BF)}
VULGAR |= {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0x2150, 0x215F)}

_ARGUMENT = r"(\d|[a-zA-Z]|\\(?:pi|alpha|beta|theta|lambda|mu)(?![a-z]))"
"""Of a command without braces: ``\\frac12``, ``\\frac\\pi4``."""

_LENGTH = r"(mm|cm|km|m|ft|mi|in)"
_TIME = r"(s|min|h|hr)(\^ ?\{?2\}?)?"
"""Of speeds, which are written without ``\\text`` more often than other units."""

_LAYOUT: _Rules = (
    (r"\\begin\{(equation|align|aligned|gathered|displaymath|math)\*?\}", ""),
    (r"\\end\{(equation|align|aligned|gathered|displaymath|math)\*?\}", ""),
    (r"\\\\\[\s*[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]|\\(?:hline|cr)(?![a-z])", r"\\\\"),
    (r"(?<!\\)\\\$|\\textdollar(?![a-zA-Z])", r"\\dollar "),
    (r"\\\(|\\\)|(?<!\\)\\\[|(?<!\\)\\\]", ""),
    (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?(?=\s*(?:[()\[\]|{}.]|\\|$))", ""),
    (r"\\(?:display|text|script)style(?![a-zA-Z])", ""),
    (r"(\d)\s*\\[,!;]\s*(?=\d{3}(?!\d))", r"\1,"),
    (r"(\d)\{,\}(?=\d{3})", r"\1,"),
    (r"\{ ?([:=]) ?\}", r"\1"),
    (r"\\(?:tag|label)\*?\{[^{}]*\}|\\(?:notag|nonumber)(?![a-z])", ""),
    (r":=|\\coloneqq(?![a-z])", "="),
    (r"^\s*\*\*([^*]+)\*\*\s*$", r"\1"),
    (r"(\d),\\!\s*(?=\d{3})", r"\1,"),
    (r"(?<!\\)\\[,!;:> ]|\\q?quad(?![a-zA-Z])|~|\\hspace\*?\{[^{}]*\}"
     r"|\\(?:thin|med|thick)space", " "),
)  # fmt: skip
"""What is typeset around or between the symbols."""

_COMMANDS: _Rules = (
    (r"\\(?:[dtc]|nice|s)frac(?![a-zA-Z])", r"\\frac"),
    (r"\\(?:leq|leqslant|le)(?![a-zA-Z])", r"\\le "),
    (r"\\(?:geq|geqslant|ge)(?![a-zA-Z])", r"\\ge "),
    (r"\\(?:neq|ne)(?![a-zA-Z])", r"\\ne "),
    (r"\\lt(?![a-zA-Z])", "<"),
    (r"\\gt(?![a-zA-Z])", ">"),
    (r"\\var(epsilon|phi|theta|rho|sigma)(?![a-zA-Z])", r"\\\1 "),
    (r"\\(?:cdot|times|ast)(?![a-zA-Z])", r"\\cdot "),
    (r"\\(?:varnothing|O|empty)(?![a-zA-Z])", r"\\emptyset "),
    (r"\\(?:degree|textdegree)(?![a-zA-Z])", r"^\\circ "),
    (r"\\lbrace(?![a-zA-Z])", r"\\{"),
    (r"\\rbrace(?![a-zA-Z])", r"\\}"),
    (r"\\(?:vert|mid)(?![a-zA-Z])", "|"),
    (r"\\(?:land|wedge)(?![a-zA-Z])", r"\\text{ and }"),
    (r"\\(?:lor|vee)(?![a-zA-Z])", r"\\text{ or }"),
)  # fmt: skip
"""Commands with several names, relations and brackets."""

_FONTS: _Rules = (
    (r"\\(?:mathrm|mathit|mathbf|mathsf|operatorname|bf|rm)\s*\{\s*([ied])\s*\}", r"\1"),
    (r"\\(?:mathbf|mathit|bm|boldsymbol)\s*\{([a-zA-Z])\}", r"\1"),
    (r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|textbf|textit|textrm|textnormal|texttt|mbox"
     r"|textsf|emph|hbox|bf|rm|operatorname)\*?\s*\{", r"\\text{"),
    (r"\\text\{\s*(arc(?:sin|cos|tan)|sin|cos|tan|cot|sec|csc|log|ln|exp|gcd|lcm"
     r"|(?:max|min)(?=\s*\}\s*[({\\]))\s*\}", r"\\\1 "),
    (r"\\(?:textcolor|color)\{[a-zA-Z]*\}", ""),
)  # fmt: skip
"""Fonts become letters where they mean one, else text."""

_TEXT: _Rules = (
    (r"\\text\{([^{}]*[^{}\s]) (and|or) ([^{}\s][^{}]*)\}",
     r"\\text{\1}\\text{ \2 }\\text{\3}"),
    (r"\\text\{([^{}^]*)\^\s*\{?(-?\d)\}?\s*\}", r"\\text{\1}^{\2}"),
    *((rf"\\text\{{\s*{name}(?![a-z])\s*", rf"\\cdot 10^{{{power}}}\\text{{")
      for name, power in (("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12))),
    (r"\\text\{([^{}]*)\^\s*\\circ\s*([^{}]*)\}", r"\\text{\1 degrees \2}"),
    (r"\\text\{\s*([mkMG]?)\s*(?:\\Omega\s*\}|\}\s*\\Omega)", r"\\text{ \1ohm}"),
    (r"\\text\{\s*\\dollar\s*", r"\\dollar \\text{"),
    (r"\\text\{\s*([€£¥₹]|Rs\.?)\s*\}", r"\1"),
    (r"\\text\{\s*(\d+) (to|out of|in) (\d+)\s*\}", r"\1\\text{ \2 }\3"),
    (r"\\text\{\s*(-?\d[\d.,/]*)(\s[^{}]*)?\}", r"\1\\text{\2}"),
    (r"^\\text\{\s*([A-Za-z][A-Za-z ,:']*?)\s+(-?\d[\d,/]*(?:\.\d+)?)\.?((?<=\d) [^{}\d]*)?\}$",
     r"\\text{\1 }\2\\text{\3}"),
    (r"\\text\{\s*(?:negative|minus)\s*\}\s*|\bnegative\s+(?=\d)", "-"),
    (r"\\text\{([^{}]*?)[ ,]*\bonly\s*\}$", r"\\text{\1}"),
    (r"\\text\{([\s.,;:]*)\}", r"\1"),
    (r"\\text\{\s*\\?&\s*\}|(?<!\\)\\&", r"\\text{ and }"),
)  # fmt: skip
"""Words inside text that are mathematics, and text that is none."""

_MARKS: _Rules = (
    (r"\\(?:underline|mathbf|boldsymbol)\s*\{([^{}]*)\}", r"\1"),
    (r"\\(?:checkmark|blacksquare|square|qed|Box)\s*$", ""),
    (r"\\(?:small|normalsize|[lL]arge|LARGE|[hH]uge|bf|rm|it|sf)(?![a-zA-Z])\s*(?!\{)", ""),
    (r"(\\\{[^{}|:]*?) ?: ?(?=[^{}]*)", r"\1|"),
    (r"\\langle(?![a-zA-Z])\s*", "("),
    (r"\s*\\rangle(?![a-zA-Z])", ")"),
    (r"\^\s*\{\s*\\circ\s*\}|(?<=[\d}])\s*\^\s*\{?\s*(?:\\text\{\s*o\s*\}|o(?![a-z]))\s*\}?",
     r"^\\circ "),
    (r"(\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?", r"\1\\overline{\2\3\4}"),
    (r"(?<!\d)(0?\.\d*)\((\d+)\)$", r"\1\\overline{\2}"),
    (r"(\.\d*?)(\d+?)\2{2,}\s*(?:\\[lc]?dots|\.\.\.)", r"\1\\overline{\2}"),
    (r"\^\s*\\circ", r"\\text{ degrees}"),
    (r"\\?%|(?:\\text\{\s*|\b)percent\b\s*\}?", "\\%"),
)  # fmt: skip
"""Decoration, sets, degrees, repeating decimals and percent signs."""

_PROGRAM: _Rules = (
    (r"^(?:sp\.|sympy\.|np\.)?(?:Matrix|array)\((\[\[.*\]\])\)$", r"\1"),
    (r"(?<![a-zA-Z\\])E(?=\*\*)", "e"),
    (r"(?<![\\a-zA-Z])(alpha|beta|gamma|delta|epsilon|theta|lambda|mu|rho|sigma|tau|phi|omega)"
     r"(?![a-zA-Z(])", r"\\\1 "),
)  # fmt: skip
"""How sympy prints what LaTeX has commands for."""

_FUNCTIONS: _Rules = (
    (r"\*\*", "^"),
    (r"(?<![\\a-zA-Z])(?:np|numpy|math|sympy)\.(?=[a-z])", ""),
    (r"\\?(?<![a-zA-Z])a(?:rc)?(sin|cos|tan)(?![a-zA-Z])", r"\\arc\1"),
    (r"(?<![\\a-zA-Z])(sqrt|pi|infty|sin|cos|tan|sec|csc|cot|sinh|cosh|tanh|log|ln|exp"
     r"|arcsin|arccos|arctan)(?![a-zA-Z])", r"\\\1"),
    (r"(?<![\\a-zA-Z])(?:infinity|oo|inf)(?![a-zA-Z])|\\text\{\s*[Ii]nfinity\s*\}", r"\\infty "),
)  # fmt: skip
"""Functions and constants as programs and hasty writers spell them."""

_ARGUMENTS: _Rules = (
    (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"\\sqrt\s*(\d+|[a-zA-Z]|\\(?:pi|alpha|beta|theta|lambda)(?![a-z]))", r"\\sqrt{\1}"),
    (r"\^\s*\{?(\d+)\}?\s*/\s*_\s*\{?(\d+)\}?", r"\\frac{\1}{\2}"),
    (rf"\\frac\s*{_ARGUMENT}\s*{_ARGUMENT}", r"\\frac{\1}{\2}"),
    (rf"\\frac\s*{_ARGUMENT}\s*\{{", r"\\frac{\1}{"),
    (rf"(\\frac\s*\{{[^{{}}]*\}})\s*{_ARGUMENT}", r"\1{\2}"),
    (r"\^\s*\(\s*(-?\d+)\s*\)", r"^{\1}"),
    (r"\^\s*(-?\d+)(?![\d.!/*^])|(?<=\})\^\s*(-?\d+)(?=\s*/\s*\\text)", r"^{\1\2}"),
    (r"_\s*\(\s*(\d+)\s*\)", r"_{\1}"),
    (r"_\s*(\d+)", r"_{\1}"),
    (r"_\s*\{\s*\\text\{\s*([a-zA-Z0-9]+)\s*\}\s*\}", r"_{\1}"),
    (r"_\s*\\text\{\s*([a-zA-Z0-9]+)\s*\}", r"_{\1}"),
    (r"_\s*\{\s*([a-zA-Z0-9]+)\s*\}", r"_{\1}"),
    (r"_\s*([a-zA-Z])", r"_{\1}"),
    (r"\^\s*([a-zA-Z])", r"^{\1}"),
    (r"\\(d?dot|vec|hat|bar|tilde)\s+([a-zA-Z])(?![a-zA-Z])", r"\\\1{\2}"),
    (r"\\(?:dots|cdots|dotsc)(?![a-z])", r"\\ldots "),
    (r"(?:\{\})?[_^]\{(\w+)\} ?C ?_\{(\w+)\}", r"\\binom{\1}{\2}"),
    (r"(?<![a-zA-Z\\])C_\{([a-z]|\d\d+)\} ?\^\{(\w+)\}", r"\\binom{\1}{\2}"),
    (r"(?<![a-zA-Z\\])C\((\w+) ?, ?(\w+)\)", r"\\binom{\1}{\2}"),
    (r"\\(max|min|gcd|lcm)\s*\\\{([^{}]*)\\\}", r"\\\1(\2)"),
)  # fmt: skip
"""Braces around every argument, exponent and index."""

_QUANTITIES: _Rules = (
    (r"(?<=\d)\s*\^\s*\{?\s*\\text\{\s*(?:st|nd|rd|th)\s*\}\s*\}?", ""),
    (r"(?<=\d)\s*\^\s*\{\s*(?:st|nd|rd|th)\s*\}", ""),
    (r"(?<=\d) ?\\text\{\s*(?:st|nd|rd|th)\s*\}|(?<=\d)(?:st|nd|rd|th)(?=$| ?\\text\{)", ""),
    (r"(?<=\d) ?\\text\{\s*(?:st|nd|rd|th)\b", r"\\text{"),
    (r"(\d+)\s*\\text\{\s*out of\s*\}\s*(\d+)|^(\d+)\s*\\text\{\s*in\s*\}\s*(\d+)$",
     r"\\frac{\1\3}{\2\4}"),
    *((rf"{sign}\s*([\d.,]+)|(?<=\d)\s*{sign}", rf"\1\\text{{ {name}}}")
      for sign, name in (("€", "euro"), (r"(?:£|\\pounds)", "gbp"), ("¥", "yen"),
                         ("(?:₹|\\bRs\\.?)", "rupee"))),
    (r"\)\s*\\equiv(?!.*mod)", ")="),
    (r"_\s*\{?\s*\\odot\s*\}?", "_{sun}"),
    (r"(?<![\d.}/^])(\d+) ?/ ?(\d+)\s*(?=\\(?:pi|sqrt)(?![a-zA-Z]))", r"\\frac{\1}{\2}"),
    (r"(?<=\d) ?\\text\{\s*E\s*\} ?\+?(?=-?\d)|(?<=\d) [Ee]\+?(?=-?\d+$)", "e"),
    (r"(?<![a-zA-Z])(?:US|\\text\{\s*US\s*\}) ?(?=\\dollar)", ""),
    (r"\\frac\s*\{\s*(\\text\{[^{}]*\})\s*\}\s*\{\s*(\\text\{[^{}]*\}(?:\^\{\d\})?)\s*\}",
     r"\1/\2"),
    (rf"(?<=\d) ?(?:\\frac ?\{{ ?{_LENGTH} ?\}} ?\{{ ?{_TIME} ?\}}|{_LENGTH} ?/ ?{_TIME})$",
     r"\\text{ \1\4/\2\5}\3\6"),
    (r"\( ?(\\approx[^()]*)\)$", r"\1"),
    (r"\\text\{\s*\\mu\s*|\\mu\s*\\text\{\s*", r"\\text{micro"),
    (r"(?<=\d) ?\\mu ?([msgLAVFC])$", r"\\text{micro\1}"),
    (r"\\(?:AA|mathring\{A\}|text\{\s*\\AA\s*\})(?![a-zA-Z])", r"\\text{angstrom}"),
)  # fmt: skip
"""Ordinals, parts of a whole, currencies and units."""

_CASES: _Rules = (
    (r",?\s*&\s*(?:\\text\{\s*(?:if|for|when|where)\b([^{}]*)\}|(?:if|for|when)\b)", r"& \1"),
    (r",?\s*&\s*(?:\\text\{\s*(?:otherwise|else)\s*\.?\}|otherwise)", r"& \\text{else}"),
    (r"\s+", " "),
)  # fmt: skip
"""Conditions in rows of cases, and space at last."""

_STAGES = (
    *(_LAYOUT, _COMMANDS, _FONTS, _TEXT, _MARKS, _PROGRAM, _FUNCTIONS, _ARGUMENTS, _QUANTITIES),
    _CASES,
)
LATEX = tuple((re.compile(pattern), spelled) for pattern, spelled in chain.from_iterable(_STAGES))
