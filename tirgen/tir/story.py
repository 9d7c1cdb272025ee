"""The story of one trajectory while it is told: its steps, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.records import Attempt, Ending, Outcome, Step
from tirgen.engine.errors import ContextOverflow, EngineRefused, EngineUnavailable
from tirgen.tir.core import Loop, OffFormat, SandboxFault, TimeLimitReached
from tirgen.tir.transcript import Transcript


@dataclass(slots=True)
class Story:
    """What a program has told so far; complete enough to be stored wherever it breaks off."""

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

    def think(self, text: str, *, tokens: int, seconds: float, draft: str | None = None) -> None:
        """Add to the thought that the next action, or the end, will close.

        `draft` is what the actor itself had said there, where that is to be told.
        """
        self._thought += text
        self._tokens += tokens
        self._seconds += seconds
        if draft is not None:
            self._draft = (self._draft or "") + draft

    def retry(self, attempt: Attempt) -> None:
        """A try at the running step failed and is replaced; the step remembers it."""
        self._attempts.append(attempt)

    def act(self, action: str, observation: str, outcome: Outcome, sandbox_seconds: float) -> None:
        """Close the running thought with an action and what came of it."""
        self._close(action, observation, outcome, sandbox_seconds)

    def finish(self) -> None:
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


def tell(story: Story, program: Loop[Ending]) -> Loop[Story]:
    """Run a program to its end, whatever that is: trouble becomes the story's typed ending."""
    try:
        story.ending = yield from program
    except ContextOverflow as error:
        # A limit on tokens like any other, unless the question alone was too long for it.
        story.ending = Ending.TOKEN_LIMIT if story.transcript.text else Ending.REFUSED
        story.error = str(error)
    except EngineRefused as error:
        story.ending, story.error = Ending.REFUSED, str(error)
    except EngineUnavailable as error:
        story.ending, story.error = Ending.ENGINE_ERROR, str(error)
    except SandboxFault as error:
        story.ending, story.error = Ending.SANDBOX_ERROR, str(error)
    except TimeLimitReached as error:
        story.ending, story.error = Ending.TIME_LIMIT, str(error)
    except OffFormat as error:
        story.ending, story.error = Ending.OFF_FORMAT, str(error)
    story.finish()
    return story
