"""A causal language model for the trainer: log-probabilities of the learned tokens.

Logits always come from the model's own code, because some families scale them (Granite, Cohere) or
cap them (Gemma 2) after the head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.lora import adapt
from trainer.packing import Batch, PackingCost, attention_mask
from trainer.settings import ModelConfig, Packing
from trainer.sizing import LOGIT_ROWS, Size

MASTER = "master"
"""Folder in a policy version with its float32 weights, where engines get bfloat16."""


class Scores(NamedTuple):
    """Values of the learned tokens of a batch in the order of its samples; float32, length n."""

    logprobs: Tensor
    entropies: Tensor | None
    """In nats; None where gradients are computed."""


class Scorer(nn.Module):  # type: ignore[misc]
    """Computes log pi(s_t | s_<t), from which every objective is made."""

    def __init__(
        self,
        policy: Any,
        half: bool = False,
        float32_head: bool = False,
        logit_rows: int = LOGIT_ROWS,
    ) -> None:
        """`half`: matrix products in bfloat16; `float32_head`: but for those of the head."""
        super().__init__()
        self.policy = policy
        self.half = half
        self._half_head = half and not float32_head
        self._logit_rows = logit_rows

    def forward(
        self,
        token_ids: Tensor,
        positions: Tensor,
        learned: Tensor,
        branches: Tensor | None = None,
        plain: bool = False,
    ) -> Scores:
        """Inputs as in `Batch`. `plain` runs one document through transformers' own forward pass;
        the scores of batches must agree with it."""
        with torch.autocast(token_ids.device.type, torch.bfloat16, enabled=self.half):
            if plain:
                return _plain_scores(self.policy, token_ids, learned)
            hidden = self.policy.base_model(
                input_ids=token_ids,
                position_ids=positions,
                attention_mask=None if branches is None else attention_mask(branches),
                use_cache=False,
                **self._boundaries(positions),
            ).last_hidden_state
        predicted = learned[:, 1:]
        hidden = hidden[:, :-1][predicted].split(self._logit_rows)
        targets = token_ids[:, 1:][predicted].split(self._logit_rows)
        pieces = [self._piece(*pair) for pair in zip(hidden, targets, strict=True)]
        logprobs = torch.cat([logprobs for logprobs, _ in pieces])
        if torch.is_grad_enabled():
            return Scores(logprobs, None)
        return Scores(logprobs, torch.cat([entropies for _, entropies in pieces]))

    def _boundaries(self, positions: Tensor) -> dict[str, Any]:
        """Where documents begin, for flash attention, which gets no mask; else nothing.

        Without them it treats a batch of several rows as plain causal. Raises ValueError for one.
        """
        if "flash" not in (self.policy.config._attn_implementation or ""):
            return {}
        if len(positions) != 1:
            raise ValueError("flash attention keeps documents apart in batches of one row only")
        starts = (positions[0] == 0).nonzero().flatten()
        bounds = torch.cat([starts, starts.new_tensor([positions.shape[1]])]).int()
        longest = int(bounds.diff().max())
        return {
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": longest,
            "max_length_k": longest,
        }

    def _piece(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled() and len(hidden) == self._logit_rows:
            # Logits are computed again in the backward pass instead of kept.
            found: tuple[Tensor, Tensor] = checkpoint(
                self._project, hidden, targets, use_reentrant=False
            )
            return found
        return self._project(hidden, targets)

    def _project(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not self._half_head:
            hidden = hidden.float()
        halved = torch.autocast(hidden.device.type, torch.bfloat16, enabled=self._half_head)
        with halved, _known(self.policy, hidden[None]):
            logits = self.policy(inputs_embeds=hidden[None], use_cache=False).logits[0].float()
        normaliser = logits.logsumexp(-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normaliser
        if torch.is_grad_enabled():
            return logprobs, logprobs.detach()
        # H = -sum p log p = log Z - sum p logit
        return logprobs, normaliser - (logits.softmax(-1) * logits).sum(-1)


class _Hidden:
    """The output of a base model whose last hidden states are already known."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        """All other outputs are absent: cache, attentions, router logits."""


class _Known(nn.Module):  # type: ignore[misc]
    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self._hidden = _Hidden(hidden)

    def forward(self, *_: Any, **__: Any) -> _Hidden:
        return self._hidden


@contextmanager
def _known(policy: Any, hidden: Tensor) -> Iterator[None]:
    """Within it, the policy's forward pass runs only the head and what follows."""
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
    """Score a batch."""
    inputs = (tensor if tensor is None else tensor.to(device) for tensor in batch[:4])
    scores: Scores = scorer(*inputs, plain=plain)
    return scores


def recompute_activations(policy: Any) -> None:
    """Make the policy compute activations again in the backward pass."""
    # Works only in training mode, in which a model with dropout also applies it.
    policy.train().activation_checkpointing_enable()


