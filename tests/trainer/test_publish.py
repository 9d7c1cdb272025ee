"""What is published is what engines load."""

import json
from pathlib import Path

import pytest
import torch

from storage.datasets import Store
from storage.policies import PolicyVersion
from tests.trainer.tiny_policy import SIDE_FILES, publish, round_rows, weights_of
from trainer.distributed import World
from trainer.model import load_policy
from trainer.rl import train_rl
from trainer.settings import ModelConfig, Names, OptimizerConfig, RlConfig

CONFIG = RlConfig(optimizer=OptimizerConfig(learning_rate=1e-3), updates=2)


@pytest.fixture
def names(policy: Path, store: Store) -> Names:
    dataset = publish(store, round_rows(policy, groups=2, step_groups=0))
    return Names(store=store.root, policy="pi", parent=str(policy), dataset=str(dataset))


@pytest.fixture
def version(names: Names, world: World) -> PolicyVersion:
    return train_rl(names, CONFIG, world)


def test_the_head_is_explicit_and_untied(version: PolicyVersion, policy: Path) -> None:
    """vLLM's reload answers 200 and leaves a tied head stale."""
    assert "lm_head.weight" not in weights_of(policy)
    weights = weights_of(version.path)
    assert weights["lm_head.weight"].shape == weights["model.embed_tokens.weight"].shape
    assert not torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    config = json.loads((version.path / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert config["architectures"] == ["Qwen3ForCausalLM"]


def test_weights_keep_their_names_and_are_float32(version: PolicyVersion, policy: Path) -> None:
    weights = weights_of(version.path)
    assert set(weights) == {*weights_of(policy), "lm_head.weight"}
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_tokenizer_and_template_go_along(version: PolicyVersion) -> None:
    for name, content in SIDE_FILES.items():
        assert (version.path / name).read_text() == content


def test_every_file_is_vouched_for(version: PolicyVersion) -> None:
    assert version.damaged_files() == []
    assert {file.name for file in version.path.iterdir()} == {
        *version.manifest["files"],
        "manifest.json",
    }


def test_engines_get_bfloat16_and_the_next_training_the_float32_master(
    names: Names, version: PolicyVersion, world: World
) -> None:
    half = CONFIG.model_copy(update={"publish_bfloat16": True})
    found = train_rl(names, half, world)
    wanted, small = weights_of(version.path), weights_of(found.path)
    for name, weight in small.items():
        assert torch.equal(weight, wanted[name].bfloat16())
    assert json.loads((found.path / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = load_policy(found.path, ModelConfig(), seed=0).state_dict()
    for name, weight in wanted.items():
        assert torch.equal(loaded[name], weight)
    assert found.damaged_files() == []
    master = found.path / "master" / "model.safetensors"
    master.write_bytes(master.read_bytes()[:-1] + b"x")
    assert found.damaged_files() == [master]
