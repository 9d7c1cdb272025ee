"""Every family scores, trains, publishes and loads again exactly, or is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    modeling_flash_attention_utils,
)
from transformers.integrations.flash_attention import flash_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from storage.datasets import Store
from storage.records import Level
from tests.trainer.families import FAMILIES, FUSED, write_family
from tests.trainer.tiny_policy import logprobs, publish, round_rows, weights_of
from trainer.agreement import ModelMismatch
from trainer.distributed import World
from trainer.lora import Unadaptable
from trainer.model import Scorer, UnsupportedModel, load_policy, score
from trainer.packing import alone, collate, pack
from trainer.rl import train_rl
from trainer.rows import sft_samples
from trainer.settings import (
    LoraConfig,
    ModelConfig,
    Names,
    OptimizerConfig,
    Packing,
    RlConfig,
    SftConfig,
)
from trainer.sft import train_sft

SFT = SftConfig(optimizer=OptimizerConfig(learning_rate=3e-3), epochs=2, batch_samples=8)
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: write_family(root / family, family) for family in FAMILIES}


@pytest.fixture
def names(store: Store, policy: Path) -> Names:
    dataset = publish(store, round_rows(policy, groups=4, step_groups=0))
    return Names(store=store.root, policy="pi", parent="", dataset=str(dataset))


def parent(names: Names, folder: Path) -> Names:
    return names.model_copy(update={"parent": str(folder)})


@every_family
def test_packed_scores_are_the_models_own(
    folders: dict[str, Path], store: Store, names: Names, world: World, family: str
) -> None:
    """Granite and Cohere were off by 2.9 nats, Gemma 2 by its cap."""
    samples = list(sft_samples(store.version(names.dataset), False, world))
    model = AutoModelForCausalLM.from_pretrained(folders[family])
    scorer = Scorer(load_policy(folders[family], ModelConfig(), seed=0), logit_rows=7).eval()
    for rows in pack(samples, Packing(row_tokens=96)):
        batch = collate(rows)
        with torch.no_grad():
            found = score(scorer, batch, torch.device("cpu")).logprobs
        wanted = [logprobs(model, s.token_ids.tolist())[s.learned[1:]] for s in batch.samples]
        torch.testing.assert_close(found, torch.cat(wanted), rtol=0, atol=1e-4)


@every_family
def test_what_is_published_loads_as_what_was_trained(
    folders: dict[str, Path], names: Names, world: World, family: str
) -> None:
    """By transformers, from weights under the names that the family is published with."""
    version = train_sft(parent(names, folders[family]), SFT, world)
    loaded, report = AutoModelForCausalLM.from_pretrained(version.path, output_loading_info=True)
    assert not any(report.values())
    again = train_sft(parent(names, version.path).model_copy(update={"policy": "rho"}), SFT, world)
    before, after = (v.manifest["metrics"]["last_step"]["loss"] for v in (version, again))
    assert after < before
    trained = load_policy(version.path, ModelConfig(), seed=0)
    ids = list(range(3, 40))
    assert torch.equal(logprobs(loaded, ids), logprobs(trained, ids))
    assert _names(folders[family]) <= _names(version.path)
    assert loaded.get_output_embeddings().weight is not loaded.get_input_embeddings().weight


def _names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


@every_family
def test_a_head_moves_with_its_body(
    folders: dict[str, Path], names: Names, world: World, family: str
) -> None:
    """GPT-NeoX' head has another name on disk, and was published as it had been."""
    version = train_sft(parent(names, folders[family]), SFT, world)
    before = AutoModelForCausalLM.from_pretrained(folders[family]).get_output_embeddings().weight
    after = AutoModelForCausalLM.from_pretrained(version.path).get_output_embeddings().weight
    assert (before - after).abs().max() > 1e-3