class UnsupportedModel(ValueError):
    """The trainer does not support this kind of model; the message says why."""


def _require_text_only(folder: Path) -> None:
    shape = AutoConfig.from_pretrained(folder)
    if shape.get_text_config() is not shape:
        raise UnsupportedModel(
            f"{folder} is a {shape.model_type} model, which reads more than text; train its text "
            f"model alone ({shape.get_text_config().model_type})"
        )


def load_policy(folder: Path, config: ModelConfig, seed: int) -> Any:
    """The model of a folder in Hugging Face layout, in float32, with an untied head; a version's
    float32 master if it has one.

    A tied head is untied, because engines that reload weights do not update a tied one. The seed
    initialises adapters. Raises UnsupportedModel.
    """
    _require_text_only(folder)
    master = folder / MASTER
    policy = AutoModelForCausalLM.from_pretrained(
        master if master.is_dir() else folder,
        dtype=torch.float32,
        attn_implementation=config.attention,
        use_safetensors=True,  # other formats are pickled and can run code when loaded
    )
    return _prepared(policy, config, seed)


def empty_policy(folder: Path, config: ModelConfig, seed: int) -> Any:
    """The same model without the numbers of its weights: its parameters are on the meta device,
    its buffers are computed. Raises UnsupportedModel."""
    _require_text_only(folder)
    shape = AutoConfig.from_pretrained(folder)
    with _weights_on_meta():
        policy = AutoModelForCausalLM.from_config(
            shape, dtype=torch.float32, attn_implementation=config.attention
        )
        return _prepared(policy, config, seed)


def _prepared(policy: Any, config: ModelConfig, seed: int) -> Any:
    head, embedding = policy.get_output_embeddings(), policy.get_input_embeddings()
    if head.weight is embedding.weight:
        head.weight = nn.Parameter(embedding.weight.detach().clone())
    policy.config.tie_word_embeddings = False
    policy.all_tied_weights_keys = {}  # the weights that saving would leave out
    if config.lora is not None:
        adapt(policy, config.lora, seed)
    return policy


@contextmanager
def _weights_on_meta() -> Iterator[None]:
    """Within it, new parameters get no memory; buffers do, since no file has them."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        if weight is not None and not weight.is_meta:
            weight = nn.Parameter(weight.to("meta"), requires_grad=weight.requires_grad)
        register(module, name, weight)

    nn.Module.register_parameter = on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register


def size_of(policy: Any, batch_tokens: int, half: bool) -> Size:
    """The size of a model with micro-batches of `batch_tokens` tokens."""
    shape = policy.config.get_text_config()
    weights = list(policy.parameters())
    experts = sum(weight.numel() for weight in weights if weight.ndim > 2)
    share = _active_experts(shape)
    count = sum(weight.numel() for weight in weights)
    layers = [sum(w.numel() for w in layer.parameters()) for layer in blocks_of(policy)]
    inner = getattr(shape, "moe_intermediate_size", None) or getattr(
        shape, "intermediate_size", 4 * shape.hidden_size
    )
    return Size(
        weights=count,
        trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        active=count - int((1 - share) * experts),
        layer_weights=max(layers, default=count),
        hidden=shape.hidden_size,
        inner=inner * (getattr(shape, "num_experts_per_tok", None) or 1),
        layers=shape.num_hidden_layers,
        vocabulary=shape.vocab_size,
        batch_tokens=batch_tokens,
        half=half,
    )


def sharing_cost(policy: Any, packing: Packing) -> PackingCost | None:
    """What a layer costs, to decide which prefixes are shared; None where none can be.

    A mask of its own needs torch's attention, and layers that all see the whole document.
    """
    shape = policy.config.get_text_config()
    layers = getattr(shape, "layer_types", None) or ["full_attention"]
    windowed = getattr(shape, "sliding_window", None) and not getattr(shape, "layer_types", None)
    whole = not windowed and set(layers) == {"full_attention"}
    if not packing.share_prefixes or shape._attn_implementation != "sdpa" or not whole:
        return None
    weights = sum(w.numel() for layer in blocks_of(policy) for w in layer.parameters())
    return PackingCost(token=2.0 * weights / shape.num_hidden_layers, pair=4.0 * shape.hidden_size)


def _active_experts(shape: Any) -> float:
    """The share of the experts that a token passes; 1 without experts."""
    experts = getattr(shape, "num_experts", None) or getattr(shape, "num_local_experts", None)
    return shape.num_experts_per_tok / experts if experts else 1.0


def blocks_of(policy: Any) -> list[nn.Module]:
    """The layers of a model that are sharded one by one."""
    names = set(policy._no_split_modules or ())
    return [module for module in policy.modules() if type(module).__name__ in names]
