"""The settings of a training run; imports no torch, so that a job can be planned without it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from storage.groups import FailedCode
from storage.settings import BaseSettings


class Names(BaseSettings):
    """What a run reads and publishes."""

    store: Path
    policy: str
    """The name under which the result becomes the next version."""
    parent: str
    """A policy version as ``name@v3``, the latest of a name, or the folder of a model."""
    dataset: str
    """A dataset version as ``name@v3``, or the latest of a name."""
    sampler: str | None = None
    """The policy that sampled the rollouts, named like `parent`; None if it was the parent."""


class OptimizerConfig(BaseSettings):
    """AdamW with a linear warm-up and then a constant learning rate."""

    learning_rate: float = Field(gt=0)
    warmup: int = Field(0, ge=0)
    """Steps of the warm-up."""
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient; larger ones are scaled down."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate * min(1.0, (step + 1) / (self.warmup + 1))


class Packing(BaseSettings):
    """How much is computed at once: changes speed and memory, never the result."""

    row_tokens: int = Field(512, ge=1)
    """Tokens of a row; a longer document has its own row. The cost of attention grows with its
    square, unless the kernel skips masked blocks."""
    batch_tokens: int = Field(8192, ge=1)
    """Largest micro-batch with padding; a longer document is its own micro-batch."""

    share_prefixes: bool = True
    """Compute what the samples of a group begin with once, where that costs less: the prompt of a
    problem's rollouts, the whole prefix of a step's branches. Needs torch's attention."""

    def in_one_row(self) -> Packing:
        """For flash attention, which takes the boundaries of documents in one row only."""
        return self.model_copy(update={"row_tokens": self.batch_tokens})


class LoraConfig(BaseSettings):
    """Which layers get adapters, and their size."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    layers: tuple[str, ...] = ()
    """Names of the linear layers within each block; by default all linear layers."""


class ModelConfig(BaseSettings):
    """How the model is loaded and run; none of it changes the objective."""

    attention: str | None = None
    """transformers' name of the attention kernel, e.g. ``flash_attention_2`` if it is installed; by
    default torch's own if the model allows it."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass instead of keeping them; by default only if
    they would not fit into memory."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of the weights; they are merged when published."""
    bfloat16: bool | None = None
    """Compute matrix products in bfloat16, with float32 weights, moments and reductions. By default
    on accelerators; on a CPU only faster where it has such instructions (AMX, avx512_bf16)."""
    float32_head: bool = False
    """Compute logits in float32 where the rest is bfloat16 (MiniMax-M1). Only of use if the engine
    does the same."""


class Sharding(StrEnum):
    """How the model is divided among the processes."""

    DDP = "ddp"
    """Every process has the whole model."""
    FSDP = "fsdp"
    """Every process has a share of all weights, gradients and optimiser state (FSDP2)."""
    OFFLOAD = "offload"
    """The same with the shares in the host's memory; a layer at a time is on the device."""


class OverlongRule(StrEnum):
    """What to do with a sample that is longer than the limit."""

    DROP = "drop"
    TRUNCATE = "truncate"
    """Its first tokens are learned if it has learned tokens."""
    REFUSE = "refuse"
    """Training stops with an error."""


