"""A model is held so that it fits, is loaded in shares, and the reason is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.model_shapes import QWEN3_8B
from tests.trainer.families import FAMILIES, write_family
from trainer.model import Scorer, empty_policy, load_policy, size_of
from trainer.settings import ModelConfig, Sharding
from trainer.sizing import Memory, Size, UnknownShape, choose, size_from_config

H100 = 0.85 * 80e9
QWEN3_32B = QWEN3_8B | {
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "intermediate_size": 25600,
    "num_attention_heads": 64,
}
QWEN2_1B = QWEN3_8B | {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
}
LLAMA_8B = QWEN3_8B | {"model_type": "llama", "num_hidden_layers": 32, "intermediate_size": 14336}
MISTRAL = LLAMA_8B | {"model_type": "mistral", "vocab_size": 32768}
EXPERTS = QWEN3_8B | {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 4,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}


@pytest.mark.parametrize("config", [QWEN3_8B, QWEN3_32B, QWEN2_1B, LLAMA_8B, MISTRAL, EXPERTS])
def test_a_configuration_alone_gives_the_size_of_the_model(config: dict[str, Any]) -> None:
    """Against the models of transformers, which are never filled with numbers."""
    settings = {name: value for name, value in config.items() if name != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **settings, tie_word_embeddings=False)
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(made)
    assert size_from_config(config, 8192) == size_of(policy, 8192, half=True)


def test_the_published_counts_are_met() -> None:
    """Qwen3's report: 8.2 and 32.8 billion."""
    counts = [size_from_config(config, 1).weights for config in (QWEN3_8B, QWEN3_32B)]
    assert counts == [8_190_735_360, 32_762_123_264]


def test_a_configuration_without_a_size_is_refused() -> None:
    with pytest.raises(UnknownShape, match=r"mamba.*hidden_size"):
        size_from_config({"model_type": "mamba"}, 1)


@pytest.mark.parametrize(
    ("config", "processes", "sharding", "again"),
    [
        (QWEN2_1B, 1, Sharding.DDP, False),
        (QWEN3_8B, 1, Sharding.DDP, True),
        (QWEN3_8B, 8, Sharding.FSDP, True),
        (QWEN3_32B, 8, Sharding.OFFLOAD, True),
        (QWEN3_32B, 16, Sharding.FSDP, True),
    ],
)
def test_the_published_sizes_are_held_so_that_they_fit(
    config: dict[str, Any], processes: int, sharding: Sharding, again: bool
) -> None:
    found = choose(size_from_config(config, 8192), H100, processes)
    assert (found.sharding, found.gradient_checkpointing) == (sharding, again)
    assert found.fits is (processes > 1 or config is QWEN2_1B)
    assert found.fits is (found.memory.total <= H100)


def test_shares_of_a_sharded_model_add_up_to_the_model() -> None:
    size = size_from_config(QWEN3_8B, 8192)
    whole, share = (size.memory(way, True, 8) for way in (Sharding.DDP, Sharding.FSDP))
    for part in ("weights", "gradients", "moments"):
        assert getattr(share, part) * 8 == getattr(whole, part)
    assert whole[:3] == (4 * size.weights, 4 * size.weights, 8 * size.weights)
    assert size.memory(Sharding.OFFLOAD, True, 8)[:3] == (0, 0, 0)


def test_the_reason_has_the_parts_and_what_was_too_large() -> None:
    reason = choose(size_from_config(QWEN3_32B, 8192), H100, 8).reason
    assert "under offload on 8 processes" in reason
    assert "fsdp, activations computed again 85.0 GB" in reason
    assert "524.2 GB of the hosts' memory" in reason
    assert "logits 6.2" in reason


def test_what_will_not_fit_is_said_with_what_to_do() -> None:
    found = choose(size_from_config(QWEN3_8B, 8192), H100, 1)
    assert "likely too much: use more processes" in found.reason
    assert not found.fits


def test_what_is_asked_for_is_not_chosen() -> None:
    size = size_from_config(QWEN2_1B, 8192)
    assert choose(size, H100, 8, Sharding.FSDP, True)[:2] == (Sharding.FSDP, True)
    assert choose(size, 1e9, 8, Sharding.DDP, False)[:2] == (Sharding.DDP, False)


