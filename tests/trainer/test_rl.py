"""One round of hierarchical RL: stored rows in, a policy version out, killed or not."""

import json
import os
import signal
import subprocess
import sys
import time
import timeit
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import Qwen3ForCausalLM

from storage.datasets import Store
from storage.groups import FailedCode
from storage.names import portable_name
from storage.policies import Policies, PolicyVersion
from storage.records import Level, Outcome, Step, Trajectory
from tests.trainer.tiny_policy import (
    check_sampler,
    logprobs,
    publish,
    round_rows,
    sampled,
    weights_of,
)
from trainer.distributed import World
from trainer.history import read_history
from trainer.model import Scorer, load_policy
from trainer.oracle import SamplerMismatch
from trainer.rl import split, train_rl
from trainer.samples import Rollout
from trainer.settings import (
    CreditConfig,
    LossConfig,
    ModelConfig,
    Names,
    OptimizerConfig,
    Packing,
    RlConfig,
)
from trainer.throughput import bfloat16_gain, matrix_peak

FAST = OptimizerConfig(learning_rate=1e-3)
CONFIG = RlConfig(optimizer=FAST)


@pytest.fixture(scope="module")
def rows(policy: Path) -> list[Trajectory]:
    return round_rows(policy)


@pytest.fixture
def names(policy: Path, store: Store, rows: list[Trajectory]) -> Names:
    version = publish(store, rows)
    return Names(store=store.root, policy="pi", parent=str(policy), dataset=str(version))


def history(names: Names, version: PolicyVersion) -> list[dict[str, Any]]:
    work = Policies(names.store).work(version.policy, version.manifest["config_hash"])
    return read_history(work / "history.jsonl")


def good_and_bad(version: Path, rows: list[Trajectory]) -> list[float]:
    """Mean log-probability of the sampled tokens of rewarded and of unrewarded rows."""
    model = Qwen3ForCausalLM.from_pretrained(version)
    found = []
    for wanted in (1.0, 0.0):
        said = []
        for row in rows:
            if row.reward == wanted:
                mask = torch.tensor(row.tokens.loss_mask[1:])
                said.append(logprobs(model, list(row.tokens.token_ids))[mask])
        found.append(torch.cat(said).mean().item())
    return found


def test_a_round_makes_rewarded_tokens_likelier_than_the_others(
    names: Names, rows: list[Trajectory], policy: Path, world: World
) -> None:
    version = train_rl(names, CONFIG, world)
    good, bad = good_and_bad(version.path, rows)
    good_before, bad_before = good_and_bad(policy, rows)
    assert good - bad > good_before - bad_before + 0.1


def test_a_round_reports_every_update(names: Names, world: World) -> None:
    version = train_rl(names, CONFIG, world)
    reports = history(names, version)
    assert [report["step"] for report in reports] == [1, 2, 3, 4]
    first = reports[0]["levels"]
    assert isinstance(first, dict)
    assert first["trajectory"]["ratio"] == 1.0  # nothing has moved before the first update
    assert first["trajectory"]["mismatch"] < 1e-5
    assert version.manifest["metrics"]["last_step"] == reports[-1]
    assert version.manifest["metrics"]["groups"] == {"trajectory": 4, "step": 2}


def test_what_shared_prefixes_save_is_reported(
    names: Names, rows: list[Trajectory], world: World
) -> None:
    events: list[dict[str, Any]] = []
    version = train_rl(names, CONFIG, world, on_event=events.append)
    [packed] = [event for event in events if event["event"] == "packed"]
    assert packed["tokens"] == sum(len(row.tokens.token_ids) for row in rows)
    assert packed["computed_tokens"] < 0.8 * packed["tokens"]
    assert version.manifest["metrics"]["computed_tokens"] == packed["computed_tokens"]


def test_every_step_says_its_speed_against_the_machines_own_peak(
    names: Names, world: World
) -> None:
    events: list[dict[str, Any]] = []
    version = train_rl(names, CONFIG, world, on_event=events.append)
    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == 4
    for step in steps:
        assert step["tokens_per_second"] > 0
        assert 0 < step["mfu"] < 1
    assert "mfu" not in history(names, version)[0]  # a resumed round has the same history