class Training(BaseSettings):
    """The settings of every run; each kind adds more."""

    seed: int = 0
    optimizer: OptimizerConfig
    packing: Packing = Packing()
    model: ModelConfig = ModelConfig()
    sharding: Sharding | None = None
    """``ddp``: every process holds the whole model; ``fsdp``: a share of it; ``offload``: a share,
    in the host's memory. By default the first of them that fits."""
    maximum_length: int | None = Field(None, ge=2)
    """Largest number of tokens of a sample with its prompt; by default the model's context."""
    beyond: OverlongRule = OverlongRule.DROP
    """What to do with longer samples: ``drop``, ``truncate`` or ``refuse``."""
    publish_bfloat16: bool = False
    """Publish weights for engines in bfloat16, with the float32 master that the next training
    begins with beside them: 6 bytes per parameter instead of 4, of which an engine reads 2."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints; there is always one after the last step. A checkpoint has weights
    and moments: 12 bytes per parameter."""
    keep_checkpoints: int = Field(1, ge=1)
    """Number of the newest checkpoints that a running training keeps."""
    keep_moments: int = Field(1, ge=0)
    """Number of the policy's newest RL versions that keep their last checkpoint, from which the
    next round takes the moments; older ones are removed."""

    @property
    def layout(self) -> Packing:
        """The packing that the attention kernel supports."""
        flash = "flash" in (self.model.attention or "")
        return self.packing.in_one_row() if flash else self.packing


class SftConfig(Training):
    """Settings of supervised fine-tuning; the defaults are the paper's schedule."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-6)
    epochs: int = Field(1, ge=1)
    batch_samples: int = Field(256, ge=1)
    """Samples per optimiser step over all processes and micro-batches."""
    prompts: str | None = None
    """Prompt set with which the policy is trained and later sampled, by name or folder; by default
    that of the data, or the one made for the policy."""
    template_variables: dict[str, JsonValue] | None = None
    """Variables of the chat template, in training and when the policy is sampled; by default those
    of the data's actor."""
    learn_observations: bool = False
    """Also train on what the executor wrote, as the paper's equation says literally."""
    snapshot_every: int = Field(0, ge=0)
    """Steps between snapshots of the weights, for curves on held-out problems; 0 for none."""


class Surrogate(StrEnum):
    """How far one update may move the probability of what was sampled (`trainer.loss`)."""

    CLIP = "clip"
    """The ratio of each token is clipped, as in PPO, GRPO and the paper."""
    GSPO = "gspo"
    """One ratio per sequence, the geometric mean of its tokens' ratios."""
    CISPO = "cispo"
    """The gradient of every token stays; only its weight is clipped."""


class Baseline(StrEnum):
    """What a reward is compared with in its group (`trainer.advantage`)."""

    GROUP_STD = "group_std"
    """The group's mean, in units of its standard deviation: GRPO and the paper."""
    MEAN_ONLY = "mean_only"
    """The group's mean: Dr. GRPO."""
    LEAVE_ONE_OUT = "leave_one_out"
    """The mean of the others: RLOO."""


class Aggregation(StrEnum):
    """What is averaged over an update."""

    TOKEN_MEAN = "token_mean"
    """Tokens: within a level each has the same weight."""
    SEQ_MEAN_TOKEN_MEAN = "seq_mean_token_mean"
    """Sequences, of the means over their tokens: within a level each sequence has the same
    weight."""


class Importance(StrEnum):
    """How the difference between the engine and the trainer is corrected."""

    TRUNCATE = "truncate"
    """Each token is weighted by its ratio, at most by the cap."""
    REJECT_SEQUENCE = "reject_sequence"
    """Each sequence is weighted by its ratio, the product of its tokens' ratios; above the cap it
    teaches nothing."""


_CLIPS = {
    Surrogate.CLIP: (0.2, 0.28),
    Surrogate.GSPO: (3e-4, 4e-4),
    Surrogate.CISPO: (1.0, 4.0),
}
"""The papers' clips below and above 1. CISPO has no lower clip: 1 - 1.0 = 0."""


