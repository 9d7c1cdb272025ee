"""Builds one trajectory from the events of its program: thoughts, actions, and the ending."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.records import Attempt, Ending, Outcome, Step
from tirgen.engine.errors import ContextOverflow, EngineRefused, EngineUnavailable
from tirgen.tir.core import Loop, OffFormat, SandboxFault, TimeLimitReached
from tirgen.tir.transcript import Transcript


@dataclass(slots=True)
class TrajectoryBuilder:
    """The trajectory so far. It can be stored whenever its program breaks off."""

    transcript: Transcript
    steps: list[Step] = field(default_factory=list)
    ending: Ending = Ending.FINISHED
    error: str | None = None
    _thought: str = ""
    _draft: str | None = None
    _attempts: list[Attempt] = field(default_factory=list)
    _tokens: int = 0
    _seconds: float = 0.0

    @property
    def calls(self) -> int:
        """How many programs were run."""
        return sum(step.action is not None for step in self.steps)

    def add_thought(
        self, text: str, *, tokens: int, seconds: float, draft: str | None = None
    ) -> None:
        """Extend the open thought, which the next action or the end closes.

        `draft` is the actor's own text at this place, where it differs or must be stored.
        """
        self._thought += text
        self._tokens += tokens
        self._seconds += seconds
        if draft is not None:
            self._draft = (self._draft or "") + draft

    def add_failed_try(self, attempt: Attempt) -> None:
        """Store a failed try of the open step, which another try replaces."""
        self._attempts.append(attempt)

    def add_action(
        self, action: str, observation: str, outcome: Outcome, sandbox_seconds: float
    ) -> None:
        """Close the open thought with an action and its result."""
        self._close(action, observation, outcome, sandbox_seconds)

    def close(self) -> None:
        """Close the last thought, which has no action."""
        if not self.steps:
            self._draft = None  # nothing was rewritten
        if self._thought.strip() or self._attempts:
            self._close(None, None, None, 0.0)

    def _close(
        self,
        action: str | None,
        observation: str | None,
        outcome: Outcome | None,
        sandbox_seconds: float,
    ) -> None:
        self.steps.append(
            Step(
                thought=self._thought.strip(),
                action=action,
                observation=observation,
                outcome=outcome,
                draft=self._draft.strip() if self._draft else None,
                attempts=tuple(self._attempts),
                policy_tokens=self._tokens,
                llm_seconds=self._seconds,
                sandbox_seconds=sandbox_seconds,
            )
        )
        self._thought, self._draft, self._tokens, self._seconds = "", None, 0, 0.0
        self._attempts = []


def build(builder: TrajectoryBuilder, program: Loop[Ending]) -> Loop[TrajectoryBuilder]:
    """Run a program to its end; an error becomes the trajectory's typed ending."""
    try:
        builder.ending = yield from program
    except ContextOverflow as error:
        # A token limit like any other, unless the question alone was too long.
        builder.ending = Ending.TOKEN_LIMIT if builder.transcript.text else Ending.REFUSED
        builder.error = str(error)
    except EngineRefused as error:
        builder.ending, builder.error = Ending.REFUSED, str(error)
    except EngineUnavailable as error:
        builder.ending, builder.error = Ending.ENGINE_ERROR, str(error)
    except SandboxFault as error:
        builder.ending, builder.error = Ending.SANDBOX_ERROR, str(error)
    except TimeLimitReached as error:
        builder.ending, builder.error = Ending.TIME_LIMIT, str(error)
    except OffFormat as error:
        builder.ending, builder.error = Ending.OFF_FORMAT, str(error)
    builder.close()
    return builder
