"""A causal language model as the trainer uses it: log-probabilities of the learned tokens.

Logits are the model's own: families scale them (Granite, Cohere) or cap them (Gemma 2) after the
head, so nothing here applies a head to hidden states by itself.

Not covered: weights are loaded whole by every process before they are sharded, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.lora import LoraConfig, adapt
from trainer.packing import Batch

LOGIT_ROWS = 2048
"""So many tokens are projected to the vocabulary at once: bounds the largest tensor by far."""


class ModelConfig(BaseModel):
    """How the weights are held and run; the objective is the same whatever is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attention: str | None = None
    """transformers' name of the kernel, e.g. ``flash_attention_2`` where it is installed; by
    default torch's own where the model allows it."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass rather than keep them; by default where they
    would not fit."""
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

    def forward(
        self, token_ids: Tensor, positions: Tensor, learned: Tensor, plain: bool = False
    ) -> Scores:
        """Inputs as in `Batch`; `plain` is one document through transformers' own forward pass,
        with nothing of this file in between: what the scores of batches must agree with."""
        if plain:
            return _plain_scores(self.policy, token_ids, learned)
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
        with _known(self.policy, hidden[None]):
            logits = self.policy(inputs_embeds=hidden[None], use_cache=False).logits[0].float()
        normaliser = logits.logsumexp(-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normaliser
        if torch.is_grad_enabled():
            return logprobs, logprobs.detach()
        # H = -sum p log p = log Z - sum p logit
        return logprobs, normaliser - (logits.softmax(-1) * logits).sum(-1)


class _Hidden:
    """What a base model returns, where its last hidden states are known already."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        """No cache, no attentions, no router logits."""


class _Known(nn.Module):  # type: ignore[misc]
    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self._hidden = _Hidden(hidden)

    def forward(self, *_: Any, **__: Any) -> _Hidden:
        return self._hidden


@contextmanager
def _known(policy: Any, hidden: Tensor) -> Iterator[None]:
    """Within it the policy's forward pass begins behind its last layer: head and what follows."""
    name = policy.base_model_prefix
    base = policy._modules[name]
    policy._modules[name] = _Known(hidden)
    try:
        yield
    finally:
        policy._modules[name] = base


def _plain_scores(policy: Any, token_ids: Tensor, learned: Tensor) -> Scores:
    logits = policy(input_ids=token_ids, use_cache=False).logits[:, :-1][learned[:, 1:]].float()
    targets = token_ids[:, 1:][learned[:, 1:]]
    return Scores(logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1), None)


def score(
    scorer: nn.Module, batch: Batch[Any], device: torch.device, plain: bool = False
) -> Scores:
    """Run a batch; in bfloat16 on accelerators, in float32 on the CPU."""
    inputs = (batch.token_ids, batch.positions, batch.learned)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
        scores: Scores = scorer(*(tensor.to(device) for tensor in inputs), plain=plain)
    return scores


def recompute_activations(policy: Any) -> None:
    """Have the policy compute activations again in the backward pass."""
    # Active in training mode only, where a model with dropout would also drop out.
    policy.train().activation_checkpointing_enable()


class UnsupportedModel(ValueError):
    """The trainer cannot train this kind of model; the message says why."""


def _require_text_only(folder: Path) -> None:
    shape = AutoConfig.from_pretrained(folder)
    if shape.get_text_config() is not shape:
        raise UnsupportedModel(
            f"{folder} is a {shape.model_type} model, which reads more than text; train its text "
            f"model alone ({shape.get_text_config().model_type})"
        )


def load_policy(folder: Path, config: ModelConfig, seed: int) -> Any:
    """The model of a folder in Hugging Face layout, in float32, with a head of its own.

    A tied head is untied: engines that reload weights leave a tied one stale. The seed is that of
    the adapters, where there are any. Raises UnsupportedModel.
    """
    _require_text_only(folder)
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
    policy.all_tied_weights_keys = {}  # what saving leaves out
    if config.lora is not None:
        adapt(policy, config.lora, seed)
    return policy