class LossConfig(BaseSettings):
    """The constants of the objective."""

    surrogate: Surrogate = Surrogate.CLIP
    """``clip``: a ratio per token, as in the paper; ``gspo``: a ratio per sequence; ``cispo``: no
    token loses its gradient."""
    clip_low: float | None = Field(None, gt=0, lt=1)
    """How far the ratio counts below 1; by default 0.2, with ``gspo`` 3e-4. ``cispo`` has no such
    bound."""
    clip_high: float | None = Field(None, gt=0)
    """How far above 1; by default 0.28, with ``gspo`` 4e-4, with ``cispo`` 4."""
    dual_clip: float = Field(3.0, gt=1)
    """Largest loss of a token with a negative advantage, in units of that advantage; not with
    ``cispo``."""
    step_weight: Annotated[float, Field(gt=0)] | Literal["equal_levels"] = 1.0
    """lambda: the weight of a step-level token in units of that of a trajectory-level token (with
    ``seq_mean_token_mean``, of sequences), whatever their numbers. ``equal_levels`` gives each
    level a mean of its own, as the paper's L_trajectory + L_step reads."""
    nll: float = Field(0.01, ge=0)
    """alpha, the weight of the negative log-likelihood of samples better than their group."""
    importance: Importance = Importance.TRUNCATE
    """``truncate`` the correction between sampler and trainer for each token, or
    ``reject_sequence``: leave out the sequences in which the two differ most."""
    importance_cap: float = Field(2.0, gt=0)
    """Largest correction between sampler and trainer probabilities."""
    importance_tolerance: float = Field(1e-3, ge=0)
    """Nats by which their logarithms may differ and still count as equal. An engine rounds
    differently in other batches, and a killed and resumed round must give the same result."""
    kl: float = Field(0.0, ge=0)
    """Weight of the divergence from the reference policy; 0 loads no reference."""
    aggregation: Aggregation = Aggregation.TOKEN_MEAN
    """``token_mean`` or ``seq_mean_token_mean``, the paper's; ``gspo`` is meant for the latter."""

    @property
    def clips(self) -> tuple[float, float]:
        """The clips below and above 1 that hold."""
        low, high = _CLIPS[self.surrogate]
        return self.clip_low or low, self.clip_high or high


class CreditConfig(BaseSettings):
    """Which rows of a group teach, and how much."""

    baseline: Baseline = Baseline.GROUP_STD
    """What a reward is compared with: ``group_std``, as in the paper; ``mean_only``; or
    ``leave_one_out``."""
    failed_code: FailedCode | None = None
    """Trajectories whose code failed: ``drop`` them, as in the paper; ``keep`` them, as most
    trainers do; or ``resample_on_correct``, which keeps half of each group and of the right ones
    those with the fewest failures. By default as in the configuration of the rollouts."""
    least_reply_tokens: int = Field(0, ge=0)
    """Trajectories with shorter replies drop out; the official code has 151."""
    least_group_share: float = Field(0.0, ge=0, le=1)
    """Trajectory groups of which less is left drop out; the official code has 0.5, which always
    holds at step level."""
    mask_void_turns: bool = False
    """Learn nothing from replies that end with neither a program nor an answer; their reward still
    counts in their group."""
    mask_overlong: bool = False
    """The same for replies that a limit cut off."""
    overlong_buffer: int = Field(0, ge=0)
    """Tokens before the limit of a reply within which its reward falls by up to 1; 0 for none."""


class RlConfig(Training):
    """One round; learning rate, clips and alpha as in the paper."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-6)
    loss: LossConfig = LossConfig()
    credit: CreditConfig = CreditConfig()
    updates: int = Field(4, ge=1)
    """Optimiser steps of the round; all after the first are off-policy."""
    checkpoint_every: int = Field(4, ge=1)
    """Updates between checkpoints; there is always one after the last update."""
    carry_moments: bool = True
    """Continue with the AdamW moments of the round that made the parent, if there was one."""
    oracle_bound: float = Field(0.05, gt=0)
    """Largest mean difference between the log-probabilities of engine and trainer, in nats."""
    reference: Path | None = None
    """Folder of the reference policy for `loss.kl`."""

    @model_validator(mode="after")
    def _something_to_stay_near(self) -> RlConfig:
        if self.loss.kl > 0 and self.reference is None:
            raise ValueError("loss.kl is above 0: name the reference policy in `reference`")
        return self
