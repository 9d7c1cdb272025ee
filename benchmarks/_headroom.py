"""A pocket whose programs often fail, for many causes: continued pretraining, in minutes.

The packaged pocket fails in one program of twenty, which leaves step-level RL next to nothing to
win. Here it is trained on with its own families, programs with mistakes, and answers that go on
after a failed program. Every output in the corpus is what the sandbox printed.

A mistake belongs to a *program form*, which is a program without its numbers: the form's share of
mistakes and its habitual mistake are drawn once from a hash. So a form is known well or badly, as
an interface is by a real model, and what is learned about one form says nothing about another.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from benchmarks import narrate
from storage.records import Outcome, Problem
from tirgen.embedded.models import MODEL_DIR
from tirgen.embedded.pocket.corpus import CORPUS_SCHEMA, encode_sample
from tirgen.embedded.pocket.families import FAMILIES, Draw, SolutionStep
from tirgen.embedded.pocket.mistakes import wrong_value
from tirgen.embedded.pocket.problems import draw_problem, problems
from tirgen.embedded.pocket.samples import (
    NEXT_STEP,
    NO_RESULT,
    Conversation,
    LearnedText,
    Mixture,
    SampleKind,
    closing_line,
    follow,
    observed_value,
    refined_step,
)
from tirgen.sandbox.contract import Limits, Sandbox
from tirgen.sandbox.open import open_sandbox
from tirgen.tir.observation import observe
from tirgen.tir.prompts import POCKET
from trainer.pretrain import COPIED, PretrainConfig, train

HELD_OUT = tuple(FAMILIES)[2::3]
"""Families that are in no cold start and in no round of RL: a third, whichever they are."""
LIMITS = Limits(cpu_seconds=1, wall_seconds=10)
"""Of a program, here and in the ablation."""
PRELOAD = ("numpy", "sympy")
TOKENS = 1_000_000
"""Of the corpus."""
TRAINING = PretrainConfig(
    muon=False, learning_rate=1.5e-3, embedding_rate=1.5e-3, parent=str(MODEL_DIR)
)
MISTAKE_SHARES = (0.15, 0.4, 0.55)
"""The share of programs with a mistake, for a third of the forms each."""
HABIT = 0.7
"""Share of a form's mistakes that are its habitual one; the others share the rest."""
KINDS = {"cot": 0.2, "continued": 0.15, "critic": 0.3, "tir": 0.35}
"""Share of the conversations."""
OWN_PROGRAMS = 0.4
"""Answers under the tool prompt that use programs."""
RETRIES = 0.6
"""Failed programs after which another is written; after the others the value is guessed."""
WRONG_OBSERVATIONS = 0.2
"""Outputs of right programs that are replaced, so that the model must read them."""


class Mistake(NamedTuple):
    """One way to get a program wrong: the text that a pattern finds is replaced."""

    cause: str
    pattern: str
    replacement: str

    def made_in(self, code: str) -> str:
        return re.sub(self.pattern, self.replacement, code)


