"""The settings of what is computed from an evaluation's samples."""

from __future__ import annotations

from pydantic import Field

from tirgen.engine.config import EngineConfig
from tirgen.evaluation.reward_model import RewardModelConfig
from tirgen.settings import Count, Settings


class Analysis(Settings):
    """What is computed from the samples. Changing it makes no new samples."""

    pass_at: tuple[Count, ...] = (1,)
    """The k of each pass@k (unbiased estimator) and maj@k; at most `samples`."""
    best_of: int | None = Field(None, ge=2)
    """Also choose the best of the first N samples by the share of their programs that ran."""
    reward_model: RewardModelConfig | None = None
    """Breaks ties of best-of-N. Without it the majority answer does."""
    judge: EngineConfig | None = None
    """A language model that looks at answers that the rules call wrong. Default: none."""
    judge_tokens: Count = 16
    """Longest reply of the judge; raise it for a model that thinks first."""
    resamples: Count = 2000
    """Resamples of the bootstrap over problems."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Level of the confidence intervals."""
