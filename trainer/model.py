"""A causal language model as the trainer uses it: log-probabilities of the learned tokens.

Not covered: weights are loaded whole by every process before they are sharded, in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM

from trainer.lora import LoraConfig, adapt
from trainer.packing import Batch

LOGIT_ROWS = 2048
"""So many tokens are projected to the vocabulary at once: bounds the largest tensor by far."""


class ModelConfig(BaseModel):
    """How the weights are held and run; the objective is the same whatever is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attention: str = "sdpa"
    """transformers' name of the kernel, e.g. ``flash_attention_2`` where it is installed."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass rather than keep them."""
    lora: LoraConfig | None = None
    """Train low-rank adapters and leave the weights; they are merged when published."""


class Scores(NamedTuple):
    """Of the learned tokens of a batch in the order of its samples; float32, length n."""

    logprobs: Tensor
    entropies: Tensor | None
    """In nats; only where no gradient is asked for."""


class Scorer(nn.Module):  # type: ignore[misc]
    """log pi(s_t | s_<t), the one thing that every objective here is made of."""

    def __init__(self, policy: Any, logit_rows: int = LOGIT_ROWS) -> None:
        super().__init__()
        self.policy = policy
        self._logit_rows = logit_rows

    def forward(self, token_ids: Tensor, positions: Tensor, learned: Tensor) -> Scores:
        """Inputs as in `Batch`."""
        hidden = self.policy.base_model(
            input_ids=token_ids, position_ids=positions, use_cache=False
        ).last_hidden_state
        predicted = learned[:, 1:]
        hidden = hidden[:, :-1][predicted].split(self._logit_rows)
        targets = token_ids[:, 1:][predicted].split(self._logit_rows)
        pieces = [self._piece(*pair) for pair in zip(hidden, targets, strict=True)]
        logprobs = torch.cat([logprobs for logprobs, _ in pieces])
        if torch.is_grad_enabled():
            return Scores(logprobs, None)
        return Scores(logprobs, torch.cat([entropies for _, entropies in pieces]))

    def _piece(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled() and len(hidden) == self._logit_rows:
            # Logits are computed again in the backward pass rather than kept.
            found: tuple[Tensor, Tensor] = checkpoint(
                self._project, hidden, targets, use_reentrant=False
            )
            return found
        return self._project(hidden, targets)

    def _project(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.policy.get_output_embeddings()(hidden).float()
        normaliser = logits.logsumexp(-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normaliser
        if torch.is_grad_enabled():
            return logprobs, logprobs.detach()
        # H = -sum p log p = log Z - sum p logit
        return logprobs, normaliser - (logits.softmax(-1) * logits).sum(-1)


def score(scorer: nn.Module, batch: Batch[Any], device: torch.device) -> Scores:
    """Run a batch; in bfloat16 on accelerators, in float32 on the CPU."""
    inputs = (batch.token_ids, batch.positions, batch.learned)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
        scores: Scores = scorer(*(tensor.to(device) for tensor in inputs))
    return scores


def load_policy(folder: Path, config: ModelConfig, seed: int) -> Any:
    """The model of a folder in Hugging Face layout, in float32, with a head of its own.

    A tied head is untied: engines that reload weights leave a tied one stale. The seed is that of
    the adapters, where there are any.
    """
    policy = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=config.attention,
        use_safetensors=True,  # other weights are pickled: to load them is to run them
    )
    head, embedding = policy.get_output_embeddings(), policy.get_input_embeddings()
    if head.weight is embedding.weight:
        head.weight = nn.Parameter(embedding.weight.detach().clone())
    policy.config.tie_word_embeddings = False
    if config.gradient_checkpointing:
        # Active in training mode only, where a model with dropout would also drop out.
        policy.train().activation_checkpointing_enable()
    if config.lora is not None:
        adapt(policy, config.lora, seed)
    return policy