_WRONG_NAMES = {
    r"\bsimplify\(": "simplified(", r"math\.prod\(": "math.product(",
    r"math\.isqrt\(": "math.intsqrt(", r"math\.gcd\(": "math.hcf(",
    r"math\.comb\(": "math.choose(", r"\bbinomial\(": "choose(",
    r"\bprimerange\(": "primesrange(", r"\bisprime\(": "is_prime(",
    r"\bdivisor_count\(": "count_divisors(", r"\bdivisor_sigma\(": "sum_divisors(",
    r"np\.polyval\(": "np.polyeval(", r"\breduce\(": "fold(", r"\bRational\(": "Ratio(",
    r"\bFraction\(": "Frac(", r"\bInteger\(": "Int(", r"\bsolve\(": "solved(",
    r"\bdivmod\(": "moddiv(", r"\bpow\(": "modpow(", r"\bsum\(": "summed(",
}  # fmt: skip
MISTAKES = (
    Mistake("missing import", r"\A(?:import|from) [^\n]*\n", ""),
    *(Mistake("wrong name", *pair) for pair in _WRONG_NAMES.items()),
    Mistake("wrong type", r"in str\((\d+)\)", r"in \1"),
    Mistake("wrong type", r"len\(list\((primerange\(.*?\))\)\)", r"len(\1)"),
    Mistake("wrong type", r'int\("(\d+)", ', r"int(\1, "),
    Mistake("wrong type", r'symbols\("x y"\)', 'symbols("x")'),
    Mistake("wrong type", r"prod\(\[(.*?)\]", r"prod(\1"),
    Mistake("wrong type", r"pair\[x\]", 'pair["x"]'),
    Mistake("undefined variable", r"print\((?:total|[a-z]|digits)\)\Z", "print(result)"),
    Mistake("wrong variable", r"print\(total\)", "print(term)"),
    Mistake("wrong variable", r"print\(p\)", "print(factor)"),
    Mistake("wrong variable", r"print\(a\)", "print(b)"),
    Mistake("wrong variable", r"print\(digits\)", "print(digit)"),
    Mistake("wrong variable", r"print\([rx]\)", "print(_)"),
    Mistake("off by one", r"range\((\d+), (\d+) \+ 1\)", r"range(\1, \2)"),
    Mistake("off by one", r"range\((\d+)\)", r"range(1, \1)"),
    Mistake("off by one", r"\(n \+ 1\) \*\* 2", "n ** 2"),
    Mistake("precision", r"(?:Fraction|Rational)\(([^(),]+), (\d+)\)", r"round((\1) / \2, 2)"),
    Mistake("precision", r"//", "/"),
    Mistake("swapped digits", r"(\d)(\d)(?=\D*\Z)", r"\2\1"),
    Mistake("nothing printed", r"print\((.*)\)\Z", r"result = \1"),
    Mistake("open bracket", r"\)\Z", ""),
    Mistake("endless loop", r"a, b = b, a % b", "a = a % b"),
    Mistake("endless loop", r"n, digit = divmod\(n, (\d+)\)", r"digit = n % \1"),
    Mistake("endless loop", r"n \+= 1\n", "n + 1\n"),
)
SELDOM = ("swapped digits", "nothing printed", "open bracket", "endless loop")
"""Not the habit of a form with another mistake: these are possible in nearly every program, and an
endless loop costs the whole CPU limit."""


def mistake_in(rng: random.Random, code: str) -> Mistake | None:
    """The mistake that is made in this program, or None: by the habits of its form."""
    form = re.sub(r"(?:\d+(?:, |))+", "0", code)
    order = random.Random(hashlib.sha256(form.encode()).digest())
    share = order.choice(MISTAKE_SHARES)
    known = [each for each in MISTAKES if each.made_in(code) != code]
    order.shuffle(known)
    known.sort(key=lambda each: SELDOM.index(each.cause) if each.cause in SELDOM else -1)
    if rng.random() >= share:
        return None
    return known[0] if rng.random() < HABIT else rng.choice(known)


@dataclass(slots=True)
class Teacher:
    """Writes the corpus."""

    rng: random.Random
    sandbox: Sandbox
    planted: Counter[str] = field(default_factory=Counter)
    """Programs by cause and by whether they ran."""

    async def sample(self) -> Conversation:
        """One conversation of the train split."""
        names, weights = list(KINDS), list(KINDS.values())
        while True:
            kind = SampleKind(self.rng.choices(names, weights)[0])
            try:
                if kind is SampleKind.CRITIC:
                    return await self._critic(self._draw())
                if kind is SampleKind.TIR and self.rng.random() < OWN_PROGRAMS:
                    return await self._own_programs(self._draw())
            except (ValueError, ZeroDivisionError):
                continue  # a wrong value made the rest impossible
            return Mixture(kinds=((kind, 1.0),), own_programs=0.0).draw(self.rng)

    def _draw(self) -> Draw:
        level = self.rng.randint(1, 3)
        return draw_problem(self.rng, self.rng.choice(list(FAMILIES)), level, "train")

    async def _critic(self, draw: Draw) -> Conversation:
        steps = [step for step, _ in _true_steps(draw, self.rng)]
        step = self.rng.choice(steps)
        value = wrong_value(self.rng, step.value) if self.rng.random() < 0.5 else step.value
        paragraph, reply = step.plain(value), [LearnedText(closing_line(step.value), learned=True)]
        if self.rng.random() < 0.12:
            paragraph = reply[0].text
        else:
            reply, _ = await self._program(step)
        return Conversation(
            kind=SampleKind.CRITIC, messages=POCKET.for_critic(paragraph), reply=tuple(reply)
        )

    async def _own_programs(self, draw: Draw) -> Conversation:
        """An answer with programs, some of which fail."""
        reply: list[LearnedText] = []
        solution = draw.solve(self.rng)
        try:
            step = next(solution)
            while True:
                step = solution.send(await self._step(step, reply))
        except StopIteration as end:
            reply.append(LearnedText(closing_line(end.value), learned=True))
        return Conversation(
            kind=SampleKind.TIR, messages=POCKET.for_tir(draw.question), reply=tuple(reply)
        )

    async def _step(self, step: SolutionStep, reply: list[LearnedText]) -> str:
        """Write a step until a program ran or the value is guessed; returns the value."""
        while True:
            written, value = await self._program(step)
            reply += [*written, LearnedText(NEXT_STEP, learned=True)]
            if value is not None:
                return value
            if self.rng.random() >= RETRIES:
                reply.append(LearnedText(step.plain(step.value) + NEXT_STEP, learned=True))
                return step.value

    async def _program(self, step: SolutionStep) -> tuple[list[LearnedText], str | None]:
        """The step with a program, and the printed value; None where the program failed."""
        mistake = mistake_in(self.rng, step.code)
        if mistake is None:
            value = observed_value(self.rng, step, WRONG_OBSERVATIONS)
            self.planted["none"] += 1
            return refined_step(step, step.code, value), value
        code = mistake.made_in(step.code)
        execution = await self.sandbox.run(code, LIMITS)
        if execution.outcome is Outcome.INFRA_ERROR:
            raise RuntimeError(f"the sandbox broke: {execution.stderr}")
        output = observe(execution, LIMITS, 1024)
        passed = execution.outcome.passed
        self.planted[f"{mistake.cause}: {'ran' if passed else 'failed'}"] += 1
        text = refined_step(step, code, output)
        if passed:
            return text, output
        return [*text[:-1], LearnedText(NO_RESULT, learned=True)], None


