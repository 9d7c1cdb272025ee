"""TRL as an oracle: another hand's surrogates, KL term, rejection and penalty, with gradients.

TRL has no twin of the NLL on positives and of the weights of two levels; numbers worked out by hand
hold those.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from storage.records import Level
from trainer.advantage import CreditRow, overlong_penalty
from trainer.hierarchical import STATISTICS
from trainer.model import Scorer, Scores, load_policy
from trainer.packing import Batch, collate, pack
from trainer.rl import shares
from trainer.samples import Rollout
from trainer.settings import (
    Aggregation,
    CreditConfig,
    Importance,
    LossConfig,
    ModelConfig,
    Packing,
    Surrogate,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's, not ours

ROWS, PROMPT, COMPLETION = 8, 6, 20


class Round:
    """A random batch, as padded tensors for TRL and as samples for us."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)

        def rand(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator)

        self.prompts = (rand(ROWS, PROMPT) * 48).long()
        self.completions = (rand(ROWS, COMPLETION) * 48).long()
        self.lengths = (rand(ROWS) * (COMPLETION - 4)).long() + 4
        self.own = (rand(ROWS, COMPLETION) > 0.3).long()
        self.own[:, 0] = 1
        self.advantages = torch.randn(ROWS, generator=generator)
        # Far from the policy, so that every branch of the clips is taken.
        self.shift = 1.5 * torch.randn(ROWS, COMPLETION, generator=generator)
        self.sampler_shift = 0.5 * torch.randn(ROWS, COMPLETION, generator=generator)
        self.reference_shift = 0.5 * torch.randn(ROWS, COMPLETION, generator=generator)

    @property
    def mask(self) -> Tensor:
        return (torch.arange(COMPLETION)[None] < self.lengths[:, None]).long()

    def samples(self) -> list[Rollout]:
        found = []
        for row in range(ROWS):
            end = int(self.lengths[row])
            own = self.own[row, :end].bool()
            found.append(
                Rollout(
                    sample_id=str(row),
                    token_ids=torch.cat([self.prompts[row], self.completions[row, :end]]).int(),
                    learned=torch.cat([torch.zeros(PROMPT, dtype=torch.bool), own]),
                    level=Level.TRAJECTORY,
                    group_id="g",
                    advantage=self.advantages[row].item(),
                    sampler_logprobs=torch.zeros(int(own.sum())),
                )
            )
        return found

    def at(self, values: Tensor, batch: Batch[Rollout]) -> Tensor:
        """The batch's learned tokens out of a padded tensor."""
        rows = [int(sample.sample_id) for sample in batch.samples]
        own = (self.own * self.mask).bool()
        return torch.cat([values[row][own[row]] for row in rows])


CASES: dict[str, tuple[LossConfig, dict[str, Any]]] = {
    "token mean": (LossConfig(), {"loss_type": "dapo"}),
    "sequence mean": (
        LossConfig(aggregation=Aggregation.SEQ_MEAN_TOKEN_MEAN), {"loss_type": "grpo"}
    ),
    "token mean, kl": (LossConfig(kl=0.3), {"loss_type": "dapo"}),
    "sequence mean, kl": (
        LossConfig(kl=0.3, aggregation=Aggregation.SEQ_MEAN_TOKEN_MEAN), {"loss_type": "grpo"}
    ),
    "gspo": (
        LossConfig(surrogate=Surrogate.GSPO, aggregation=Aggregation.SEQ_MEAN_TOKEN_MEAN),
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon": 3e-4,
            "epsilon_high": 4e-4,
        },
    ),
    # TRL's bound is that of the ratio itself, ours its distance from 1.
    "cispo": (LossConfig(surrogate=Surrogate.CISPO), {"loss_type": "cispo", "epsilon_high": 5.0}),
    "rejected sequences": (
        LossConfig(importance=Importance.REJECT_SEQUENCE, importance_cap=3, importance_tolerance=0),
        {"loss_type": "dapo"},
    ),
}  # fmt: skip
"""Our settings, and TRL's for the same loss. TRL has no NLL, so ours is off."""


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_trls(policy: Path, tmp_path: Path, case: str) -> None:
    pytest.importorskip("trl", reason="the oracle extra is not installed")
    config, options = CASES[case]
    config = config.model_copy(update={"nll": 0})
    drawn = Round()
    loss, gradient, old, reference = ours(policy, drawn, config)
    trainer = trl_trainer(policy, tmp_path, options)
    wanted, wanted_gradient = trls(trainer, drawn, config, old, reference)
    assert loss == pytest.approx(wanted, rel=1e-5)
    difference = (gradient - wanted_gradient).norm() / wanted_gradient.norm()
    assert difference.item() < 1e-5


