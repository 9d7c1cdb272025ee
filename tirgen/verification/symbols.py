"""The tables of the tokenizer: what each way to write a symbol becomes."""

from __future__ import annotations

import unicodedata

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ", "0123456789+-()n", strict=True))
VULGAR = {
    char: "\\frac{" + unicodedata.normalize("NFKC", char).replace("⁄", "}{") + "}"
    for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
CIRCLED = {chr(0x2460 + k): str(k + 1) for k in range(20)}
CIRCLED |= {chr(0x24B6 + k): chr(ord("A") + k) for k in range(26)}

_GREEK = {
    chr(code): unicodedata.name(chr(code)).rpartition(" ")[2].lower()
    for code in range(0x03B1, 0x03CA)
    if code != 0x03C2
}
_GREEK["λ"] = "lambda"
GREEK = {*_GREEK.values(), "varphi", "vartheta", "varepsilon", "varrho"} - {"omicron"}
_CAPITALS = {
    char.upper(): name.capitalize() for char, name in _GREEK.items() if char in "γδθλξπσφψω"
}
UNICODE = {char: f"\\{name} " for char, name in (_GREEK | _CAPITALS).items() if char != "ο"}
UNICODE |= {char: "-" for char in "−–—‐‑"}
UNICODE |= {
    "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ", "∕": "/",
    "⁄": "/", "∞": r"\infty ", "≤": r"\le ", "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ",
    "⩾": r"\ge ", "≧": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "±": r"\pm ", "∓": r"\mp ", "°": r"\degree ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "∖": r"\setminus ",
    "≈": r"\approx ", "′": "'", "’": "'", "‘": "'", "″": "''", "“": '"', "”": '"',
    "≡": r"\equiv ", "⟨": r"\langle ", "⟩": r"\rangle ", "¢": r"\text{ cents}", "∠": r"\angle ",
    "√": r"\sqrt ", "∧": r"\wedge ", "∨": r"\vee ", "€": r"\money{euro}", "£": r"\money{gbp}",
    "¥": r"\money{yen}", "₹": r"\money{rupee}", "₽": r"\money{rouble}", "、": ",", "。": ".",
    "∀": r"\forall ", "∃": r"\exists ", "∣": "|", "∶": ":", "Å": r"\text{angstrom}",
    "△": r"\triangle ", "⊂": r"\subset ", "⊆": r"\subseteq ", "∑": r"\sum ", "∫": r"\int ",
    "∏": r"\prod ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "∼": "~", "≅": r"\approx ", "「": "(", "」": ")", "【": "(", "】": ")", "℃": r"\degree C",
}  # fmt: skip

ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom",
    "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge", "leqq": "le", "geqq": "ge",
    "neq": "ne", "lt": "<", "gt": ">", "colon": ":", "ast": "*", "times": "*", "cdot": "*",
    "cdotp": "*", "div": "/", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]",
    "lparen": "(", "rparen": ")", "langle": "(", "rangle": ")", "vert": "|", "lvert": "|",
    "rvert": "|", "mid": "|", "Vert": "||", "varnothing": "emptyset", "O": "emptyset",
    "backslash": "setminus", "smallsetminus": "setminus", "exponentialE": "e", "land": "wedge",
    "to": "rightarrow", "tg": "tan", "ctg": "cot", "arctg": "arctan", "lg": "log", "Re": "re",
    "Im": "im", "dots": "ldots", "cdots": "ldots", "dotsc": "ldots", "dotsb": "ldots",
    "overrightarrow": "vec", "bar": "overline", "simeq": "approx", "thickapprox": "approx",
    "doteq": "approx", "sim": "approx", "textdegree": "degree", "%": "%", "pmod": "mod",
    "bmod": "mod", "pod": "mod", "prime": "'", "space": " ", "quad": " ", "qquad": " ",
    "textquotesingle": "'", "AA": "angstrom", "lor": "vee", "bigcup": "cup", "bigcap": "cap",
    "thinspace": " ", "medspace": " ", "thickspace": " ", "enspace": " ", "percent": "%",
    "varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "iff": "Leftrightarrow",
    "lcm": "lcm", "pounds": "pound", "nicefrac": "frac", "sfrac": "frac",
}  # fmt: skip
"""One name for each command that is typeset or meant the same."""
SPACES = frozenset({",", "!", ";", ":", ">", " ", "\n", "/"})
TEXTS = frozenset({"text", "mbox", "textnormal", "textrm", "textit", "textsf", "textbf", "texttt",
                   "hbox", "operatorname", "mathop", "textup", "emph", "underline"})  # fmt: skip
FONTS = frozenset({"mathrm", "mathbf", "mathit", "mathsf", "mathbb", "mathcal", "mathscr", "bm",
                   "boldsymbol", "mathfrak", "rm", "bf", "it"})  # fmt: skip
DROPPED = frozenset({"limits", "displaystyle", "textstyle", "scriptstyle", "nolimits", "notag",
                     "nonumber", "therefore", "hfill", "left", "right", "checkmark", "large",
                     "Large", "normalsize", "blacksquare", "qed", "Box", "Rightarrow",
                     "implies", "centering", "quad"})  # fmt: skip
ARRAYS = {name: "matrix" for name in ("matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix",
                                      "array")}  # fmt: skip
ARRAYS |= {"cases": "cases", "vmatrix": "determinant"}
CONJUNCTIONS = {
    "and": "and", "or": "or", "或": "or", "或者": "or", "和": "and", "и": "and", "или": "or",
    "또는": "or", "および": "and", "または": "or", "und": "and", "oder": "or", "y": "y",
}  # fmt: skip
del CONJUNCTIONS["y"]