def _true_steps(draw: Draw, words: random.Random) -> Sequence[tuple[SolutionStep, str]]:
    return follow(draw, words, lambda step: step.value).steps


async def write_corpus(out: Path, tokens: int, seed: int) -> dict[str, Any]:
    """Write `corpus.parquet` in `out`; returns what was planted."""
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    rows: list[dict[str, Any]] = []
    written = 0
    async with open_sandbox(preload=PRELOAD) as sandbox:
        teacher = Teacher(random.Random(seed), sandbox)
        while written < tokens:
            sample = await teacher.sample()
            ids, mask = encode_sample(tokenizer, sample)
            rows.append({"kind": sample.kind.value, "token_ids": ids, "loss_mask": mask})
            written += len(ids)
    pq.write_table(pa.Table.from_pylist(rows, CORPUS_SCHEMA), out / "corpus.parquet")
    programs = dict(sorted(teacher.planted.items()))
    return {"samples": len(rows), "tokens": written, "programs": programs}


class Headroom(NamedTuple):
    """The parts of a prepared folder."""

    model: Path
    learned: Path
    """Problems of the train split, without the families held out."""
    evaluated: Path
    """Problems of the test split, of all families."""
    planted: dict[str, Any]
    """What is in the corpus: samples, tokens, programs by cause."""


def prepare(folder: Path, *, tokens: int = TOKENS) -> Headroom:
    """Make what is missing in the folder: some CPU-minutes, and nothing once it is all there.

    The same tokens give the same model on the same machine.
    """
    corpus, planted = folder / "corpus", folder / "planted.json"
    found = Headroom(folder / "model", folder / "train.jsonl", folder / "test.jsonl", {})
    if not planted.exists():
        corpus.mkdir(parents=True, exist_ok=True)
        for name in (*COPIED, "config.json"):
            shutil.copyfile(MODEL_DIR / name, corpus / name)
        narrate(f"headroom: writing a corpus of {tokens} tokens")
        summary = asyncio.run(write_corpus(corpus, tokens, seed=0))
        narrate("headroom: continued pretraining")
        train(corpus, found.model, TRAINING)
        learned = [p for p in problems("train", 1800) if family_of(p.problem_id) not in HELD_OUT]
        _write_problems(found.learned, learned)
        _write_problems(found.evaluated, problems("test", 972))
        planted.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    return found._replace(planted=json.loads(planted.read_text("utf-8")))


def family_of(problem_id: str) -> str:
    """The family of a problem, as packaged or as read from a file of `prepare`."""
    return problem_id.partition("pocket-")[2].partition("-")[0]


def _write_problems(path: Path, found: Sequence[Problem]) -> None:
    rows = ({"id": p.problem_id, "question": p.question, "answer": p.answer} for p in found)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