def test_the_penalty_for_length_is_trls() -> None:
    rewards = pytest.importorskip("trl.rewards", reason="the oracle extra is not installed")
    wanted = rewards.get_soft_overlong_punishment(100, 20)
    config = CreditConfig(overlong_buffer=20)
    for tokens in (1, 79, 80, 81, 90, 99, 100, 101, 300):
        row = CreditRow(
            trajectory_id="t",
            level=Level.TRAJECTORY,
            group_id="g",
            reward=1,
            sampled=1,
            reply_tokens=tokens,
        )
        [found] = wanted(completion_ids=[[0] * tokens])
        assert -overlong_penalty(row, config, 100) == pytest.approx(found)


def ours(policy: Path, drawn: Round, config: LossConfig) -> tuple[float, Tensor, Tensor, Tensor]:
    """Loss and gradient over packed micro-batches; old and reference log-probabilities, padded."""
    scorer = Scorer(load_policy(policy, ModelConfig(), seed=0))
    now = padded_logprobs(scorer, drawn)
    old, reference = now + drawn.shift, now + drawn.reference_shift
    samples = drawn.samples()
    batches = [collate(rows) for rows in pack(samples, Packing(row_tokens=40, batch_tokens=80))]
    assert len(batches) > 1
    scored: list[tuple[Batch[Rollout], Scores]] = []
    for batch in batches:
        at_old = drawn.at(old, batch)
        scored.append((batch, Scores(at_old, torch.zeros_like(at_old))))
    references = [drawn.at(reference, batch) if config.kl else None for batch in batches]
    rejects = config.importance is Importance.REJECT_SEQUENCE
    sampler = old - drawn.sampler_shift if rejects else old
    for batch, _ in scored:
        place, said = 0, drawn.at(sampler, batch)
        for sample in batch.samples:
            count = sample.learned_count
            sample.sampler_logprobs.copy_(said[place : place + count])
            place += count
    sums = torch.zeros(2, len(STATISTICS), dtype=torch.float64)
    total = torch.zeros(())
    for share in shares(samples, scored, references, config, sums):
        total = total + share.loss(scorer(*share.batch[:3]).logprobs)
    total.backward()
    counts = dict(zip(STATISTICS, sums[0].tolist(), strict=True))
    if config.surrogate is Surrogate.CLIP:
        assert counts["dual_clip_fraction"] > 0.05 * counts["tokens"]
    if rejects:
        assert 0 < counts["truncated_fraction"] < counts["tokens"]
    return total.item(), flat(scorer.policy), old, reference


def padded_logprobs(scorer: Scorer, drawn: Round) -> Tensor:
    """Of every completion token that is there, own or not."""
    found = torch.zeros(ROWS, COMPLETION)
    with torch.no_grad():
        for row in range(ROWS):
            ids = torch.cat([drawn.prompts[row], drawn.completions[row]])[None]
            learned = torch.arange(ids.shape[1])[None] >= PROMPT
            positions = torch.arange(ids.shape[1])[None]
            found[row] = scorer(ids, positions, learned).logprobs
    return found


def trls(
    trainer: Any, drawn: Round, config: LossConfig, old: Tensor, reference: Tensor
) -> tuple[float, Tensor]:
    trainer.beta = config.kl
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    own = drawn.mask * drawn.own
    inputs = {
        "prompt_ids": drawn.prompts,
        "prompt_mask": torch.ones_like(drawn.prompts),
        "completion_ids": drawn.completions,
        "completion_mask": drawn.mask,
        "tool_mask": drawn.own,
        "advantages": drawn.advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": own.sum(),
    }
    if config.importance is Importance.REJECT_SEQUENCE:
        # As TRL computes it where vLLM samples (sequence_mask).
        trainer.use_vllm = True
        ratio = (drawn.sampler_shift * own).sum(-1, keepdim=True).exp()
        inputs["importance_sampling_ratio"] = ratio.masked_fill(ratio > 3, 0.0)
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), flat(trainer.model)


def trl_trainer(policy: Path, folder: Path, options: dict[str, Any]) -> Any:
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    words = {f"w{number}": number for number in range(48)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")),
        eos_token="w1",
        pad_token="w0",
    )
    return GRPOTrainer(
        model=load_policy(policy, ModelConfig(), seed=0),
        reward_funcs=lambda completions, **_: [0.0 for _ in completions],
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=ROWS,
            num_generations=4,
            max_completion_length=COMPLETION,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            delta=3.0,
            use_bias_correction_kl=False,
            **{"epsilon": 0.2, "epsilon_high": 0.28, **options},
        ),
        train_dataset=Dataset.from_list([{"prompt": "w2 w3"}]),
        processing_class=tokenizer,
    )


def flat(model: torch.nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])
