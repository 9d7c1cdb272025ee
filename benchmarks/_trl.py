"""TRL over the same samples in batches of 16: passes of its GRPO loss, and an epoch of its SFT."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.model import load_policy
from trainer.samples import Rollout, Sample
from trainer.settings import ModelConfig

BATCH = 16


def grpo_pass(policy: Path, samples: Sequence[Rollout], repeats: int) -> float | None:
    """CPU-seconds of the best pass; None where TRL is not installed."""
    if find_spec("trl") is None:
        return None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = _trainer(policy, folder)
        batches = list(_batches(samples))
        return min(_seconds(trainer, batches) for _ in range(repeats))


def _seconds(trainer: Any, batches: Sequence[dict[str, Tensor]]) -> float:
    trainer.model.zero_grad()
    started = time.process_time()
    for batch in batches:
        trainer._compute_loss(trainer.model, batch).backward()
    return time.process_time() - started


def _batches(samples: Sequence[Rollout]) -> Iterator[dict[str, Tensor]]:
    """As TRL lays them out: prompts padded on the left, replies on the right."""
    ordered = sorted(samples, key=len)
    for start in range(0, len(ordered), BATCH):
        chosen = ordered[start : start + BATCH]
        prompts = [int(sample.learned.int().argmax()) for sample in chosen]
        width = max(prompts)
        length = max(len(s) - p for s, p in zip(chosen, prompts, strict=True))
        count = len(chosen)
        found = {
            "prompt_ids": torch.zeros(count, width, dtype=torch.long),
            "prompt_mask": torch.zeros(count, width, dtype=torch.long),
            "completion_ids": torch.zeros(count, length, dtype=torch.long),
            "completion_mask": torch.zeros(count, length, dtype=torch.long),
            "tool_mask": torch.zeros(count, length, dtype=torch.long),
            "old_per_token_logps": torch.zeros(count, length),
            "advantages": torch.tensor([sample.advantage for sample in chosen]),
        }
        for row, (sample, prompt) in enumerate(zip(chosen, prompts, strict=True)):
            reply = len(sample) - prompt
            found["prompt_ids"][row, width - prompt :] = sample.token_ids[:prompt]
            found["prompt_mask"][row, width - prompt :] = 1
            found["completion_ids"][row, :reply] = sample.token_ids[prompt:]
            found["completion_mask"][row, :reply] = 1
            own = sample.learned[prompt:]
            found["tool_mask"][row, :reply] = own.long()
            found["old_per_token_logps"][row, :reply][own] = sample.sampler_logprobs
        found["num_items_in_batch"] = found["tool_mask"].sum()
        yield found


def _trainer(policy: Path, folder: str) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    trainer = GRPOTrainer(
        model=load_policy(policy, ModelConfig(), seed=0),
        reward_funcs=lambda completions, **_: [0.0 for _ in completions],
        args=GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_generations=8,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            epsilon=0.2,
            epsilon_high=0.28,
            delta=3.0,
            beta=0.0,
            loss_type="dapo",
        ),
        train_dataset=Dataset.from_list([{"prompt": "1"}]),
        processing_class=_tokenizer(policy),
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def sft_epoch(policy: Path, samples: Sequence[Sample]) -> float | None:
    """CPU-seconds of one epoch with its optimiser; None where TRL is not installed."""
    if find_spec("trl") is None:
        return None
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {
            "input_ids": sample.token_ids.tolist(),
            "labels": torch.where(sample.learned, sample.token_ids, -100).tolist(),
        }
        for sample in samples
    ]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SFTTrainer(
            model=load_policy(policy, ModelConfig(), seed=0),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=_tokenizer(policy),
        )
        started = time.process_time()
        trainer.train()
        return time.process_time() - started


def _tokenizer(policy: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer
