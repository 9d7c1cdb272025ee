"""Recorded chain of thought as an actor, and a critic that computes its claims.

Both follow the engine protocol and have no state: the next text depends on the prompt only, so any
number of trajectories run at once. Like chat endpoints they give no token ids. The actor repeats
the recorded lines one by one, with the corrections from the outputs in its reply (`_claims`), and
the last recorded line, `A: 18`, as a boxed answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks._claims import ANSWER, CLAIM, Corrections, python_of, retell
from tirgen.engine.protocol import Completion, Finish, Message, Prompt, Renderer, Sampling
from tirgen.tir.markup import parse_trajectory, render_step, strip_blocks
from tirgen.tir.prompts import PromptSet

LINE_BREAK = "\n\n"
"""Between steps, as the standard prompt asks for."""


class ReplayActor:
    """Repeats a recorded solution line by line, and uses the outputs in the reply."""

    renderer: Renderer | None = None
    server = "replay"

    def __init__(self, model: str, prompts: PromptSet, solutions: Mapping[str, str]) -> None:
        self.model = model
        self._solutions = {prompts.for_cot(question): question for question in solutions}
        self._lines = {question: _lines(text) for question, text in solutions.items()}

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        question = self._solutions[prompt.messages]
        rest = _rest(question, self._lines[question], prompt.reply)
        return _say(LINE_BREAK.join(rest), prompt, sampling)


class ClaimCritic:
    """Turns each claim of the step it sees into a program, then repeats the step with the
    outputs."""

    renderer: Renderer | None = None
    server = "replay"

    def __init__(self, prompts: PromptSet) -> None:
        self.model = "claim-critic"
        before, _, after = prompts.critic.partition("{step}")
        self._around = len(before), len(after)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        [message] = prompt.messages
        step = self._step(message)
        steps = parse_trajectory(prompt.reply)
        outputs = [step.observation for step in steps if step.observation is not None]
        told = retell(step, outputs)
        if told.next_expression is None:
            return _say(told.text, prompt, sampling)
        thought = f"We compute {told.next_expression}."
        program = f"print({told.next_expression})"
        return _say(render_step(thought, program, None), prompt, sampling)

    def _step(self, message: Message) -> str:
        before, after = self._around
        return message.content[before : len(message.content) - after]


def _lines(solution: str) -> list[str]:
    """The recorded lines, the answer boxed."""
    lines = [line.strip() for line in solution.splitlines() if line.strip()]
    answer = ANSWER.fullmatch(lines[-1]) if lines else None
    return [*lines[:-1], f"The answer is \\boxed{{{answer[1]}}}."] if answer else lines


def _rest(question: str, lines: Sequence[str], reply: str) -> list[str]:
    """The lines that are left, with every correction from the outputs in the reply."""
    outputs = [step.observation for step in parse_trajectory(reply)]
    left = [output for output in outputs if output is not None]
    text, corrections = strip_blocks(reply), Corrections(question)
    for index, line in enumerate(lines):
        said = corrections.apply(line)
        told = retell(said, left)
        if told.next_expression is not None or told.text not in text:
            return [corrections.apply(line) for line in lines[index:]]
        text = text.partition(told.text)[2]
        claims = [c for c in CLAIM.finditer(said) if python_of(c["expression"])]
        for claim, output in zip(claims, left, strict=False):
            corrections.learn(claim["value"], output)
        left = left[told.used :]
    return []


def _say(text: str, prompt: Prompt, sampling: Sampling) -> Completion:
    """What an engine returns of `text`: cut after the first stop string, tokens being words."""
    ends = [(text.index(stop) + len(stop), stop) for stop in sampling.stop if stop in text]
    end, stop = min(ends, default=(len(text), None))
    return Completion(
        text=text[:end],
        token_ids=(),
        logprobs=(),
        finish=Finish.STOP,
        stop_reason=stop,
        prompt_tokens=len(prompt.reply.split()),
        completion_tokens=len(text[:end].split()),
        seconds=0.0,
    )
