"""A model is held so that it fits, goes to its device layer by layer, and the reason is said."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from trainer import distributed
from trainer.distributed import Sharding, World, distribute
from trainer.model import ModelConfig, Scorer, load_policy
from trainer.sizing import Size, choose, size_of

H100 = 0.85 * 80e9


def size(hidden: int, layers: int, inner: int, vocabulary: int = 152_000) -> Size:
    """Of a model that is never filled with numbers."""
    config = AutoConfig.for_model(
        "qwen2",
        hidden_size=hidden,
        num_hidden_layers=layers,
        intermediate_size=inner,
        num_attention_heads=hidden // 128,
        num_key_value_heads=4,
        vocab_size=vocabulary,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(config)
    return size_of(policy, 8192, torch.device("cuda"))


@pytest.mark.parametrize(
    ("shape", "processes", "sharding", "again"),
    [
        ((1536, 28, 8960), 1, Sharding.DDP, False),  # 1.5B
        ((3584, 28, 18944), 1, Sharding.DDP, True),  # 7.6B
        ((3584, 28, 18944), 8, Sharding.FSDP, True),
        ((5120, 64, 27648), 8, Sharding.FSDP, True),  # 32B
    ],
)
def test_the_published_sizes_are_held_so_that_they_fit(
    shape: tuple[int, int, int], processes: int, sharding: Sharding, again: bool
) -> None:
    """The defaults were DDP and kept activations for every size."""
    found = choose(size(*shape), H100, processes)
    assert (found.sharding, found.gradient_checkpointing) == (sharding, again)


def test_what_will_not_fit_is_said_with_what_to_do() -> None:
    reason = choose(size(3584, 28, 18944), H100, 1).reason
    assert "GB are likely too many: use more processes" in reason
    assert "121." in reason or "122." in reason  # 16 bytes for each of 7.6 billion


def test_what_is_asked_for_is_not_chosen() -> None:
    small = Size(1e9, 1e9, 1e8)
    assert choose(small, H100, 8, Sharding.FSDP, True)[:2] == (Sharding.FSDP, True)
    large = Size(1e12, 1e12, 1e11)
    assert choose(large, H100, 8, Sharding.DDP, False)[:2] == (Sharding.DDP, False)


def test_layers_are_sharded_one_by_one_before_anything_else_moves(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole model of 32 billion parameters on one device is 131 GB."""
    device = torch.device("meta")
    seen: list[tuple[str, set[str]]] = []
    scorer = Scorer(load_policy(policy, ModelConfig(), seed=0))

    def shard(module: nn.Module, **_: Any) -> nn.Module:
        places = {weight.device.type for weight in scorer.parameters()}
        seen.append((type(module).__name__, places))
        return module.to(device)  # as torch's own does with what it shards

    monkeypatch.setattr(distributed, "fully_shard", shard)
    monkeypatch.setattr(distributed, "init_device_mesh", lambda *_: None)
    distribute(scorer, World(rank=0, size=2, device=device), Sharding.FSDP)
    assert [name for name, _ in seen] == ["Qwen3DecoderLayer", "Qwen3DecoderLayer", "Scorer"]
    assert seen[0][1] == {"cpu"}
    assert all("cpu" in places for _, places in seen)