@every_family
def test_adapters_reach_every_matrix_or_say_which_they_miss(
    folders: dict[str, Path], names: Names, world: World, family: str
) -> None:
    config = SFT.model_copy(update={"model": ModelConfig(lora=LoraConfig(rank=4))})
    here = parent(names, folders[family])
    if family in FUSED:
        with pytest.raises(Unadaptable, match="gate_up_proj"):
            train_sft(here, config, world)
        config = SFT.model_copy(update={"model": ModelConfig(lora=LoraConfig(layers=("q_proj",)))})
    version = train_sft(here, config, world)
    before, after = (
        dict(AutoModelForCausalLM.from_pretrained(folder).base_model.named_parameters())
        for folder in (folders[family], version.path)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    matrices = {n for n, w in before.items() if w.ndim > 1 and "embed" not in n}
    if family in FUSED:
        matrices = {name for name in matrices if "q_proj" in name}
    assert changed == matrices


@pytest.mark.parametrize("family", ["granite", "gemma2", "gpt_neox", "qwen3_moe"])
def test_a_round_of_rl_agrees_with_the_sampler(
    folders: dict[str, Path], store: Store, world: World, family: str
) -> None:
    """The rows' log-probabilities are transformers' own, so the oracle sees any other head."""
    rows = round_rows(folders[family], groups=3, step_groups=1)
    dataset = publish(store, rows)
    names = Names(store=store.root, policy="pi", parent=str(folders[family]), dataset=str(dataset))
    config = RlConfig(optimizer=OptimizerConfig(learning_rate=1e-4), oracle_bound=1e-4, updates=2)
    version = train_rl(names, config, world)
    assert version.manifest["metrics"]["groups"][Level.TRAJECTORY.value] == 3


def test_attention_that_crosses_documents_is_refused_by_name(
    policy: Path, names: Names, world: World
) -> None:
    """A kernel that looks at no boundaries, as flash attention in batches of several rows."""

    def leaky(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **rest: Any
    ) -> Any:
        return sdpa_attention_forward(module, query, key, value, None, **rest)

    AttentionInterface.register("leaky", leaky)
    config = SFT.model_copy(update={"model": ModelConfig(attention="leaky")})
    with pytest.raises(ModelMismatch, match=r"qwen3 models .*row_tokens = 1"):
        train_sft(parent(names, policy), config, world)
    alone = config.model_copy(update={"packing": Packing(row_tokens=1, batch_tokens=1)})
    train_sft(parent(names, policy), alone, world)


def reference(query: Any, key: Any, value: Any, **options: Any) -> Any:
    """What flash attention computes, in its layout: rows, tokens, heads, width."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    found = scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=options["softmax_scale"], enable_gqa=True
    )
    return found.transpose(1, 2)


def varlen_reference(
    query: Any,
    key: Any,
    value: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float,
    causal: bool,
) -> Any:
    """The same for documents side by side: tokens, heads, width."""
    assert causal
    assert torch.equal(cu_seqlens_q, cu_seqlens_k)
    lengths = cu_seqlens_q.diff().tolist()
    assert max_seqlen_q == max_seqlen_k == max(lengths)
    parts = zip(*(x.split(lengths) for x in (query, key, value)), strict=True)
    scale = {"softmax_scale": softmax_scale}
    return torch.cat([reference(*(x[None] for x in part), **scale)[0] for part in parts])


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> str:
    """transformers' own path of flash attention, with kernels that run on a CPU."""
    kernels = (reference, varlen_reference, None, None, None)
    utils = modeling_flash_attention_utils
    monkeypatch.setattr(utils, "_lazy_imports", lambda *_, **__: kernels)
    monkeypatch.setattr(utils, "_loaded_implementation", None)
    AttentionInterface.register("flash_reference", flash_attention_forward)
    return "flash_reference"


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "phi3", "olmo2"])
def test_flash_attention_keeps_packed_documents_apart(
    folders: dict[str, Path], names: Names, world: World, flash: str, family: str
) -> None:
    """Trained to the same weights as with torch's attention, several documents in a row."""
    config = SFT.model_copy(update={"model": ModelConfig(attention=flash)})
    events: list[dict[str, Any]] = []
    train_sft(parent(names, folders[family]), config, world, on_event=events.append)
    [gap] = [event["gap"] for event in events if event["event"] == "agreed"]
    assert gap < 1e-5
    found = [
        weights_of(train_sft(parent(names, folders[family]), each, world).path)
        for each in (config, SFT)
    ]
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], rtol=0, atol=1e-4)


def test_flash_attention_over_several_rows_is_refused(
    folders: dict[str, Path], world: World, names: Names, flash: str
) -> None:
    samples = list(sft_samples(Store(names.store).version(names.dataset), False, world))[:2]
    scorer = Scorer(load_policy(folders["qwen3"], ModelConfig(attention=flash), seed=0))
    with pytest.raises(ValueError, match="one row only"):
        scorer(*collate([[alone(sample)] for sample in samples])[:3])


def test_flash_attention_gets_one_row_a_batch() -> None:
    config = SFT.model_copy(update={"model": ModelConfig(attention="flash_attention_2")})
    assert config.layout.row_tokens == config.layout.batch_tokens == SFT.packing.batch_tokens
    assert SFT.layout == SFT.packing


def test_a_model_that_sees_is_refused_by_name(tmp_path: Path) -> None:
    AutoConfig.for_model("gemma3").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "gemma3"
    with pytest.raises(UnsupportedModel, match=r"gemma3 model.*gemma3_text"):
        load_policy(tmp_path, ModelConfig(), seed=0)
