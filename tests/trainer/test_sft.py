"""Supervised fine-tuning: what it learns, and that nothing on the way changes it."""

import math
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from storage.datasets import Store
from storage.policies import Policies
from storage.records import TokenStream, Trajectory
from tests.trainer.tiny_policy import logprobs, publish, trajectory, weights_of
from trainer import checkpoint
from trainer.distributed import World
from trainer.history import read_history
from trainer.optimisation import NotFinite
from trainer.rows import TooLong
from trainer.settings import (
    LoraConfig,
    ModelConfig,
    Names,
    OptimizerConfig,
    OverlongRule,
    Packing,
    SftConfig,
)
from trainer.sft import train_sft

CONFIG = SftConfig(
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup=2), epochs=2, batch_samples=8
)
OBSERVED = 40
"""The token that stands for an observation: no prompt or thought has it."""


@pytest.fixture(scope="module")
def rows() -> list[Trajectory]:
    """Trajectories to be learned: the prompt's tokens again, around a constant observation."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for number in range(30):
        length = int(torch.randint(2, 7, (1,), generator=generator))
        word = torch.randint(1, 30, (length,), generator=generator).tolist()
        found.append(trajectory(number, f"q{number}", stream([0, *word], word), correct=True))
    return found


def stream(prompt: list[int], word: list[int]) -> TokenStream:
    observation = [OBSERVED] * 3
    ids = (*prompt, *word, *observation, *word)
    own = [False] * len(prompt) + [True] * len(word) + [False] * 3 + [True] * len(word)
    return TokenStream(
        token_ids=ids,
        loss_mask=tuple(own),
        logprobs=(None,) * len(ids),
        prompt_length=len(prompt),
    )


@pytest.fixture
def names(policy: Path, store: Store, rows: list[Trajectory]) -> Names:
    version = publish(store, rows)
    return Names(store=store.root, policy="pi", parent=str(policy), dataset=str(version))


def losses(names: Names, config_hash: str) -> list[float]:
    work = Policies(names.store).work("pi", config_hash)
    return [record["loss"] for record in read_history(work / "history.jsonl")]


def test_the_loss_falls_and_its_curve_is_on_file(names: Names, world: World) -> None:
    config = CONFIG.model_copy(update={"epochs": 12})
    version = train_sft(names, config, world)
    curve = losses(names, version.manifest["config_hash"])
    assert len(curve) == 12 * 4
    assert curve[-1] < 0.7 * curve[0]
    assert version.manifest["metrics"]["last_step"]["loss"] == curve[-1]


def test_the_first_loss_is_the_mean_over_the_masked_tokens(
    names: Names, rows: list[Trajectory], policy: Path, world: World
) -> None:
    config = CONFIG.model_copy(update={"batch_samples": len(rows)})
    version = train_sft(names, config, world)
    model = Qwen3ForCausalLM.from_pretrained(policy)
    said = torch.cat(
        [
            logprobs(model, list(row.tokens.token_ids))[torch.tensor(row.tokens.loss_mask[1:])]
            for row in rows
        ]
    )
    first = losses(names, version.manifest["config_hash"])[0]
    assert first == pytest.approx(-said.mean().item(), rel=1e-5)


def observation_logprob(folder: Path, row: Trajectory) -> float:
    model = Qwen3ForCausalLM.from_pretrained(folder)
    ids = list(row.tokens.token_ids)
    said = logprobs(model, ids)
    return float(said[torch.tensor(ids[1:]) == OBSERVED].mean().item())


def test_observations_are_learned_only_where_asked_for(
    names: Names, rows: list[Trajectory], policy: Path, world: World
) -> None:
    """Method E3, A14: masked by default; the unmasked variant writes tool output by itself."""
    said = [observation_logprob(policy, rows[0])]
    for unmasked in (False, True):
        config = CONFIG.model_copy(update={"learn_observations": unmasked, "epochs": 8})
        said.append(observation_logprob(train_sft(names, config, world).path, rows[0]))
    before, masked, unmasked_value = said
    assert masked < before + 0.5
    assert unmasked_value > max(before, masked) + 1


def test_packing_and_checkpointed_activations_change_no_weight(names: Names, world: World) -> None:
    plain = weights_of(train_sft(names, CONFIG, world).path)
    other = CONFIG.model_copy(
        update={
            "packing": Packing(row_tokens=1, batch_tokens=32),
            "model": ModelConfig(gradient_checkpointing=True),
        }
    )
    for name, weight in weights_of(train_sft(names, other, world).path).items():
        torch.testing.assert_close(weight, plain[name], rtol=0, atol=2e-5)


def test_an_interrupted_run_ends_in_the_same_bits(
    names: Names, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies between two checkpoints, so that steps are taken twice."""
    config = CONFIG.model_copy(update={"checkpoint_every": 3})
    straight = train_sft(names.model_copy(update={"policy": "straight"}), config, world)
    save = checkpoint.save

    def dies(folder: Path, steps: int, *arguments: object) -> None:
        if steps == 6:
            raise KeyboardInterrupt
        save(folder, steps, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        train_sft(names, config, world)
    monkeypatch.setattr(checkpoint, "save", save)
    resumed = train_sft(names, config, world)
    first, second = (v.path / "model.safetensors" for v in (straight, resumed))
    assert first.read_bytes() == second.read_bytes()
    assert len(losses(names, resumed.manifest["config_hash"])) == 8


def test_what_a_kill_left_of_older_checkpoints_goes_with_the_next(
    names: Names, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, seen = checkpoint.save, []

    def watched(folder: Path, steps: int, *arguments: object) -> None:
        (folder / "step-00000002").mkdir(parents=True, exist_ok=True)
        save(folder, steps, *arguments)  # type: ignore[arg-type]
        seen.append([path.name for path in folder.iterdir()])

    monkeypatch.setattr(checkpoint, "save", watched)
    version = train_sft(names, CONFIG.model_copy(update={"checkpoint_every": 4}), world)
    assert seen == [["step-00000004"], ["step-00000008"]]
    work = Policies(names.store).work("pi", version.manifest["config_hash"])
    assert not (work / "checkpoints").exists()


def test_an_unfinished_training_names_its_data_until_it_publishes(
    names: Names, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that `tirgen dataset gc` leaves it alone."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train_sft(names, CONFIG, world)
    assert Policies(names.store).unfinished() == [("pi", names.dataset)]
    train_sft(names, CONFIG, world)
    assert Policies(names.store).unfinished() == []


def test_the_learning_rate_rises_and_then_stays() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup=3)
    assert [config.rate(step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert OptimizerConfig(learning_rate=1.0).rate(0) == 1


def test_adapters_learn_and_leave_the_rest_alone(names: Names, policy: Path, world: World) -> None:
    config = CONFIG.model_copy(
        update={"epochs": 12, "model": ModelConfig(lora=LoraConfig(rank=4, alpha=8))}
    )
    version = train_sft(names, config, world)
    curve = losses(names, version.manifest["config_hash"])
    assert curve[-1] < 0.9 * curve[0]
    before, after = weights_of(policy), weights_of(version.path)
    assert set(after) == {*before, "lm_head.weight"}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "proj" in name}


def test_merged_weights_are_the_adapted_policy(names: Names, world: World) -> None:
    """The same second step, once through the adapters and once through what they became."""
    config = CONFIG.model_copy(
        update={"epochs": 1, "batch_samples": 100, "model": ModelConfig(lora=LoraConfig())}
    )
    twice = config.model_copy(update={"epochs": 2})
    merged = train_sft(names, config, world)
    onwards = names.model_copy(update={"parent": str(merged)})
    through_adapters = losses(names, train_sft(names, twice, world).manifest["config_hash"])[1]
    through_weights = losses(names, train_sft(onwards, config, world).manifest["config_hash"])[0]
    assert through_weights == pytest.approx(through_adapters, rel=1e-5)


def test_adapters_for_no_layer_are_refused(names: Names, world: World) -> None:
    none = ModelConfig(lora=LoraConfig(layers=("query",)))
    with pytest.raises(ValueError, match="query"):
        train_sft(names, CONFIG.model_copy(update={"model": none}), world)


def test_a_dataset_without_kept_rows_is_refused(
    names: Names, rows: list[Trajectory], store: Store, world: World
) -> None:
    publish(store, [trajectory(0, "q", rows[0].tokens, correct=False)])
    with pytest.raises(ValueError, match="no kept trajectory"):
        train_sft(names.model_copy(update={"dataset": "rounds@v2"}), CONFIG, world)


def test_a_gradient_that_is_no_number_stops_the_run(
    names: Names, policy: Path, tmp_path: Path, world: World
) -> None:
    model = Qwen3ForCausalLM.from_pretrained(policy)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    model.save_pretrained(tmp_path / "broken")
    broken = names.model_copy(update={"parent": str(tmp_path / "broken")})
    with pytest.raises(NotFinite, match="step 0"):
        train_sft(broken, CONFIG, world)


def test_rows_longer_than_the_context_are_counted_and_left_out(
    names: Names, rows: list[Trajectory], policy: Path, tmp_path: Path, world: World
) -> None:
    """They were trained whole, at positions that the model has never seen."""
    lengths = sorted(len(row.tokens.token_ids) for row in rows)
    model = Qwen3ForCausalLM.from_pretrained(policy)
    model.config.max_position_embeddings = lengths[10]
    model.save_pretrained(tmp_path / "short")
    short = names.model_copy(update={"parent": str(tmp_path / "short")})
    fits = sum(length <= lengths[10] for length in lengths)
    metrics = train_sft(short, CONFIG, world).manifest["metrics"]
    assert metrics["samples"] == fits
    assert metrics["too_long"] == len(rows) - fits
    with pytest.raises(TooLong, match="maximum_length"):
        train_sft(short, CONFIG.model_copy(update={"beyond": OverlongRule.REFUSE}), world)
