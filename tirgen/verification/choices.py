"""Letters of a multiple choice against letters, and against what stands beside them."""

from __future__ import annotations

from tirgen.verification.composites import Composites
from tirgen.verification.outcomes import Outcome, outcome
from tirgen.verification.values import (
    KINDS,
    Choice,
    Expression,
    Listing,
    Named,
    Number,
    Op,
    Sym,
    Text,
    Value,
)


class Choices(Composites):
    """Compares choices."""

    def _choice(self, gold: Choice, answer: Value) -> Outcome:
        match answer:
            case Choice(letters, text):
                if letters != gold.letters:
                    return outcome(False, "choice", "other letters")
                both = isinstance(gold.text, Number | Expression) and isinstance(
                    text, Number | Expression
                )
                return (
                    self.same(gold.text, text)
                    if both and gold.text and text
                    else outcome(True, "choice")
                )
            case Expression(Sym(name)) | Text(name) if {name.upper()} == gold.letters:
                return outcome(True, "choice")
            case Expression(Op("mul", args)) if {
                str(getattr(a, "name", "")) for a in args
            } == gold.letters:
                return outcome(True, "choice")
            case Named(_, value):
                return self._choice(gold, value)
        if gold.text is not None:
            return self.same(gold.text, answer)
        return different(gold, answer)

    def _against_choice(
        self, gold: Value, letters: frozenset[str], text: Value | None
    ) -> Outcome | None:
        match gold:
            case Expression(Sym(name)) if text is None:
                return outcome({name.upper()} == letters, "choice", "another letter")
            case Expression(Op("mul", args)) if text is None:
                names = sorted(str(getattr(a, "name", "")) for a in args)
                return outcome(names == sorted(letters), "expression", "other letters")
            case Listing(items) if text is None:
                names = sorted(str(getattr(getattr(i, "node", None), "name", "")) for i in items)
                return outcome(names == sorted(letters), "choice", "other letters")
            case Text(words) if text is None:
                return outcome({words.upper()} == letters, "text", "other words")
        return None if text is None else self.same(gold, text)


def different(gold: Value, answer: Value) -> Outcome:
    return outcome(False, "type", f"a {KINDS[type(answer)]} where a {KINDS[type(gold)]} is asked")
