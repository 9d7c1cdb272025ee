"""Writes the pretraining corpus: token ids, loss masks, tokenizer and model shape, as files.

`trainer.pretrain` needs only this folder and knows no problem families. The seed determines
everything.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from tirgen.embedded.pocket.samples import Conversation, Mixture, SampleKind
from tirgen.embedded.pocket.thinking_samples import ThinkingMixture
from tirgen.embedded.pocket.tokenizer import (
    END,
    START,
    save_model_config,
    save_tokenizer,
    train_tokenizer,
)
from tirgen.engine.protocol import Message


class Draws(Protocol):
    """A mixture of samples."""

    def draw(self, rng: random.Random) -> Conversation: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the packaged models: its training data and its size."""

    curriculum: tuple[tuple[float, Draws], ...]
    """Parts of the corpus in the order of training; the tokenizer is learned from the last part."""
    tokens: int
    """Tokens in the corpus."""
    shape: dict[str, Any]


_SHAPE = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 64,
}
BASE = Variant(
    curriculum=(
        (
            0.2,
            Mixture(
                kinds=(
                    (SampleKind.CRITIC, 0.6),
                    (SampleKind.CONTINUED, 0.3),
                    (SampleKind.COT, 0.05),
                    (SampleKind.TIR, 0.05),
                ),
                spoiled_programs=0.0,
            ),
        ),
        (0.8, Mixture()),
    ),
    tokens=5_000_000,
    shape={**_SHAPE, "intermediate_size": 384},
)
"""The pocket: about 1.1 million parameters in float32.

The curriculum starts with many numbers to copy and without noise, because the model must learn to
copy first; otherwise it learns that late.
"""

THINKING = Variant(
    curriculum=(
        (
            0.2,
            ThinkingMixture(
                kinds=(
                    (SampleKind.CRITIC, 0.6),
                    (SampleKind.CONTINUED, 0.35),
                    (SampleKind.COT, 0.05),
                ),
                spoiled_programs=0.0,
            ),
        ),
        (0.8, ThinkingMixture()),
    ),
    tokens=8_000_000,
    shape={**_SHAPE, "intermediate_size": 256, "dtype": "bfloat16"},
)
"""The thinking pocket, also a critic of thinking windows: 0.85 million parameters in bfloat16."""

VARIANTS = {"base": BASE, "thinking": THINKING}

TOKENIZER_SAMPLES = 3000
"""Samples from which the tokenizer learns its merges."""

CORPUS_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("token_ids", pa.list_(pa.uint16())),
        ("loss_mask", pa.list_(pa.bool_())),
    ]
)


class Encoded(NamedTuple):
    """A sample as tokens; the mask is true for tokens with a loss."""

    token_ids: list[int]
    loss_mask: list[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSummary:
    """What was written."""

    samples: int
    tokens: int
    learned_tokens: int
    tokens_by_kind: dict[SampleKind, int]


def write_corpus(
    out: Path,
    *,
    variant: Variant = BASE,
    seed: int = 0,
    tokens: int | None = None,
) -> CorpusSummary:
    """Write at least `tokens` tokens of the train split, and all other files for the trainer.

    Samples are in the order of training; the default of `tokens` is the variant's.

    Writes `corpus.parquet`, `config.json`, `tokenizer.json`, `tokenizer_config.json`,
    `generation_config.json` and `chat_template.jinja` in `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(
        full_text(sample)
        for sample in islice(draw_samples(seed, variant.curriculum[-1][1]), TOKENIZER_SAMPLES)
    )
    save_tokenizer(tokenizer, out)
    save_model_config(tokenizer, out, variant.shape)
    rows: list[dict[str, Any]] = []
    by_kind: Counter[SampleKind] = Counter()
    learned = 0
    budget = 0.0
    for share, mixture in variant.curriculum:
        budget += share * (tokens or variant.tokens)
        samples = draw_samples(seed, mixture)
        while by_kind.total() < budget:
            sample = next(samples)
            ids, mask = encode_sample(tokenizer, sample)
            rows.append({"kind": sample.kind.value, "token_ids": ids, "loss_mask": mask})
            by_kind[sample.kind] += len(ids)
            learned += sum(mask)
    pq.write_table(pa.Table.from_pylist(rows, CORPUS_SCHEMA), out / "corpus.parquet")
    return CorpusSummary(
        samples=len(rows),
        tokens=by_kind.total(),
        learned_tokens=learned,
        tokens_by_kind=dict(by_kind),
    )


def draw_samples(seed: int, mixture: Draws) -> Iterator[Conversation]:
    """Endless samples from a seed."""
    rng = random.Random(seed)
    while True:
        yield mixture.draw(rng)


def encode_sample(tokenizer: Tokenizer, sample: Conversation) -> Encoded:
    """Token ids and loss mask; each piece of the reply is encoded alone, as in the TIR loop."""
    ids = _encode(tokenizer, prompt_text(sample.messages))
    mask = [False] * len(ids)
    for text, learned in [*sample.reply, (END, True)]:
        piece = _encode(tokenizer, text)
        ids += piece
        mask += [learned] * len(piece)
    return Encoded(ids, mask)


def prompt_text(messages: tuple[Message, ...]) -> str:
    """The conversation as the chat template renders it, up to the start of the reply."""
    turns = "".join(f"{START}{turn.role}\n{turn.content}{END}\n" for turn in messages)
    return f"{turns}{START}assistant\n"


def full_text(sample: Conversation) -> str:
    """Prompt and reply as one text."""
    return prompt_text(sample.messages) + "".join(piece.text for piece in sample.reply) + END


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
