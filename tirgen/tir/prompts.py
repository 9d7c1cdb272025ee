"""The instructions of each role, as data: one set for real models, one for the pocket.

The critic's prompt has the isolated step and nothing else (method A11): never the question, never
the answer, so that the critic's text stays close to the actor's own distribution.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tirgen.engine.protocol import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """One instruction per role; each text holds one placeholder."""

    name: str
    cot: str
    """The actor reasoning without tools; `{question}`."""
    tir: str
    """A policy that writes its own code; `{question}`."""
    critic: str
    """The critic rewriting one step; `{step}`."""

    def for_cot(self, question: str) -> tuple[Message, ...]:
        return (Message("user", self.cot.replace("{question}", question)),)

    def for_tir(self, question: str) -> tuple[Message, ...]:
        return (Message("user", self.tir.replace("{question}", question)),)

    def for_critic(self, step: str) -> tuple[Message, ...]:
        return (Message("user", self.critic.replace("{step}", step)),)


def prompt_hash(template: str) -> str:
    """Short hash of an instruction, for provenance."""
    return hashlib.sha256(template.encode()).hexdigest()[:12]


BUDGET_SENTENCE = (
    "Considering the limited time, I have to give the answer based on the thinking so far."
)
"""Ends thinking that has used up its budget; the pocket has learned to answer after it."""

POCKET = PromptSet(
    name="pocket",
    cot="{question}\nSolve step by step. Put the answer in \\boxed{}.",
    tir="{question}\nSolve step by step with Python. Put the answer in \\boxed{}.",
    critic="Rewrite this step so that Python does the computing.\n\n{step}",
)
"""Short, because the pocket had to learn every token of it."""

STANDARD = PromptSet(
    name="standard",
    cot=(
        "{question}\n\nPlease reason step by step, separate the steps by a blank line, "
        "and put your final answer within \\boxed{}."
    ),
    tir=(
        "{question}\n\nReason step by step. Wherever a step needs calculation, equation solving, "
        "enumeration or a check, write a Python program for it in a fenced block and go on from "
        "its result:\n\n"
        "```python\nprint(...)\n```\n"
        "```output\n(what the program printed appears here; never write this block yourself)\n"
        "```\n\n"
        "Every block runs on its own: it imports what it uses, defines what it needs and prints "
        "its result. Put your final answer within \\boxed{}."
    ),
    critic=(
        "Below is one step of someone's solution to a mathematics problem. Rewrite it so that "
        "Python does whatever can be computed.\n\n"
        "Rules:\n"
        "- Keep the reasoning, its order and its wording. Text that computes nothing is repeated "
        "exactly as it stands.\n"
        "- Where the step calculates, solves an equation, enumerates or checks something by hand, "
        "state in words what is to be computed, leave the claimed result out, and follow with a "
        "Python block that computes it.\n"
        "- Each block runs on its own: it imports what it uses (sympy, numpy, math and the rest "
        "of the standard library are there), defines every value it needs and prints its result. "
        "There may be several blocks.\n"
        "- The output of a block is inserted after it. Read it, state the result, and use it from "
        "there on instead of the step's own number.\n"
        "- No code for arithmetic anyone does at sight. If nothing is worth computing, repeat the "
        "step unchanged.\n"
        "- Do not solve the problem further, do not continue past the step, and say nothing about "
        "the rewriting itself.\n\n"
        "Example step:\n"
        "The polynomial x^2 - 5x + 6 has roots 1 and 6, so the sum of their cubes is 217.\n\n"
        "Example rewrite:\n"
        "We need the roots of the polynomial x^2 - 5x + 6 and the sum of their cubes.\n"
        "```python\n"
        "from sympy import solve, symbols\n\n"
        'x = symbols("x")\n'
        "roots = solve(x**2 - 5 * x + 6, x)\n"
        "print(roots, sum(root**3 for root in roots))\n"
        "```\n"
        "```output\n[2, 3] 35\n```\n"
        "The roots are 2 and 3, so the sum of their cubes is 35.\n\n"
        "Now the step to rewrite:\n\n{step}"
    ),
)

PROMPT_SETS = {prompts.name: prompts for prompts in (POCKET, STANDARD)}
