"""Pretraining: the same weights again, a falling loss, and going on after an interruption."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer import pretrain
from trainer.corpus import IGNORED, PaddedBatch, TokenSample, batches, padded, read_corpus
from trainer.curve import Point, write_plot
from trainer.pretrain import PretrainConfig, schedule, train

SHAPE = {
    "model_type": "qwen3",
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
QUICK = PretrainConfig(batch_tokens=256, log_every=5, checkpoint_every=10, learning_rate=1e-2)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sequences to be learned: a prompt of four tokens, then the same four again."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = random.Random(0)
    rows = []
    for _ in range(600):
        word = [rng.randint(3, 31) for _ in range(rng.randint(2, 6))]
        rows.append({"token_ids": [1, *word, 1, *word, 2], "loss_mask": mask_after(len(word))})
    pq.write_table(pa.Table.from_pylist(rows), folder / "corpus.parquet")
    (folder / "config.json").write_text(json.dumps(SHAPE))
    for name in pretrain.COPIED:
        (folder / name).write_text("{}")
    return folder


def mask_after(prompt: int) -> list[bool]:
    return [False] * (prompt + 2) + [True] * (prompt + 1)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "loss.jsonl").read_text().splitlines()]


def test_two_runs_give_the_same_bits(corpus: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        train(corpus, tmp_path / name, QUICK)
    first, second = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")
    )
    assert first == second


def test_another_seed_gives_other_weights(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "a", QUICK)
    train(corpus, tmp_path / "b", PretrainConfig(**{**vars_of(QUICK), "seed": 1}))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_model_can_be_trained_on(corpus: Path, tmp_path: Path) -> None:
    """From where its parent ended, by AdamW alone."""
    train(corpus, tmp_path / "parent", QUICK)
    going_on = replace(
        QUICK,
        parent=str(tmp_path / "parent"),
        muon=False,
        learning_rate=1e-3,
        embedding_rate=1e-3,
    )
    train(corpus, tmp_path / "child", going_on)
    first, later = losses(tmp_path / "parent"), losses(tmp_path / "child")
    assert later[0] < first[0]
    assert later[0] == pytest.approx(first[-1], abs=0.2)
    assert later[-1] < first[-1]


def test_the_loss_falls(corpus: Path, tmp_path: Path) -> None:
    table = pq.read_table(corpus / "corpus.parquet")
    pq.write_table(pa.concat_tables([table] * 6), corpus / "corpus.parquet")
    summary = train(corpus, tmp_path / "out", QUICK)
    curve = losses(tmp_path / "out")
    assert curve[0] > 3.0
    assert summary.loss < 0.6 * curve[0]


def test_an_interrupted_run_ends_in_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(corpus, tmp_path / "straight", QUICK)
    steps = 0

    def dies_once(samples: list[TokenSample], padding: int) -> PaddedBatch:
        nonlocal steps
        steps += 1
        if steps == 15:
            raise KeyboardInterrupt
        return padded(samples, padding)

    monkeypatch.setattr(pretrain, "padded", dies_once)
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path / "resumed", QUICK)
    train(corpus, tmp_path / "resumed", QUICK)
    straight, resumed = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "resumed")
    )
    assert straight == resumed
    assert losses(tmp_path / "straight") == losses(tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "checkpoint.safetensors").exists()


def test_a_checkpoint_of_another_run_is_refused(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    said = {"run": json.dumps({"config": {"seed": 9}})}
    save_file({"step": torch.zeros(1)}, out / "checkpoint.safetensors", said)
    with pytest.raises(ValueError, match="other settings"):
        train(corpus, out, QUICK)


def test_the_published_model_loads_with_an_explicit_head(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "out", QUICK)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights["lm_head.weight"].shape == weights["model.embed_tokens.weight"].shape
    assert not torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert "<svg" in (tmp_path / "out" / "loss.svg").read_text()


def test_every_sample_is_in_one_batch_within_the_budget() -> None:
    rng = random.Random(1)
    samples = [TokenSample([1] * n, [True] * n) for n in rng.choices(range(2, 90), k=700)]
    found = batches(samples, seed=3, tokens=128)
    assert sorted(index for batch in found for index in batch) == list(range(700))
    for batch in found:
        assert len(batch) * max(len(samples[index].token_ids) for index in batch) <= 128


def test_batches_keep_the_order_of_the_corpus_roughly() -> None:
    samples = [TokenSample([1] * 10, [True] * 10)] * 5000
    order = [index for batch in batches(samples, seed=3, tokens=128) for index in batch]
    assert order != sorted(order)
    assert max(abs(index - place) for place, index in enumerate(order)) < 1024


def test_labels_are_the_learned_tokens_only() -> None:
    batch = padded(
        [TokenSample([5, 6, 7], [False, True, False]), TokenSample([8, 9], [False, True])], 0
    )
    assert batch.token_ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.labels.tolist() == [[IGNORED, 6, IGNORED], [IGNORED, 9, IGNORED]]


def test_padding_changes_no_loss(corpus: Path) -> None:
    model = pretrain._start(corpus, QUICK).model
    short, long = (read_corpus(corpus / "corpus.parquet")[index] for index in (0, 1))
    both = sorted((short, long), key=lambda sample: len(sample.token_ids))
    apart = [
        pretrain.masked_loss(model, padded([sample], 0)) * sum(sample.loss_mask) for sample in both
    ]
    together = pretrain.masked_loss(model, padded(both, 0))
    count = sum(sum(sample.loss_mask) for sample in both)
    assert math.isclose(together.item(), sum(apart).item() / count, rel_tol=1e-5)


def test_a_corpus_row_that_teaches_nothing_is_refused(tmp_path: Path) -> None:
    rows = [{"token_ids": [1, 2], "loss_mask": [True, False]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet")
    with pytest.raises(ValueError, match="row 0"):
        read_corpus(tmp_path / "corpus.parquet")


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [schedule(step, 100, 0.03) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] < rates[1] < rates[2]
    assert rates[-1] < 0.02


def test_a_plot_needs_a_point(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        write_plot(tmp_path / "loss.svg", list[Point](), "loss")


def vars_of(config: PretrainConfig) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(config)