def test_work_per_token_is_six_operations_a_weight_and_attention() -> None:
    """Of a layer without words: products of 2 * in * out, backward twice forward; scores and
    weighted sums of half the document on average."""
    size = Size(
        weights=1000, trained=1000, active=900, layer_weights=1, hidden=10, inner=1, layers=3,
        vocabulary=20, batch_tokens=1, half=True,
    )  # fmt: skip
    attention = 3 * (2 * 2 * 10) * (50 / 2) * 3  # per layer; forward and backward; two products
    assert size.flops(50) == 6 * (900 - 200) + attention


def test_the_parts_of_the_memory_are_all_of_it() -> None:
    assert Memory(1, 2, 3, 4, 5, 6).total == 21


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_policy_is_the_model_without_its_numbers(tmp_path: Path, family: str) -> None:
    """For every family: the same names and shapes, no memory, and buffers that no file has."""
    folder = write_family(tmp_path / family, family)
    empty = empty_policy(folder, ModelConfig(), seed=0)
    full = load_policy(folder, ModelConfig(), seed=0)
    assert all(weight.is_meta for weight in empty.parameters())
    shapes = [
        {name: weight.shape for name, weight in policy.state_dict().items()}
        for policy in (empty, full)
    ]
    assert shapes[0] == shapes[1]
    for (name, buffer), (other, wanted) in zip(
        empty.named_buffers(), full.named_buffers(), strict=True
    ):
        assert name == other
        assert torch.equal(buffer, wanted)


SHARES = """
import json, sys
from pathlib import Path
import torch
from trainer import distributed
from trainer.distributed import bare, joined, open_scorer
from trainer.model import load_policy
from trainer.settings import ModelConfig, Sharding
from trainer.sizing import Holding, Memory
held = []
fill = distributed.fill
def before(sharded, source, *rest):
    held.append([source is not None, sum(not w.is_meta for w in sharded.parameters())])
    fill(sharded, source, *rest)
distributed.fill = before
with joined() as world:
    holding = Holding(Sharding(sys.argv[2]), False, Memory(0, 0, 0, 0, 0, 0), True, "")
    folder = Path(sys.argv[1])
    scorer = open_scorer(folder, ModelConfig(), holding, 0, world)
    own = sum(w.to_local().numel() for w in scorer.parameters())
    wanted = load_policy(folder, ModelConfig(), 0).state_dict()
    found = bare(scorer).policy.state_dict()
    same = all(torch.equal(found[n].full_tensor(), wanted[n]) for n in wanted)
    share = [held, own, sum(w.numel() for w in wanted.values()), same]
    Path(sys.argv[3], f"{world.rank}.json").write_text(json.dumps(share))
    world.wait()
"""


@pytest.mark.parametrize("sharding", ["fsdp", "offload"])
def test_only_one_process_reads_the_model_and_each_keeps_its_share(
    tmp_path: Path, policy: Path, sharding: str
) -> None:
    """Each of 8 processes loaded 131 GB of a 32B model before it was divided."""
    program = tmp_path / "shares.py"
    program.write_text(SHARES)
    arguments = [str(program), str(policy), sharding, str(tmp_path)]
    command = [sys.executable, "-m", "trainer.launch", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    for rank in range(2):
        held, own, whole, same = json.loads((tmp_path / f"{rank}.json").read_text())
        assert held == [[rank == 0, 0]]  # nothing before it was divided
        assert own <= 0.51 * whole
        assert same


def test_a_head_in_float32_makes_logits_as_without_bfloat16(policy: Path) -> None:
    """MiniMax-M1: rounding in the head is most of the difference between engine and trainer."""
    model = load_policy(policy, ModelConfig(), seed=0)
    hidden, targets = torch.randn(6, 32), torch.arange(6)
    plain, half, kept = (
        Scorer(model, half=half, float32_head=head)._project(hidden, targets)[0]
        for half, head in ((False, False), (True, False), (True, True))
    )
    assert torch.equal(kept, plain)
    assert (half - plain).abs().max() > 1e-4
