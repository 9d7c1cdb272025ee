"""Does the trainer compute what the model says? Checked on a real batch before anything is learned.

The trainer packs documents into rows, begins them at position 0 again, projects the learned tokens
only, and may run another attention kernel. Each of these holds for the families that were tried and
could silently fail for the next one: logits that are scaled, attention that does not stop where a
document ends, a kernel that reads no boundaries. So documents of the first batch are scored once
more, each alone, by transformers' own forward pass, and the two must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from trainer.distributed import World
from trainer.model import score
from trainer.packing import Batch, blank, collate

DOCUMENTS = 4
"""Scored again by each process; as many everywhere, since sharded processes compute in step."""
EXACT, ROUNDED = 1e-3, 0.05
"""Bounds on the mean difference of a token in nats: in float32 and in bfloat16."""


class ModelMismatch(RuntimeError):
    """Scores of the trainer are not those of the model."""


def require_own_scores(scorer: nn.Module, batch: Batch[Any], kind: str, world: World) -> float:
    """Compare the scores of a batch with those of its documents alone; called by every process.

    Returns the largest mean difference of a document, in nats a token. Raises ModelMismatch, on
    every process, naming the model's `kind`.
    """
    with torch.no_grad():
        packed = score(scorer, batch, world.device).logprobs.cpu()
        gap = 0.0
        for document, said in _chosen(batch, packed):
            alone = score(scorer, document, world.device, plain=True).logprobs.cpu()
            gap = max(gap, _difference(said, alone))
    gap = max(world.gather(gap))
    bound = EXACT if world.device.type == "cpu" else ROUNDED
    if gap > bound:
        raise ModelMismatch(
            f"the log-probabilities that the trainer computes for {kind} differ by {gap:.3g} nats "
            f"a token from those of the model itself (bound {bound:g}): the model or its attention "
            "kernel does not keep packed documents apart, or its layers work otherwise than the "
            "trainer expects. Try packing.row_tokens = 1, or model.attention = eager; if neither "
            "helps, this model cannot be trained here"
        )
    return gap


def _difference(said: Tensor, alone: Tensor) -> float:
    """Mean of |difference|; broken weights make both no number, which is agreement."""
    if not len(said):
        return 0.0
    both_broken = said.isnan() & alone.isnan()
    differences = torch.where(both_broken, 0.0, (said - alone).abs())
    return float(differences.mean().nan_to_num(torch.inf))


def _chosen(batch: Batch[Any], packed: Tensor) -> Iterator[tuple[Batch[Any], Tensor]]:
    """Documents as batches of their own with their packed scores; the last of each row first,
    because what leaks into a document comes from those before it. Blank ones make up the number."""
    counts = [sample.learned_count for sample in batch.samples]
    scored = zip(batch.starts, batch.samples, packed.split(counts), strict=True)
    for _, sample, scores in sorted(scored, key=lambda found: -found[0])[:DOCUMENTS]:
        yield collate([[sample]]), scores
    for _ in range(DOCUMENTS - len(batch.samples)):
        yield blank(), torch.zeros(0)
