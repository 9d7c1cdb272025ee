"""Documents of training batches: token ids and which of them are learned.

Masks were recorded when the tokens were produced; they are never rebuilt from text (method D1).
`trainer.rows` reads them from the store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from storage.records import Level

S = TypeVar("S", bound="Sample")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One document of a training batch."""

    sample_id: str
    """The trajectory's id."""
    token_ids: Tensor
    """int32, length n."""
    learned: Tensor
    """bool, length n: whether the loss counts the token; never the first, which has no context."""

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.learned):
            raise ValueError(f"{self.sample_id}: token ids and mask differ in length")
        if not self.learned.any() or self.learned[0]:
            raise ValueError(
                f"{self.sample_id}: a sample needs a prompt and at least one token to learn"
            )

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def learned_count(self) -> int:
        return int(self.learned.sum())

    @property
    def family(self) -> str | None:
        """Samples with the same name begin alike; None if nothing is known."""
        return None

    def first(self: S, length: int) -> S:
        """The sample cut to its first `length` tokens."""
        cut = {"token_ids": self.token_ids[:length], "learned": self.learned[:length]}
        return replace(self, **cut)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout(Sample):
    """A sample with what the policy update needs in addition."""

    level: Level
    group_id: str
    """Samples of one group begin with the same prompt, or at step level the same prefix."""
    advantage: float
    sampler_logprobs: Tensor
    """float32, one per learned token: log-probabilities reported by the engine."""

    @property
    def family(self) -> str:
        return f"{self.level}/{self.group_id}"

    def first(self, length: int) -> Rollout:
        kept = int(self.learned[:length].sum())
        return replace(
            self,
            token_ids=self.token_ids[:length],
            learned=self.learned[:length],
            sampler_logprobs=self.sampler_logprobs[:kept],
        )
