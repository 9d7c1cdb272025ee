"""A model small enough for tests, and store rows whose tokens it really sampled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from storage.datasets import Store
from storage.records import (
    Ending,
    FilterVerdict,
    Level,
    Outcome,
    Problem,
    Program,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
    trajectory_id,
)
from storage.schema import to_batch
from storage.versions import DatasetVersion
from tests.rows import PROVENANCE
from trainer.distributed import World
from trainer.model import Scorer, load_policy, score
from trainer.oracle import Gap, require_agreement
from trainer.packing import deal, pack
from trainer.rows import rollouts_of
from trainer.samples import Rollout
from trainer.settings import ModelConfig, Packing

VOCABULARY = 48
PROMPT = 16
"""Tokens of a prompt; long enough that sharing it pays."""
SIDE_FILES = {"tokenizer.json": "{}", "chat_template.jinja": "{{ messages }}"}


def write_policy(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        intermediate_size=64,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name, content in SIDE_FILES.items():
        (folder / name).write_text(content)
    return folder


def logprobs(model: Any, token_ids: list[int]) -> torch.Tensor:
    """log p of every token but the first, from a plain forward pass over the one document."""
    with torch.no_grad():
        logits = model(torch.tensor([token_ids])).logits[0, :-1].float()
    targets = torch.tensor(token_ids[1:])[:, None]
    return logits.log_softmax(-1).gather(-1, targets).squeeze(-1)


def check_sampler(policy: Path, samples: Sequence[Rollout], bound: float, world: World) -> Gap:
    """The oracle without a round: were these sampled from the policy of this folder?

    Raises SamplerMismatch.
    """
    scorer = Scorer(load_policy(policy, ModelConfig(), seed=0)).to(world.device)
    batches = deal(pack(samples, Packing()), world.rank, world.size)
    with torch.no_grad():
        found = torch.cat([score(scorer, batch, world.device).logprobs for batch in batches])
    ordered = [sample for batch in batches for sample in batch.samples]
    return require_agreement(ordered, found, str(policy), bound, world)


def trajectory(
    number: int,
    group: str,
    tokens: TokenStream,
    *,
    correct: bool = False,
    level: Level = Level.TRAJECTORY,
    outcomes: tuple[Outcome, ...] = (Outcome.OK,),
    **fields: Any,
) -> Trajectory:
    """A row; at step level its reward follows from the last outcome, else from `correct`."""
    key = (group, Program.ROLLOUT.value, number)
    values: dict[str, Any] = {
        "trajectory_id": trajectory_id("rounds", "c0ffee", (f"{level}{group}", *key[1:])),
        "dataset": "rounds",
        "program": Program.ROLLOUT,
        "attempt": number,
        "problem": Problem(problem_id=group, source="unit", question=f"Q {group}", answer="42"),
        "steps": tuple(
            Step(thought="So", action="print(1)", observation="1", outcome=outcome)
            for outcome in outcomes
        ),
        "final_answer": "42",
        "ending": Ending.FINISHED,
        "verdict": Verdict(correct=correct, method="rule", reason="unit"),
        "filters": (FilterVerdict(rule="correct", kept=correct),),
        "provenance": replace(
            PROVENANCE,
            sampling='{"temperature": 1.0, "top_k": 0, "top_p": 1.0}',
            seed=number,
        ),
        "tokens": tokens,
        "level": level,
        "group_id": group,
        "created_at": 1.0,
    }
    return Trajectory(**{**values, **fields})


def draw(generator: torch.Generator, count: int) -> list[int]:
    ids: list[int] = torch.randint(VOCABULARY, (count,), generator=generator).tolist()
    return ids


def sampled_stream(
    model: Any, generator: torch.Generator, length: int, prompt: list[int]
) -> TokenStream:
    """A prompt, sampled tokens, an injected observation in the middle, sampled tokens again."""
    head, middle = length // 2, 3
    token_ids = [*prompt, *draw(generator, length + middle)]
    own = [False] * PROMPT + [True] * head + [False] * middle + [True] * (length - head)
    said = [0.0, *logprobs(model, token_ids).tolist()]
    return TokenStream(
        token_ids=tuple(token_ids),
        loss_mask=tuple(own),
        logprobs=tuple(p if mine else None for p, mine in zip(said, own, strict=True)),
        prompt_length=PROMPT,
    )


def round_rows(
    policy: Path, groups: int = 4, step_groups: int = 2, size: int = 4, seed: int = 1
) -> list[Trajectory]:
    """A round of mixed groups at both levels, lengths uneven.

    The tokens are drawn uniformly, not from the policy; their log-probabilities are the policy's,
    so the importance ratios are what they would be for tokens it did sample.
    """
    model = AutoModelForCausalLM.from_pretrained(policy)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for level, count in ((Level.TRAJECTORY, groups), (Level.STEP, step_groups)):
        for group in range(count):
            prompt = draw(generator, PROMPT)
            for number in range(size):
                length = int(torch.randint(4, 24, (1,), generator=generator))
                stream = sampled_stream(model, generator, length, prompt)
                good = (number + group) % 3 == 0
                outcome = Outcome.OK if good or level is Level.TRAJECTORY else Outcome.ERROR
                name = f"{level.value}-{group}"
                rows.append(
                    trajectory(number, name, stream, correct=good, level=level, outcomes=(outcome,))
                )
    return rows


def sampled(rows: Sequence[Trajectory], advantage: float = 0.0) -> list[Rollout]:
    """The rows as samples of an update, all with one advantage."""
    return list(
        rollouts_of(to_batch(rows, Trajectory), {row.trajectory_id: advantage for row in rows})
    )


def publish(store: Store, rows: list[Trajectory]) -> DatasetVersion:
    return store.open_run("rounds", {}, "c0ffee").publish(rows, {})


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    return weights