def test_a_matrix_product_is_as_fast_as_measured(world: World) -> None:
    left = torch.ones(512, 512)
    seconds = min(timeit.repeat(lambda: left @ left, number=4, repeat=5)) / 4
    wanted = 2 * 512**3 / seconds
    # Other programs run beside the tests.
    assert wanted / 5 < matrix_peak(world.device, half=False) < 5 * wanted


@pytest.mark.slow
def test_bfloat16_on_a_cpu_learns_the_same_within_its_rounding(names: Names, world: World) -> None:
    half = CONFIG.model_copy(update={"model": ModelConfig(bfloat16=True)})
    events: list[dict[str, Any]] = []
    exact, rounded = (
        train_rl(names, config, world, on_event=events.append) for config in (CONFIG, half)
    )
    losses = [history(names, version)[0]["loss"] for version in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    for weight in weights_of(rounded.path).values():
        assert weight.dtype is torch.float32
    warned = [event["gain"] for event in events if event["event"] == "slow_bfloat16"]
    gain = bfloat16_gain(world.device)
    assert warned == ([gain] if gain < 1 else [])


def test_lineage_is_in_the_manifest(names: Names, world: World) -> None:
    version = train_rl(names, CONFIG, world)
    assert str(version) == "pi@v1"
    assert version.manifest["parent"] == portable_name(Path(names.parent), names.store)
    assert version.manifest["dataset"] == names.dataset
    assert RlConfig(**version.manifest["config"]) == CONFIG


def test_a_finished_round_is_found_again_not_repeated(names: Names, world: World) -> None:
    version = train_rl(names, CONFIG, world)
    assert train_rl(names, CONFIG, world) == version
    assert len(Policies(names.store).versions("pi")) == 1


@pytest.mark.parametrize(
    ("packing", "tolerance"),
    [
        (Packing(share_prefixes=False), 2e-6),
        # AdamW divides by gradients near 0, so rounding grows over the four updates.
        (Packing(row_tokens=1, batch_tokens=40), 5e-6),
        (Packing(), 5e-6),
    ],
)
def test_the_weights_do_not_depend_on_the_packing(
    names: Names, world: World, packing: Packing, tolerance: float
) -> None:
    """Method D11: one row at a time, or everything at once; prefixes shared or not."""
    alone = Packing(row_tokens=1, batch_tokens=40, share_prefixes=False)
    results = []
    for each in (alone, packing):
        config = CONFIG.model_copy(update={"packing": each})
        results.append(weights_of(train_rl(names, config, world).path))
    for name, weight in results[0].items():
        torch.testing.assert_close(weight, results[1][name], rtol=0, atol=tolerance)


def test_a_killed_round_goes_on_and_ends_in_the_same_bits(
    names: Names, tmp_path: Path, world: World
) -> None:
    """SIGKILL between two updates; then the same job again."""
    config = RlConfig(optimizer=FAST, updates=16)
    straight = train_rl(names.model_copy(update={"policy": "straight"}), config, world)
    job = tmp_path / "job.json"
    job.write_text(
        json.dumps(
            {
                "kind": "rl",
                "names": names.model_dump(mode="json"),
                "config": config.model_dump(mode="json"),
            }
        )
    )
    work = Policies(names.store).work("pi", straight.manifest["config_hash"])
    _kill_after(2, job, work / "checkpoints")
    before = sorted(path.name for path in (work / "checkpoints").glob("step-*"))
    assert "step-00000016" not in before
    assert Policies(names.store).versions("pi") == []
    resumed = train_rl(names, config, world)
    weights = [(version.path / "model.safetensors").read_bytes() for version in (straight, resumed)]
    assert weights[0] == weights[1]
    assert history(names, resumed) == history(names, straight)


def _kill_after(steps: int, job: Path, checkpoints: Path) -> None:
    """Run a job in a process of its own and kill it as soon as it took so many steps."""
    command = [sys.executable, "-m", "trainer.job", str(job)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not any(int(path.name[-8:]) >= steps for path in checkpoints.glob("step-*")):
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_moments_go_from_round_to_round(
    names: Names, rows: list[Trajectory], store: Store, world: World
) -> None:
    first = train_rl(names, CONFIG, world)
    publish(store, relabelled(rows, first.path))
    second = names.model_copy(update={"parent": str(first), "dataset": "rounds@v2"})
    fresh = CONFIG.model_copy(update={"carry_moments": False})
    carried = weights_of(train_rl(second, CONFIG, world).path)
    begun = weights_of(train_rl(second, fresh, world).path)
    start = weights_of(first.path)
    # AdamW without history moves every weight by the whole learning rate at its first step.
    moved = [sum((after[n] - start[n]).abs().sum() for n in start) for after in (carried, begun)]
    assert moved[0] < 0.9 * moved[1]


def test_lost_moments_are_named(
    names: Names, rows: list[Trajectory], store: Store, world: World
) -> None:
    import shutil

    first = train_rl(names, CONFIG, world)
    publish(store, relabelled(rows, first.path))
    shutil.rmtree(store.root / "policies" / "pi" / "work")
    second = names.model_copy(update={"parent": str(first), "dataset": "rounds@v2"})
    with pytest.raises(FileNotFoundError, match="carry_moments = false"):
        train_rl(second, CONFIG, world)


def relabelled(rows: list[Trajectory], policy: Path) -> list[Trajectory]:
    """The same tokens with the log-probabilities of another policy, as if it had sampled them."""
    model = Qwen3ForCausalLM.from_pretrained(policy)
    found = []
    for row in rows:
        said = [0.0, *logprobs(model, list(row.tokens.token_ids)).tolist()]
        own = zip(said, row.tokens.loss_mask, strict=True)
        spoken = tuple(p if mine else None for p, mine in own)
        found.append(replace(row, tokens=replace(row.tokens, logprobs=spoken)))
    return found


def stale_head(policy: Path, folder: Path) -> Path:
    """The policy as an engine serves it that reloaded all but the head (vLLM, tied weights)."""
    model = load_policy(policy, ModelConfig(), seed=0)
    with torch.no_grad():
        model.lm_head.weight.add_(0.1 * torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    return folder


def test_an_engine_with_a_stale_head_stops_the_round(
    names: Names, rows: list[Trajectory], policy: Path, tmp_path: Path, store: Store, world: World
) -> None:
    torch.manual_seed(0)
    publish(store, relabelled(rows, stale_head(policy, tmp_path / "stale")))
    stale = names.model_copy(update={"dataset": "rounds@v2"})
    with pytest.raises(SamplerMismatch, match=r"nats a token.*stale head.*[Rr]eload"):
        train_rl(stale, CONFIG, world)
    assert Policies(names.store).versions("pi") == []


def test_rollouts_of_an_older_policy_are_compared_with_that_policy(
    names: Names, policy: Path, tmp_path: Path, world: World
) -> None:
    """And their importance weights say how far the parent has gone since."""
    torch.manual_seed(0)
    exact = CONFIG.model_copy(update={"oracle_bound": 1e-4})
    train_rl(names, exact, world)
    late = names.model_copy(update={"parent": "pi@v1"})
    for wrong in (None, str(stale_head(policy, tmp_path / "other"))):
        with pytest.raises(SamplerMismatch):
            train_rl(late.model_copy(update={"sampler": wrong}), exact, world)
    aged = train_rl(late.model_copy(update={"sampler": names.parent}), exact, world)
    assert (str(aged), aged.manifest["parent"]) == ("pi@v2", "pi@v1")
    assert aged.manifest["metrics"]["sampler_gap"] < 1e-5
    reports = [
        history(names, Policies(names.store).version(name))[0] for name in ("pi@v1", "pi@v2")
    ]
    mismatches = [report["levels"]["trajectory"]["mismatch"] for report in reports]
    assert mismatches[0] < 1e-4 < mismatches[1]


def test_the_oracle_alone_passes_the_right_policy_and_stops_another(
    rows: list[Trajectory], policy: Path, tmp_path: Path, world: World
) -> None:
    torch.manual_seed(0)
    samples = sampled(rows)
    assert check_sampler(policy, samples, 1e-4, world).mean < 1e-5
    other = stale_head(policy, tmp_path / "other")
    with pytest.raises(SamplerMismatch, match=r"most at token \d+ of t"):
        check_sampler(other, samples, 0.05, world)


def test_log_probabilities_that_are_no_numbers_stop_the_round(
    rows: list[Trajectory], policy: Path, world: World
) -> None:
    [sample] = sampled(rows[:1])
    broken = replace(sample, sampler_logprobs=sample.sampler_logprobs * torch.nan)
    with pytest.raises(SamplerMismatch):
        check_sampler(policy, [broken], 0.05, world)


def test_a_round_without_a_mixed_group_says_what_was_dropped(
    names: Names, rows: list[Trajectory], store: Store, world: World
) -> None:
    failed = Step(thought="", action="1/0", observation="", outcome=Outcome.ERROR)
    only = [replace(row, steps=(failed,)) for row in rows if row.level is Level.TRAJECTORY]
    publish(store, only)
    nothing = names.model_copy(update={"dataset": "rounds@v2"})
    with pytest.raises(ValueError, match="16 failed_code"):
        train_rl(nothing, CONFIG, world)


def test_every_update_has_its_part_of_both_levels(rows: list[Trajectory]) -> None:
    samples = sampled(rows, 1.0)
    parts = split(samples, updates=3, seed=0)
    assert sorted(id(s) for part in parts for s in part) == sorted(map(id, samples))
    levels = [[sample.level for sample in part] for part in parts]
    assert all(part.count(Level.TRAJECTORY) in (5, 6) for part in levels)
    assert all(part.count(Level.STEP) in (2, 3) for part in levels)
    assert split(samples, 3, seed=0) != split(samples, 3, seed=1)


def test_there_are_no_updates_without_samples(rows: list[Trajectory]) -> None:
    samples: list[Rollout] = sampled(rows[:2], 1.0)
    assert [len(part) for part in split(samples, updates=8, seed=0)] == [1, 1]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"loss": {"kl": 0.1}}, "reference"),
        ({"updates": 0}, "updates"),
        ({"optimizer": {"learning_rate": 0}}, "learning_rate"),
        ({"loss": {"clip_low": 1.5}}, "clip_low"),
        ({"loss": {"dual_clip": 1}}, "dual_clip"),
        ({"packing": {"batch_tokens": 0}}, "batch_tokens"),
        ({"model": {"lora": {"rank": 0}}}, "rank"),
    ],
)
def test_what_can_teach_nothing_is_refused_before_a_round_begins(
    settings: dict[str, object], where: str
) -> None:
    with pytest.raises(ValidationError, match=where):
        RlConfig.model_validate(settings)


def test_a_divergence_keeps_the_policy_near_its_reference(
    names: Names, rows: list[Trajectory], policy: Path, world: World
) -> None:
    moved = []
    for kl in (0.0, 100.0):
        loss = LossConfig(kl=kl)
        slow = OptimizerConfig(learning_rate=2e-4)
        config = RlConfig(optimizer=slow, updates=12, loss=loss, reference=policy)
        version = train_rl(names, config, world)
        samples = sampled(rows)
        moved.append(check_sampler(version.path, samples, 10, world).mean)
    assert moved[1] < 0.85 * moved[0]


def test_the_scorer_of_a_published_version_is_the_trained_one(names: Names, world: World) -> None:
    """Nothing is lost on the way to the file and back."""
    version = train_rl(names, CONFIG, world)
    reloaded = Scorer(load_policy(version.path, ModelConfig(), seed=0)).policy.state_dict()
    for name, weight in weights_of(version.path).items():
        assert torch.equal(reloaded[name], weight)


@pytest.mark.parametrize(
    ("made", "asked", "kept"),
    [
        ("drop", None, False),
        ("keep", None, True),
        ("resample_on_correct", None, True),
        ("keep", FailedCode.DROP, False),
        ("drop", FailedCode.KEEP, True),
    ],
)
def test_failed_code_is_learned_from_where_rollouts_or_configuration_keep_it(
    policy: Path,
    store: Store,
    world: World,
    made: str,
    asked: FailedCode | None,
    kept: bool,
) -> None:
    """As the rollouts were counted, unless the update says otherwise."""
    rows = round_rows(policy, groups=3, step_groups=0)
    failed = tuple(replace(step, outcome=Outcome.ERROR) for step in rows[0].steps)
    rows = [replace(row, steps=failed) if row.attempt == 1 else row for row in rows]
    config: dict[str, Any] = {"failed_code": made}
    version = store.open_run("rounds", config, "c0ffee").publish(rows, {})
    names = Names(store=store.root, policy="pi", parent=str(policy), dataset=str(version))
    update = RlConfig(
        optimizer=OptimizerConfig(learning_rate=1e-3),
        updates=1,
        credit=CreditConfig(failed_code=asked),
    )
    dropped = train_rl(names, update, world).manifest["metrics"]["dropped"]["trajectory"]
    assert ("failed_code" not in dropped) is kept
