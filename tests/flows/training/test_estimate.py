"""What a training would need, against arithmetic by hand and without torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.training.estimate import (
    Hardware,
    NothingToEstimate,
    estimate_round,
    estimate_sft,
)
from flows.training.settings import rounds_settings
from storage.datasets import Store
from storage.records import FilterVerdict, Level, TokenStream
from storage.versions import DatasetVersion
from tests.model_shapes import QWEN3_8B
from tests.rows import row
from trainer.settings import Packing, RlConfig, SftConfig, Sharding

EIGHT = Hardware(processes=8, memory_gb=80, throughput=5000)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "Qwen3-8B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_8B))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def published(store: Store, *rows: tuple[Level, int, bool]) -> DatasetVersion:
    """Rows of these levels and lengths, kept or not."""
    made = []
    for number, (level, tokens, kept) in enumerate(rows):
        stream = TokenStream(
            token_ids=(1,) * tokens,
            loss_mask=(False,) + (True,) * (tokens - 1),
            logprobs=(None,) * tokens,
            prompt_length=1,
        )
        verdict = FilterVerdict(rule="correct", kept=kept)
        made_row = replace(row(attempt=number), tokens=stream, level=level, filters=(verdict,))
        made.append(replace(made_row, trajectory_id=f"t{number}"))
    return store.open_run("pi-rollouts", {}, "c0ffee").publish(made, {})


def test_a_round_is_counted_by_hand(model: Path, store: Store) -> None:
    config = rounds_settings(model, "pi", None, {})
    plan = estimate_round(model, store, config, EIGHT)
    # 64 groups of 16 rollouts of 4,096 tokens, and 16 branches of 1,024 tokens behind as many.
    assert plan.rows == 64 * 16 * 2
    assert plan.tokens == 64 * 16 * (4096 + 4096 + 1024)
    assert (plan.steps, plan.tokens_per_step) == (4, plan.tokens / 4)
    assert plan.seconds == pytest.approx(plan.tokens * 4 / 3 / (8 * 5000))
    assert plan.longest_tokens == 5120
    assert plan.holding.sharding is Sharding.FSDP
    assert plan.holding.memory.weights == 4 * 8_190_735_360 / 8


def test_a_reference_is_one_more_forward_pass(model: Path, store: Store) -> None:
    config = rounds_settings(model, "pi", None, {})
    update = RlConfig.model_validate({"loss": {"kl": 0.1}, "reference": str(model)})
    plan = estimate_round(model, store, config.model_copy(update={"update": update}), EIGHT)
    assert plan.passes == pytest.approx(5 / 3)


def test_lengths_are_those_of_the_latest_rollouts(model: Path, store: Store) -> None:
    published(
        store, (Level.TRAJECTORY, 100, True), (Level.TRAJECTORY, 300, False), (Level.STEP, 50, True)
    )
    plan = estimate_round(model, store, rounds_settings(model, "pi", None, {}), EIGHT)
    assert plan.tokens == 64 * 16 * (200 + 50)
    assert (plan.longest_tokens, plan.lengths_from) == (300, "pi-rollouts@v1")


def test_a_document_longer_than_a_micro_batch_sets_the_activations(
    model: Path, store: Store
) -> None:
    long = rounds_settings(model, "pi", None, {"rollouts.loop.tokens": 16384})
    found, small = (
        estimate_round(model, store, config, EIGHT).holding.memory.activations
        for config in (long, rounds_settings(model, "pi", None, {}))
    )
    assert found == pytest.approx(small * (16384 + 1024) / 8192)


def test_a_round_without_a_size_says_what_to_set(model: Path, store: Store) -> None:
    config = rounds_settings(model, "pi", None, {})
    rollouts = config.rollouts.model_copy(update={"groups": None})
    with pytest.raises(NothingToEstimate, match="no fixed size"):
        estimate_round(model, store, config.model_copy(update={"rollouts": rollouts}), EIGHT)


def test_a_fine_tuning_is_counted_by_its_kept_rows(model: Path, store: Store) -> None:
    rows = [(Level.TRAJECTORY, 100, True)] * 5 + [(Level.TRAJECTORY, 900, False)]
    dataset = published(store, *rows)
    config = SftConfig(epochs=2, batch_samples=2, packing=Packing(batch_tokens=64))
    plan = estimate_sft(model, dataset, config, EIGHT)
    assert (plan.rows, plan.tokens, plan.steps) == (5, 1000, 6)
    assert plan.seconds == pytest.approx(1000 / 40000)


def test_data_without_tokens_is_refused(model: Path, store: Store) -> None:
    dataset = store.open_run("chat", {}, "c0ffee").publish([row()], {})
    with pytest.raises(NothingToEstimate, match="no kept row with tokens"):
        estimate_sft(model, dataset, SftConfig(), EIGHT)


@pytest.mark.parametrize("command", ["rl", "sft"])
def test_the_command_needs_no_torch(model: Path, store: Store, command: str) -> None:
    published(store, (Level.TRAJECTORY, 100, True))
    arguments = [str(model)] if command == "rl" else ["pi-rollouts", "--parent", str(model)]
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from flows.cli import main; main()"
    )
    line = [sys.executable, "-c", program, "policy", command, *arguments, "--estimate", "--json"]
    done = subprocess.run(
        [*line, "--processes", "8", "--store", str(store.root)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["fits"]
    assert found["memory_gb"]["weights"] == pytest.approx(4 * 8.190735360 / 8)
